//! A package and the artifacts inside it: what the index stores.

use crate::{BuildId, Identity, Nevra, formats, header};

/// The format of a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// An RPM, whose header lists its files.
    #[default]
    Rpm,
    /// A Debian package: `.deb`, `.ddeb`; one of opkg: `.ipk`.
    Deb,
    /// A package of Arch Linux: a tar archive with a `.PKGINFO`.
    Arch,
    /// Any other tar archive. An archive named like one may be a cpio or a zip archive: its first bytes decide.
    Tar,
    /// A cpio archive, of the forms newc and crc.
    Cpio,
    /// A zip archive: Python wheels, NuGet packages.
    Zip,
    /// No archive: one ELF file in a directory.
    File,
}

impl Format {
    /// All values.
    pub const ALL: [Self; 7] = [Self::Rpm, Self::Deb, Self::Arch, Self::Tar, Self::Cpio, Self::Zip, Self::File];

    /// The word in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Deb => "deb",
            Self::Arch => "arch",
            Self::Tar => "tar",
            Self::Cpio => "cpio",
            Self::Zip => "zip",
            Self::File => "file",
        }
    }

    /// The format with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// So many bytes from its start show the format of an archive.
    pub const START_BYTES: usize = 512;

    /// True if an archive of this format can begin with `start`: its first [`Self::START_BYTES`], or all of a shorter
    /// one. A page of HTML begins none.
    pub fn can_begin_with(self, start: &[u8]) -> bool {
        match self {
            Self::Rpm => start.starts_with(&header::LEAD_MAGIC),
            Self::Deb => formats::begins_deb(start),
            Self::Arch => formats::begins_tar(start),
            Self::Tar | Self::Cpio | Self::Zip => formats::begins_archive(start),
            Self::File => formats::begins_file(start),
        }
    }
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The format of its archive.
    pub format: Format,
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// File name of the source RPM (`NAME-VERSION-RELEASE.src.rpm`, no epoch). `None` for source packages themselves
    /// and for debuginfo packages of rpm 4.20.0 alpha, which lacked it. Of Debian packages the `.dsc`, of Arch packages
    /// the `.src.tar.gz`.
    pub source_rpm: Option<String>,
    /// SHA-256 of an RPM's main header, of any other archive whole.
    pub identity: Identity,
    /// When it was built, seconds since 1970.
    pub built_at: Option<i64>,
}

impl Package {
    /// [`Nevra::dist_tag`] of its name.
    pub fn dist_tag(&self) -> &str {
        self.nevra.dist_tag()
    }
}

/// The artifact types that a debuginfod client requests by build-id alone (debuginfod(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactType {
    /// Code and data that run: `/buildid/ID/executable`.
    Executable,
    /// DWARF or a symbol table: `/buildid/ID/debuginfo`.
    Debuginfo,
}

impl ArtifactType {
    /// The word in URLs, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::Debuginfo => "debuginfo",
        }
    }
}

/// The kind of a file with a build-id, as far as it is known. Also the values of the enums `artifacts.kind` and
/// `claims.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A program, library or kernel module.
    Executable,
    /// A debug file: DWARF or symbols that were split off, or a dwz multifile.
    Debuginfo,
    /// Executable and debuginfo in one: an unstripped program, vmlinux.
    Both,
    /// An executable, a debug file or both: only the contents tell.
    Unknown,
}

impl Kind {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Executable, Self::Debuginfo, Self::Both, Self::Unknown];

    /// The word in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::Debuginfo => "debuginfo",
            Self::Both => "both",
            Self::Unknown => "unknown",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A file with a build-id inside a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Artifact {
    /// The file's number in the header, from 0: a later look at the payload finds the same number, so it refines rows
    /// instead of doubling them. Of a file that has several names in an archive without a header, each name has a
    /// number.
    pub ordinal: u32,
    /// The build-id.
    pub build_id: BuildId,
    /// The kind of the file.
    pub kind: Kind,
    /// Whether it holds DWARF. `None` where nothing states it.
    pub dwarf: Option<bool>,
    /// Absolute path of the member, `/usr/bin/hello`.
    pub path: String,
    /// Size, time and digest. `None` for RPMs, whose header states them.
    pub contents: Option<Contents>,
}

impl Artifact {
    /// Whether the file can be served as this type. `None` where only its contents can say. DWARF makes debuginfo of
    /// whatever holds it, be it a program or a debug file.
    pub fn serves(&self, wanted: ArtifactType) -> Option<bool> {
        match (self.kind, wanted) {
            (Kind::Both, _)
            | (Kind::Executable, ArtifactType::Executable)
            | (Kind::Debuginfo, ArtifactType::Debuginfo) => Some(true),
            (Kind::Executable, ArtifactType::Debuginfo) | (Kind::Debuginfo, ArtifactType::Executable) => Some(false),
            (Kind::Unknown, ArtifactType::Debuginfo) => self.dwarf,
            (Kind::Unknown, ArtifactType::Executable) => None,
        }
    }

