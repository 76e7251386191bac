//! Compressed metadata files. The first bytes tell the compression, whatever the name ends with.

use std::io::{self, Cursor, ErrorKind, Read};

use crate::error::{of_artifact, wrap};
use crate::lines::fill;
use crate::{Error, Result};

/// The magic of zchunk files (zchunk_format.txt), and of a header that is detached from its file.
const ZCHUNK: [&[u8; 5]; 2] = [b"\0ZCK1", b"\0ZHR1"];

/// The text of a metadata file: gzip, xz or lzma, bzip2, zstd, or plain. Decoders use at most 128 MiB of memory.
///
/// Of the text, at most `max_bytes` can be read. One byte more is an [`io::Error`] around [`Error::Size`]: what is
/// compressed may unfold without end. Broken compression is one around [`Error::Compression`]. Messages call the file
/// `name`.
///
/// # Errors
/// [`Error::Compression`] where the file is zchunk's, [`Error::Io`] where its first bytes cannot be read.
pub fn open<'a>(mut file: impl Read + Send + 'a, name: &str, max_bytes: u64) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 5];
    let filled = fill(&mut file, &mut start)?;
    if ZCHUNK.contains(&&start) {
        return Err(Error::Compression {
            name: name.into(),
            expected: "gzip, xz, bzip2, zstd or no compression".into(),
            found: "zchunk, whose plain sibling has another name in repomd.xml".into(),
        });
    }
    let file = Cursor::new(start).take(filled as u64).chain(file);
    let text = artifact::payload::decompress(file).map_err(|error| of_artifact(error, name))?;
    Ok(Box::new(BoundedText { text, name: name.into(), max_bytes, rest: max_bytes }))
}

struct BoundedText<R> {
    text: R,
    name: String,
    max_bytes: u64,
    rest: u64,
}

impl<R: Read> Read for BoundedText<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // At the limit one byte shows whether there are more.
        let max = usize::try_from(self.rest.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let read = loop {
            match self.text.read(buffer.get_mut(..max).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(match error.downcast::<artifact::Error>() {
                        Ok(error) => wrap(of_artifact(error, &self.name)),
                        Err(error) => error,
                    });
                }
                Ok(read) => break read as u64,
            }
        };
        let Some(rest) = self.rest.checked_sub(read) else {
            let (name, expected) = (self.name.clone(), format!("at most {} bytes unpacked", self.max_bytes));
            return Err(wrap(Error::Size { name, expected, found: "more".into() }));
        };
        self.rest = rest;
        Ok(usize::try_from(read).unwrap_or(max))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn compress(program: &str, text: &[u8]) -> Vec<u8> {
        let mut child =
            Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    fn text(file: &[u8], max_bytes: u64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut reader = open(file, "primary.xml", max_bytes).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut out).map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn every_compression_is_read_up_to_the_limit() {
        let plain = b"<metadata/>".repeat(1000);
        let bytes = plain.len() as u64;
        for program in ["gzip", "xz", "bzip2", "zstd", "cat"] {
            let file = if program == "cat" { plain.clone() } else { compress(program, &plain) };
            assert_eq!(text(&file, bytes).as_deref(), Ok(&*plain), "{program}");
            let error = text(&file, bytes - 1).unwrap_err();
            assert_eq!(error, "primary.xml: expected at most 10999 bytes unpacked, found more", "{program}");
            if program != "cat" {
                let error = text(&file[..file.len() - 9], bytes).unwrap_err();
                assert!(error.starts_with("primary.xml: expected a complete "), "{program}: {error}");
            }
        }
        assert_eq!(text(b"", 0).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn zchunk_is_refused() {
        let error = text(b"\0ZCK1abcdef", 100).unwrap_err();
        assert!(error.contains("expected gzip, xz, bzip2, zstd or no compression, found zchunk"), "{error}");
    }
}
