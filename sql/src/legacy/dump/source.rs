//! The bytes of a dump, with their position.

use std::io::{ErrorKind, Read};

use super::{DumpError, Position, Result};

/// Size of the buffer in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A reader of single bytes that knows line and offset of the next one.
pub(super) struct Source<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    is_at_end: bool,
    position: Position,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { input, buffer, start: 0, end: 0, is_at_end: false, position: Position { line: 1, byte: 0 } }
    }

    /// The position of the next byte.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Returns the next byte and stays before it. `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        self.peek_at(0)
    }

    /// Returns the byte that many bytes after the next one.
    pub(super) fn peek_at(&mut self, distance: usize) -> Result<Option<u8>> {
        while self.start + distance >= self.end && !self.is_at_end {
            self.fill()?;
        }
        Ok(self.buffer[..self.end].get(self.start + distance).copied())
    }

    /// Passes the byte that [`Self::peek`] returned.
    pub(super) fn pass(&mut self) {
        if self.start < self.end {
            let is_line_end = self.buffer[self.start] == b'\n';
            self.start += 1;
            self.position.byte += 1;
            self.position.line += u64::from(is_line_end);
        }
    }

    /// Returns the next byte and passes it.
    pub(super) fn next(&mut self) -> Result<Option<u8>> {
        let next = self.peek()?;
        if next.is_some() {
            self.pass();
        }
        Ok(next)
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(DumpError::Io { at: self.position, source }),
            }
            return Ok(());
        }
    }
}
