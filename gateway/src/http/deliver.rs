//! From an answer to a response: headers, validators (RFC 9110, section 8.8), ranges (section 14) and the bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use actix_web::{HttpRequest, HttpResponse};
use artifact::modules;
use bytes::Bytes;
use futures::TryStreamExt;
use percent_encoding::utf8_percent_encode;

use crate::cache::{Content, ExternalFile, MemberCache};
use crate::http::error;
use crate::providers::http_client::ESCAPED;
use crate::resolve::answer::{FoundFile, Redirect};
use crate::resolve::question::What;
use crate::server::Connection;

/// An answer to a build-id stays right (docs/adr/0013).
const FILE_LIFETIME: &str = "public, max-age=604800, immutable";
/// A better answer may come.
const POOR_FILE_LIFETIME: &str = "public, max-age=3600";
/// An archive may be signed anew.
const ARCHIVE_LIFETIME: &str = "public, max-age=3600";
/// An upstream may lose the file soon.
pub(crate) const REDIRECT_LIFETIME: &str = "public, max-age=60";

/// The media type of files and sections.
pub(crate) const BYTES: &str = "application/octet-stream";

const SIZE: HeaderName = HeaderName::from_static("x-debuginfod-size");
const FILE: HeaderName = HeaderName::from_static("x-debuginfod-file");
const ARCHIVE: HeaderName = HeaderName::from_static("x-debuginfod-archive");
/// Of the whole file, with a section too. The manual of elfutils' server has another name; its code and its client
/// have this one.
const IMA_SIGNATURE: HeaderName = HeaderName::from_static("x-debuginfod-imasignature");

/// The response with the bytes of a file: 200, 206, 304, 416, or 406 if they are more than the client accepts.
pub(crate) async fn file(request: &HttpRequest, cache: &MemberCache, what: &What, found: FoundFile) -> HttpResponse {
    let FoundFile { content, member, archive, is_poor } = found;
    let size = content.len();
    if let Some(most) = most_bytes(request)
        && size > most
    {
        return error::too_large(size, most);
    }
    let validators = Validators::of(&content);
    let mut headers = vec![
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, HeaderValue::from_static(if is_poor { POOR_FILE_LIFETIME } else { FILE_LIFETIME })),
        (SIZE, HeaderValue::from(size)),
        (LAST_MODIFIED, value(&httpdate::fmt_http_date(validators.modified))),
        (FILE, value(&member)),
        (CONTENT_DISPOSITION, attachment(&download_name(&member, what))),
    ];
    headers.extend(archive.as_deref().map(|archive| (ARCHIVE, value(archive))));
    headers.extend(validators.etag.as_deref().map(|etag| (ETAG, value(etag))));
    headers
        .extend(content.file.signature().map(|signature| (IMA_SIGNATURE, value(&faster_hex::hex_string(signature)))));
    let small = cache.small(&content).await;
    bytes(request, content, small, &validators, headers, BYTES)
}

/// An archive itself, which is called `name`.
pub(crate) fn archive(
    request: &HttpRequest,
    archive: &Arc<ExternalFile>,
    name: &str,
    content_type: &'static str,
) -> HttpResponse {
    let content = archive.content();
    let validators = Validators::of(&content);
    let headers = vec![
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, HeaderValue::from_static(ARCHIVE_LIFETIME)),
        (CONTENT_DISPOSITION, attachment(name)),
        (LAST_MODIFIED, value(&httpdate::fmt_http_date(validators.modified))),
    ];
    bytes(request, content, None, &validators, headers, content_type)
}