    /// The types under which a listing names the file: those that it serves; for an unknown kind executable, and
    /// debuginfo where DWARF is stated.
    pub fn listed_types(&self) -> &'static [ArtifactType] {
        const BOTH: &[ArtifactType] = &[ArtifactType::Executable, ArtifactType::Debuginfo];
        match self.kind {
            Kind::Executable => &[ArtifactType::Executable],
            Kind::Debuginfo => &[ArtifactType::Debuginfo],
            Kind::Both => BOTH,
            Kind::Unknown if self.dwarf == Some(true) => BOTH,
            Kind::Unknown => &[ArtifactType::Executable],
        }
    }
}

/// The contents of a file, as they were when the package was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contents {
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// SHA-256.
    pub sha256: [u8; 32],
    /// Where the member's headers, extension headers included, begin in the unpacked tar archive (in a Debian package
    /// `data.tar`), in bytes; of a hard link those of its target. `None` in other archives and of plain files.
    pub tar_offset: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dist_tag_is_found_also_before_a_suffix() {
        for (release, tag) in [
            ("1.fc16", "fc16"),
            ("1.fc23.1", "fc23"),
            ("5.el7_9.2", "el7"),
            ("4.module+el8", ""),
            ("1", ""),
            ("0.1.rc1.fc40", "fc40"),
            ("lp150.2.1", "lp150"),
        ] {
            let nevra =
                Nevra { name: "n".into(), epoch: None, version: "1".into(), release: release.into(), arch: "x".into() };
            let package = Package {
                nevra,
                source_rpm: None,
                identity: Identity::from_bytes([0; 32]),
                built_at: None,
                format: Format::Rpm,
            };
            assert_eq!(package.dist_tag(), tag, "{release}");
        }
    }

    #[test]
    fn the_first_bytes_show_the_format_and_html_shows_none() {
        let mut header = tar::Header::new_gnu();
        header.set_path("usr/bin/hello").unwrap();
        header.set_size(5);
        header.set_cksum();
        let tar = header.as_bytes().to_vec();
        let mut long_name = tar::Header::new_gnu();
        long_name.set_entry_type(tar::EntryType::GNULongName);
        long_name.set_size(200);
        long_name.set_cksum();
        let mut old = tar::Header::new_old();
        old.set_path("hello").unwrap();
        old.set_size(5);
        old.set_cksum();
        let tars: [&[u8]; 3] = [&tar, long_name.as_bytes(), old.as_bytes()];
        let any = [Format::Tar, Format::Cpio, Format::Zip];
        let starts: [(&[Format], &[&[u8]]); 6] = [
            (&[Format::Rpm], &[b"\xed\xab\xee\xdb\x03\0"]),
            (&[Format::Deb], &[b"!<arch>\ndebian-binary   "]),
            (&[&[Format::Arch][..], &any].concat(), &tars),
            // Packages of opkg are compressed tar archives, kernel modules compressed files.
            (
                &[&[Format::Deb, Format::Arch, Format::File][..], &any].concat(),
                &[b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"],
            ),
            (
                &any,
                &[
                    b"070701000",
                    b"070702000",
                    b"PK\x03\x04\x14",
                    b"PK\x05\x06\0",
                    b"PK\x07\x08PK",
                    b"#!/bin",
                    b"MZ\x90",
                ],
            ),
            // Before zip archives that extract themselves, too.
            (&[&[Format::File][..], &any].concat(), &[b"\x7fELF\x02\x01"]),
        ];
        for (formats, starts) in starts {
            for format in Format::ALL {
                let begins = |start: &&[u8]| format.can_begin_with(start);
                assert!(
                    starts.iter().all(|start| begins(start) == formats.contains(&format)),
                    "{format:?}: {formats:?}"
                );
            }
        }
        let mut broken = old.as_bytes().to_vec();
        broken[0] ^= 1;
        let page = format!("<!DOCTYPE html>\n<html><body>{}</body></html>", "Please log in. ".repeat(100));
        for start in
            [&b""[..], b"\n", b"<html>", b"not an archive at all", &page.as_bytes()[..Format::START_BYTES], &broken]
        {
            for format in Format::ALL {
                assert!(!format.can_begin_with(start), "{format:?}: {}", String::from_utf8_lossy(start));
            }
        }
    }
}
