//! The formats of files: by name, and for plain ELF files by their first bytes.

use artifact::Format;
use clap::ValueEnum;

/// Suffixes of the compressions of tar and cpio archives.
const COMPRESSED: [&str; 6] = ["", ".zst", ".xz", ".gz", ".bz2", ".lzma"];
/// Suffixes of Debian and opkg packages.
const DEBIAN: [&str; 3] = [".deb", ".ddeb", ".ipk"];
/// Suffixes of zip archives, Python wheels and NuGet packages.
const ZIP: [&str; 4] = [".zip", ".whl", ".nupkg", ".snupkg"];
/// Short suffixes of compressed tar archives, as GNU tar knows them.
const SHORT: [&str; 9] = [".tgz", ".taz", ".tbz2", ".tbz", ".tb2", ".tz2", ".txz", ".tlz", ".tzst"];

/// Formats of `--formats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatOption {
    /// .rpm: RPM packages
    Rpm,
    /// .deb, .ddeb: Debian packages; .ipk: those of opkg
    Deb,
    /// .pkg.tar and .pkg.tar.*: packages of Arch Linux
    Arch,
    /// .tar, .tar.*, .tgz...: other tar archives, each read as a whole
    Tar,
    /// .cpio, .cpio.*: cpio archives in the formats newc and crc
    Cpio,
    /// .zip, .whl, .nupkg, .snupkg: zip archives, Python wheels, NuGet packages
    Zip,
    /// Plain ELF files; every other file is opened. Their sources below the store's directory are served, too
    Elf,
}

impl FormatOption {
    /// Returns the format in the index.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Rpm => Format::Rpm,
            Self::Deb => Format::Deb,
            Self::Arch => Format::Arch,
            Self::Tar => Format::Tar,
            Self::Cpio => Format::Cpio,
            Self::Zip => Format::Zip,
            Self::Elf => Format::File,
        }
    }
}

/// The wanted formats of an import.
#[derive(Clone, Debug)]
pub(crate) struct Formats {
    wanted: Vec<Format>,
    /// Further suffixes of the operator, with their dot.
    suffixes: Vec<String>,
}

impl Formats {
    /// Returns the formats of the command line; `suffixes` as [`suffix`] reads them.
    pub(crate) fn new(wanted: &[FormatOption], suffixes: &[String]) -> Self {
        let mut wanted: Vec<Format> = wanted.iter().map(|wanted| wanted.format()).collect();
        if !suffixes.is_empty() {
            wanted.push(Format::Tar);
        }
        Self { wanted, suffixes: suffixes.to_vec() }
    }

    /// Returns all formats that a file name determines.
    pub(crate) fn archives() -> Self {
        Self {
            wanted: vec![Format::Rpm, Format::Deb, Format::Arch, Format::Tar, Format::Cpio, Format::Zip],
            suffixes: Vec::new(),
        }
    }

    /// True if the format is wanted.
    pub(crate) fn has(&self, format: Format) -> bool {
        self.wanted.contains(&format)
    }

    /// Returns the format of a file with this name, `None` if it is not wanted.
    pub(crate) fn of(&self, name: &[u8]) -> Option<Format> {
        let has_suffix = || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_bytes()));
        let named = match format_by_name(name) {
            // Packages can have a suffix like .zst: read as tar archives they would be broken or gone.
            package @ Some(Format::Rpm | Format::Deb | Format::Arch) => package,
            _ if has_suffix() => Some(Format::Tar),
            named => named,
        };
        named.filter(|format| self.has(*format)).or_else(|| Some(Format::File).filter(|file| self.has(*file)))
    }
}

/// Reads a suffix, given with or without its dot, and returns it with the dot.
///
/// # Errors
/// If it is empty, contains a slash, or is a suffix of packages.
pub(crate) fn suffix(text: &str) -> Result<String, String> {
    let expected = "expected a file name suffix of other archives, like .tpkg";
    let suffix = format!(".{}", text.trim_start_matches('.'));
    match format_by_name(suffix.as_bytes()) {
        _ if suffix == "." => Err(format!("{expected}, found none")),
        _ if suffix.contains('/') => Err(format!("{expected}, found one with a slash")),
        Some(format @ (Format::Rpm | Format::Deb | Format::Arch)) => {
            Err(format!("{expected}, found a suffix of packages, which --formats {} imports", format.as_str()))
        }
        _ => Ok(suffix),
    }
}

