//! Archives in a store over HTTP: fetched below the store's URL and nowhere else.
//!
//! Absence needs proof: one of the store's statuses for it, or an archive of the right format with other contents. A
//! page of HTML, as clients without a login get it, proves nothing.

use std::io::{self, BufReader, Cursor, Read};
use std::time::Duration;

use artifact::{Format, formats};
use futures::TryStreamExt;
use http_client::{is_html, is_refusal, reason, refused_redirect};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::{Response, StatusCode};
use sql::Location;
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::parts::Parts;
use super::{Archives, Bytes, Expected, READ_BYTES, ended_early, place, read_header, url};
use crate::providers::StoreError;
use crate::resolve::outcome::CauseKind;

/// An archive over HTTP has to begin within this time, an RPM's header to be there.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

impl Archives {
    pub(super) async fn open_remote(&self, expected: Expected, location: &Location) -> Result<Bytes, StoreError> {
        let (place, Expected { format, identity }, size) = (place(location), expected, location.size);
        let Some(url) = url(location) else {
            return Err(StoreError::Absent(format!("{place}: not below the URL of its store")));
        };
        let (client, location) = (self.clients.of(&location.store)?, location.clone());
        let name = location.store.name.clone();
        let fetch = async move {
            // The archive's own bytes: a compressed transfer would hide where the payload begins.
            let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            let response = request.send().await.map_err(|error| {
                StoreError::failed(CauseKind::of_http(&error), format!("{place}: {}", reason(&error)))
            })?;
            let response = expect_archive(response, &location, &place, false).await?;
            let is_page = is_html(response.headers());
            // The length of what was encoded for the transfer is not that of the archive (RFC 9110, section 8.6).
            let is_encoded = response.headers().contains_key(CONTENT_ENCODING);
            let length = response.content_length();
            let bytes = length.filter(|_| !is_encoded).or(size);
            let parts = bytes.map(|bytes| Parts::of_url(client, url, bytes));
            let from = place.clone();
            let body =
                response.bytes_stream().map_err(move |error| io::Error::other(format!("{from}: {}", reason(&error))));
            let body = SyncIoBridge::new(StreamReader::new(body));
            spawn_blocking(move || -> Result<Bytes, StoreError> {
                let mut body = BufReader::with_capacity(READ_BYTES, body);
                if format == Format::Rpm {
                    let header = Some(read_header(&mut body, identity, &place)?);
                    return Ok(Bytes { header, rest: formats::ArchiveBytes::Stream(Box::new(body)), parts });
                }
                let mut start = Vec::with_capacity(Format::START_BYTES);
                let read = body.by_ref().take(Format::START_BYTES as u64).read_to_end(&mut start);
                read.map_err(|error| StoreError::failed(CauseKind::of_io(&error), error.to_string()))?;
                let other_length = length.zip(size).filter(|(found, size)| found != size);
                // A page that is compressed begins like a compressed archive, and so does an archive that was
                // compressed once more.
                if !format.can_begin_with(&start) || ((is_page || is_encoded) && other_length.is_some()) {
                    let (format, shown) = (format.as_str(), faster_hex::hex_string(&start[..start.len().min(8)]));
                    let found = match (is_page, is_encoded) {
                        (true, _) => "a page of HTML",
                        (false, true) => "encoded bytes",
                        (false, false) => "other bytes",
                    };
                    let text = format!("{place}: expected an archive of format {format}, found {found} ({shown})");
                    return Err(StoreError::failed(CauseKind::Wrong, text));
                }
                if let Some((found, size)) = other_length {
                    return Err(StoreError::Absent(format!("{place}: expected {size} bytes, found {found}")));
                }
                Ok(Bytes {
                    header: None,
                    rest: formats::ArchiveBytes::Stream(Box::new(Cursor::new(start).chain(body))),
                    parts,
                })
            })
            .await
            .unwrap_or_else(|error| Err(ended_early(&error)))
        };
        let timed = self.runtime.spawn(tokio::time::timeout(HEADER_TIMEOUT, fetch));
        match timed.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => {
                let text =
                    format!("store {name}: expected the start of an archive within {HEADER_TIMEOUT:?}, found none");
                Err(StoreError::failed(CauseKind::Timeout, text))
            }
            Err(error) => Err(ended_early(&error)),
        }
    }
}

/// The response, if it has an archive, or where `is_part` a part of one.
///
/// # Errors
/// Its status proves absence, or is another one.
pub(super) async fn expect_archive(
    response: Response,
    location: &Location,
    place: &str,
    is_part: bool,
) -> Result<Response, StoreError> {
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::PARTIAL_CONTENT if is_part => Ok(response),
        status if location.store.absent_statuses.contains(status.as_u16()) => Err(absence(response, place).await),
        status if status.is_redirection() => {
            let text = format!("{place}: {}", refused_redirect(&response));
            Err(StoreError::failed(CauseKind::Refused, text))
        }
        status => {
            let expected = if is_part { "200 or 206" } else { "200" };
            Err(StoreError::failed(CauseKind::Refused, format!("{place}: expected {expected}, found {status}")))
        }
    }
}

/// What a status that stands for absence proves.
async fn absence(mut response: Response, place: &str) -> StoreError {
    let status = response.status();
    if is_refusal(&mut response).await {
        let text = format!("{place}: expected an archive, found {status} with a page of HTML");
        return StoreError::failed(CauseKind::Wrong, text);
    }
    StoreError::Absent(format!("{place}: {status}"))
}
