//! Conditional requests (RFC 9110, section 13) and ranges (section 14): which part of a content a response has.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::HttpRequest;
use actix_web::http::header::{
    ETag, EntityTag, Header, HttpDate, IF_NONE_MATCH, IF_RANGE, IfModifiedSince, IfNoneMatch, IfRange, LastModified,
    RANGE,
};

use crate::cache::Content;

/// The last second of the year 9999, with which HTTP dates end.
const LAST_SECOND: i64 = 253_402_300_799;

/// The validators of a content.
pub(super) struct Validators {
    /// Strong: made from the digest in the package's header. `None` without a digest.
    etag: Option<EntityTag>,
    modified: HttpDate,
}

impl Validators {
    pub(super) fn of(content: &Content) -> Self {
        let digest = content.file.digest();
        let is_whole = content.len() == content.file.size();
        // A section is named by its place in the file.
        let part = if is_whole { String::new() } else { format!("-{}-{}", content.range.start, content.range.end) };
        let etag = (!digest.is_empty()).then(|| EntityTag::new_strong(format!("{digest}{part}")));
        let modified = Duration::from_secs(content.file.mtime().clamp(0, LAST_SECOND).unsigned_abs());
        Self { etag, modified: (UNIX_EPOCH + modified).into() }
    }

    /// The value of Last-Modified.
    pub(super) fn last_modified(&self) -> LastModified {
        LastModified(self.modified)
    }

    /// The value of ETag.
    pub(super) fn etag(&self) -> Option<ETag> {
        self.etag.clone().map(ETag)
    }

    /// True if the client has this content. If-None-Match takes precedence over If-Modified-Since (RFC 9110, section
    /// 13.2.2).
    pub(super) fn is_unchanged(&self, request: &HttpRequest) -> bool {
        if request.headers().contains_key(IF_NONE_MATCH) {
            return match IfNoneMatch::parse(request) {
                Ok(IfNoneMatch::Any) => true,
                Ok(IfNoneMatch::Items(given)) => {
                    self.etag.as_ref().is_some_and(|etag| given.iter().any(|given| given.weak_eq(etag)))
                }
                Err(_) => false,
            };
        }
        IfModifiedSince::parse(request).is_ok_and(|IfModifiedSince(since)| self.modified <= since)
    }

    /// The part of `size` bytes that a response has: all of it unless the request asks for a range, and has no If-Range
    /// with another validator.
    pub(super) fn range(&self, request: &HttpRequest, size: u64) -> RequestedRange {
        let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
        match range {
            Some(range) if self.allows_range(request) => RequestedRange::parse(range, size),
            _ => RequestedRange::Whole,
        }
    }

    /// True if there is no If-Range, or it names this content.
    fn allows_range(&self, request: &HttpRequest) -> bool {
        match IfRange::parse(request) {
            Ok(IfRange::Date(date)) => date == self.modified,
            Ok(IfRange::EntityTag(given)) => self.etag.as_ref().is_some_and(|etag| given.strong_eq(etag)),
            Err(_) => !request.headers().contains_key(IF_RANGE),
        }
    }
}

/// The part that a Range header asks for. Several ranges and other units are ignored, as section 14.2 allows.
///
/// `actix_web::http::header::Range` is not used: it fails on positions above 64 bits, which are valid and beyond any
/// file (section 14.1.1), and it ignores single malformed ranges of a list instead of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// All bytes.
    Whole,
    /// These bytes.
    Part(std::ops::Range<u64>),
    /// Bytes beyond the end.
    Beyond,
}

impl RequestedRange {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_states() {
        for (text, range) in [
            ("bytes=0-0", RequestedRange::Part(0..1)),
            ("bytes=2-", RequestedRange::Part(2..10)),
            ("bytes=2-100", RequestedRange::Part(2..10)),
            ("bytes=-3", RequestedRange::Part(7..10)),
            ("bytes=-100", RequestedRange::Part(0..10)),
            ("bytes=10-", RequestedRange::Beyond),
            ("bytes=-0", RequestedRange::Beyond),
            ("bytes=99999999999999999999-", RequestedRange::Beyond),
            ("bytes=5-2", RequestedRange::Whole),
            ("bytes=0-1,3-4", RequestedRange::Whole),
            ("bytes=0-1,x", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=a-b", RequestedRange::Whole),
            ("items=0-1", RequestedRange::Whole),
        ] {
            assert_eq!(RequestedRange::parse(text, 10), range, "{text}");
        }
    }
}
