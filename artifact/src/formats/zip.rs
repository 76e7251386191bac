//! A walk over the members of a zip archive (APPNOTE.TXT of PKWARE): Python wheels, NuGet packages, artifacts of
//! continuous integration.
//!
//! The `zip` crate reads the directory at the archive's end, which is the authority: sizes in local headers may be
//! missing. Contents are decompressed here, within the memory limits of [`payload`](crate::payload).

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use memchr::memmem;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, DateTime, ExtraField, ZipArchive};

use super::Seekable;
use super::member::{ArchiveMember, Each, MemberKind};
use crate::payload::{
    Compression, Decoder, MarkedSource, decompress_with, fill, refuse, source_error, starting_with, unwrap, wrap,
};
use crate::{Error, Result, elf, path};

/// The maximum read to find the members: the directory, 46 bytes and a name for each, and up to 64 KiB of a comment.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;
/// The bits of the file type in a Unix mode.
const TYPE_BITS: u32 = 0o170_000;
/// Directory, symbolic link, character and block device. What Info-ZIP reads from standard input is a FIFO by its mode,
/// and has contents.
const OTHER_TYPES: [u32; 4] = [0o040_000, 0o120_000, 0o020_000, 0o060_000];
/// The start of a multi-volume archive, also of one that fits into the first volume.
const SPANNING_MARKER: &[u8] = b"PK\x07\x08";
const END_MAGIC: &[u8] = b"PK\x05\x06";
/// The record at the archive's end, and the longest comment behind it.
const MAX_END_BYTES: u64 = 22 + u16::MAX as u64;

/// True if a zip archive begins with these bytes: a member, or the end of an archive without members.
pub(super) fn is_start(start: &[u8]) -> bool {
    [b"PK\x03\x04", END_MAGIC, SPANNING_MARKER].iter().any(|magic| start.starts_with(magic))
}

/// True if these bytes begin what is often put before the first member of a zip archive: a script's first line
/// (Python's zipapp, executable jars), a program of Windows, an ELF file (archives that extract themselves).
pub(super) fn is_prefix(start: &[u8]) -> bool {
    start.starts_with(b"#!") || start.starts_with(b"MZ") || start.starts_with(&elf::MAGIC)
}

/// True if `archive` has the record that ends a zip archive, whatever stands before its first member. Leaves it at its
/// first byte.
pub(super) fn has_end(archive: &mut (impl Read + Seek)) -> Result<bool> {
    let bytes = archive.seek(SeekFrom::End(0))?;
    archive.seek(SeekFrom::Start(bytes.saturating_sub(MAX_END_BYTES)))?;
    let mut end = Vec::new();
    archive.take(MAX_END_BYTES).read_to_end(&mut end).map_err(unwrap)?;
    archive.rewind()?;
    Ok(memmem::rfind(&end, END_MAGIC).is_some())
}

/// Calls `each` with the members of an archive of `archive_bytes` bytes from number `first` on. They may unfold to
/// `max_bytes` bytes. Encrypted members are no files, because their passwords are unknown; neither are
/// those in a compression that is not read here.
///
/// # Errors
/// [`Error::Payload`] where the archive is broken or larger than allowed.
pub(super) fn walk(
    archive: Box<dyn Seekable + '_>,
    archive_bytes: u64,
    max_bytes: u64,
    first: u32,
    each: &mut Each<'_>,
) -> Result<()> {
    let budget = Arc::new(AtomicU64::new(MAX_DIRECTORY_BYTES));
    let bounded = BoundedReads { archive: MarkedSource(archive), budget: budget.clone() };
    let mut zip = ZipArchive::new(bounded).map_err(broken)?;
    budget.store(u64::MAX, Ordering::Relaxed);
    let (mut stored, mut unfolded) = (0_u64, 0_u64);
    for index in 0..zip.len() {
        let member = zip.by_index_data(index).map_err(broken)?;
        stored = stored.saturating_add(member.compressed_size());
        unfolded = unfolded.saturating_add(member.size());
    }
    // Members that share bytes make a small archive unfold to petabytes.
    if stored > archive_bytes {
        return refuse(format!("members of at most {archive_bytes} bytes in a zip archive"), format!("{stored} bytes"));
    }
    if unfolded > max_bytes {
        return refuse(format!("at most {max_bytes} bytes of contents in a zip archive"), unfolded.to_string());
    }
    for (index, ordinal) in (0..zip.len()).zip(0..).skip(first as usize) {
        let file = zip.by_index_raw(index).map_err(broken)?;
        let member = member(&file, ordinal);
        let method = Method::of(file.compression());
        let mut contents = ZipContents {
            size: member.size,
            read: 0,
            crc: Crc::new(),
            expected: file.crc32(),
            input: Box::new(io::empty()),
        };
        if let (MemberKind::Regular, Some(method)) = (&member.kind, method) {
            contents.input = method.open(file)?;
        }
        if each(&member, &mut contents)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn member(file: &ZipFile<'_, impl Read>, ordinal: u32) -> ArchiveMember {
    let name =
        file.name().map_or_else(|_| String::from_utf8_lossy(file.name_raw()).into_owned(), |name| name.into_owned());
    // Some programs of Windows write its own separator, against the specification.
    let name = if name.contains('/') { name } else { name.replace('\\', "/") };
    let is_regular =
        file.unix_mode().is_none_or(|mode| !OTHER_TYPES.contains(&(mode & TYPE_BITS))) && !name.ends_with('/');
    let is_readable = !file.encrypted() && Method::of(file.compression()).is_some();
    let kind = if is_regular && is_readable { MemberKind::Regular } else { MemberKind::Other };
    let stamps = file.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    let mtime = stamps.map_or_else(|| file.last_modified().map_or(0, seconds), i64::from);
    let size = if kind == MemberKind::Regular { file.size() } else { 0 };
    ArchiveMember { ordinal, path: path::canonical(&name), kind, size, mtime, tar_offset: None }
}

/// A compression that is read.
enum Method {
    Stored,
    Deflate,
    /// Whose streams have a header of their own in a zip archive.
    Lzma,
    Other(Compression),
}

impl Method {
    fn of(method: CompressionMethod) -> Option<Self> {
        Some(match method {
            CompressionMethod::STORE => Self::Stored,
            CompressionMethod::DEFLATE => Self::Deflate,
            CompressionMethod::LZMA => Self::Lzma,
            CompressionMethod::BZIP2 => Self::Other(Compression::Bzip2),
            CompressionMethod::ZSTD => Self::Other(Compression::Zstd),
            CompressionMethod::XZ => Self::Other(Compression::Xz),
            _ => return None,
        })
    }

    /// The contents of a member, decompressed.
    fn open<'a>(self, file: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Stored => Box::new(Decoder::new("zip", file)),
            Self::Deflate => Box::new(Decoder::new("deflate", DeflateDecoder::new(BufReader::new(file)))),
            Self::Lzma => open_lzma(file)?,
            Self::Other(compression) => decompress_with(Some(compression), file)?,
        })
    }
}

