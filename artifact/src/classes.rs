//! What libmagic's text on a file (tags 1141/1142) says of its build-id and kind.
//!
//! `ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), dynamically linked, ..., BuildID[sha1]=420e9e33..., stripped`

use crate::header::{Class, Row};
use crate::{BuildId, Kind};

/// What a class says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not an ELF file.
    NotElf,
    /// An ELF file with this build-id.
    Named(BuildId),
    /// An ELF file or possibly one, and no word on its build-id: only the payload can say.
    Silent,
}

/// What the class of a regular file says.
pub fn verdict(file: &Row<'_>) -> Verdict {
    match file.class {
        Class::Text(text) if is_elf(text) => build_id(text).map_or(Verdict::Silent, Verdict::Named),
        Class::Text(_) => Verdict::NotElf,
        _ if !can_be_elf(file) => Verdict::NotElf,
        Class::Mime(mime) => match mime {
            "application/x-executable"
            | "application/x-pie-executable"
            | "application/x-sharedlib"
            | "application/x-object"
            | "application/octet-stream" => Verdict::Silent,
            _ => Verdict::NotElf,
        },
        Class::None => Verdict::Silent,
    }
}

/// What a class says of DWARF: libmagic writes `with debug_info, not stripped`, `not stripped` or `stripped`. A bare `not stripped`
/// tells nothing, because libmagic before 5.33 (RHEL 7 and older) did not look for DWARF. `None` also where there is no text.
pub fn dwarf(class: &Class<&str>) -> Option<bool> {
    match class {
        Class::Text(text) if is_elf(text) && text.contains("with debug_info") => Some(true),
        Class::Text(text) if is_elf(text) && text.contains("stripped") && !text.contains("not stripped") => Some(false),
        _ => None,
    }
}

/// The kinds of a file with a build-id, from what the header says of it: under `/usr/lib/debug/` lie `.debug` files and dwz
/// multifiles, which are debuginfo alone, and vmlinux, which is both, like every unstripped program. `dwarf` is what [`dwarf`] says.
pub fn kinds(file: &Row<'_>, dwarf: Option<bool>) -> &'static [Kind] {
    const BOTH: &[Kind] = &[Kind::Executable, Kind::Debuginfo];
    if !file.path.starts_with("/usr/lib/debug/") {
        return if dwarf == Some(true) { BOTH } else { &[Kind::Executable] };
    }
    let runs = match &file.class {
        Class::Text(text) => !text.contains(" relocatable"),
        _ => file.path.ends_with("/vmlinux"),
    };
    if runs && !file.path.ends_with(".debug") && !file.path.contains("/.dwz/") { BOTH } else { &[Kind::Debuginfo] }
}

fn is_elf(text: &str) -> bool {
    // setuid files read "setuid ELF 64-bit ...".
    text.starts_with("ELF ") || (text.starts_with("set") && text.contains(" ELF "))
}

/// `BuildID[sha1]=HEX`: 8 to 64 bytes count; libmagic writes `0x...` for notes that it could not make sense of.
fn build_id(text: &str) -> Option<BuildId> {
    const SHORTEST_BYTES: usize = 8;
    let start = memchr::memchr_iter(b'[', text.as_bytes()).find(|start| text[..*start].ends_with("BuildID"))?;
    let rest = &text[start..];
    let rest = memchr::memchr_iter(b']', rest.as_bytes()).find_map(|end| rest[end..].strip_prefix("]="))?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let build_id = BuildId::from_digits(&[&rest[..end]])?;
    (build_id.as_bytes().len() >= SHORTEST_BYTES).then_some(build_id)
}

/// Could a file without a class text be ELF? Not if it is smaller than an ELF header, and not among the sources that
/// find-debuginfo collects.
fn can_be_elf(file: &Row<'_>) -> bool {
    const ELF32_HEADER_BYTES: u64 = 52;
    file.size >= ELF32_HEADER_BYTES && !file.path.starts_with("/usr/src/debug/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_read_out_of_the_text() {
        let id =
            build_id("ELF 64-bit LSB shared object, x86-64, BuildID[sha1]=420e9e3308971f4b817cc5bf83928b41a6909d88, stripped");
        assert_eq!(id.unwrap().to_string(), "420e9e3308971f4b817cc5bf83928b41a6909d88");
        let id = build_id("ELF 64-bit LSB executable, BuildID[xxHash]=0011223344556677");
        assert_eq!(id.unwrap().as_bytes().len(), 8);
    }

    #[test]
    fn only_newer_texts_tell_of_dwarf() {
        let dwarf = |text: &str| dwarf(&Class::Text(text));
        assert_eq!(dwarf("ELF 64-bit LSB executable, with debug_info, not stripped"), Some(true));
        assert_eq!(dwarf("ELF 64-bit LSB executable, not stripped"), None);
        assert_eq!(dwarf("ELF 64-bit LSB executable, stripped"), Some(false));
        assert_eq!(dwarf("ASCII text, not stripped"), None);
    }

    #[test]
    fn texts_without_a_usable_build_id_name_none() {
        for text in [
            "ELF 64-bit LSB executable, stripped",
            "ELF 64-bit LSB executable, BuildID[sha1]=0x420e9e33",
            "ELF 64-bit LSB executable, BuildID[sha1]=00112233",
            "ELF 64-bit LSB executable, BuildID[sha1]=",
            "ELF 64-bit LSB executable, BuildID[",
        ] {
            assert_eq!(build_id(text), None, "{text}");
        }
    }
}
