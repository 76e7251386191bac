//! Requests to one mirror, and what the heads and bodies of its responses are worth.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_client::{content_range, hops, is_html, is_permanent, is_refusal, reason, refused_redirect, without_secrets};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use url::Url;

use crate::fetch::failure::{Failure, FailureKind};
use crate::fetch::mirrors::{Mirror, Mirrors};
use crate::fetch::network::{Meter, NetworkLimits};

/// The bytes of a file that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// All, without a Range request.
    Whole,
    /// From this byte on.
    From(u64),
    /// From the first to the last byte.
    Part(RangeInclusive<u64>),
}

/// A response with bytes of the file.
pub(super) struct Answer {
    /// The position of the body's first byte in the file. A server that ignores Range begins at 0.
    pub(super) first: u64,
    /// The bytes that the body has, if known.
    pub(super) length: Option<u64>,
    /// The size of the file in bytes, if known.
    pub(super) size: Option<u64>,
    /// The URLs that were asked, with those of redirects.
    pub(super) hops: Vec<Url>,
    pub(super) body: Body,
}

/// The body of a response. Dropped before its end it ends the transfer.
pub(super) struct Body {
    response: Response,
    limits: NetworkLimits,
    meter: Meter,
    began: Instant,
    received: u64,
    /// Bytes that were received and put back.
    returned: Option<Bytes>,
    /// One of those of the host.
    permit: Option<OwnedSemaphorePermit>,
}

impl Ask {
    fn range(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::From(first) => Some(format!("bytes={first}-")),
            Self::Part(part) => Some(format!("bytes={}-{}", part.start(), part.end())),
        }
    }

    /// True if a part of a file of `size` bytes is what is asked for.
    fn is_answered_by(&self, first: u64, last: u64, size: Option<u64>) -> bool {
        let end = |asked: u64| size.map_or(asked, |size| asked.min(size.saturating_sub(1)));
        match self {
            Self::Whole => false,
            Self::From(from) => first == *from && size.is_some_and(|size| last.checked_add(1) == Some(size)),
            Self::Part(part) => first == *part.start() && last == end(*part.end()),
        }
    }
}

/// Asks a mirror for a file, or for a part of it.
pub(super) async fn ask(
    mirrors: &Mirrors,
    mirror: &Mirror,
    path: &str,
    ask: &Ask,
    meter: &Meter,
) -> Result<Answer, Failure> {
    let url = mirror.url(path)?;
    let shown = without_secrets(&url);
    let answer = async {
        let limits = mirrors.network.limits;
        // The file's own bytes: a compressed transfer would hide where the payload begins.
        let mut request = mirrors.request(mirror, url)?.header(ACCEPT_ENCODING, "identity");
        if let Some(range) = ask.range() {
            request = request.header(RANGE, range);
        }
        let permit = mirrors.network.acquire(&mirror.host).await;
        let began = Instant::now();
        meter.count_request();
        let response = match timeout(limits.stall_timeout, request.send()).await {
            Ok(response) => response.map_err(|error| silent(&error))?,
            Err(_) => {
                let text = format!("expected an answer within {:?}, found none", limits.stall_timeout);
                return Err(Failure::new(FailureKind::Silent, text).stalled());
            }
        };
        mirrors.answered();
        let (response, first, length, size) = check(response, ask, mirrors).await?;
        let hops = hops(&response).to_vec();
        let body = Body { response, limits, meter: meter.clone(), began, received: 0, returned: None, permit };
        Ok(Answer { first, length, size, hops, body })
    };
    answer.await.map_err(|failure: Failure| failure.at(shown.as_str()))
}

/// A request without a response.
fn silent(error: &reqwest::Error) -> Failure {
    let text = reason(error);
    let kind = if is_permanent(error) { FailureKind::Refused } else { FailureKind::Silent };
    Failure::new(kind, text)
}

