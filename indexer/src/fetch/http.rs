//! Fetches files of stores over HTTP: exactly the header of an RPM, its payload as a stream, metadata as a whole.
//!
//! A fetch goes on with the next mirror when one fails, and comes back to those whose failure may pass. Where no mirror
//! gives any answer, the fetch goes on until [`NetworkLimits::down_timeout`]: a server that is restarted costs time and
//! no packages.
//!
//! [`NetworkLimits::down_timeout`]: super::network::NetworkLimits::down_timeout

use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::Arc;

use artifact::header::{Extent, PREFIX_BYTES};
use url::Url;

use crate::fetch::attempts::Attempts;
use crate::fetch::failure::{Failure, FetchError, FetchErrorKind};
use crate::fetch::mirrors::{Mirror, MirrorId, Mirrors};
use crate::fetch::network::{Meter, Traffic};
use crate::fetch::remote_file::RemoteFile;
use crate::fetch::response::{self, Answer, Ask};

/// Bytes of the first request for a header whose end is not known. Most headers are shorter.
const AHEAD_BYTES: u64 = 16 << 10;
/// Maximum number of requests for one header at one mirror: the first, to the lengths of the main header, to its end.
const MAX_HEADER_REQUESTS: usize = 4;

/// Fetches the files of some mirrors. Clones share everything.
#[derive(Clone)]
pub(crate) struct Fetcher(Arc<Mirrors>);

/// What a listing states about an RPM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderHint {
    /// The first byte after the main header.
    pub(crate) end: Option<u64>,
    /// The size of the whole archive in bytes. An archive of another size is refused.
    pub(crate) size: Option<u64>,
}

/// A file in memory.
#[derive(Debug)]
pub(crate) struct SmallFile {
    pub(crate) bytes: Vec<u8>,
    /// The mirror that gave it.
    pub(crate) mirror: MirrorId,
    /// The URLs that were asked for it: the mirror's, and those of redirects.
    pub(crate) hops: Vec<Url>,
}

/// The start of an RPM up to the end of its main header.
#[derive(Debug)]
pub(crate) struct FetchedHeader {
    /// Lead, signature header and main header, and no more.
    pub(crate) bytes: Vec<u8>,
    /// The size of the whole archive in bytes, if the server or the listing states it.
    pub(crate) size: Option<u64>,
    /// The mirror that gave it.
    pub(crate) mirror: MirrorId,
    /// Requests and bytes that it cost, failed ones included.
    pub(crate) cost: Arc<Traffic>,
}

impl Fetcher {
    /// Returns a fetcher for the files of `mirrors`.
    pub(crate) fn new(mirrors: Mirrors) -> Self {
        Self(Arc::new(mirrors))
    }

