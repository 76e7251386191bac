//! Archives in a store over HTTP: fetched below the store's URL and nowhere else.

use std::io::{self, BufReader};
use std::time::Duration;

use artifact::Format;
use futures::TryStreamExt;
use reqwest::StatusCode;
use sql::{Location, StoredPackage};
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::parts::Parts;
use super::{Archives, Bytes, READ_BYTES, ended_early, place, read_header, url};
use crate::failure::Failure;
use crate::http_client::reason;

/// A header over HTTP has to be there within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

impl Archives {
    pub(super) async fn open_remote(&self, package: &StoredPackage, location: &Location) -> Result<Bytes, Failure> {
        let (place, format, size) = (place(location), package.package.format, location.size);
        let Some(url) = url(location) else {
            return Err(Failure::Absent(format!("{place}: not below the URL of its store")));
        };
        let (client, identity) = (self.client.clone(), package.package.identity);
        let fetch = async move {
            // The archive's own bytes: a compressed transfer would hide where the payload begins.
            let request = client.get(url.clone()).header("Accept-Encoding", "identity");
            let response = request.send().await.map_err(|error| Failure::Unknown(format!("{place}: {}", reason(&error))))?;
            match response.status() {
                StatusCode::OK => {}
                // Object stores without listing rights answer 403 for what they do not have.
                status @ (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN) => {
                    return Err(Failure::Absent(format!("{place}: {status}")));
                }
                status if status.is_redirection() => {
                    return Err(Failure::Unknown(format!(
                        "{place}: redirects to a host that stores.redirect_hosts does not allow"
                    )));
                }
                status => return Err(Failure::Unknown(format!("{place}: expected 200, found {status}"))),
            }
            if let (false, Some(found)) = (format == Format::Rpm, response.content_length().filter(|found| *found != size)) {
                return Err(Failure::Absent(format!("{place}: expected {size} bytes, found {found}")));
            }
            let parts = Parts::of_url(client, url, response.content_length().unwrap_or(size));
            let from = place.clone();
            let body = response.bytes_stream().map_err(move |error| io::Error::other(format!("{from}: {}", reason(&error))));
            let body = SyncIoBridge::new(StreamReader::new(body));
            spawn_blocking(move || -> Result<Bytes, Failure> {
                let mut body = BufReader::with_capacity(READ_BYTES, body);
                let header = if format == Format::Rpm { Some(read_header(&mut body, identity, &place)?) } else { None };
                Ok(Bytes { header, rest: Box::new(body), parts: Some(parts) })
            })
            .await
            .unwrap_or_else(|error| Err(ended_early(error)))
        };
        let timed = self.runtime.spawn(tokio::time::timeout(HEADER_TIMEOUT, fetch));
        match timed.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(Failure::Unknown(format!("store {}: no header within {HEADER_TIMEOUT:?}", location.store.name))),
            Err(error) => Err(ended_early(error)),
        }
    }
}
