//! Lead, signature header and main header of an RPM.
//!
//! An RPM begins with a 96-byte lead, the signature header (padded to a multiple of 8 bytes) and the main header; the
//! payload follows. [`structure`] checks these parts against the limits of rpm before anything is allocated for them,
//! because the `rpm` crate trusts counts and offsets. Then `tags` reads what the header says of the package, and the
//! crate its signatures; what it says of files is a [`FileTable`], read where it lies. An import needs no more than
//! such an [`Outline`]; a [`Header`] owns all it says.

mod columns;
mod signatures;
mod structure;
mod table;
mod tags;

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::digest::{Algorithm, FileDigest};
use crate::{Error, Identity, Package, Result};
use columns::Columns;

pub(crate) use structure::LEAD_MAGIC;
pub use structure::{Extent, PREFIX_BYTES};
pub use table::{FileRow, FileTable};

/// The header of one RPM.
#[derive(Clone, Debug)]
pub struct Header<Files = Vec<File>> {
    /// The package.
    pub package: Package,
    /// Where the main header lies in the archive, in bytes; its end is where the payload begins.
    pub range: Range<u64>,
    /// Every file, in header order: a file's place here is its ordinal.
    pub files: Files,
    /// Bytes of the whole archive, where the header says so: SIZE or LONGSIZE of the signature header, PAYLOADSIZE of
    /// the main header in v6 packages, which lack the others.
    pub archive_bytes: Option<u64>,
    /// What the header says: `gzip`, `xz`, `zstd`, `bzip2`, `lzma`; `None` for an uncompressed payload. The payload's
    /// first bytes tell what it is.
    pub compressor: Option<String>,
    /// Last 16 hex digits of the key that signed the header, lowercase, where there is a signature that names one.
    pub signing_key: Option<String>,
}

/// A header that borrows the metadata of files: enough to find artifacts.
pub type Outline<'b> = Header<FileTable<'b>>;

/// One file of the header.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute path, `/usr/bin/hello`.
    pub path: String,
    /// `st_mode`, file type bits included.
    pub mode: u16,
    /// `RPMFILE_*` bits.
    pub flags: u32,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Equal numbers mark hard links of one file.
    pub inode: u32,
    /// Digest of the contents; links, directories and ghosts have none.
    pub digest: Option<FileDigest>,
    /// The target of a symbolic link, as written.
    pub link_target: Option<String>,
    /// The text of libmagic for the file when it was packaged.
    pub class: Class,
    /// Its own signature as `security.ima` has it; few packages carry them, and their unsigned copies do not.
    pub signature: Option<Box<[u8]>>,
}

/// libmagic's word on a file (tags 1141/1142; 5115/5116 in v6 packages).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class<Text = Arc<str>> {
    /// Nothing recorded.
    None,
    /// Its text, `ELF 64-bit LSB pie executable, x86-64, ..., BuildID[sha1]=..., stripped`.
    Text(Text),
    /// A MIME type only, `application/x-pie-executable`.
    Mime(Text),
}

impl File {
    /// True for a regular file whose contents are in the payload.
    pub fn is_regular(&self) -> bool {
        is_regular(self.mode, self.flags)
    }

    /// True for a file that is listed but not in the payload.
    pub(crate) fn is_ghost(&self) -> bool {
        self.flags & GHOST != 0
    }

    /// True for a symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.mode & TYPE == 0o120_000
    }

    /// As one of a [`FileTable`]'s.
    pub fn row(&self) -> FileRow<'_> {
        FileRow {
            path: &self.path,
            mode: self.mode,
            flags: self.flags,
            size: self.size,
            link_target: self.link_target.as_deref(),
            class: match &self.class {
                Class::None => Class::None,
                Class::Text(text) => Class::Text(text),
                Class::Mime(mime) => Class::Mime(mime),
            },
        }
    }
}

/// `RPMFILE_GHOST`.
const GHOST: u32 = 1 << 6;
/// `S_IFMT`.
const TYPE: u16 = 0o170_000;

fn is_regular(mode: u16, flags: u32) -> bool {
    mode & TYPE == 0o100_000 && flags & GHOST == 0
}

impl Header {
    /// Reads a header from the first bytes of an archive; bytes beyond its end are ignored.
    ///
    /// # Errors
    /// [`Error::Header`] where the structure is wrong or beyond rpm's limits, or `bytes` stop before the end of the
    /// main header; [`Error::HeaderDigest`] where the signature header has the digest of other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Outline::from_bytes(bytes)?.into_header()
    }

    /// Reads a header from an archive that is read from its start, and stops exactly where the payload begins.
    ///
    /// # Errors
    /// As [`Header::parse`], and [`Error::Io`] where reading fails or ends early.
    pub fn read(archive: &mut impl Read) -> Result<Self> {
        Self::parse(read_bytes(archive, &mut Vec::with_capacity(AHEAD_BYTES), PREFIX_BYTES)?)
    }

    /// The file at `path`, with its ordinal.
    pub fn file(&self, path: &str) -> Option<(u32, &File)> {
        let ordinal = self.files.iter().position(|file| file.path == path)?;
        Some((u32::try_from(ordinal).ok()?, &self.files[ordinal]))
    }

    /// The file with this ordinal.
    pub fn file_by_ordinal(&self, ordinal: u32) -> Option<&File> {
        self.files.get(usize::try_from(ordinal).ok()?)
    }
}

