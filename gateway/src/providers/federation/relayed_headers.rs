//! What the headers of an upstream's answer tell of a file that is relayed.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::HttpDate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, LAST_MODIFIED};

use crate::cache::{Origin, Told};
use crate::resolve::question::{Question, Resource};

/// The longest header that is passed on, bytes.
pub(super) const MAX_HEADER_BYTES: usize = 8192;

/// What the answer of the upstream `name` to `question` tells of a file of `size` bytes.
pub(super) fn told(headers: &HeaderMap, question: &Question, name: &str, size: u64) -> Told {
    let signature = text(headers, "x-debuginfod-imasignature");
    let signature = signature.and_then(|hex| faster_hex::hex_decode_vec(hex.as_bytes()).ok()).map(Into::into);
    let file = match &question.resource {
        Resource::Source(path) => Some(path.as_str()),
        Resource::Artifact(_) | Resource::Section(_) => None,
    };
    let origin = Origin {
        question: question.to_string(),
        upstream: name.to_owned(),
        file: text(headers, "x-debuginfod-file").or(file).map(str::to_owned),
        archive: text(headers, "x-debuginfod-archive").map(str::to_owned),
    };
    Told { size, mtime: modified(headers), sha256: sha256(headers), signature, origin }
}

/// Size in bytes of what a response brings, if its headers tell.
pub(super) fn length(headers: &HeaderMap, question: &Question) -> Option<u64> {
    // With a section, some servers send the size of the whole file.
    let of_file = || match question.resource {
        Resource::Section(_) => None,
        Resource::Artifact(_) | Resource::Source(_) => number(headers, "x-debuginfod-size"),
    };
    number(headers, CONTENT_LENGTH.as_str()).or_else(of_file)
}

/// SHA-256 of the contents from Repr-Digest (RFC 9530), if the response has it. A body that was compressed for the
/// transfer has no Content-Length any more, and its digest is not that of the contents.
pub(super) fn sha256(headers: &HeaderMap) -> Option<[u8; 32]> {
    headers.get(CONTENT_LENGTH)?;
    let members = text(headers, "repr-digest")?.split(',');
    let digest = members.filter_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':')).next()?;
    STANDARD.decode(digest).ok()?.try_into().ok()
}

/// Last-Modified in seconds since 1970; the present time if it is not told.
fn modified(headers: &HeaderMap) -> i64 {
    let told = || text(headers, LAST_MODIFIED.as_str())?.parse::<HttpDate>().ok();
    let time = told().map_or_else(SystemTime::now, SystemTime::from);
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The number in a header.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name).filter(|value| value.len() <= MAX_HEADER_BYTES)?;
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    fn question(tail: &str) -> Question {
        Question::parse(tail).unwrap()
    }

    #[test]
    fn what_an_upstream_tells_is_kept() {
        let headers = headers(&[
            ("content-length", "5"),
            ("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT"),
            ("x-debuginfod-file", "/usr/bin/x"),
            ("x-debuginfod-archive", "x.rpm"),
            ("x-debuginfod-imasignature", "030204"),
            ("repr-digest", "sha-512=:AA==:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"),
        ]);
        let question = question("ab12/executable");
        let told = told(&headers, &question, "u", 5);
        assert_eq!((told.size, told.mtime, told.signature.as_deref()), (5, 1_000_000_000, Some(&[3, 2, 4][..])));
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(faster_hex::hex_string(&told.sha256.unwrap()), hello);
        let expected = Origin {
            question: "buildid/ab12/executable".into(),
            upstream: "u".into(),
            file: Some("/usr/bin/x".into()),
            archive: Some("x.rpm".into()),
        };
        assert_eq!(told.origin, expected);
    }

    #[test]
    fn what_is_not_told_or_not_readable_is_unknown() {
        let bad = headers(&[
            ("content-length", "5"),
            ("repr-digest", "sha-256=:AAAA:"),
            ("x-debuginfod-imasignature", "03020"),
            ("last-modified", "yesterday"),
        ]);
        let told = told(&bad, &question("ab12/source/usr/src/x.c"), "u", 5);
        assert_eq!((told.sha256, told.signature, told.origin.archive), (None, None, None));
        assert_eq!(told.origin.file.as_deref(), Some("/usr/src/x.c"));
        assert!(told.mtime > 1_700_000_000);
        // Decoded, or chunked.
        assert_eq!(
            sha256(&headers(&[("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:")])),
            None
        );
    }

    #[test]
    fn the_size_of_a_file_is_not_that_of_its_section() {
        let sized = headers(&[("x-debuginfod-size", "7")]);
        assert_eq!(length(&sized, &question("ab12/debuginfo")), Some(7));
        assert_eq!(length(&sized, &question("ab12/section/.text")), None);
        let both = headers(&[("x-debuginfod-size", "7"), ("content-length", "3")]);
        assert_eq!(length(&both, &question("ab12/section/.text")), Some(3));
    }
}
