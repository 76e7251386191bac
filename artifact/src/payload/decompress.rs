//! Decompression within a memory limit.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::{fill, leading_zeros, wrap};
use crate::{Error, Result};

/// The memory limit of an xz or lzma decoder. Level 9 needs 65 MiB; rpm itself allows 100 MiB.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
/// The largest window that a zstd frame may ask for, as a power of two: 128 MiB, zstd's own default and what `--long`
/// makes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The size of the buffer for compressed bytes.
const INPUT_BYTES: usize = 64 << 10;

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
}

impl Compression {
    /// The number of first bytes that identify every compression.
    pub(crate) const MAGIC_BYTES: usize = 13;

    /// Returns the compression of data that begins with `start`; [`Self::MAGIC_BYTES`] bytes are enough.
    pub(crate) fn detect(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // A frame, or a skippable one before it (RFC 8878, section 3.1.2), as parallel and seekable writers begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            start if is_lzma(start) => Some(Self::Lzma),
            _ => None,
        }
    }
}

/// True for the header of an `.lzma` file, which has no magic: properties, the dictionary's size, the size of the
/// contents. It is told as liblzma tells it.
fn is_lzma(start: &[u8]) -> bool {
    const MAX_BYTES: u64 = 1 << 38;
    let Some(([properties, dictionary @ ..], contents)) = start.split_first_chunk::<5>() else { return false };
    let Some(contents) = contents.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else { return false };
    let dictionary = u32::from_le_bytes(*dictionary);
    // A power of two, or one and a half of one.
    let is_usual =
        dictionary == u32::MAX || dictionary >= 4096 && (dictionary >> dictionary.trailing_zeros()) & !0b10 == 1;
    *properties < 9 * 5 * 5 && is_usual && (contents == u64::MAX || contents < MAX_BYTES)
}

/// The archive inside `payload`, whose first bytes tell what it is compressed with. What begins like nothing that is
/// known here is taken as it is: the archive's own reader refuses it.
///
/// Payloads of several gzip members, zstd frames, bzip2 streams, xz streams or xz blocks are read whole. Errors of
/// `payload` itself come out of the reader as they are, those of the decoder as an [`io::Error`] around
/// [`Error::Payload`].
///
/// # Errors
/// [`Error::Io`] where the first bytes cannot be read or a decoder cannot be set up.
pub fn decompress<'a>(mut payload: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; Compression::MAGIC_BYTES];
    let filled = fill(&mut payload, &mut start)?;
    let compression = Compression::detect(&start[..filled]);
    decompress_with(compression, Cursor::new(start).take(filled as u64).chain(payload))
}

/// The same, where it is known what `payload` is compressed with.
///
/// # Errors
/// [`Error::Io`] where a decoder cannot be set up.
pub(crate) fn decompress_with<'a>(
    compression: Option<Compression>,
    payload: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>> {
    let Some(compression) = compression else { return Ok(Box::new(payload)) };
    let input = BufReader::with_capacity(INPUT_BYTES, MarkedSource(payload));
    let (format, inner): (_, Box<dyn Read + Send + 'a>) = match compression {
        Compression::Gzip => ("gzip", Box::new(Gzip::new(input))),
        Compression::Bzip2 => ("bzip2", Box::new(MultiBzDecoder::new(input))),
        // Like rpm (rpmio.c, lzopen_internal), one decoder for both.
        Compression::Xz | Compression::Lzma => {
            let stream = Stream::new_auto_decoder(XZ_MEMORY_BYTES, CONCATENATED).map_err(io::Error::from)?;
            ("xz or lzma", Box::new(XzDecoder::new_stream(input, stream)))
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            ("zstd", Box::new(decoder))
        }
    };
    Ok(Box::new(Decoder::new(format, inner)))
}

/// The members of a gzip file, one after the other, until it ends; zeros may follow the last, as they do on tapes.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Gzip<R> {
    fn new(input: R) -> Self {
        Self(Some(GzDecoder::new(input)))
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut input) = self.0.take().map(GzDecoder::into_inner) else { break };
            if skip_zeros(&mut input)? {
                self.0 = Some(GzDecoder::new(input));
            }
        }
        Ok(0)
    }
}

/// True if something follows the zeros.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = leading_zeros(bytes);
        let is_end = zeros < bytes.len();
        input.consume(zeros);
        if is_end {
            return Ok(true);
        }
    }
}

/// Marks the errors of the compressed payload's own reader, so that they are not taken for those of a decoder.
pub(crate) struct MarkedSource<R>(pub(crate) R);

