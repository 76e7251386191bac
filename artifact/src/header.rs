//! Lead, signature header and main header of an RPM.
//!
//! An RPM begins with a 96-byte lead, the signature header (padded to a multiple of 8 bytes) and the main header; the
//! payload follows. [`structure`] checks these parts against the limits of rpm before anything is allocated for them,
//! because the `rpm` crate trusts counts and offsets. Then `tags` reads the facts about the package, and the `rpm`
//! crate its signatures. A [`FileTable`] reads the facts about files in place. An import needs such an [`Outline`]
//! only; a [`Header`] owns all of its data.

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
    /// The main header's range in the archive, in bytes. The payload begins at its end.
    pub range: Range<u64>,
    /// Every file, in header order: the index of a file is its ordinal.
    pub files: Files,
    /// Size of the whole archive in bytes, if the header states it: SIZE or LONGSIZE of the signature header, or
    /// PAYLOADSIZE of the main header in v6 packages, which lack the others.
    pub archive_bytes: Option<u64>,
    /// The compressor that the header names: `gzip`, `xz`, `zstd`, `bzip2`, `lzma`. `None` for an uncompressed payload,
    /// or if the header names none. The first bytes of the payload show what it really is.
    pub compressor: Option<String>,
    /// Last 16 hex digits of the key that signed the header, lowercase. `None` without a signature that names one.
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
    /// The class of the file as libmagic determined it when it was packaged.
    pub class: Class,
    /// Its signature, the value of `security.ima`. Few packages have them, and their unsigned copies have none.
    pub signature: Option<Box<[u8]>>,
}

/// The class of a file as libmagic determined it (tags 1141/1142; 5115/5116 in v6 packages).
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

    /// Returns the file in the form of a [`FileTable`]'s rows.
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
    /// [`Error::Header`] if the structure is invalid or exceeds rpm's limits, or if `bytes` end before the main header
    /// does; [`Error::HeaderDigest`] if the signature header has the digest of other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Outline::from_bytes(bytes)?.into_header()
    }

    /// Reads a header from an archive that is read from its start, and stops exactly where the payload begins.
    ///
    /// # Errors
    /// As [`Header::parse`], and [`Error::Io`] if reading fails or ends early.
    pub fn read(archive: &mut impl Read) -> Result<Self> {
        Self::parse(read_bytes(archive, &mut Vec::with_capacity(AHEAD_BYTES), PREFIX_BYTES)?)
    }

    /// Returns the file at `path` and its ordinal.
    pub fn file(&self, path: &str) -> Option<(u32, &File)> {
        let ordinal = self.files.iter().position(|file| file.path == path)?;
        Some((u32::try_from(ordinal).ok()?, &self.files[ordinal]))
    }

    /// Returns the file with this ordinal.
    pub fn file_by_ordinal(&self, ordinal: u32) -> Option<&File> {
        self.files.get(usize::try_from(ordinal).ok()?)
    }
}

/// Fails unless the digest of the main header is the recorded one: a damaged header would count as another package.
fn check_digest(algorithm: &'static str, expected: String, found: String) -> Result<()> {
    if expected.eq_ignore_ascii_case(&found) { Ok(()) } else { Err(Error::HeaderDigest { algorithm, expected, found }) }
}

impl<'b> Outline<'b> {
    /// Reads an outline from the first bytes of an archive ([`read_ahead`]). It accepts and refuses the same archives
    /// as [`Header::parse`].
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn from_bytes(bytes: &'b [u8]) -> Result<Self> {
        let checked = structure::check(bytes)?;
        let extent = checked.extent;
        // Bytes after the header that were read ahead are ignored.
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
            package: tags::package(&main_tags, identity, is_source_lead(bytes))?,
            archive_bytes: tags::archive_bytes(&signature_tags, &main_tags, &range),
            range,
            files: FileTable::read(&checked, main.len(), tags::file_digest_algorithm(&main_tags))?,
            compressor: tags::compressor(&main_tags),
            signing_key: tags::signing_key(bytes, &checked),
        })
    }

    /// Converts the outline to a header.
    ///
    /// # Errors
    /// Never fails: invalid files were found when the outline was read.
    pub fn into_header(self) -> Result<Header> {
        let Self { package, range, files, archive_bytes, compressor, signing_key } = self;
        Ok(Header { package, range, files: files.files()?, archive_bytes, compressor, signing_key })
    }
}

impl<Files> Header<Files> {
    /// Checks that an archive of `bytes` bytes has at least the size that its header states. rpm accepts larger ones
    /// too.
    ///
    /// # Errors
    /// [`Error::CutOff`] if it is smaller: it was truncated, or is still being written.
    pub fn check_archive_bytes(&self, bytes: u64) -> Result<()> {
        match self.archive_bytes {
            Some(expected) if bytes < expected => Err(Error::CutOff { expected, found: bytes }),
            _ => Ok(()),
        }
    }
}

/// True if the type in the lead is 1, a source package. Old source packages lack tag 1106.
fn is_source_lead(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[0, 1])
}

/// Reads lead, signature header and main header of an archive, from its start, into `buffer`. The returned slice may
/// contain bytes after them. A buffer can be used again for the next archive.
///
/// # Errors
/// [`Error::Header`] if sizes are invalid or exceed rpm's limits, or if the archive ends early; [`Error::Io`] if
/// reading fails.
pub fn read_ahead<'b>(archive: &mut impl Read, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
    // A large buffer that an earlier header needed is freed.
    if buffer.len() > MAX_BUFFER_BYTES {
        *buffer = Vec::new();
    }
    read_bytes(archive, buffer, AHEAD_BYTES)
}

/// The size of the first read. Most headers need one or two reads.
const AHEAD_BYTES: usize = 16 << 10;
const MAX_BUFFER_BYTES: usize = 1 << 20;

/// Reads up to `first_bytes` bytes, and then the missing ones. The size of each part is checked before it is read.
fn read_bytes<'b>(archive: &mut impl Read, buffer: &'b mut Vec<u8>, first_bytes: usize) -> Result<&'b [u8]> {
    let (mut need, mut filled) = (PREFIX_BYTES, 0);
    // The first iteration finds the start of the main header, the second its end.
    loop {
        while filled < need {
            // The buffer grows with the bytes that arrive, so a short file that states 256 MiB takes little memory.
            let end = need.max(first_bytes).min(buffer.len().max(2 * filled).max(AHEAD_BYTES));
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

/// Returns the algorithm with the number in tag 5011, MD5 without the tag. `None` for an unknown number.
fn file_digest_algorithm(number: Option<u32>) -> Option<Algorithm> {
    number.map_or(Some(Algorithm::Md5), Algorithm::from_rpm)
}

#[cfg(test)]
mod tests;
