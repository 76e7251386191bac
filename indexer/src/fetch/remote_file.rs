//! A file over HTTP from some byte on, which goes on where a transfer broke off.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::fetch::attempts::{Attempts, MAX_PASSING};
use crate::fetch::failure::{Failure, FetchError};
use crate::fetch::http::Fetcher;
use crate::fetch::mirrors::{Mirror, MirrorId};
use crate::fetch::network::{Meter, Traffic};
use crate::fetch::response::{self, Ask, Body};

/// Maximum number of transfers of one file that broke off.
const MAX_BROKEN_OFF: u32 = 64;
/// Maximum number of transfers of one file that stalled or were too slow.
const MAX_STALLED: u32 = 6;

/// A file of the mirrors from some byte on. Goes on where a transfer broke off.
pub(crate) struct RemoteFile {
    fetcher: Fetcher,
    path: String,
    position: u64,
    size: Option<u64>,
    meter: Meter,
    mirror: Option<MirrorId>,
    body: Option<Body>,
    /// Transfers in a row that broke off without a byte.
    broken_off: u32,
    /// Transfers that broke off.
    all_broken_off: u32,
    /// Of these: stalled, or too slow.
    stalled: u32,
}

impl RemoteFile {
    pub(super) fn new(fetcher: Fetcher, path: &str, position: u64, size: Option<u64>) -> Self {
        let meter = fetcher.mirrors().network.meter();
        Self {
            fetcher,
            path: path.to_owned(),
            position,
            size,
            meter,
            mirror: None,
            body: None,
            broken_off: 0,
            all_broken_off: 0,
            stalled: 0,
        }
    }

    /// Returns the position of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the mirror that gave the last bytes.
    pub(crate) fn mirror(&self) -> Option<MirrorId> {
        self.mirror
    }

    /// Returns the requests and bytes so far.
    pub(crate) fn cost(&self) -> &Traffic {
        &self.meter.own
    }

    /// Returns the next bytes; `None` at the end of the file.
    ///
    /// # Errors
    /// No mirror gives them.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let network = Arc::clone(&self.fetcher.mirrors().network);
        loop {
            if self.size.is_some_and(|size| self.position >= size) {
                self.body = None;
                return Ok(None);
            }
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let (body, mirror) = self.reopen().await?;
                    self.mirror = Some(mirror);
                    self.body.insert(body)
                }
            };
            let began = Instant::now();
            let chunk = tokio::select! {
                chunk = body.chunk() => chunk,
                () = network.stopped() => {
                    return Err(FetchError::stopped());
                }
            };
            let failure = match chunk {
                Ok(Some(chunk)) => {
                    self.broken_off = 0;
                    self.position += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.size.is_none() => return Ok(None),
                Ok(None) => {
                    let (size, found) = (self.size.unwrap_or_default(), self.position);
                    Failure::passing(format!("expected {size} bytes, found the end after {found}"))
                }
                Err(failure) => failure,
            };
            self.body = None;
            self.broken_off += 1;
            self.all_broken_off += 1;
            self.stalled += u32::from(failure.is_stalled);
            if let Some(mirror) = self.mirror {
                self.fetcher.mirrors().failed(mirror, began, failure.kind);
            }
            let is_too_slow = self.stalled >= MAX_STALLED;
            if self.broken_off >= MAX_PASSING || self.all_broken_off >= MAX_BROKEN_OFF || is_too_slow {
                return Err(failure.at(&self.path).into_error());
            }
        }
    }

    /// Asks for the bytes from the position on, and passes over those before it where Range is ignored.
    async fn reopen(&mut self) -> Result<(Body, MirrorId), FetchError> {
        let mut attempts = Attempts::new(self.fetcher.mirrors());
        loop {
            let attempt = attempts.next().await?;
            if let Some((body, size)) = attempts.run(&attempt, self.open_at(attempt.mirror)).await? {
                let id = attempt.id;
                self.size = self.size.or(size);
                return Ok((body, id));
            }
        }
    }

    /// Returns the body of one mirror from the position on, and the size of the file if it is stated.
    async fn open_at(&self, mirror: &Mirror) -> Result<(Body, Option<u64>), Failure> {
        let (position, path) = (self.position, self.path.as_str());
        let ask = if position == 0 { Ask::Whole } else { Ask::From(position) };
        let mut answer = response::ask(self.fetcher.mirrors(), mirror, path, &ask, &self.meter).await?;
        if let (Some(size), Some(found)) = (self.size, answer.size)
            && size != found
        {
            return Err(Failure::wrong(format!("expected a file of {size} bytes, found {found}")).at(path));
        }
        let mut before = position - answer.first.min(position);
        let mut rest = None;
        while before > 0 {
            let Some(chunk) = answer.body.chunk().await.map_err(|failure| failure.at(path))? else {
                let found = position - before;
                let text = format!("expected more than {position} bytes, found the end after {found}");
                return Err(Failure::passing(text).at(path));
            };
            let passed = before.min(chunk.len() as u64);
            before -= passed;
            // The rest of the chunk belongs to the caller.
            rest = usize::try_from(passed).ok().map(|passed| chunk.slice(passed..)).filter(|rest| !rest.is_empty());
        }
        answer.body.put_back(rest);
        Ok((answer.body, answer.size))
    }

    /// Returns a reader for threads that may block.
    pub(crate) fn into_reader(self, runtime: Handle) -> RemoteFileReader {
        RemoteFileReader { file: self, runtime, rest: Bytes::new() }
    }
}

/// Reads a remote file on a thread that may block.
pub(crate) struct RemoteFileReader {
    file: RemoteFile,
    runtime: Handle,
    rest: Bytes,
}

impl RemoteFileReader {
    /// Returns the requests and bytes so far.
    pub(crate) fn cost(&self) -> &Traffic {
        self.file.cost()
    }
}

impl Read for RemoteFileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.runtime.block_on(self.file.chunk())? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        let (read, into) = (self.rest.split_to(length), buffer.get_mut(..length));
        into.map_or(Ok(0), |into| {
            into.copy_from_slice(&read);
            Ok(length)
        })
    }
}
