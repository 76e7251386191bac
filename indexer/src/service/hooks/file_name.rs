//! The names that an uploaded file may have.

/// Maximum length of a file name in bytes: NAME_MAX of Linux.
const MAX_BYTES: usize = 255;
/// What an RPM's name ends in.
const SUFFIX: &str = ".rpm";
/// The characters that a name may have beside letters and digits of ASCII.
const MARKS: &str = "._+~^-";

/// Checks the name of an RPM: NAME-VERSION-RELEASE.ARCH.rpm. It has no slash and no dot at its start, so it names a
/// visible file of one directory.
///
/// # Errors
/// What was expected.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_BYTES {
        return Err("a file name of at most 255 bytes");
    }
    if name.starts_with(['.', '-']) || name.chars().any(|c| !c.is_ascii_alphanumeric() && !MARKS.contains(c)) {
        return Err("a file name of letters, digits and ._+~^- that begins with neither a dot nor a dash");
    }
    if name.strip_suffix(SUFFIX).is_none_or(str::is_empty) {
        return Err("the file name of an RPM, NAME-VERSION-RELEASE.ARCH.rpm");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_visible_rpm_in_one_directory() {
        let longest = format!("{}.rpm", "a".repeat(251));
        for name in ["bash-5.2-6.fc44.x86_64.rpm", "libstdc++-14^20~rc1-1.src.rpm", "_x-1-1.noarch.rpm", &longest] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = format!("{}.rpm", "a".repeat(252));
        for name in [
            "",
            ".rpm",
            "..rpm",
            ".a.rpm",
            "-a.rpm",
            "a.rpm/",
            "../a.rpm",
            "/a.rpm",
            "a/b.rpm",
            "a\\b.rpm",
            "a b.rpm",
            "a\0.rpm",
            "a\n.rpm",
            "a%2Fb.rpm",
            "ä.rpm",
            "a:1.rpm",
            "a.RPM",
            "a.rpm.",
            "a.drpm",
            "a.rpm~",
            "rpm",
            &too_long,
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