/// Any content, perhaps in memory, with its validators: 200, 206, 304 or 416.
fn bytes(
    request: &HttpRequest,
    content: Content,
    small: Option<Bytes>,
    validators: &Validators,
    headers: Vec<(HeaderName, HeaderValue)>,
    content_type: &'static str,
) -> HttpResponse {
    let with_headers = |status: StatusCode| {
        let mut response = HttpResponse::build(status);
        for (name, value) in headers {
            response.insert_header((name, value));
        }
        response
    };
    if validators.unchanged(request) {
        return with_headers(StatusCode::NOT_MODIFIED).finish();
    }
    let size = content.len();
    let wanted = match header(request, &RANGE) {
        Some(range) if validators.still_the_same(request) => Range::parse(range, size),
        _ => Range::Whole,
    };
    let (status, content, small, range) = match wanted {
        Range::Whole => (StatusCode::OK, content, small, None),
        Range::Part(part) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
            let small = small.map(|bytes| bytes.slice(at(part.start)..at(part.end)));
            (StatusCode::PARTIAL_CONTENT, content.part(part), small, Some(range))
        }
        Range::Beyond => {
            // Not the file's headers: a cache must not take this for the file.
            let mut response = HttpResponse::build(StatusCode::RANGE_NOT_SATISFIABLE);
            return response
                .insert_header((CONTENT_RANGE, format!("bytes */{size}")))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish();
        }
    };
    let mut response = with_headers(status);
    response.content_type(content_type);
    if let Some(range) = range {
        response.insert_header((CONTENT_RANGE, range));
    }
    if let Some(bytes) = small {
        return response.body(bytes);
    }
    let connection = Connection::of(request);
    let length = content.len();
    let stream = content.stream().inspect_err(move |error| {
        // A body that just ends would be remembered as "absent" for ten minutes; a reset is retried.
        tracing::warn!(%error, "a response could not be finished: reset");
        if let Some(connection) = &connection {
            connection.reset();
        }
    });
    response.body(SizedStream::new(length, stream))
}

/// The file name of a download: that of the member, of a compressed kernel module that of the ELF file inside, of a
/// section file and section: `bash.debug_info`.
fn download_name<'m>(member: &'m str, what: &What) -> Cow<'m, str> {
    let name = member.rsplit('/').next().unwrap_or_default();
    let decompressed = modules::strip_compression_suffix(name).unwrap_or(name);
    match what {
        What::Section(section) => {
            let name = decompressed;
            format!("{}.{}", name.strip_suffix(".debug").unwrap_or(name), section.trim_start_matches('.')).into()
        }
        What::Artifact(_) => decompressed.into(),
        What::Source(_) => name.into(),
    }
}

/// Content-Disposition (RFC 6266) for a file with this name. `filename` is in ASCII, with `_` for characters that
/// clients take for parts of a path, for quoting or for control; `filename*` is added where it says more.
fn attachment(name: &str) -> HeaderValue {
    let is_unsafe = |c: char| c.is_control() || matches!(c, '/' | '\\');
    let safe: String = name.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let ascii: String = safe.chars().map(|c| if c.is_ascii() && c != '"' { c } else { '_' }).collect();
    // Some clients decode what is escaped in `filename`, too.
    if ascii == safe && !safe.contains('%') {
        return value(&format!("attachment; filename=\"{ascii}\""));
    }
    value(&format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(&safe, ESCAPED)))
}

/// 302 with the upstream's `X-DEBUGINFOD-*` headers.
pub(crate) fn redirect(request: &HttpRequest, redirect: Redirect) -> HttpResponse {
    if let (Some(most), Some(size)) = (most_bytes(request), redirect.size)
        && size > most
    {
        return error::too_large(size, most);
    }
    let mut response = HttpResponse::Found();
    response.insert_header((LOCATION, redirect.location)).insert_header((CACHE_CONTROL, REDIRECT_LIFETIME));
    for (name, value) in redirect.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.append_header((name, value));
        }
    }
    response.finish()
}

/// The validators of a content.
struct Validators {
    /// Strong: from the digest in the package's header.
    etag: Option<String>,
    modified: SystemTime,
}

impl Validators {
    fn of(content: &Content) -> Self {
        let digest = content.file.digest();
        let whole = content.len() == content.file.size();
        // A section is named by where it lies.
        let part = if whole { String::new() } else { format!("-{}-{}", content.range.start, content.range.end) };
        let etag = (!digest.is_empty()).then(|| format!("\"{digest}{part}\""));
        // An HTTP date ends with the year 9999.
        const LAST_SECOND: i64 = 253_402_300_799;
        let modified = content.file.mtime().clamp(0, LAST_SECOND);
        let modified = UNIX_EPOCH + Duration::from_secs(modified.unsigned_abs());
        Self { etag, modified }
    }

