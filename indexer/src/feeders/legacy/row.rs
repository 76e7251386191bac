//! Checks rows of the original's tables.

use artifact::{BuildId, Kind, Nevra};
use sql::legacy::{OriginalRow, OriginalValue, StagedRow};

use super::skipped::SkipReason;

/// Maximum lengths in bytes of what the index stores.
const MAX_PATH_BYTES: usize = 4096;
const MAX_FILE_NAME_BYTES: usize = 255;
const MAX_DISTRO_BYTES: usize = 255;
const MAX_INSTANCE_BYTES: usize = 64;
/// The instance of builds in tables without one: the release 0.8 asked Fedora's main Koji alone, which later releases
/// call this.
const DEFAULT_INSTANCE: &str = "primary";

/// Returns the row in its form for the index, or why it is left out and the value that is the reason.
pub(crate) fn check(row: OriginalRow) -> Result<StagedRow, (SkipReason, String)> {
    let build_id = read_build_id(&required(row.build_id, "build-id")?)?;
    let (nvra, nevra) = read_name(required(row.rpm_name, "rpm_name")?)?;
    let path = read_path(required(row.directory, "directory")?, required(row.elf_name, "elfname")?)?;
    let distro = optional(row.distro, "distro", MAX_DISTRO_BYTES)?.unwrap_or_default().trim().to_owned();
    let instance = optional(row.koji_instance, "koji instance", MAX_INSTANCE_BYTES)?;
    let koji_build = optional(row.koji_build, "kojibuildid", MAX_INSTANCE_BYTES)?;
    let build = koji_build.and_then(|number| number.trim().parse().ok()).filter(|number: &i64| *number > 0);
    let koji = build.map(|build| {
        let instance = instance.filter(|instance| !instance.trim().is_empty());
        (instance.unwrap_or_else(|| DEFAULT_INSTANCE.to_owned()), build)
    });
    // What is too long for a URL of the index is none of its places.
    let rpm_url = match row.rpm_url {
        OriginalValue::Bytes(url) if !url.is_empty() => String::from_utf8(url).ok(),
        _ => None,
    };
    let distro = if distro.is_empty() { nevra.dist_tag().to_owned() } else { distro };
    let kind = if is_debug_file(&path) { Kind::Debuginfo } else { Kind::Executable };
    Ok(StagedRow { nvra, build_id, kind, path, distro, koji, rpm_url })
}

/// Returns a value as text: UTF-8, or else latin1, in which every byte is a character.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

fn required(value: OriginalValue, name: &str) -> Result<String, (SkipReason, String)> {
    match value {
        OriginalValue::Bytes(bytes) => Ok(text(bytes)),
        OriginalValue::Null => Err((SkipReason::Null, name.to_owned())),
        OriginalValue::TooLong => Err((SkipReason::TooLong, name.to_owned())),
    }
}

fn optional(value: OriginalValue, name: &str, max_bytes: usize) -> Result<Option<String>, (SkipReason, String)> {
    match value {
        OriginalValue::Null => Ok(None),
        OriginalValue::Bytes(bytes) => {
            let text = text(bytes);
            if text.len() > max_bytes { Err((SkipReason::TooLong, name.to_owned())) } else { Ok(Some(text)) }
        }
        OriginalValue::TooLong => Err((SkipReason::TooLong, name.to_owned())),
    }
}

/// Reads hex digits of any case.
fn read_build_id(text: &str) -> Result<BuildId, (SkipReason, String)> {
    let digits = text.trim();
    let reason = if matches!(digits, "" | "-") {
        SkipReason::NoBuildId
    } else if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        SkipReason::NotHex
    } else if digits.len() % 2 == 1 {
        SkipReason::OddDigits
    } else {
        match digits.parse() {
            Ok(build_id) => return Ok(build_id),
            Err(_) => SkipReason::LongBuildId,
        }
    };
    Err((reason, text.to_owned()))
}

/// Reads a name-version-release.arch, without one `.rpm` at its end.
fn read_name(text: String) -> Result<(String, Nevra), (SkipReason, String)> {
    match text.parse::<Nevra>() {
        // The original's names have no epoch: it would be part of the version.
        Ok(nevra) if nevra.epoch.is_none() => match nevra.arch.len() {
            ..=64 => Ok((nevra.nvra(), nevra)),
            _ => Err((SkipReason::TooLong, "arch".to_owned())),
        },
        _ => Err((SkipReason::Name, text)),
    }
}

/// Joins directory and name as the original did.
fn read_path(directory: String, name: String) -> Result<String, (SkipReason, String)> {
    let path = format!("/{}/{name}", directory.trim_matches('/'));
    let path = path.replace("//", "/");
    if name.len() > MAX_FILE_NAME_BYTES || path.len() > MAX_PATH_BYTES {
        Err((SkipReason::TooLong, "path".to_owned()))
    } else if name.is_empty() || name.contains('/') || path.contains('\0') {
        Err((SkipReason::Path, path))
    } else {
        Ok(path)
    }
}