impl<R: Read> Read for MarkedSource<R> {
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

/// The error of a [`MarkedSource`]'s reader without its mark; any other error as it is.
pub(crate) fn source_error(error: io::Error) -> std::result::Result<io::Error, io::Error> {
    error.downcast::<SourceError>().map(|SourceError(error)| error)
}

/// Says what went wrong in the words of this crate.
pub(crate) struct Decoder<R> {
    format: &'static str,
    inner: R,
}

impl<R> Decoder<R> {
    /// A decoder of this format, which reads a [`MarkedSource`].
    pub(crate) fn new(format: &'static str, inner: R) -> Self {
        Self { format, inner }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match source_error(error) {
            Ok(error) => error,
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

    fn decompressed(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let read = decompress(bytes).unwrap().read_to_end(&mut out);
        read.map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn every_compressor_is_read() {
        let text = b"It was the best of times. ".repeat(40_000);
        for compressor in ["gzip", "bzip2", "xz", "lzma", "zstd"] {
            let compressed = compress(Some(compressor), &text);
            assert!(compressed.len() < text.len() / 10, "{compressor}");
            assert_eq!(decompressed(&compressed).as_deref(), Ok(&*text), "{compressor}");
        }
        assert_eq!(decompressed(&text).as_deref(), Ok(&*text));
    }

    #[test]
    fn concatenated_streams_are_read_whole() {
        for compressor in ["gzip", "bzip2", "xz", "zstd"] {
            let streams =
                ["one ", "two ", "", "three"].map(|text| compress(Some(compressor), text.as_bytes())).concat();
            assert_eq!(decompressed(&streams).as_deref(), Ok(&b"one two three"[..]), "{compressor}");
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
        assert_eq!(decompressed(&encoder.finish().unwrap()).as_deref(), Ok(&*text));
    }

    #[test]
    fn skippable_frames_and_padding_are_skipped() {
        let text = b"It was the age of wisdom. ".repeat(4000);
        let skippable = |number: u8, contents: &[u8]| {
            let length = u32::try_from(contents.len()).unwrap().to_le_bytes();
            [&[0x50 | number, 0x2a, 0x4d, 0x18], &length[..], contents].concat()
        };
        let zstd = compress(Some("zstd"), &text);
        let xz = compress(Some("xz"), &text);
        let gzip = compress(Some("gzip"), &text);
        for file in [
            [&skippable(0, b"1234")[..], &zstd].concat(),
            [&skippable(15, b"")[..], &skippable(3, &[7; 100_000]), &zstd, &skippable(14, b"a table of frames")]
                .concat(),
            [&zstd::encode_all(&b""[..], 1).unwrap()[..], &zstd].concat(),
            [&xz[..], &[0; 8]].concat(),
            [&compress(Some("xz"), b"")[..], &[0; 4], &xz].concat(),
            [&compress(Some("gzip"), b"")[..], &gzip].concat(),
            [&gzip[..], &[0; 10_000]].concat(),
            [&compress(Some("bzip2"), b"")[..], &compress(Some("bzip2"), &text)].concat(),
        ] {
            assert_eq!(decompressed(&file).as_deref(), Ok(&*text), "{:02x?}", &file[..8]);
            for end in 1..24 {
                let cut = decompressed(&file[..file.len() - end]);
                assert!(cut.is_err() || cut.is_ok_and(|out| out == text), "{:02x?}, {end}", &file[..8]);
            }
        }
        assert!(decompressed(&[&gzip[..], b"no gzip"].concat()).is_err());
    }

    #[test]
    fn lzma_files_are_detected_by_their_headers() {
        for (preset, dictionary) in
            [(0, None), (6, None), (9, None), (1, Some(4096)), (1, Some(3 << 20)), (1, Some(100_000))]
        {
            let mut options = LzmaOptions::new_preset(preset).unwrap();
            dictionary.map(|bytes| options.dict_size(bytes));
            let mut encoder = XzEncoder::new_stream(Vec::new(), Stream::new_lzma_encoder(&options).unwrap());
            encoder.write_all(b"small").unwrap();
            let file = encoder.finish().unwrap();
            assert_eq!(Compression::detect(&file), Some(Compression::Lzma), "{:02x?}", &file[..13]);
        }
        for other in [
            "070701",
            "070702",
            "]]]]]]]]]]]]]",
            "usr/bin/hello",
            "PK\x03\x04aaaaaaaaa",
            "<html></html>",
            "!<arch>\naaaaa",
        ] {
            assert_eq!(Compression::detect(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Compression::detect(&[0; 13]), None);
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
            let error = decompressed(&encoder.finish().unwrap()).unwrap_err();
            assert!(error.contains("at most 128 MiB of memory, found memory limit reached"), "{error}");
        }
    }

    #[test]
    fn xz_level_9_is_within_the_limit() {
        let mut encoder = XzEncoder::new(Vec::new(), 9);
        encoder.write_all(b"large").unwrap();
        assert_eq!(decompressed(&encoder.finish().unwrap()).as_deref(), Ok(&b"large"[..]));
    }

    #[test]
    fn a_zstd_window_of_256_mib_is_refused_and_one_of_128_mib_is_not() {
        for (log, fits) in [(27, true), (28, false)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            // More than one block, without its size in the header: else the frame would ask for less.
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(&[7; 300_000]).unwrap();
            let result = decompressed(&encoder.finish().unwrap());
            assert_eq!(result.is_ok(), fits, "{log}: {:?}", result.map(|out| out.len()));
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let text: Vec<u8> =
            (0..2_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for compressor in ["gzip", "bzip2", "xz", "lzma", "zstd"] {
            let compressed = compress(Some(compressor), &text);
            for end in (Compression::MAGIC_BYTES..compressed.len()).step_by(7) {
                if let Ok(out) = decompressed(&compressed[..end]) {
                    panic!(
                        "{compressor}: {} bytes of {} from the first {end} of {}",
                        out.len(),
                        text.len(),
                        compressed.len()
                    );
                }
            }
        }
    }

    #[test]
    fn an_error_of_the_source_is_passed_on() {
        struct AlwaysReset;
        impl Read for AlwaysReset {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(ErrorKind::ConnectionReset, "gone"))
            }
        }
        for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
            let start = compress(compressor, b"It was the epoch of belief");
            let error = decompress(start[..14].chain(AlwaysReset)).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::ConnectionReset, "gone"),
                "{compressor:?}"
            );
        }
        assert!(matches!(decompress(AlwaysReset), Err(Error::Io(error)) if error.to_string() == "gone"));
    }
}
