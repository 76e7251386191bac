//! `/metadata?key=KEY&value=VALUE` (debuginfod(8), WEBAPI): the files at a path, at paths that match a
//! pattern, or with a build-id.

use std::borrow::Cow;
use std::collections::HashMap;

use actix_web::http::header::{CACHE_CONTROL, ContentType, HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use artifact::{Kind, Nevra};
use serde::Serialize;
use sql::{Record, StoredPackage};
use url::form_urlencoded;

use super::links::Links;
use super::{error, too_large};
use crate::providers::archives;
use crate::resolve::Gateway;
use crate::resolve::metadata::{MetadataEntry, MetadataKey, MetadataLocation, MetadataQuery, without_doubles};
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
    let mut places: HashMap<i64, Vec<MetadataLocation>> = HashMap::new();
    let mut results: Vec<MetadataEntry> = Vec::with_capacity(found.records.len() + found.entries.len());
    for record in &found.records {
        let package = &record.package;
        let places = places.entry(package.id).or_insert_with(|| places_of(package, &links));
        results.extend(entries(record, places));
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

/// An entry for each type of the file.
fn entries<'r>(record: &'r Record, locations: &'r [MetadataLocation]) -> impl Iterator<Item = MetadataEntry> + 'r {
    let (artifact, package) = (&record.artifact, &record.package.package);
    artifact.listed_types().iter().map(move |wanted| MetadataEntry {
        kind: wanted.as_str().into(),
        buildid: artifact.build_id.to_string(),
        certain: artifact.kind != Kind::Unknown,
        file: artifact.path.clone(),
        archive: record.package.archive_name(),
        nevra: Some(nevra(&package.nevra)),
        source_rpm: package.source_rpm.clone(),
        distro: Some(record.package.distro.clone()).filter(|distro| !distro.is_empty()),
        locations: locations.to_vec(),
    })
}

/// The NEVRA in text, with the epoch where there is one.
fn nevra(nevra: &Nevra) -> String {
    let Nevra { name, epoch, version, release, arch } = nevra;
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    format!("{name}-{epoch}{version}-{release}.{arch}")
}

/// The locations of a package, without paths of this machine.
fn places_of(package: &StoredPackage, links: &Links) -> Vec<MetadataLocation> {
    let place = |location: &sql::Location| {
        let is_here = location.gone_at.is_none() && location.store.root.is_some();
        let url =
            archives::public_url(location).map(String::from).or_else(|| is_here.then(|| links.own(package)).flatten());
        MetadataLocation { tier: location.store.tier.to_string(), url, gone_at: location.gone_at }
    };
    package.locations.iter().map(place).collect()
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
