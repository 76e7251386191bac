//! Decompression within a memory limit.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::{refuse, wrap};
use crate::{Error, Result};

/// What an xz or lzma decoder may use. Level 9 needs 65 MiB; rpm itself allows 100 MiB.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
/// The largest window that a zstd frame may ask for, as a power of two: 128 MiB, zstd's own default and what `--long` makes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// What is read of the compressed payload at once.
const INPUT_BYTES: usize = 64 << 10;

/// The cpio archive inside `payload`, which is compressed with `compressor` (as [`crate::header::Header::compressor`] names it).
///
/// Payloads of several gzip members, zstd frames, bzip2 streams, xz streams or xz blocks are read whole. Errors of `payload`
/// itself come out of the reader as they are, those of the decoder as an [`io::Error`] around [`Error::Payload`].
///
/// # Errors
/// [`Error::Payload`] for an unknown compressor, [`Error::Io`] where a decoder cannot be set up.
pub fn open<'a>(compressor: Option<&str>, payload: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let input = BufReader::with_capacity(INPUT_BYTES, Source(payload));
    let (format, inner): (_, Box<dyn Read + Send + 'a>) = match compressor {
        None | Some("none" | "identity") => return Ok(Box::new(input.into_inner().0)),
        Some("gzip") => ("gzip", Box::new(MultiGzDecoder::new(input))),
        Some("bzip2") => ("bzip2", Box::new(MultiBzDecoder::new(input))),
        // Like rpm (rpmio.c, lzopen_internal), one decoder for both: it tells them apart by their first bytes.
        Some("xz" | "lzma") => {
            let stream = Stream::new_auto_decoder(XZ_MEMORY_BYTES, CONCATENATED).map_err(io::Error::from)?;
            ("xz or lzma", Box::new(XzDecoder::new_stream(input, stream)))
        }
        Some("zstd") => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            ("zstd", Box::new(decoder))
        }
        Some(other) => return refuse("gzip, bzip2, xz, lzma or zstd as compressor", format!("{other:?}")),
    };
    Ok(Box::new(Decoder { format, inner }))
}

/// Marks the errors of the compressed payload's own reader, so that they are not taken for those of a decoder.
struct Source<R>(R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // Not every decoder can go on after an interruption.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::new(error.kind(), SourceError(error))),
                Ok(read) => return Ok(read),
            }
        }
    }
}

#[derive(Debug)]
struct SourceError(io::Error);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SourceError {}

/// Says what went wrong in the words of this crate.
struct Decoder<R> {
    format: &'static str,
    inner: R,
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.downcast::<SourceError>() {
            Ok(SourceError(error)) => error,
            Err(error) => wrap(Error::Payload {
                expected: format!("a complete {} stream that needs at most 128 MiB of memory", self.format),
                found: error.to_string(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use liblzma::stream::{Check, Filters, LzmaOptions};
    use liblzma::write::XzEncoder;

    use super::super::archive::compress;
    use super::*;

    fn decompress(compressor: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let read = open(Some(compressor), bytes).unwrap().read_to_end(&mut out);
        read.map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn every_compressor_is_read() {
        let text = b"It was the best of times. ".repeat(40_000);
        for compressor in ["gzip", "bzip2", "xz", "lzma", "zstd"] {
            let compressed = compress(Some(compressor), &text);
            assert!(compressed.len() < text.len() / 10, "{compressor}");
            assert_eq!(decompress(compressor, &compressed).as_deref(), Ok(&*text), "{compressor}");
        }
        for compressor in [None, Some("none")] {
            let mut out = Vec::new();
            open(compressor, &text[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn several_streams_in_a_row_are_read_whole() {
        for compressor in ["gzip", "bzip2", "xz", "zstd"] {
            let streams = ["one ", "two ", "", "three"].map(|text| compress(Some(compressor), text.as_bytes())).concat();
            assert_eq!(decompress(compressor, &streams).as_deref(), Ok(&b"one two three"[..]), "{compressor}");
        }
    }

    #[test]
    fn several_xz_blocks_are_read_whole() {
        let text = b"It was the worst of times. ".repeat(40_000);
        let mut encoder = XzEncoder::new(Vec::new(), 2);
        for block in text.chunks(100_000) {
            encoder.write_all(block).unwrap();
            // A full flush: the next byte begins a block.
            encoder.flush().unwrap();
        }
        assert_eq!(decompress("xz", &encoder.finish().unwrap()).as_deref(), Ok(&*text));
    }

    #[test]
    fn an_unknown_compressor_is_refused_by_name() {
        let error = open(Some("lz4"), &b""[..]).err().unwrap().to_string();
        assert_eq!(error, r#"payload: expected gzip, bzip2, xz, lzma or zstd as compressor, found "lz4""#);
    }

    #[test]
    fn a_dictionary_of_256_mib_is_refused() {
        let mut options = LzmaOptions::new_preset(1).unwrap();
        options.dict_size(256 << 20);
        let xz = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32).unwrap();
        let lzma = Stream::new_lzma_encoder(&options).unwrap();
        for stream in [xz, lzma] {
            let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(b"small").unwrap();
            let error = decompress("xz", &encoder.finish().unwrap()).unwrap_err();
            assert!(error.contains("at most 128 MiB of memory, found memory limit reached"), "{error}");
        }
    }

    #[test]
    fn xz_level_9_is_within_the_limit() {
        let mut encoder = XzEncoder::new(Vec::new(), 9);
        encoder.write_all(b"large").unwrap();
        assert_eq!(decompress("xz", &encoder.finish().unwrap()).as_deref(), Ok(&b"large"[..]));
    }

    #[test]
    fn a_zstd_window_of_256_mib_is_refused_and_one_of_128_mib_is_not() {
        for (log, fits) in [(27, true), (28, false)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            // More than one block, without its size in the header: else the frame would ask for less.
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(&[7; 300_000]).unwrap();
            let result = decompress("zstd", &encoder.finish().unwrap());
            assert_eq!(result.is_ok(), fits, "{log}: {:?}", result.map(|out| out.len()));
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let text: Vec<u8> = (0..2_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for compressor in ["gzip", "bzip2", "xz", "lzma", "zstd"] {
            let compressed = compress(Some(compressor), &text);
            for end in (1..compressed.len()).step_by(7) {
                if let Ok(out) = decompress(compressor, &compressed[..end]) {
                    panic!("{compressor}: {} bytes of {} from the first {end} of {}", out.len(), text.len(), compressed.len());
                }
            }
        }
    }

    #[test]
    fn an_error_of_the_source_stays_what_it_is() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(ErrorKind::ConnectionReset, "gone"))
            }
        }
        for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
            let error = open(compressor, Broken).unwrap().read(&mut [0; 10]).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::ConnectionReset, "gone"), "{compressor:?}");
        }
    }
}