/// Returns the format of a file name. Delta packages (`.drpm`) have none.
fn format_by_name(name: &[u8]) -> Option<Format> {
    let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
    if ends(".rpm") {
        return Some(Format::Rpm);
    }
    if DEBIAN.iter().any(|suffix| ends(suffix)) {
        return Some(Format::Deb);
    }
    if ZIP.iter().any(|suffix| ends(suffix)) {
        return Some(Format::Zip);
    }
    let is_compressed = |archive: &str| COMPRESSED.iter().any(|suffix| ends(&format!("{archive}{suffix}")));
    if is_compressed(".pkg.tar") {
        return Some(Format::Arch);
    }
    if is_compressed(".cpio") {
        return Some(Format::Cpio);
    }
    if is_compressed(".tar") || SHORT.iter().any(|suffix| ends(suffix)) { Some(Format::Tar) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_determine_the_format() {
        let usual = Formats::new(&[FormatOption::Rpm, FormatOption::Deb, FormatOption::Arch], &[]);
        let wanted = [
            FormatOption::Rpm,
            FormatOption::Deb,
            FormatOption::Arch,
            FormatOption::Tar,
            FormatOption::Cpio,
            FormatOption::Zip,
            FormatOption::Elf,
        ];
        let all = Formats::new(&wanted, &["jar", ".foo.x", "zst"].map(|text| suffix(text).unwrap()));
        for (name, as_usual, as_all) in [
            ("a-1-1.x86_64.rpm", Some(Format::Rpm), Format::Rpm),
            ("a-1-1.x86_64.drpm", None, Format::File),
            ("a_1_amd64.deb", Some(Format::Deb), Format::Deb),
            ("a-dbgsym_1_amd64.ddeb", Some(Format::Deb), Format::Deb),
            ("a-1-1-x86_64.pkg.tar.zst", Some(Format::Arch), Format::Arch),
            ("a-1-1-x86_64.pkg.tar", Some(Format::Arch), Format::Arch),
            ("a-1-1-x86_64.pkg.tar.zst.sig", None, Format::File),
            ("a.tar.gz", None, Format::Tar),
            ("a.tar.lzma", None, Format::Tar),
            ("a.tgz", None, Format::Tar),
            ("a.taz", None, Format::Tar),
            ("a.tbz", None, Format::Tar),
            ("a.tbz2", None, Format::Tar),
            ("a.tb2", None, Format::Tar),
            ("a.tz2", None, Format::Tar),
            ("a.txz", None, Format::Tar),
            ("a.tlz", None, Format::Tar),
            ("a.tzst", None, Format::Tar),
            ("a.zst", None, Format::Tar),
            ("a_1_mips.ipk", Some(Format::Deb), Format::Deb),
            ("a.zip", None, Format::Zip),
            ("a-1-cp311-cp311-linux_x86_64.whl", None, Format::Zip),
            ("a.1.0.0.nupkg", None, Format::Zip),
            ("initramfs.cpio", None, Format::Cpio),
            ("initramfs.cpio.gz", None, Format::Cpio),
            ("a.jar", None, Format::Tar),
            ("a.foo.x", None, Format::Tar),
            ("vmlinux", None, Format::File),
        ] {
            assert_eq!((usual.of(name.as_bytes()), all.of(name.as_bytes())), (as_usual, Some(as_all)), "{name}");
        }
        let only = Formats::new(&[FormatOption::Rpm], &[suffix("tar.zst").unwrap()]);
        assert!(only.has(Format::Tar));
        assert_eq!((only.of(b"a.tar.zst"), only.of(b"a-1-1-x86_64.pkg.tar.zst")), (Some(Format::Tar), None));
    }

    #[test]
    fn suffixes_of_packages_and_empty_ones_are_refused() {
        for (text, expected) in [
            ("rpm", "--formats rpm"),
            (".src.rpm", "--formats rpm"),
            ("deb", "--formats deb"),
            (".ddeb", "--formats deb"),
            ("ipk", "--formats deb"),
            ("pkg.tar.zst", "--formats arch"),
            ("", "found none"),
            (".", "found none"),
            ("..", "found none"),
            ("a/b", "slash"),
        ] {
            let refused = suffix(text).unwrap_err();
            assert!(refused.contains("expected") && refused.contains(expected), "{text}: {refused}");
        }
        for text in ["tpkg", ".tpkg", "tar", "zip", "drpm"] {
            assert_eq!(suffix(text).unwrap(), format!(".{}", text.trim_start_matches('.')));
        }
    }
}
