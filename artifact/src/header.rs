//! Lead, signature header and main header of an RPM.
//!
//! An RPM begins with a 96-byte lead, the signature header (padded to a multiple of 8 bytes) and the main header; the payload
//! follows. [`structure`] checks these parts against the limits of rpm before anything is allocated for them, because the `rpm`
//! crate trusts counts and offsets; then the crate reads the tags and [`Header::read`] makes one [`Header`] of them.

mod structure;
mod tags;

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use rpm::PackageMetadata;
use sha2::{Digest, Sha256};

use crate::digest::{Algorithm, FileDigest};
use crate::{Error, Identity, Package, Result};

pub use structure::{Extent, PREFIX_BYTES};

/// What the header of one RPM says.
#[derive(Clone, Debug)]
pub struct Header {
    /// Who it is.
    pub package: Package,
    /// Where the main header lies in the archive, in bytes; its end is where the payload begins.
    pub range: Range<u64>,
    /// Every file, in header order: a file's place here is its ordinal.
    pub files: Vec<File>,
    /// Bytes of the whole archive, where the header says so: SIZE or LONGSIZE of the signature header, PAYLOADSIZE of the main header
    /// in v6 packages, which lack the others.
    pub archive_bytes: Option<u64>,
    /// `gzip`, `xz`, `zstd`, `bzip2`, `lzma`; `None` for an uncompressed payload.
    pub compressor: Option<String>,
    /// Last 16 hex digits of the key that signed the header, lowercase, where there is a signature that names one.
    pub signing_key: Option<String>,
}

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
    /// Digest of the contents; links, folders and ghosts have none.
    pub digest: Option<FileDigest>,
    /// Where a symbolic link points to, as written.
    pub link_target: Option<String>,
    /// What libmagic said of the file when it was packaged.
    pub class: Class,
}

/// libmagic's word on a file (tags 1141/1142; 5115/5116 in v6 packages).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing recorded.
    None,
    /// Its text, `ELF 64-bit LSB pie executable, x86-64, ..., BuildID[sha1]=..., stripped`.
    Text(Arc<str>),
    /// A MIME type only, `application/x-pie-executable`.
    Mime(Arc<str>),
}

impl File {
    /// Is it a regular file whose contents are in the payload?
    pub fn is_regular(&self) -> bool {
        const GHOST: u32 = 1 << 6;
        self.mode & 0o170_000 == 0o100_000 && self.flags & GHOST == 0
    }
}

impl Header {
    /// Reads a header from the first bytes of an archive; bytes beyond its end are ignored.
    ///
    /// # Errors
    /// [`Error::Header`] where the structure is wrong or beyond rpm's limits, or `bytes` stop before the end of the main header;
    /// [`Error::HeaderDigest`] where tag 273 names other bytes; [`Error::Rpm`] where the tags cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let extent = structure::check(bytes)?;
        let main = &bytes[extent.main_start..extent.end];
        let identity = Identity::from_bytes(Sha256::digest(main).into());
        let metadata = PackageMetadata::parse(&mut &bytes[..extent.end])?;
        if let Some(recorded) = tags::sha256_header(&metadata.signature)
            && !recorded.eq_ignore_ascii_case(&identity.to_string())
        {
            return Err(Error::HeaderDigest { expected: recorded, found: identity });
        }
        let range = extent.main_start as u64..extent.end as u64;
        Ok(Self {
            package: tags::package(&metadata.header, identity, lead_says_source(bytes))?,
            archive_bytes: tags::archive_bytes(&metadata, &range)?,
            range,
            files: tags::files(&metadata.header, main.len())?,
            compressor: tags::compressor(&metadata.header)?,
            signing_key: tags::signing_key(&metadata),
        })
    }

    /// Reads a header from an archive that is read from its start, and stops exactly where the payload begins.
    ///
    /// # Errors
    /// As [`Header::parse`], and [`Error::Io`] where reading fails or ends early.
    pub fn read(archive: &mut impl Read) -> Result<Self> {
        Self::parse(&read_bytes(archive)?)
    }

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

    /// The file at `path`, with its ordinal.
    pub fn file(&self, path: &str) -> Option<(u32, &File)> {
        let ordinal = self.files.iter().position(|file| file.path == path)?;
        Some((u32::try_from(ordinal).ok()?, &self.files[ordinal]))
    }

    /// The file with this ordinal.
    pub fn by_ordinal(&self, ordinal: u32) -> Option<&File> {
        self.files.get(usize::try_from(ordinal).ok()?)
    }
}

/// The type in the lead, 1 for a source package: what tells old source packages, which lack tag 1106, from binary ones.
fn lead_says_source(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[0, 1])
}

/// The bytes of lead, signature header and main header; each part's size is checked before it is read.
fn read_bytes(archive: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(16 << 10);
    let mut need = PREFIX_BYTES;
    // The first step learns where the main header starts, the second where it ends.
    loop {
        let have = bytes.len();
        // Grows with what really arrives: a header that promises 256 MiB and ends early costs what it holds.
        let read = archive.by_ref().take((need - have) as u64).read_to_end(&mut bytes)?;
        if read < need - have {
            return Err(Error::Header {
                part: "header",
                expected: format!("{need} bytes"),
                found: format!("the end of the file after {}", have + read),
            });
        }
        need = match Extent::of(&bytes)? {
            Ok(extent) => extent.end,
            Err(need) => need,
        };
        if need <= bytes.len() {
            return Ok(bytes);
        }
    }
}

/// The algorithm that tag 5011 names, MD5 where there is none; `None` for one that this crate does not know.
fn file_digest_algorithm(number: Option<u32>) -> Option<Algorithm> {
    number.map_or(Some(Algorithm::Md5), Algorithm::from_rpm)
}
