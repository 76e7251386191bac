//! Forms in which a row leaves out what its other columns say, and what stands for long values in indexes.

use artifact::Nevra;
use flate2::Crc;

/// Bytes of a build-id that `artifacts` has. Build-ids that begin alike are told apart by the lists, which have them whole: with a
/// hundred million of them one question in forty reads a list in vain.
pub(crate) const KEY_BYTES: usize = 4;

/// How a build-id begins; a shorter one is filled up with zeros.
pub(crate) fn key(build_id: &[u8]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key.iter_mut().zip(build_id).for_each(|(to, from)| *to = *from);
    key
}

/// What SQL calls `crc32(text)`.
pub(crate) fn crc(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

/// `bash-` for the source package `bash-VERSION-RELEASE.src.rpm` of a package with this version and release; any other as it is.
pub(crate) fn source<'a>(source_rpm: &'a str, nevra: &Nevra) -> &'a str {
    let rest = source_rpm.strip_suffix(SOURCE_ENDING).and_then(|rest| rest.strip_suffix(nevra.release.as_str()));
    let rest = rest.and_then(|rest| rest.strip_suffix('-')).and_then(|rest| rest.strip_suffix(nevra.version.as_str()));
    rest.filter(|rest| rest.ends_with('-')).unwrap_or(source_rpm)
}

/// The source package that [`source`] made short.
pub(crate) fn whole_source(mut stored: String, nevra: &Nevra) -> String {
    if stored.ends_with('-') {
        for part in [&nevra.version, "-", &nevra.release, SOURCE_ENDING] {
            stored.push_str(part);
        }
    }
    stored
}

/// `FOLDER/` for the path `FOLDER/NVRA.rpm` of a package with this NVRA; any other as it is.
pub(crate) fn path<'a>(path: &'a str, nvra: &str) -> &'a str {
    let folder = path.strip_suffix(ARCHIVE_ENDING).and_then(|rest| rest.strip_suffix(nvra));
    folder.filter(|folder| is_short_path(folder)).unwrap_or(path)
}

/// The path that [`path`] made short.
pub(crate) fn whole_path(mut stored: String, nevra: &Nevra) -> String {
    if is_short_path(&stored) {
        stored.push_str(&nevra.nvra());
        stored.push_str(ARCHIVE_ENDING);
    }
    stored
}

/// No archive has such a path.
pub(crate) fn is_short_path(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

const SOURCE_ENDING: &str = ".src.rpm";
const ARCHIVE_ENDING: &str = ".rpm";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_comes_back() {
        let nevra: Nevra = "bash-libs-5.2-1.fc40.x86_64".parse().unwrap();
        for (whole, stored) in [
            ("bash-5.2-1.fc40.src.rpm", "bash-"),
            ("bash-5.2-1.fc40.nosrc.rpm", "bash-5.2-1.fc40.nosrc.rpm"),
            ("bash-5.1-1.fc40.src.rpm", "bash-5.1-1.fc40.src.rpm"),
            ("5.2-1.fc40.src.rpm", "5.2-1.fc40.src.rpm"),
            ("-5.2-1.fc40.src.rpm", "-"),
            ("bash5.2-1.fc40.src.rpm", "bash5.2-1.fc40.src.rpm"),
            ("bash", "bash"),
            ("", ""),
        ] {
            assert_eq!(source(whole, &nevra), stored);
            assert_eq!(whole_source(stored.into(), &nevra), whole);
        }
        let nvra = nevra.nvra();
        for (whole, stored) in [
            ("b/bash-libs-5.2-1.fc40.x86_64.rpm", "b/"),
            ("bash-libs-5.2-1.fc40.x86_64.rpm", ""),
            ("b/other-bash-libs-5.2-1.fc40.x86_64.rpm", "b/other-bash-libs-5.2-1.fc40.x86_64.rpm"),
            ("b/bash-libs-5.2-1.fc40.x86_64", "b/bash-libs-5.2-1.fc40.x86_64"),
            ("latest.rpm", "latest.rpm"),
        ] {
            assert_eq!(path(whole, &nvra), stored);
            assert_eq!(whole_path(stored.into(), &nevra), whole);
        }
    }

    #[test]
    fn keys_are_beginnings_and_checksums_are_those_of_sql() {
        assert_eq!(key(&[1, 2, 3, 4, 5, 6, 7]), [1, 2, 3, 4]);
        assert_eq!(key(&[1]), [1, 0, 0, 0]);
        // select crc32('MySQL'): the example of its manual.
        assert_eq!(crc("MySQL"), 3_259_397_556);
    }
}