/// Compares the digest of the main header with the recorded one: a damaged header is not another package.
fn check_digest(algorithm: &'static str, expected: String, found: String) -> Result<()> {
    if expected.eq_ignore_ascii_case(&found) { Ok(()) } else { Err(Error::HeaderDigest { algorithm, expected, found }) }
}

impl<'b> Outline<'b> {
    /// Reads an outline from the first bytes of an archive ([`read_ahead`]). What it accepts and refuses is what
    /// [`Header::parse`] does.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn from_bytes(bytes: &'b [u8]) -> Result<Self> {
        let checked = structure::check(bytes)?;
        let extent = checked.extent;
        // However much was read ahead, what is behind the header does not count.
        let bytes = &bytes[..extent.end];
        let main = &bytes[extent.main_start..];
        let identity = Identity::from_bytes(Sha256::digest(main).into());
        let (signature_tags, main_tags) = (Columns::new(&checked.signature), Columns::new(&checked.main));
        if let Some(recorded) = tags::sha256_header(&signature_tags) {
            check_digest("SHA-256", recorded, identity.to_string())?;
        } else if let Some(recorded) = tags::sha1_header(&signature_tags) {
            check_digest("SHA-1", recorded, faster_hex::hex_string(&Sha1::digest(main)))?;
        }
        let range = extent.main_start as u64..extent.end as u64;
        Ok(Self {
            package: tags::package(&main_tags, identity, lead_says_source(bytes))?,
            archive_bytes: tags::archive_bytes(&signature_tags, &main_tags, &range),
            range,
            files: FileTable::read(&checked, main.len(), tags::file_digest_algorithm(&main_tags))?,
            compressor: tags::compressor(&main_tags),
            signing_key: tags::signing_key(bytes, &checked),
        })
    }

    /// Makes a header of it.
    ///
    /// # Errors
    /// None: whatever could be wrong with a file was found when the outline was read.
    pub fn into_header(self) -> Result<Header> {
        let Self { package, range, files, archive_bytes, compressor, signing_key } = self;
        Ok(Header { package, range, files: files.files()?, archive_bytes, compressor, signing_key })
    }
}

impl<Files> Header<Files> {
    /// Is an archive of `bytes` bytes as long as its header says? A longer one is taken, as rpm takes it.
    ///
    /// # Errors
    /// [`Error::CutOff`] where it is shorter: it was cut off, or is still being written.
    pub fn check_archive_bytes(&self, bytes: u64) -> Result<()> {
        match self.archive_bytes {
            Some(expected) if bytes < expected => Err(Error::CutOff { expected, found: bytes }),
            _ => Ok(()),
        }
    }
}

/// The type in the lead, 1 for a source package: what tells old source packages, which lack tag 1106, from binary ones.
fn lead_says_source(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[0, 1])
}

/// Reads lead, signature header and main header of an archive that is read from its start, into `buffer`; what is
/// returned may go on behind them. A buffer serves for one archive after the other.
///
/// # Errors
/// [`Error::Header`] where sizes are wrong or beyond rpm's limits, and where the archive ends early; [`Error::Io`]
/// where reading fails.
pub fn read_ahead<'b>(archive: &mut impl Read, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
    // What a large header left.
    if buffer.len() > MAX_KEPT_BYTES {
        *buffer = Vec::new();
    }
    read_bytes(archive, buffer, AHEAD_BYTES)
}

/// Most headers take one read or two.
const AHEAD_BYTES: usize = 16 << 10;
const MAX_KEPT_BYTES: usize = 1 << 20;

/// Reads `at_first` bytes if the archive has them ready, and then what is missing; each part's size is checked before
/// it is read.
fn read_bytes<'b>(archive: &mut impl Read, buffer: &'b mut Vec<u8>, at_first: usize) -> Result<&'b [u8]> {
    let (mut need, mut filled) = (PREFIX_BYTES, 0);
    // The first step learns where the main header starts, the second where it ends.
    loop {
        while filled < need {
            // Grows with what really arrives: a header that promises 256 MiB and ends early costs what it holds.
            let end = need.max(at_first).min(buffer.len().max(2 * filled).max(AHEAD_BYTES));
            if buffer.len() < end {
                buffer.resize(end, 0);
            }
            match archive.read(&mut buffer[filled..end]) {
                Ok(0) => {
                    return Err(Error::Header {
                        part: "header",
                        expected: format!("{need} bytes"),
                        found: format!("the end of the file after {filled}"),
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        need = match Extent::from_prefix(&buffer[..filled])? {
            Ok(extent) => extent.end,
            Err(need) => need,
        };
        if need <= filled {
            return Ok(&buffer[..filled]);
        }
    }
}

/// The algorithm that tag 5011 names, MD5 where there is none; `None` for one that this crate does not know.
fn file_digest_algorithm(number: Option<u32>) -> Option<Algorithm> {
    number.map_or(Some(Algorithm::Md5), Algorithm::from_rpm)
}

#[cfg(test)]
mod tests;
