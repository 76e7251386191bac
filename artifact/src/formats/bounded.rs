//! An unpacked archive of which at most a number of bytes is read: what is compressed may unfold without end.

use std::io::{self, BufReader, ErrorKind, Read};

use crate::Error;
use crate::payload::wrap;

/// The archive. Reading more than the limit is [`Error::Payload`].
pub(super) struct BoundedArchive<'a> {
    pub(super) input: BufReader<Box<dyn Read + Send + 'a>>,
    /// Bytes that may still be read.
    pub(super) rest: u64,
    pub(super) max_bytes: u64,
    /// The word for the archive's format in errors.
    format: &'static str,
}

impl<'a> BoundedArchive<'a> {
    pub(super) fn new(format: &'static str, archive: Box<dyn Read + Send + 'a>, max_bytes: u64) -> Self {
        Self { input: BufReader::with_capacity(64 << 10, archive), rest: max_bytes, max_bytes, format }
    }

    /// The number of bytes that were read.
    pub(super) fn position(&self) -> u64 {
        self.max_bytes - self.rest
    }

    pub(super) fn too_large(&self) -> Error {
        let expected = format!("at most {} bytes in a {} archive", self.max_bytes, self.format);
        Error::Payload { expected, found: "more".into() }
    }
}

impl Read for BoundedArchive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest == 0 && !buffer.is_empty() {
            return Err(wrap(self.too_large()));
        }
        let max = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        let read = loop {
            match self.input.read(&mut buffer[..max]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.rest -= read as u64;
        Ok(read)
    }
}
