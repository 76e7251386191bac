//! The header of an RPM over HTTP: its first bytes by Range requests, and no more of it.
//!
//! A location may state where the header ends; that is a hint, since an unsigned copy has other offsets. Without a hint
//! the first request asks for as much as most headers need. What the bytes themselves say decides whether more is
//! needed. A server that ignores Range sends the whole archive: its connection is closed once the header is there.

use artifact::header::{Extent, PREFIX_BYTES};
use http_client::{Client, content_range, is_html, reason};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use sql::Location;
use url::Url;

use super::remote::expect_archive;
use crate::providers::StoreError;
use crate::resolve::outcome::CauseKind;

/// Bytes of the first request without a hint: most headers end before.
const FIRST_BYTES: u64 = 16 << 10;
/// Maximum number of requests for one header. Three suffice, unless a server sends less than it is asked for.
const MAX_REQUESTS: usize = 8;

/// Fetches the first bytes of the archive at `url`, at least to the end of its header.
///
/// # Errors
/// The archive is absent, or its size is not that of the location; the server does not answer, or with something else
/// than an RPM.
pub(super) async fn fetch(client: &Client, url: &Url, location: &Location, place: &str) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let mut end = location.header.as_ref().map_or(FIRST_BYTES, |header| header.end).max(PREFIX_BYTES as u64);
    for _ in 0..MAX_REQUESTS {
        let start = bytes.len() as u64;
        let range = format!("bytes={start}-{}", end.saturating_sub(1));
        let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity").header(RANGE, range);
        let response = request.send().await.map_err(|error| failed(place, &error))?;
        let mut response = expect_archive(response, location, place, true).await?;
        let whole_bytes = whole_bytes(&response, start, place)?;
        let is_partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if !is_partial {
            bytes.clear();
        }
        let is_page = is_html(response.headers());
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(place, &error))? {
            bytes.extend_from_slice(&chunk);
            let needed = needed_bytes(&bytes, is_page, place)?;
            // Only an archive proves that the one of this size is not there.
            if let (Some(expected), Some(found)) = (location.size, whole_bytes)
                && expected != found
                && bytes.len() >= PREFIX_BYTES
            {
                return Err(StoreError::Absent(format!("{place}: expected {expected} bytes, found {found}")));
            }
            if bytes.len() as u64 >= needed {
                return Ok(bytes);
            }
        }
        let (found, needed) = (bytes.len() as u64, needed_bytes(&bytes, is_page, place)?);
        if !is_partial || found <= start || whole_bytes.is_some_and(|whole| found >= whole) {
            let text = format!("{place}: expected {needed} bytes of a header, found {found}");
            return Err(StoreError::failed(CauseKind::Broken, text));
        }
        end = needed;
    }
    let text = format!("{place}: expected a header after {MAX_REQUESTS} requests, found a part of it");
    Err(StoreError::failed(CauseKind::Broken, text))
}

/// Returns how many bytes of an archive that begins so its header needs, as far as these tell.
fn needed_bytes(bytes: &[u8], is_page: bool, place: &str) -> Result<u64, StoreError> {
    if bytes.len() < PREFIX_BYTES {
        return Ok(PREFIX_BYTES as u64);
    }
    match Extent::from_prefix(bytes) {
        Ok(Ok(Extent { end: needed, .. }) | Err(needed)) => Ok(needed as u64),
        Err(_) if is_page => {
            let text = format!("{place}: expected an archive, found a page of HTML");
            Err(StoreError::failed(CauseKind::Wrong, text))
        }
        Err(error) => Err(StoreError::failed(CauseKind::Broken, format!("{place}: {error}"))),
    }
}

/// Returns the size of the whole archive, if the response states it. The body of a part begins at `start`.
fn whole_bytes(response: &Response, start: u64, place: &str) -> Result<Option<u64>, StoreError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        // The length of what was encoded for the transfer is not that of the archive (RFC 9110, section 8.6).
        let is_encoded = response.headers().contains_key(CONTENT_ENCODING);
        return Ok(response.content_length().filter(|_| !is_encoded));
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    match content_range(range) {
        Some((found, _, whole)) if found == start => Ok(whole),
        _ => {
            let text = format!("{place}: expected a part from byte {start} on, found {range:?}");
            Err(StoreError::failed(CauseKind::Wrong, text))
        }
    }
}

fn failed(place: &str, error: &reqwest::Error) -> StoreError {
    StoreError::failed(CauseKind::of_http(error), format!("{place}: {}", reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_how_many_a_header_needs() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm"
        );
        let rpm = std::fs::read(path).unwrap();
        let end = artifact::header::Header::parse(&rpm).unwrap().range.end;
        let mut bytes = 0;
        for _ in 0..3 {
            bytes = needed_bytes(&rpm[..usize::try_from(bytes).unwrap()], false, "a").unwrap();
        }
        assert_eq!(bytes, end);
        assert!(needed_bytes(&[b'<'; 200], true, "a").is_err() && needed_bytes(&[0; 200], false, "a").is_err());
    }
}
