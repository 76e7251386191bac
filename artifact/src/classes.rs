//! Build-id and kind of a file from the text of libmagic (tags 1141/1142).
//!
//! `ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), dynamically linked, ..., BuildID[sha1]=420e9e33...,
//! stripped`

use crate::header::{Class, FileRow};
use crate::{BuildId, Kind};

/// The meaning of a file class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not an ELF file.
    NotElf,
    /// An ELF file with this build-id.
    Named(BuildId),
    /// An ELF file or possibly one, without a build-id in the text: only the payload tells.
    Silent,
}

/// Interprets the class of a regular file.
pub fn verdict(file: &FileRow<'_>) -> Verdict {
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

/// What a class says of DWARF: libmagic writes `with debug_info, not stripped`, `not stripped` or `stripped`. A bare
/// `not stripped` tells nothing, because libmagic before 5.33 (RHEL 7 and older) did not look for DWARF. `None` also
/// where there is no text.
pub fn dwarf(class: &Class<&str>) -> Option<bool> {
    match class {
        Class::Text(text) if is_elf(text) && text.contains("with debug_info") => Some(true),
        Class::Text(text) if is_elf(text) && text.contains("stripped") && !text.contains("not stripped") => Some(false),
        _ => None,
    }
}

/// The kind of a file with a build-id, from what the header says of it. `dwarf` is what [`dwarf`] says.
///
/// 1. The name: debug files lie below `/lib/debug/` (Fedora, Debian, Flatpak's `/app/lib/debug/`) or in `.debug/`
///    (Yocto), or end in `.debug` or `.dbg`. vmlinux among them is a program with its DWARF, or a debug file.
/// 2. A text that ends in `, stripped` is a program, and so is what is not ELF by itself (a compressed kernel module,
///    whose link names the build-id of what is inside).
/// 3. The rest can be an unstripped program or a debug file: libmagic writes the same of both.
pub fn kind(file: &FileRow<'_>, dwarf: Option<bool>) -> Kind {
    if is_named_like_debug_file(file.path) {
        return if is_vmlinux(file.path) { Kind::Unknown } else { Kind::Debuginfo };
    }
    match &file.class {
        _ if dwarf == Some(false) => Kind::Executable,
        Class::Text(text) if !is_elf(text) => Kind::Executable,
        _ => Kind::Unknown,
    }
}

fn is_named_like_debug_file(path: &str) -> bool {
    path.contains("/lib/debug/") || path.contains("/.debug/") || path.ends_with(".debug") || path.ends_with(".dbg")
}

/// The kernel with its DWARF: `/usr/lib/debug/lib/modules/V/vmlinux`, `/usr/lib/debug/boot/vmlinux-V`.
fn is_vmlinux(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_split = name.ends_with(".debug") || name.ends_with(".dbg");
    !is_split && (name == "vmlinux" || name.starts_with("vmlinux-"))
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
fn can_be_elf(file: &FileRow<'_>) -> bool {
    const ELF32_HEADER_BYTES: u64 = 52;
    file.size >= ELF32_HEADER_BYTES && !file.path.starts_with("/usr/src/debug/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_read_from_the_text() {
        let id = build_id(
            "ELF 64-bit LSB shared object, x86-64, BuildID[sha1]=420e9e3308971f4b817cc5bf83928b41a6909d88, stripped",
        );
        assert_eq!(id.unwrap().to_string(), "420e9e3308971f4b817cc5bf83928b41a6909d88");
        let id = build_id("ELF 64-bit LSB executable, BuildID[xxHash]=0011223344556677");
        assert_eq!(id.unwrap().as_bytes().len(), 8);
    }

    #[test]
    fn only_newer_texts_state_dwarf() {
        let dwarf = |text: &str| dwarf(&Class::Text(text));
        assert_eq!(dwarf("ELF 64-bit LSB executable, with debug_info, not stripped"), Some(true));
        assert_eq!(dwarf("ELF 64-bit LSB executable, not stripped"), None);
        assert_eq!(dwarf("ELF 64-bit LSB executable, stripped"), Some(false));
        assert_eq!(dwarf("ASCII text, not stripped"), None);
    }

    #[test]
    fn names_precede_texts_in_determining_the_kind() {
        let debug =
            "ELF 64-bit LSB pie executable, x86-64, BuildID[sha1]=0011223344556677, with debug_info, not stripped";
        let old = "ELF 64-bit LSB executable, x86-64, BuildID[sha1]=0011223344556677, not stripped";
        let stripped = "ELF 64-bit LSB executable, x86-64, BuildID[sha1]=0011223344556677, stripped";
        for (path, class, expected) in [
            ("/usr/bin/.debug/foo", Class::Text(debug), Kind::Debuginfo),
            ("/usr/lib/debug/usr/bin/foo.debug", Class::Text(debug), Kind::Debuginfo),
            ("/usr/lib/debug/usr/bin/foo", Class::None, Kind::Debuginfo),
            ("/usr/lib/debug/.dwz/foo-1-1.x86_64", Class::Text(debug), Kind::Debuginfo),
            ("/app/lib/debug/bin/foo", Class::Mime("application/x-sharedlib"), Kind::Debuginfo),
            ("/opt/v/lib/x.dbg", Class::Text(debug), Kind::Debuginfo),
            ("/usr/lib/debug/lib/modules/6.5.6/vmlinux", Class::Text(debug), Kind::Unknown),
            ("/usr/lib/debug/boot/vmlinux-6.5.6", Class::None, Kind::Unknown),
            ("/usr/lib/debug/boot/vmlinux-6.5.6.dbg", Class::None, Kind::Debuginfo),
            ("/usr/lib/debug/lib/modules/6.5.6/vmlinux.debug", Class::Text(debug), Kind::Debuginfo),
            ("/usr/bin/foo", Class::Text(stripped), Kind::Executable),
            ("/lib/modules/6.5.6/x.ko.xz", Class::Text("XZ compressed data"), Kind::Executable),
            ("/usr/bin/foo", Class::Text(debug), Kind::Unknown),
            ("/usr/bin/foo", Class::Text(old), Kind::Unknown),
            ("/usr/bin/foo", Class::Mime("application/x-pie-executable"), Kind::Unknown),
            ("/usr/bin/foo", Class::None, Kind::Unknown),
            ("/usr/lib/debugger", Class::None, Kind::Unknown),
        ] {
            let row = FileRow { path, class, mode: 0o100_755, flags: 0, size: 100, link_target: None };
            assert_eq!(kind(&row, dwarf(&row.class)), expected, "{path} {:?}", row.class);
        }
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
