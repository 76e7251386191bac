//! `/metadata?key=KEY&value=VALUE` (debuginfod(8), WEBAPI): the files at a path, at paths that match a
//! pattern, or with a build-id.

use std::borrow::Cow;
use std::collections::HashMap;

use actix_web::http::header::{CACHE_CONTROL, ContentType, HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use artifact::{ArtifactType, BuildId, Format, Kind, Nevra};
use serde::Serialize;
use sql::{Claim, ClaimRecord, Life, Location, Membership, Record, UnreadPackage};
use url::form_urlencoded;

use super::links::Links;
use super::{error, too_large};
use crate::providers::archives;
use crate::resolve::Gateway;
use crate::resolve::metadata::{
    MetadataEntry, MetadataKey, MetadataLocation, MetadataMembership, MetadataQuery, without_doubles,
};
use crate::server::caller;

/// The longest path or pattern, bytes.
const MAX_VALUE_BYTES: usize = 4096;
/// How long shared caches may store a complete answer: a package may be added.
const LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=10");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

#[derive(Serialize)]
struct MetadataBody {
    results: Vec<MetadataEntry>,
    complete: bool,
}

/// Answers with the files that match.
pub(super) async fn answer(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let asked = match read(request.query_string()) {
        Ok(asked) => asked,
        Err(expected) => return error::malformed(&expected),
    };
    let found = match gateway.metadata(&asked, &caller(&request, &gateway.config)).await {
        Ok(found) => found,
        Err(_) => return error::unavailable_json(),
    };
    let links = Links::of(&request, &gateway);
    let mut packages: HashMap<i64, PackageFacts> = HashMap::new();
    let mut results: Vec<MetadataEntry> = Vec::with_capacity(found.records.len() + found.entries.len());
    for record in &found.records {
        let package = &record.package;
        let facts =
            || PackageFacts::new(places_of(&package.locations, links.own(package)), found.lives.get(&package.id));
        results.extend(entries(record, packages.entry(package.id).or_insert_with(facts)));
    }
    for ClaimRecord { package, claim } in &found.claims {
        let facts = || PackageFacts::new(places_of(&package.locations, None), found.lives.get(&package.id));
        results.extend(claimed_entries(package, claim, packages.entry(package.id).or_insert_with(facts)));
    }
    results.extend(found.entries);
    without_doubles(&mut results);
    let body = MetadataBody { results, complete: found.complete };
    // Strings, numbers and a boolean: that cannot fail.
    let json = serde_json::to_vec(&body).unwrap_or_default();
    if let Some(response) = too_large(&request, json.len() as u64) {
        return response;
    }
    HttpResponse::Ok()
        .insert_header((VARY, "Host"))
        .insert_header((CACHE_CONTROL, if found.complete { LIFETIME } else { NO_STORE }))
        .content_type(ContentType::json())
        .body(json)
}

fn read(query: &str) -> Result<MetadataQuery, Cow<'static, str>> {
    let value_of =
        |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    let (Some(key), Some(value)) = (value_of("key"), value_of("value")) else {
        return Err("expected /metadata?key=KEY&value=VALUE, found no key or no value".into());
    };
    let Some(key) = MetadataKey::read(&key) else {
        let found: String = key.chars().take(40).collect();
        return Err(format!("expected glob, file or buildid as key, found {found:?}").into());
    };
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("expected a value of at most {MAX_VALUE_BYTES} bytes, found {}", value.len()).into());
    }
    Ok(MetadataQuery { key, value: value.into_owned() })
}

/// What the entries of a package have in common.
struct PackageFacts {
    locations: Vec<MetadataLocation>,
    memberships: Vec<MetadataMembership>,
    obsoleted_by: Option<String>,
}

impl PackageFacts {
    fn new(locations: Vec<MetadataLocation>, life: Option<&Life>) -> Self {
        let membership = |membership: &Membership| MetadataMembership {
            repository: membership.repository.clone(),
            first_seen: membership.first_seen,
            last_seen: membership.last_seen,
            ended_at: membership.ended_at,
        };
        let memberships = life.iter().flat_map(|life| &life.memberships).map(membership).collect();
        let successor = life.and_then(|life| life.successors.first());
        Self { locations, memberships, obsoleted_by: successor.map(|successor| successor.nvra.clone()) }
    }

