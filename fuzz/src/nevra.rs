//! `NAME-[EPOCH:]VERSION-RELEASE.ARCH`.

use artifact::{Format, Identity, Nevra, Package};

/// What was read, printed and read again is the same.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let nevra = match text.parse::<Nevra>() {
        Ok(nevra) => nevra,
        Err(error) => return super::is_short(&error),
    };
    let Nevra { name, epoch, version, release, arch } = &nevra;
    for part in [name, version, release, arch] {
        assert!(!part.is_empty() && !part.contains(|c: char| c == '/' || c.is_control()), "{nevra:?}");
    }

    let nvra = nevra.nvra();
    let bare = Nevra { epoch: None, ..nevra.clone() };
    assert_eq!(nvra.parse::<Nevra>().as_ref().ok(), Some(&bare), "{nvra:?}");
    assert_eq!(format!("{nvra}.rpm").parse::<Nevra>().as_ref().ok(), Some(&bare), "{nvra:?}.rpm");
    if let Some(epoch) = epoch {
        let whole = format!("{name}-{epoch}:{version}-{release}.{arch}");
        assert_eq!(whole.parse::<Nevra>().as_ref().ok(), Some(&nevra), "{whole:?}");
    }

    let package = Package {
        nevra,
        source_rpm: None,
        identity: Identity::from_bytes([0; 32]),
        built_at: None,
        format: Format::Rpm,
    };
    let tag = package.dist_tag();
    assert!(package.nevra.release.contains(tag) && !tag.contains('.'), "{tag:?} of {package:?}");
}
