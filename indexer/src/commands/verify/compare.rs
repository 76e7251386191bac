//! What differs between the index and an archive.

use std::collections::{BTreeMap, BTreeSet};

use artifact::formats::ParsedArchive;
use artifact::header::Outline;
use artifact::{Artifact, BuildId, Format, Identity, artifacts};
use sql::Location;

/// What the index has of a package at one of its places.
pub(super) struct Indexed<'a> {
    pub(super) identity: &'a Identity,
    pub(super) nvra: &'a str,
    pub(super) artifacts: &'a [Artifact],
    pub(super) location: &'a Location,
}

/// Returns what differs between the index and the header of an RPM of `size` bytes, as sentences.
pub(super) fn rpm(indexed: &Indexed<'_>, outline: &Outline<'_>, size: Option<u64>) -> Vec<String> {
    let mut differences = identity(indexed, &outline.package);
    // Another package: everything else differs, too.
    if !differences.is_empty() {
        return differences;
    }
    let location = indexed.location;
    if let Some(range) = &location.header
        && *range != outline.range
    {
        differences.push(format!("header: the index has bytes {range:?}, the archive {:?}", outline.range));
    }
    if let (Some(indexed), Some(found)) = (location.size, size)
        && indexed != found
    {
        differences.push(format!("size: the index has {indexed} bytes, the archive {found}"));
    }
    if let Some(size) = size
        && let Err(error) = outline.check_archive_bytes(size)
    {
        differences.push(format!("size: {error}"));
    }
    if let Some(indexed) = &location.signing_key
        && outline.signing_key.as_ref() != Some(indexed)
    {
        let found = outline.signing_key.as_deref().unwrap_or("none");
        differences.push(format!("signing key: the index has {indexed}, the archive {found}"));
    }
    differences.extend(build_ids_of_rpm(indexed.artifacts, outline));
    differences
}

/// Returns what differs between the index and an archive that was read as a whole. A plain file is read under one of
/// its names; the index has all. Of an archive with ELF files above the limit, these are missing.
pub(super) fn whole(indexed: &Indexed<'_>, archive: &ParsedArchive) -> Vec<String> {
    let mut differences = identity(indexed, &archive.package);
    if !differences.is_empty() {
        return differences;
    }
    let key = |artifact: &Artifact| (artifact.build_id.clone(), artifact.path.clone());
    let expected: BTreeSet<_> = indexed.artifacts.iter().map(key).collect();
    let found: BTreeSet<_> = archive.artifacts.iter().map(key).collect();
    if archive.package.format != Format::File && archive.too_large.is_none() {
        differences.extend(expected.difference(&found).map(|(build_id, path)| missing("archive", build_id, path)));
    }
    differences.extend(found.difference(&expected).map(|(build_id, path)| missing("index", build_id, path)));
    differences
}

fn identity(indexed: &Indexed<'_>, package: &artifact::Package) -> Vec<String> {
    let nvra = package.nevra.nvra();
    if package.identity == *indexed.identity && nvra == indexed.nvra {
        return Vec::new();
    }
    vec![format!(
        "identity: the index has {} ({}), the archive {} ({nvra})",
        indexed.nvra, indexed.identity, package.identity
    )]
}

/// Compares build-ids. What only a payload tells cannot be compared with a header: files that the header leaves open,
/// compressed modules, and files that the header does not know as ELF.
fn build_ids_of_rpm(indexed: &[Artifact], outline: &Outline<'_>) -> Vec<String> {
    let found = artifacts::from_outline(outline);
    let mut by_file: BTreeMap<u32, BTreeSet<&BuildId>> = BTreeMap::new();
    for artifact in indexed {
        by_file.entry(artifact.ordinal).or_default().insert(&artifact.build_id);
    }
    let mut differences = Vec::new();
    let mut in_header: BTreeMap<u32, BTreeSet<&BuildId>> = BTreeMap::new();
    for artifact in found.artifacts.iter().filter(|artifact| !found.open.contains(&artifact.ordinal)) {
        in_header.entry(artifact.ordinal).or_default().insert(&artifact.build_id);
        let is_indexed = by_file.get(&artifact.ordinal).is_some_and(|ids| ids.contains(&artifact.build_id));
        if !is_indexed {
            differences.push(missing("index", &artifact.build_id, &artifact.path));
        }
    }
    let paths: Vec<&str> = outline.files.rows().map(|file| file.path).collect();
    for artifact in indexed {
        let path = usize::try_from(artifact.ordinal).ok().and_then(|at| paths.get(at).copied());
        let is_other = in_header.get(&artifact.ordinal).is_some_and(|ids| !ids.contains(&artifact.build_id));
        if is_other || path != Some(artifact.path.as_str()) {
            differences.push(missing("archive", &artifact.build_id, &artifact.path));
        }
    }
    differences
}

fn missing(from: &str, build_id: &BuildId, path: &str) -> String {
    let other = if from == "index" { "archive" } else { "index" };
    format!("build-id: the {other} has {build_id} ({path}), the {from} does not")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use sql::{Distros, Store, Tier};

    use super::*;

    #[test]
    fn every_difference_from_a_header_is_named() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm"
        );
        let bytes = fs::read(path).unwrap();
        let size = bytes.len() as u64;
        let outline = Outline::from_bytes(&bytes).unwrap();
        let found = artifacts::from_outline(&outline).artifacts;
        let store = Store {
            id: 1,
            name: "m".into(),
            tier: Tier::Mirror,
            base_url: None,
            root: None,
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: Default::default(),
            redirect_hosts: Default::default(),
            allow_private: false,
        };
        let location = Location {
            store: Arc::new(store),
            path: "p.rpm".into(),
            size: Some(size),
            mtime_ns: None,
            header: Some(outline.range.clone()),
            checksum: None,
            signing_key: None,
            first_seen: Some(1),
            last_seen: Some(1),
            gone_at: None,
            checked_at: None,
            check_result: None,
            derived: false,
        };
        let nvra = outline.package.nevra.nvra();
        let identity = outline.package.identity;
        let compare = |artifacts: &[Artifact], location: &Location, size| {
            rpm(&Indexed { identity: &identity, nvra: &nvra, artifacts, location }, &outline, Some(size))
        };
        assert_eq!(compare(&found, &location, size), Vec::<String>::new());
        let other = Location { header: Some(0..1), signing_key: Some("ab".into()), size: Some(1), ..location.clone() };
        let differences = compare(&found, &other, size).join("\n");
        for expected in
            ["header: the index has bytes 0..1", "size: the index has 1 bytes", "signing key: the index has ab"]
        {
            assert!(differences.contains(expected), "{expected}: {differences}");
        }
        assert!(compare(&found, &Location { size: None, ..location.clone() }, 100)[0].starts_with("size: "));
        let [first] = compare(&[], &location, size).try_into().unwrap();
        assert!(first.starts_with("build-id: the archive has ") && first.ends_with("the index does not"), "{first}");
        let mut changed = found.clone();
        changed[0].build_id = "abcd".parse().unwrap();
        assert_eq!(compare(&changed, &location, size).len(), 2, "one is missing on each side");
        changed[0].path = "/usr/bin/other".into();
        assert!(compare(&changed, &location, size)[1].contains("the index has abcd (/usr/bin/other)"));
        let nobody = Identity::from_bytes([0; 32]);
        let indexed = Indexed { identity: &nobody, nvra: &nvra, artifacts: &found, location: &location };
        assert!(rpm(&indexed, &outline, None)[0].starts_with("identity: the index has payload-none-1.0-1"));
    }
}