    /// Returns the mirrors.
    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.0
    }

    /// Fetches the header of the RPM at `path`, which is not escaped. With a hint it is one request for exactly these
    /// bytes. Servers that ignore Range are cut off as soon as the header is complete.
    ///
    /// Its structure is checked only as far as the lengths go. A caller that refuses the contents can have the
    /// mirror used last by [`Mirrors::mark_wrong`].
    ///
    /// # Errors
    /// No mirror gives an RPM of the listed size.
    pub(crate) async fn header(&self, path: &str, hint: HeaderHint) -> Result<FetchedHeader, FetchError> {
        let meter = self.0.network.meter();
        let mut attempts = Attempts::new(&self.0);
        loop {
            let attempt = attempts.next().await?;
            let found = attempts.run(&attempt, self.header_of(attempt.mirror, path, hint, &meter)).await?;
            if let Some((bytes, size)) = found {
                attempts.measure(&attempt);
                return Ok(FetchedHeader { bytes, size: size.or(hint.size), mirror: attempt.id, cost: meter.own });
            }
        }
    }

    /// Fetches a file of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// No mirror gives it.
    pub(crate) async fn small_file(&self, path: &str, max_bytes: u64) -> Result<SmallFile, FetchError> {
        let meter = self.0.network.meter();
        let mut attempts = Attempts::new(&self.0);
        loop {
            let attempt = attempts.next().await?;
            let found = attempts.run(&attempt, self.small_file_of(attempt.mirror, path, max_bytes, &meter)).await?;
            if let Some((bytes, hops)) = found {
                return Ok(SmallFile { bytes, mirror: attempt.id, hops });
            }
        }
    }

    /// Writes a file of at most `max_bytes` bytes to `file`, from its start. Goes on where a transfer broke off, maybe
    /// at another mirror: the caller checks the digest of the whole. Returns the bytes, and the mirror that gave the
    /// last ones.
    ///
    /// # Errors
    /// No mirror gives it, or it cannot be written, which is [`FetchErrorKind::Unavailable`].
    pub(crate) async fn download(
        &self,
        path: &str,
        max_bytes: u64,
        file: &mut File,
    ) -> Result<(u64, MirrorId), FetchError> {
        let local = |error: io::Error| FetchError {
            kind: FetchErrorKind::Unavailable,
            text: format!("{path}: expected to write a temporary file, found {error}"),
        };
        file.rewind().and_then(|()| file.set_len(0)).map_err(local)?;
        let mut remote = self.open(path, 0, None);
        while let Some(chunk) = remote.chunk().await? {
            if remote.position() > max_bytes {
                let text = format!("{path}: expected at most {max_bytes} bytes, found more");
                return Err(FetchError { kind: FetchErrorKind::Wrong, text });
            }
            file.write_all(&chunk).map_err(local)?;
        }
        Ok((remote.position(), remote.mirror().unwrap_or(MirrorId(0))))
    }

    /// Returns the bytes of the file at `path` from `position` on, of a file of `size` bytes if that is known.
    pub(crate) fn open(&self, path: &str, position: u64, size: Option<u64>) -> RemoteFile {
        RemoteFile::new(self.clone(), path, position, size)
    }

    async fn small_file_of(
        &self,
        mirror: &Mirror,
        path: &str,
        max_bytes: u64,
        meter: &Meter,
    ) -> Result<(Vec<u8>, Vec<Url>), Failure> {
        let mut answer = response::ask(&self.0, mirror, path, &Ask::Whole, meter).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.body.chunk().await.map_err(|failure| failure.at(path))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > max_bytes {
                return Err(Failure::wrong(format!("{path}: expected at most {max_bytes} bytes, found more")));
            }
        }
        Ok((bytes, answer.hops))
    }

    /// Fetches the header of an RPM from one mirror. Returns it with the size of the archive.
    async fn header_of(
        &self,
        mirror: &Mirror,
        path: &str,
        hint: HeaderHint,
        meter: &Meter,
    ) -> Result<(Vec<u8>, Option<u64>), Failure> {
        let mut header = HeaderBytes { bytes: Vec::new(), need: PREFIX_BYTES, is_complete: false };
        let (mut size, mut asked_end) = (hint.size, hint.end.unwrap_or(AHEAD_BYTES));
        if hint.end.is_none() {
            asked_end = size.map_or(asked_end, |size| asked_end.min(size));
        }
        for _ in 0..MAX_HEADER_REQUESTS {
            let first = header.bytes.len() as u64;
            let ask = Ask::Part(first..=asked_end.max(first + 1) - 1);
            let Answer { first: found_first, length, size: found_size, mut body, .. } =
                response::ask(&self.0, mirror, path, &ask, meter).await?;
            if let (Some(size), Some(found)) = (size, found_size)
                && size != found
            {
                return Err(Failure::wrong(format!("expected an archive of {size} bytes, found {found}")).at(path));
            }
            size = size.or(found_size);
            if found_first == 0 {
                // It ignores Range: from the start again.
                header = HeaderBytes { bytes: Vec::new(), need: PREFIX_BYTES, is_complete: false };
            }
            let before = header.bytes.len() as u64;
            while let Some(chunk) = body.chunk().await.map_err(|failure| failure.at(path))? {
                header.add(&chunk, size).map_err(|failure| failure.at(path))?;
                if header.is_complete {
                    return Ok((header.bytes, size));
                }
            }
            let received = header.bytes.len() as u64 - before;
            let is_all = length.is_some_and(|length| received >= length);
            if !is_all || received == 0 {
                let text = format!("expected {} bytes of header, found the end after {received}", header.need);
                return Err(Failure::passing(text).at(path));
            }
            asked_end = header.need as u64;
        }
        Err(Failure::wrong(format!("expected a header within {MAX_HEADER_REQUESTS} requests, found none")).at(path))
    }
}

/// The start of an RPM, as far as it was received.
struct HeaderBytes {
    bytes: Vec<u8>,
    /// Bytes that are needed to know more.
    need: usize,
    is_complete: bool,
}

impl HeaderBytes {
    /// Adds bytes of an archive of `size` bytes, and drops those behind the header.
    fn add(&mut self, chunk: &[u8], size: Option<u64>) -> Result<(), Failure> {
        self.bytes.extend_from_slice(chunk);
        while self.bytes.len() >= self.need && !self.is_complete {
            self.need = match Extent::from_prefix(&self.bytes).map_err(|error| Failure::wrong(error.to_string()))? {
                Ok(extent) => {
                    self.is_complete = extent.end <= self.bytes.len();
                    extent.end
                }
                Err(need) => need,
            };
            if let Some(size) = size.filter(|size| *size < self.need as u64) {
                let need = self.need;
                return Err(Failure::wrong(format!("expected {need} bytes of header, found an archive of {size}")));
            }
        }
        if self.is_complete {
            self.bytes.truncate(self.need);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