    /// An entry of the package for a file.
    fn entry(&self, wanted: ArtifactType, build_id: &BuildId, file: String) -> MetadataEntry {
        MetadataEntry {
            kind: wanted.as_str().into(),
            buildid: build_id.to_string(),
            certain: true,
            file,
            archive: None,
            nevra: None,
            source_rpm: None,
            distro: None,
            claimed: false,
            locations: self.locations.clone(),
            memberships: self.memberships.clone(),
            obsoleted_by: self.obsoleted_by.clone(),
        }
    }
}

/// An entry for each type of the file.
fn entries<'r>(record: &'r Record, facts: &'r PackageFacts) -> impl Iterator<Item = MetadataEntry> + 'r {
    let (artifact, package) = (&record.artifact, &record.package.package);
    artifact.listed_types().iter().map(move |wanted| MetadataEntry {
        certain: artifact.kind != Kind::Unknown,
        archive: record.package.archive_name(),
        nevra: Some(nevra(&package.nevra)),
        source_rpm: package.source_rpm.clone(),
        distro: Some(record.package.distro.clone()).filter(|distro| !distro.is_empty()),
        ..facts.entry(*wanted, &artifact.build_id, artifact.path.clone())
    })
}

/// An entry for each type that a claim states. The file is the link that the package has for the build-id, if that is
/// known.
fn claimed_entries<'c>(
    package: &'c UnreadPackage,
    claim: &'c Claim,
    facts: &'c PackageFacts,
) -> impl Iterator<Item = MetadataEntry> + 'c {
    let types = match claim.kind {
        Kind::Executable => &[ArtifactType::Executable][..],
        Kind::Debuginfo => &[ArtifactType::Debuginfo],
        Kind::Both | Kind::Unknown => &[ArtifactType::Executable, ArtifactType::Debuginfo],
    };
    types.iter().map(move |wanted| MetadataEntry {
        certain: claim.kind != Kind::Unknown,
        archive: archive_name(package),
        nevra: Some(nevra(&package.nevra)),
        source_rpm: package.source_rpm.clone(),
        distro: Some(package.distro.clone()).filter(|distro| !distro.is_empty()),
        claimed: true,
        ..facts.entry(*wanted, &claim.build_id, claim.link_path.clone().unwrap_or_default())
    })
}

/// The file name of a package whose header was not read.
fn archive_name(package: &UnreadPackage) -> Option<String> {
    match package.format {
        Format::Rpm => Some(format!("{}.rpm", package.nevra.nvra())),
        _ => package.locations.first().and_then(|location| location.path.rsplit('/').next()).map(str::to_owned),
    }
}

/// The NEVRA in text, with the epoch where there is one.
fn nevra(nevra: &Nevra) -> String {
    let Nevra { name, epoch, version, release, arch } = nevra;
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    format!("{name}-{epoch}{version}-{release}.{arch}")
}

/// The locations of a package, without paths of this machine: a copy on its disk is at `own`.
fn places_of(locations: &[Location], own: Option<String>) -> Vec<MetadataLocation> {
    let place = |location: &Location| {
        let is_here = location.gone_at.is_none() && location.store.root.is_some();
        let url = archives::public_url(location).map(String::from).or_else(|| own.clone().filter(|_| is_here));
        let (tier, gone_at, derived) = (location.store.tier.to_string(), location.gone_at, location.derived);
        MetadataLocation { tier, url, gone_at, derived }
    };
    locations.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_the_reference_server_reads_them() {
        let asked = |key, value: &str| Ok(MetadataQuery { key, value: value.to_owned() });
        for (query, expected) in [
            ("key=file&value=/usr/bin/a+b", asked(MetadataKey::File, "/usr/bin/a b")),
            ("value=%2Fusr%2Fbin%2Fa%2Bb&key=glob", asked(MetadataKey::Glob, "/usr/bin/a+b")),
            ("key=buildid&value=&x=y", asked(MetadataKey::BuildId, "")),
            ("key=file&key=glob&value=1&value=2", asked(MetadataKey::File, "1")),
        ] {
            assert_eq!(read(query), expected, "{query}");
        }
        for query in ["", "key=file", "value=x", "key=&value=x", "key=File&value=x", "key=file;value=x"] {
            assert!(read(query).is_err(), "{query}");
        }
        assert!(read(&format!("key=glob&value={}", "*".repeat(4097))).is_err());
    }

    #[test]
    fn an_epoch_is_written() {
        let with: Nevra = "a-1:2-3.x86_64".parse().unwrap();
        assert_eq!(
            (nevra(&with).as_str(), nevra(&"a-2-3.x86_64".parse().unwrap()).as_str()),
            ("a-1:2-3.x86_64", "a-2-3.x86_64")
        );
    }
}
