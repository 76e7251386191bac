//! Any part of an archive that was opened: of a file on a disk as it is; over HTTP by Range requests, which not every
//! store honours.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use futures::TryStreamExt;
use http_client::{Client, content_range, reason};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use super::local_file::LocalFile;

/// Parts of an archive.
pub(crate) struct Parts {
    archive: Archive,
    /// Bytes of the whole archive.
    bytes: u64,
}

enum Archive {
    File(LocalFile),
    Url { client: Client, url: Url, runtime: Handle },
}

/// A part over HTTP has to begin within this time.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Parts {
    /// Of a file that is open.
    pub(super) fn of_file(file: LocalFile) -> io::Result<Self> {
        let bytes = file.size()?;
        Ok(Self { archive: Archive::File(file), bytes })
    }

    /// Of what a URL has, of which `bytes` were said to be there.
    pub(super) fn of_url(client: Client, url: Url, bytes: u64) -> Self {
        Self { archive: Archive::Url { client, url, runtime: Handle::current() }, bytes }
    }

    /// Bytes of the whole archive.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Some of its bytes. For threads that may block.
    ///
    /// # Errors
    /// The file cannot be read; the store does not answer, or not with this range of as many bytes.
    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Box<dyn Read + Send>> {
        let bytes = range.end.saturating_sub(range.start);
        match &self.archive {
            Archive::File(file) => Ok(Box::new(FilePart { file: file.clone(), at: range.start }.take(bytes))),
            Archive::Url { client, url, runtime } => {
                let body = runtime.block_on(fetch(client, url.clone(), &range, self.bytes))?;
                Ok(Box::new(body.take(bytes)))
            }
        }
    }
}

/// Content-Range (RFC 9110, section 14.4) states the size of the whole, or `*`; if it is another than before, the
/// archive was replaced.
async fn fetch(client: &Client, url: Url, range: &Range<u64>, bytes: u64) -> io::Result<impl Read + Send + use<>> {
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let request = client.get(url).header(ACCEPT_ENCODING, "identity").header(RANGE, format!("bytes={first}-{last}"));
    let response = tokio::time::timeout(TIMEOUT, request.send()).await;
    let response = response.map_err(io::Error::other)?.map_err(|error| io::Error::other(reason(&error)))?;
    let found = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let is_part = content_range(found).is_some_and(|(found_first, found_last, size)| {
        (found_first, found_last) == (first, last) && size.is_none_or(|size| size == bytes)
    });
    if response.status() != StatusCode::PARTIAL_CONTENT || !is_part {
        let text =
            format!("expected 206 with bytes {first}-{last}/{bytes}, found {} with {found:?}", response.status());
        return Err(io::Error::other(text));
    }
    let body = response.bytes_stream().map_err(|error| io::Error::other(reason(&error)));
    Ok(SyncIoBridge::new(StreamReader::new(body)))
}

/// A file from some byte on.
struct FilePart {
    file: LocalFile,
    at: u64,
}

impl Read for FilePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
