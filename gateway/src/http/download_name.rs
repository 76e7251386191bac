//! The file name of a download.

use std::borrow::Cow;

use actix_web::http::header::HeaderValue;
use artifact::modules;
use http_client::ESCAPED;
use percent_encoding::utf8_percent_encode;

use super::value;
use crate::resolve::question::Resource;

/// The file name of a download: that of the member, of a compressed kernel module that of the ELF file inside, of a
/// section file and section: `bash.debug_info`.
pub(super) fn download_name<'m>(member: &'m str, resource: &Resource) -> Cow<'m, str> {
    let name = member.rsplit('/').next().unwrap_or_default();
    let decompressed = modules::strip_compression_suffix(name).unwrap_or(name);
    match resource {
        Resource::Section(section) => {
            let name = decompressed;
            format!("{}.{}", name.strip_suffix(".debug").unwrap_or(name), section.trim_start_matches('.')).into()
        }
        Resource::Artifact(_) => decompressed.into(),
        Resource::Source(_) => name.into(),
    }
}

/// Content-Disposition (RFC 6266) for a file with this name. `filename` is in ASCII, with `_` for characters that
/// clients take for parts of a path, for quoting or for control; `filename*` is added where it has more.
///
/// `actix_web::http::header::ContentDisposition` is not used: it leaves `+` in `filename*`, which some clients decode
/// to a space.
pub(super) fn attachment(name: &str) -> HeaderValue {
    let is_unsafe = |c: char| c.is_control() || matches!(c, '/' | '\\');
    let safe: String = name.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let ascii: String = safe.chars().map(|c| if c.is_ascii() && c != '"' { c } else { '_' }).collect();
    // Some clients decode what is escaped in `filename`, too.
    if ascii == safe && !safe.contains('%') {
        return value(&format!("attachment; filename=\"{ascii}\""));
    }
    value(&format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(&safe, ESCAPED)))
}

#[cfg(test)]
mod tests {
    use artifact::ArtifactType;

    use super::*;

    #[test]
    fn downloads_are_called_as_their_files() {
        let section = |name: &str| Resource::Section(name.to_owned());
        for (member, what, name) in [
            ("/usr/bin/ls", Resource::Artifact(ArtifactType::Executable), "ls"),
            ("/usr/lib/debug/usr/bin/ls.debug", Resource::Artifact(ArtifactType::Debuginfo), "ls.debug"),
            ("/usr/src/debug/a-1/src/main.c", Resource::Source("/usr/src/debug/a-1/src/main.c".into()), "main.c"),
            ("/usr/lib/debug/usr/bin/ls.debug", section(".debug_info"), "ls.debug_info"),
            ("/usr/bin/ls", section(".text"), "ls.text"),
            ("/usr/bin/ls", section("__ex_table"), "ls.__ex_table"),
        ] {
            assert_eq!(download_name(member, &what), name);
        }
        for (name, expected) in [
            ("main.c", "filename=\"main.c\""),
            ("a b;c+d.rpm", "filename=\"a b;c+d.rpm\""),
            ("na\u{ef}ve.c", "filename=\"na_ve.c\"; filename*=UTF-8''na%C3%AFve.c"),
            ("\u{e9}+.c", "filename=\"_+.c\"; filename*=UTF-8''%C3%A9%2B.c"),
            ("a\"b.c", "filename=\"a_b.c\"; filename*=UTF-8''a%22b.c"),
            ("100%25.c", "filename=\"100%25.c\"; filename*=UTF-8''100%2525.c"),
            ("a\r\nb\\c/d\u{7f}\u{85}", "filename=\"a__b_c_d__\""),
        ] {
            assert_eq!(attachment(name), format!("attachment; {expected}"));
        }
    }
}
