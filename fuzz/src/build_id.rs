//! Build-ids: as bytes, as text, in the names of links and in libmagic's words.

use artifact::header::{Class, File, Header};
use artifact::{BuildId, Format, Identity, Nevra, Package, artifacts, path};

/// What was read, printed and read again is the same; a build-id is only ever made of digits that were there.
pub fn check(input: &[u8]) {
    match BuildId::from_bytes(input) {
        Ok(build_id) => {
            assert_eq!(build_id.as_bytes(), input);
            is_sound(&build_id);
        }
        Err(error) => {
            assert!(input.is_empty() || input.len() > BuildId::MAX_BYTES);
            super::is_short(&error);
        }
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let is_hex = (2..=2 * BuildId::MAX_BYTES).contains(&text.len())
        && text.len().is_multiple_of(2)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.parse::<BuildId>() {
        Ok(build_id) => {
            assert!(is_hex, "{text:?}");
            assert_eq!(build_id.to_string(), text.to_ascii_lowercase());
            is_sound(&build_id);
        }
        Err(error) => {
            assert!(!is_hex, "{text:?}");
            super::is_short(&error);
        }
    }
    in_a_package(text);
}

fn is_sound(build_id: &BuildId) {
    let text = build_id.to_string();
    assert!((1..=BuildId::MAX_BYTES).contains(&build_id.as_bytes().len()));
    assert_eq!(text.parse::<BuildId>().as_ref().ok(), Some(build_id));
    assert_eq!(text.to_ascii_uppercase().parse::<BuildId>().as_ref().ok(), Some(build_id));
}

/// A program that libmagic described with this text, and a link of this name (absolute, or below the usual directory)
/// to it.
fn in_a_package(text: &str) {
    let link_name = if text.starts_with('/') { path::absolute(text) } else { format!("/usr/lib/.build-id/{text}") };
    let link = File { link_target: Some("/usr/bin/program".into()), ..file(&link_name, 0o120_777, Class::None) };
    let nameless = file("/usr/bin/nameless", 0o100_755, Class::Text(text.into()));
    let program = file("/usr/bin/program", 0o100_755, Class::None);
    let nevra = Nevra { name: "n".into(), epoch: None, version: "1".into(), release: "1".into(), arch: "x".into() };
    let package = Package {
        nevra,
        source_rpm: None,
        identity: Identity::from_bytes([0; 32]),
        built_at: None,
        format: Format::Rpm,
    };
    let header = Header {
        package,
        range: 0..0,
        files: vec![link, nameless, program],
        compressor: None,
        signing_key: None,
        archive_bytes: None,
    };
    let found = artifacts::from_header(&header);
    super::header::is_sound(&header, &found);
    for artifact in &found.artifacts {
        let digits = artifact.build_id.to_string();
        let place = if artifact.ordinal == 2 { link_name.replace('/', "") } else { text.to_owned() };
        assert!(place.to_ascii_lowercase().contains(&digits), "{digits} out of {place:?}");
        is_sound(&artifact.build_id);
    }
}

fn file(path: &str, mode: u16, class: Class) -> File {
    const SIZE: u64 = 1000;
    File {
        path: path.into(),
        mode,
        flags: 0,
        size: SIZE,
        mtime: 0,
        inode: 0,
        digest: None,
        link_target: None,
        class,
        signature: None,
    }
}