/// Bytes before the properties: version and length of them.
const LZMA_PREFIX: [u8; 2] = [5, 0];

/// A member's LZMA stream (APPNOTE 5.8) as the `.lzma` file that a decoder reads: its header has the size of the
/// contents, here unknown.
fn open_lzma<'a>(mut file: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 9];
    let filled = fill(&mut file, &mut start)?;
    if filled < start.len() || start[2..4] != LZMA_PREFIX {
        return refuse("properties of 5 bytes before an LZMA stream in a zip archive", starting_with(&start[..filled]));
    }
    let mut header = [0xff; 13];
    header[..5].copy_from_slice(&start[4..]);
    decompress_with(Some(Compression::Lzma), Cursor::new(header).chain(file))
}

/// Seconds since 1970 of a time without a zone, which is taken for UTC.
fn seconds(time: DateTime) -> i64 {
    // Days by the civil calendar, in years that begin with March.
    let (year, month) = (i64::from(time.year()), i64::from(time.month()));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + i64::from(time.day()) - 1 - 719_468;
    ((days * 24 + i64::from(time.hour())) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second())
}

/// The contents of one member, compared with its size and its checksum when they end.
struct ZipContents<'a> {
    input: Box<dyn Read + Send + 'a>,
    size: u64,
    read: u64,
    crc: Crc,
    expected: u32,
}

impl Read for ZipContents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.size - self.read).unwrap_or(usize::MAX).min(buffer.len());
        if max > 0 {
            let read = self.input.read(&mut buffer[..max])?;
            if read == 0 {
                return Err(mismatch(format!("{} bytes of a zip member", self.size), self.read.to_string()));
            }
            self.crc.update(&buffer[..read]);
            self.read += read as u64;
            return Ok(read);
        }
        if !buffer.is_empty() && self.size > 0 {
            if self.input.read(&mut [0])? > 0 {
                return Err(mismatch(format!("{} bytes of a zip member", self.size), "more".into()));
            }
            if self.crc.sum() != self.expected {
                let expected = format!("the CRC-32 {:08x} of a zip member", self.expected);
                return Err(mismatch(expected, format!("{:08x}", self.crc.sum())));
            }
        }
        Ok(0)
    }
}

fn mismatch(expected: String, found: String) -> io::Error {
    wrap(Error::Payload { expected, found })
}

/// An archive of which at most `budget` bytes may be read.
struct BoundedReads<R> {
    archive: MarkedSource<R>,
    budget: Arc<AtomicU64>,
}

impl<R: Read> Read for BoundedReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(buffer)?;
        let left = self.budget.load(Ordering::Relaxed);
        match left.checked_sub(read as u64) {
            Some(left) => self.budget.store(left, Ordering::Relaxed),
            None => {
                let expected = format!("a directory of at most {MAX_DIRECTORY_BYTES} bytes in a zip archive");
                return Err(mismatch(expected, "more".into()));
            }
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for BoundedReads<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.archive.0.seek(to)
    }
}

/// An error of the crate as one of ours; one of the archive's reader stays what it is.
fn broken(error: ZipError) -> Error {
    let found = match error {
        ZipError::Io(error) => match source_error(error) {
            Ok(error) => return Error::Io(error),
            Err(error) => match error.downcast::<Error>() {
                Ok(error) => return error,
                Err(error) => error.to_string(),
            },
        },
        other => other.to_string(),
    };
    Error::Payload { expected: "a sound zip archive".into(), found }
}
