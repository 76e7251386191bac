//! The artifacts of a package as far as its header tells them.

use std::collections::BTreeSet;

use crate::classes::{self, Verdict};
use crate::header::{Class, File, Header, Outline, Row};
use crate::links;
use crate::{Artifact, BuildId};

/// What a header says of the build-ids in its package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sorted and without duplicates.
    pub artifacts: Vec<Artifact>,
    /// Ordinals of the files that may carry a build-id which the header does not name: only the payload can say. Ascending.
    pub open: Vec<u32>,
}

impl Found {
    /// All artifacts of the package, now that [`crate::scan::read`] has looked at the open files, and perhaps at more: what it found
    /// of a file goes before what the header said of it. Sorted.
    pub fn complete(self, scanned: Vec<Artifact>) -> Vec<Artifact> {
        let Self { mut artifacts, open } = self;
        let scanned_files: BTreeSet<u32> = scanned.iter().map(|artifact| artifact.ordinal).chain(open).collect();
        artifacts.retain(|artifact| !scanned_files.contains(&artifact.ordinal));
        artifacts.extend(scanned);
        artifacts.sort();
        artifacts
    }
}

/// Finds the artifacts: links first, file classes for what no link names. Open stay files whose class says ELF without a
/// build-id, files that no link names in a package without class texts, and files of which link and class say different things.
///
/// Where a package has class texts, a file without one is not ELF: rpmbuild leaves out what asks for no dependencies (headers, C
/// sources, message catalogs), and says "directory" of every directory and "ELF" of every ELF file (rpmfc.c, since 4.4).
pub fn of(header: &Header) -> Found {
    of_rows(&header.files.iter().map(File::row).collect::<Vec<_>>())
}

/// As [`of`], without a header that owns what it says of files.
pub fn of_outline(outline: &Outline<'_>) -> Found {
    of_rows(&outline.files.rows().collect::<Vec<_>>())
}

fn of_rows(files: &[Row<'_>]) -> Found {
    let mut links = links::of(files);
    links.sort_by_key(|link| link.ordinal);
    let mut links = &*links;
    let has_texts = files.iter().any(|file| matches!(file.class, Class::Text(_)));
    let mut found = Found::default();
    for (ordinal, file) in (0_u32..).zip(files) {
        if !file.is_regular() {
            continue;
        }
        let mut add = |build_id: &BuildId| {
            let dwarf = classes::dwarf(&file.class);
            found.artifacts.push(Artifact {
                ordinal,
                build_id: build_id.clone(),
                kind: classes::kind(file, dwarf),
                dwarf,
                path: file.path.to_owned(),
                contents: None,
            });
        };
        let (linked, others) = links.split_at(links.iter().take_while(|link| link.ordinal == ordinal).count());
        links = others;
        for link in linked {
            add(&link.build_id);
        }
        match classes::verdict(file) {
            Verdict::Named(build_id) if linked.is_empty() => add(&build_id),
            Verdict::Named(build_id) if linked.iter().any(|link| link.build_id != build_id) => found.open.push(ordinal),
            Verdict::Silent if linked.is_empty() && !(has_texts && file.class == Class::None) => found.open.push(ordinal),
            _ => {}
        }
    }
    found.artifacts.sort();
    found.artifacts.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_file_without_a_class_is_open_only_where_no_file_has_one() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm");
        let mut header = Header::read(&mut BufReader::new(fs::File::open(path).unwrap())).unwrap();
        let program = header.files.iter().find(|file| file.is_regular()).unwrap().clone();
        let class = Class::None;
        header.files.push(File { path: "/usr/include/a.h".into(), class, size: 1 << 20, ..program });
        assert_eq!(of(&header).open, [], "rpmbuild says ELF of every ELF file");
        for file in &mut header.files {
            file.class = Class::None;
        }
        let added = u32::try_from(header.files.len()).unwrap() - 1;
        assert!(of(&header).open.contains(&added), "no link names it");
    }
}
