//! The lines of a document, bounded; and how its first bytes are read.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use crate::error::unwrap;
use crate::{Error, Result};

/// The maximum length of a line. `Build-Ids` of a kernel is the longest known, 300 KiB.
const MAX_LINE_BYTES: usize = 4 << 20;

/// The lines of a document.
pub(crate) struct Lines<R> {
    document: &'static str,
    input: BufReader<R>,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(document: &'static str, input: R) -> Self {
        Self { document, input: BufReader::with_capacity(64 << 10, input), number: 0, buffer: Vec::new() }
    }

    /// The next line, without its end; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Document`] where it is longer than 4 MiB; the errors of the input's own reader.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>> {
        self.buffer.clear();
        let max = MAX_LINE_BYTES as u64 + 1;
        let read = self.input.by_ref().take(max).read_until(b'\n', &mut self.buffer).map_err(unwrap)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.len() > MAX_LINE_BYTES {
            return self.refuse("lines of at most 4 MiB", "a longer one");
        }
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// An error at the last line.
    pub(crate) fn refuse<T>(&self, expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
        let (document, line) = (self.document, self.number);
        Err(Error::Document { document, line, expected: expected.into(), found: found.into() })
    }
}

/// Reads until `buffer` is full or the input ends. Returns the number of bytes read.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unwrap(error)),
        }
    }
    Ok(filled)
}