fn is_debug_file(path: &str) -> bool {
    path.starts_with("/usr/lib/debug/") || path.ends_with(".debug")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> OriginalValue {
        OriginalValue::Bytes(text.as_bytes().to_vec())
    }

    fn row(directory: &str, name: &str, build_id: &str, rpm_name: &str) -> OriginalRow {
        OriginalRow {
            elf_name: bytes(name),
            directory: bytes(directory),
            build_id: bytes(build_id),
            rpm_name: bytes(rpm_name),
            ..OriginalRow::default()
        }
    }

    const ID: &str = "868357887701f51d867eacd0da6e5af6d8c70ce2";
    const NVRA: &str = "apr-1.4.5-1.fc16.x86_64";

    #[test]
    fn a_row_becomes_a_claim() {
        let checked = check(OriginalRow {
            distro: bytes("dist-f16-build"),
            koji_build: bytes("267110"),
            koji_instance: bytes("ppc"),
            rpm_url: bytes("http://koji/x.rpm"),
            ..row("/usr/lib64", "libapr-1.so.0.4.5", &ID.to_uppercase(), "apr-1.4.5-1.fc16.x86_64.rpm")
        });
        let expected = StagedRow {
            nvra: NVRA.to_owned(),
            build_id: ID.parse().unwrap(),
            kind: Kind::Executable,
            path: "/usr/lib64/libapr-1.so.0.4.5".to_owned(),
            distro: "dist-f16-build".to_owned(),
            koji: Some(("ppc".to_owned(), 267110)),
            rpm_url: Some("http://koji/x.rpm".to_owned()),
        };
        assert_eq!(checked, Ok(expected));
    }

    #[test]
    fn what_older_tables_lack_follows_from_the_names() {
        let checked = check(row("/usr/lib/debug/usr/lib64", "libapr-1.so.0.4.5.debug", ID, NVRA)).unwrap();
        assert_eq!((checked.kind, checked.distro.as_str(), checked.koji), (Kind::Debuginfo, "fc16", None));
        for (build, instance, koji) in [
            ("12", "", Some("primary")),
            ("12", "s390", Some("s390")),
            ("0", "primary", None),
            ("-1", "primary", None),
            ("x", "primary", None),
        ] {
            let row =
                OriginalRow { koji_build: bytes(build), koji_instance: bytes(instance), ..row("/", "x", ID, NVRA) };
            let checked = check(row).unwrap();
            assert_eq!(checked.koji.as_ref().map(|(name, _)| name.as_str()), koji, "{build} {instance}");
            assert_eq!(checked.path, "/x");
        }
    }

    #[test]
    fn rubbish_is_left_out_with_its_reason() {
        let long = "a".repeat(300);
        for (row, reason) in [
            (row("/bin", "bash", "-", NVRA), SkipReason::NoBuildId),
            (row("/bin", "bash", "", NVRA), SkipReason::NoBuildId),
            (row("/bin", "bash", "a", NVRA), SkipReason::OddDigits),
            (row("/bin", "bash", "abc", NVRA), SkipReason::OddDigits),
            (row("/bin", "bash", "0x12", NVRA), SkipReason::NotHex),
            (row("/bin", "bash", "é", NVRA), SkipReason::NotHex),
            (row("/bin", "bash", &"ab".repeat(65), NVRA), SkipReason::LongBuildId),
            (row("/bin", "bash", ID, "bash"), SkipReason::Name),
            (row("/bin", "bash", ID, ""), SkipReason::Name),
            (row("/bin", "bash", ID, "../bash-1-1.x86_64"), SkipReason::Name),
            (row("/bin", "bash", ID, "bash-1:1-1.x86_64"), SkipReason::Name),
            (row("/bin", "bash", ID, &format!("b-1-1.{}", "x".repeat(65))), SkipReason::TooLong),
            (row("/bin", "", ID, NVRA), SkipReason::Path),
            (row("/bin", "a\0b", ID, NVRA), SkipReason::Path),
            (row("/bin", &long, ID, NVRA), SkipReason::TooLong),
            (row(&"/aaaaaaa".repeat(600), "x", ID, NVRA), SkipReason::TooLong),
            (OriginalRow { build_id: OriginalValue::Null, ..row("/", "x", ID, NVRA) }, SkipReason::Null),
            (OriginalRow { directory: OriginalValue::Null, ..row("/", "x", ID, NVRA) }, SkipReason::Null),
            (OriginalRow { elf_name: OriginalValue::TooLong, ..row("/", "x", ID, NVRA) }, SkipReason::TooLong),
            (OriginalRow { distro: bytes(&long), ..row("/", "x", ID, NVRA) }, SkipReason::TooLong),
        ] {
            let found = check(row.clone()).map_err(|(reason, _)| reason);
            assert_eq!(found, Err(reason), "{row:?}");
        }
        let odd = row("/bin", "bash", "ab", NVRA);
        assert_eq!(check(odd).unwrap().build_id.as_bytes(), [0xab], "one byte is a build-id");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_latin1() {
        let row = OriginalRow { elf_name: OriginalValue::Bytes(b"caf\xe9".to_vec()), ..row("/opt/é", "", ID, NVRA) };
        assert_eq!(check(row).unwrap().path, "/opt/é/café");
    }
}
