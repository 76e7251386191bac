//! Name, version and arch of a package that is no RPM.
//!
//! deb-control(5), deb-version(7): `Version: [EPOCH:]UPSTREAM[-REVISION]`; a version without a revision is one with
//! revision 0. Arch's `.PKGINFO`: `pkgver = [EPOCH:]VERSION-RELEASE`. What has neither is called by the name of its
//! file; its version is how its identity begins, so that another build is another version.

use super::{ArchiveInfo, PackageInfo};
use crate::payload::refuse;
use crate::{Format, Identity, Nevra, Package, Result, nevra};

/// Returns the package as it describes itself, else one named after its file.
pub(super) fn package(
    about: &ArchiveInfo<'_>,
    said: &PackageInfo,
    identity: Identity,
    arch: Option<&'static str>,
) -> Result<Package> {
    let with = |nevra, source_rpm, built_at| Package { format: about.format, nevra, source_rpm, identity, built_at };
    Ok(match (about.format, &said.text) {
        (Format::Deb, Some(text)) => {
            let (nevra, source) = of_control(text)?;
            with(nevra, Some(source), said.built_at)
        }
        (Format::Deb, None) => return refuse("control in a Debian package", "none"),
        (Format::Arch, Some(text)) => {
            let (nevra, source, built_at) = of_pkginfo(text)?;
            with(nevra, Some(source), built_at)
        }
        _ => with(of_file(about, identity, arch.unwrap_or("noarch")), None, Some(about.mtime)),
    })
}

/// Package and source package out of `control`.
fn of_control(text: &str) -> Result<(Nevra, String)> {
    let field = |name: &str| {
        let of = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (!line.starts_with([' ', '\t']) && key.eq_ignore_ascii_case(name)).then(|| value.trim().to_owned())
        };
        text.lines().take_while(|line| !line.trim().is_empty()).find_map(of)
    };
    let (Some(name), Some(version), Some(arch)) = (field("Package"), field("Version"), field("Architecture")) else {
        return refuse("Package, Version and Architecture in control", shown(text));
    };
    let nevra = nevra_from_version(&name, &version, &arch)?;
    let source = debian_source(field("Source").as_deref(), &nevra.name, &version);
    Ok((nevra, source))
}

/// File name of the `.dsc` of a Debian package, from its fields `Source` (`NAME` or `NAME (VERSION)`, where they are
/// others than the package's own), `Package` and `Version`.
pub fn debian_source(source: Option<&str>, name: &str, version: &str) -> String {
    let (source, of_source) = source.unwrap_or(name).split_once(' ').unwrap_or((source.unwrap_or(name), ""));
    // OpenWrt has the directory of the sources.
    let source = source.rsplit('/').next().unwrap_or(source);
    let of_source = of_source.trim().strip_prefix('(').and_then(|version| version.strip_suffix(')')).unwrap_or(version);
    // File names have no epoch.
    let of_source = of_source.split_once(':').map_or(of_source, |(_, version)| version);
    format!("{source}_{of_source}.dsc")
}

/// Package, source package and time of the build out of `.PKGINFO`.
fn of_pkginfo(text: &str) -> Result<(Nevra, String, Option<i64>)> {
    let field = |name: &str| {
        let of = |line: &str| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        text.lines().filter(|line| !line.starts_with('#')).find_map(of)
    };
    let (Some(name), Some(version), Some(arch)) = (field("pkgname"), field("pkgver"), field("arch")) else {
        return refuse("pkgname, pkgver and arch in .PKGINFO", shown(text));
    };
    let nevra = nevra_from_version(&name, &version, &arch)?;
    let source = arch_source(field("pkgbase").as_deref(), &nevra);
    Ok((nevra, source, field("builddate").and_then(|seconds| seconds.parse().ok())))
}

/// File name of the source package of an Arch package: of its `pkgbase`, where that is another than its name.
pub fn arch_source(base: Option<&str>, nevra: &Nevra) -> String {
    format!("{}-{}-{}.src.tar.gz", base.unwrap_or(&nevra.name), nevra.version, nevra.release)
}