/// Checks the head of a response. Returns the first byte, the length of the body, and the size of the file.
async fn check(
    mut response: Response,
    ask: &Ask,
    mirrors: &Mirrors,
) -> Result<(Response, u64, Option<u64>, Option<u64>), Failure> {
    let (status, expected) = (response.status(), if *ask == Ask::Whole { "200" } else { "206 or 200" });
    let found = |found: String| format!("expected {expected}, found {found}");
    if status == StatusCode::OK {
        if is_html(response.headers()) {
            return Err(Failure::wrong("expected a file, found a page of HTML"));
        }
        let length = response.content_length();
        return Ok((response, 0, length, length));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        return match content_range(range) {
            Some((first, last, size)) if ask.is_answered_by(first, last, size) => {
                let length = last - first + 1;
                Ok((response, first, Some(length), size))
            }
            _ => {
                let asked = ask.range().unwrap_or_default();
                let range: String = range.chars().take(100).collect();
                Err(Failure::wrong(format!("expected 206 for {asked:?}, found 206 with Content-Range {range:?}")))
            }
        };
    }
    if mirrors.absent_statuses.contains(status.as_u16()) {
        if is_refusal(&mut response).await {
            return Err(Failure::new(FailureKind::Refused, found(format!("{status} with a page of HTML"))));
        }
        return Err(Failure::new(FailureKind::Absent, found(status.to_string())));
    }
    if status.is_redirection() {
        return Err(Failure::new(FailureKind::Refused, found(refused_redirect(&response))));
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        let asked = ask.range().unwrap_or_default();
        return Err(Failure::wrong(format!("expected 206 for {asked:?}, found {status}, Content-Range {range:?}")));
    }
    let may_pass = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    let kind = match may_pass {
        true => FailureKind::Passing { retry_after: retry_after(response.headers()) },
        false => FailureKind::Refused,
    };
    Err(Failure::new(kind, found(status.to_string())))
}

/// Reads Retry-After in seconds (RFC 9110, section 10.2.3). A date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl Body {
    /// Has the next chunk be `bytes`.
    pub(super) fn put_back(&mut self, bytes: Option<Bytes>) {
        self.returned = bytes;
    }

    /// The minimum rate in bytes per second: a share of the host's.
    fn min_rate(&self) -> u64 {
        let free = self.permit.as_ref().map(|permit| permit.semaphore().available_permits());
        let under_way = self.limits.max_per_host.saturating_sub(free.unwrap_or_default()).max(1);
        (NetworkLimits::MIN_RATE / under_way as u64).max(1)
    }

    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// The transfer broke off, stalled, or is too slow.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(bytes) = self.returned.take() {
            return Ok(Some(bytes));
        }
        let (stall_timeout, received) = (self.limits.stall_timeout, self.received);
        let chunk = match timeout(stall_timeout, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| {
                let text = reason(&error);
                Failure::passing(format!("expected more bytes, found the end after {received}: {text}"))
            })?,
            Err(_) => {
                let text = format!("expected more bytes within {stall_timeout:?}, found none after {received}");
                return Err(Failure::passing(text).stalled());
            }
        };
        let Some(chunk) = chunk else { return Ok(None) };
        self.received += chunk.len() as u64;
        self.meter.count_bytes(chunk.len());
        let (elapsed, min_rate) = (self.began.elapsed(), self.min_rate());
        if elapsed > self.limits.slow_timeout + Duration::from_secs(self.received / min_rate) {
            let text = format!("expected {min_rate} bytes per second, found {} bytes in {elapsed:.0?}", self.received);
            return Err(Failure::passing(text).stalled());
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_to_be_the_one_that_was_asked_for() {
        for (ask, part, is_answer) in [
            (Ask::Part(0..=9), (0, 9, Some(100)), true),
            (Ask::Part(0..=9), (0, 9, None), true),
            (Ask::Part(0..=9), (0, 6, Some(7)), true),
            (Ask::Part(0..=9), (0, 6, Some(100)), false),
            (Ask::Part(0..=9), (1, 9, Some(100)), false),
            (Ask::Part(0..=9), (0, 99, Some(100)), false),
            (Ask::From(7), (7, 99, Some(100)), true),
            (Ask::From(7), (7, 98, Some(100)), false),
            (Ask::From(7), (0, 99, Some(100)), false),
            (Ask::Whole, (0, 99, Some(100)), false),
        ] {
            let (first, last, size) = part;
            assert_eq!(ask.is_answered_by(first, last, size), is_answer, "{ask:?} {part:?}");
        }
    }
}