    /// True if the client has this content. If-None-Match takes precedence over If-Modified-Since (RFC 9110, section
    /// 13.2.2).
    fn unchanged(&self, request: &HttpRequest) -> bool {
        if let Some(given) = header(request, &IF_NONE_MATCH) {
            let matches = |etag: &String| given.split(',').any(|one| one.trim().trim_start_matches("W/") == etag);
            return given.trim() == "*" || self.etag.as_ref().is_some_and(matches);
        }
        let since = header(request, &IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
        since.is_some_and(|since| self.modified <= since)
    }

    /// True if a range may be served: there is no If-Range, or it names this content.
    fn still_the_same(&self, request: &HttpRequest) -> bool {
        header(request, &IF_RANGE).is_none_or(|given| {
            let date = httpdate::parse_http_date(given).is_ok_and(|date| date == self.modified);
            date || self.etag.as_deref() == Some(given.trim())
        })
    }
}

/// What a Range header asks for. Several ranges and other units are ignored, as section 14.2 allows.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(std::ops::Range<u64>),
    Beyond,
}

impl Range {
    fn parse(text: &str, size: u64) -> Self {
        let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return Self::Whole;
        };
        let (first, last) = (first.trim(), last.trim());
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
        match (digits(first), digits(last)) {
            (true, true) if number(last) < number(first) => Self::Whole,
            (true, _) if !digits(last) && !last.is_empty() => Self::Whole,
            (true, _) if number(first) >= size => Self::Beyond,
            (true, has_last) => {
                let end = if has_last { number(last).saturating_add(1).min(size) } else { size };
                Self::Part(number(first)..end)
            }
            (false, true) if !first.is_empty() => Self::Whole,
            (false, true) if number(last) == 0 || size == 0 => Self::Beyond,
            (false, true) => Self::Part(size.saturating_sub(number(last))..size),
            (false, false) => Self::Whole,
        }
    }
}

/// `X-DEBUGINFOD-MAXSIZE`, bytes.
pub(crate) fn most_bytes(request: &HttpRequest) -> Option<u64> {
    request.headers().get("x-debuginfod-maxsize")?.to_str().ok()?.trim().parse().ok().filter(|most| *most > 0)
}

fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// A header value of any text; what a header cannot hold is left out.
fn value(text: &str) -> HeaderValue {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect();
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use artifact::ArtifactType;

    use super::*;

    #[test]
    fn downloads_are_called_as_their_files() {
        let section = |name: &str| What::Section(name.to_owned());
        for (member, what, name) in [
            ("/usr/bin/ls", What::Artifact(ArtifactType::Executable), "ls"),
            ("/usr/lib/debug/usr/bin/ls.debug", What::Artifact(ArtifactType::Debuginfo), "ls.debug"),
            ("/usr/src/debug/a-1/src/main.c", What::Source("/usr/src/debug/a-1/src/main.c".into()), "main.c"),
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
            ("a\"b.c", "filename=\"a_b.c\"; filename*=UTF-8''a%22b.c"),
            ("100%25.c", "filename=\"100%25.c\"; filename*=UTF-8''100%2525.c"),
            ("a\r\nb\\c/d\u{7f}\u{85}", "filename=\"a__b_c_d__\""),
        ] {
            assert_eq!(attachment(name), format!("attachment; {expected}"));
        }
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (text, range) in [
            ("bytes=0-0", Range::Part(0..1)),
            ("bytes=2-", Range::Part(2..10)),
            ("bytes=2-100", Range::Part(2..10)),
            ("bytes=-3", Range::Part(7..10)),
            ("bytes=-100", Range::Part(0..10)),
            ("bytes=10-", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=99999999999999999999-", Range::Beyond),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("items=0-1", Range::Whole),
        ] {
            assert_eq!(Range::parse(text, 10), range, "{text}");
        }
    }
}