/// The NEVRA of a package of Debian or Arch, whose version is `[EPOCH:]VERSION[-RELEASE]`; the release is 0 where there
/// is none.
///
/// # Errors
/// [`Error::Payload`](crate::Error::Payload) where the epoch is no number, or a part is empty, is longer than 255 bytes
/// or has a slash or control character.
pub fn nevra_from_version(name: &str, text: &str, arch: &str) -> Result<Nevra> {
    let (epoch, version) = match text.split_once(':') {
        Some((epoch, version)) => match epoch.parse() {
            Ok(epoch) => (Some(epoch), version),
            Err(_) => return refuse("a number before the colon of a version", shown(text)),
        },
        None => (None, text),
    };
    let (version, release) = version.rsplit_once('-').unwrap_or((version, "0"));
    if ![name, version, release, arch].into_iter().all(nevra::is_plain) {
        return refuse("a name, a version and an arch without slashes", shown(&format!("{name} {text} {arch}")));
    }
    Ok(Nevra { name: name.into(), epoch, version: version.into(), release: release.into(), arch: arch.into() })
}

fn of_file(about: &ArchiveInfo<'_>, identity: Identity, arch: &str) -> Nevra {
    const DIGITS: usize = 12;
    let name = match about.format {
        Format::File => about.name,
        Format::Zip => about.name.rsplit_once('.').map_or(about.name, |(name, _)| name),
        Format::Cpio => about.name.find(".cpio").map_or(about.name, |end| &about.name[..end]),
        _ => about.name.find(".tar").map_or(about.name, |end| &about.name[..end]),
    };
    let name: String = name.chars().map(|c| if c.is_control() || c == '/' { '_' } else { c }).collect();
    let name = &name[..name.floor_char_boundary(nevra::MAX_PART_BYTES)];
    Nevra {
        name: if name.is_empty() { "archive".into() } else { name.into() },
        epoch: None,
        version: identity.to_string()[..DIGITS].to_owned(),
        release: "0".into(),
        arch: arch.into(),
    }
}

/// As much of a text as is worth a message.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_read_with_epoch_revision_and_source() {
        for (text, nevra, epoch, source) in [
            (
                "Package: hithere\nVersion: 1.0-1\nArchitecture: amd64\nDescription: a\n Version: 9\n",
                "hithere-1.0-1.amd64",
                None,
                "hithere_1.0-1.dsc",
            ),
            (
                "package: libx-dbgsym\nSource: x (2:1.4-rc1-3)\nVersion: 2:1.4-rc1-3+b1\n\
                 Architecture: i386\n\nPackage: other\n",
                "libx-dbgsym-1.4-rc1-3+b1.i386",
                Some(2),
                "x_1.4-rc1-3.dsc",
            ),
            ("Package: native\nVersion: 12\nArchitecture: all\n", "native-12-0.all", None, "native_12.dsc"),
        ] {
            let (found, found_source) = of_control(text).unwrap();
            assert_eq!((found.nvra().as_str(), found.epoch, found_source.as_str()), (nevra, epoch, source));
        }
        for bad in [
            "",
            "Package: a\nVersion: 1\n",
            "Package: ../a\nVersion: 1\nArchitecture: all\n",
            "Package: a\nVersion: x:1\nArchitecture: all\n",
            "Package:\nVersion: 1\nArchitecture: all\n",
        ] {
            assert!(of_control(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pkginfo_is_read_with_epoch_and_base() {
        let text = "# Generated by makepkg\npkgname = hello-debug\npkgbase = hello\npkgver = 1:2.12-1\n\
                    builddate = 17\narch = x86_64\n";
        let (nevra, source, built_at) = of_pkginfo(text).unwrap();
        assert_eq!((nevra.nvra().as_str(), nevra.epoch), ("hello-debug-2.12-1.x86_64", Some(1)));
        assert_eq!((source.as_str(), built_at), ("hello-2.12-1.src.tar.gz", Some(17)));
    }

    #[test]
    fn a_plain_file_is_named_by_its_file_name_and_digest() {
        let identity = Identity::from_bytes([0xab; 32]);
        for (format, name, expected) in [
            (Format::File, "lib a.so.1", "lib a.so.1-abababababab-0.noarch"),
            (Format::Tar, "bighello.tar.zst", "bighello-abababababab-0.noarch"),
            (Format::Zip, "p-1.0-cp311-linux_x86_64.whl", "p-1.0-cp311-linux_x86_64-abababababab-0.noarch"),
            (Format::Cpio, "initramfs.cpio.zst", "initramfs-abababababab-0.noarch"),
            (Format::Tar, ".tar", "archive-abababababab-0.noarch"),
            (Format::File, "a\nb", "a_b-abababababab-0.noarch"),
        ] {
            assert_eq!(of_file(&ArchiveInfo { format, name, size: 0, mtime: 0 }, identity, "noarch").nvra(), expected);
        }
    }
}
