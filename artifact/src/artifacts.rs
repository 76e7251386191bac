//! The artifacts of a package as far as its header tells them.

use std::collections::BTreeSet;

use crate::classes::{self, Verdict};
use crate::header::{Class, File, FileRow, Header, Outline};
use crate::links;
use crate::modules::{self, Module};
use crate::{Artifact, BuildId};

/// Kernel packages have about 5,000 modules. Of more, which only a hostile header has, the rest is not listed.
const MAX_MODULES: usize = 1 << 16;

/// The artifacts that the header of a package names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderArtifacts {
    /// Sorted and without duplicates.
    pub artifacts: Vec<Artifact>,
    /// Ordinals of the open files: they may have a build-id that only the payload tells. Ascending.
    pub open: Vec<u32>,
    /// Compressed kernel modules below `/lib/modules/` of which neither a link nor a class names the build-id. In
    /// order.
    pub modules: Vec<Module>,
}

impl HeaderArtifacts {
    /// Returns all artifacts of the package, sorted. `scanned` are those that [`crate::scan::scan_files`] found in the
    /// open files and perhaps others; they replace the artifacts of the header for the same files.
    pub fn complete(self, scanned: Vec<Artifact>) -> Vec<Artifact> {
        let Self { mut artifacts, open, modules: _ } = self;
        let scanned_files: BTreeSet<u32> = scanned.iter().map(|artifact| artifact.ordinal).chain(open).collect();
        artifacts.retain(|artifact| !scanned_files.contains(&artifact.ordinal));
        artifacts.extend(scanned);
        artifacts.sort();
        artifacts
    }
}

/// Finds the artifacts: links first, file classes for what no link names. Open stay files whose class says ELF without
/// a build-id, files that no link names in a package without class texts, and files of which link and class say
/// different things. Compressed kernel modules are not open, although libmagic looks into them and writes `ELF 64-bit
/// LSB relocatable, ... (XZ compressed data)`: debug files of the same build have their build-ids.
///
/// Where a package has class texts, a file without one is not ELF: rpmbuild leaves out what asks for no dependencies
/// (headers, C sources, message catalogs), and says "directory" of every directory and "ELF" of every ELF file
/// (rpmfc.c, since 4.4).
pub fn from_header(header: &Header) -> HeaderArtifacts {
    of_rows(&header.files.iter().map(File::row).collect::<Vec<_>>())
}

/// As [`from_header`], without a header that owns what it says of files.
pub fn from_outline(outline: &Outline<'_>) -> HeaderArtifacts {
    of_rows(&outline.files.rows().collect::<Vec<_>>())
}

fn of_rows(files: &[FileRow<'_>]) -> HeaderArtifacts {
    let mut links = links::find_links(files);
    links.sort_by_key(|link| link.ordinal);
    let mut links = &*links;
    let has_texts = files.iter().any(|file| matches!(file.class, Class::Text(_)));
    let mut found = HeaderArtifacts::default();
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
        let verdict = classes::verdict(file);
        if linked.is_empty()
            && !matches!(verdict, Verdict::Named(_))
            && modules::module_path_of_installed(file.path).is_some()
        {
            if found.modules.len() < MAX_MODULES {
                found.modules.push(Module { ordinal, path: file.path.to_owned() });
            }
            continue;
        }
        match verdict {
            Verdict::Named(build_id) if linked.is_empty() => add(&build_id),
            Verdict::Named(build_id) if linked.iter().any(|link| link.build_id != build_id) => found.open.push(ordinal),
            Verdict::Silent if linked.is_empty() && !(has_texts && file.class == Class::None) => {
                found.open.push(ordinal)
            }
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
    fn compressed_modules_are_listed_unless_a_link_or_a_class_names_their_build_id() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm"
        );
        let mut header = Header::read(&mut BufReader::new(fs::File::open(path).unwrap())).unwrap();
        let program = header.files.iter().find(|file| file.is_regular()).unwrap().clone();
        let module = |path: &str, class| File { path: path.into(), class, ..program.clone() };
        let link = header.files.iter().find(|file| file.is_link()).unwrap().clone();
        header.files = vec![
            module("/lib/modules/6/a.ko.xz", Class::None),
            module("/usr/lib/modules/6/b.ko.zst", Class::Text("Zstandard compressed data".into())),
            module("/lib/modules/6/linked.ko.xz", Class::None),
            File {
                path: "/usr/lib/.build-id/aa/bbccddee".into(),
                link_target: Some("/lib/modules/6/linked.ko.xz".into()),
                ..link.clone()
            },
            module("/lib/modules/6/c.ko.gz", Class::Mime("application/gzip".into())),
            module("/opt/d.ko.xz", Class::Text("XZ compressed data".into())),
            File { path: "/lib/modules/6/link.ko.xz".into(), ..link },
        ];
        let found = from_header(&header);
        let listed: Vec<_> = found.modules.iter().map(|module| (module.ordinal, module.path.as_str())).collect();
        let expected =
            [(0, "/lib/modules/6/a.ko.xz"), (1, "/usr/lib/modules/6/b.ko.zst"), (4, "/lib/modules/6/c.ko.gz")];
        assert_eq!((listed, found.open), (expected.to_vec(), Vec::new()));
        assert_eq!(found.artifacts.len(), 1);
        // libmagic looks into what is compressed, and sees a build-id in it at best.
        let class = "ELF 64-bit LSB relocatable, x86-64, version 1 (SYSV) (XZ compressed data, checksum CRC32)";
        header.files[0].class = Class::Text(class.into());
        assert_eq!((from_header(&header).modules.len(), from_header(&header).open), (3, Vec::new()));
        header.files[0].class = Class::Text(class.replace(" (XZ", ", BuildID[sha1]=0011223344556677 (XZ").into());
        assert_eq!((from_header(&header).modules.len(), from_header(&header).artifacts.len()), (2, 2));
        header.files[0].class = Class::None;
        // In a package without texts, too.
        header.files[1].class = Class::None;
        header.files[5].class = Class::None;
        assert_eq!((from_header(&header).modules.len(), from_header(&header).open), (3, vec![5]));
    }

    #[test]
    fn a_file_without_a_class_is_open_only_where_no_file_has_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm"
        );
        let mut header = Header::read(&mut BufReader::new(fs::File::open(path).unwrap())).unwrap();
        let program = header.files.iter().find(|file| file.is_regular()).unwrap().clone();
        let class = Class::None;
        header.files.push(File { path: "/usr/include/a.h".into(), class, size: 1 << 20, ..program });
        assert_eq!(from_header(&header).open, [], "rpmbuild says ELF of every ELF file");
        for file in &mut header.files {
            file.class = Class::None;
        }
        let added = u32::try_from(header.files.len()).unwrap() - 1;
        assert!(from_header(&header).open.contains(&added), "no link names it");
    }
}
