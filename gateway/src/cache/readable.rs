//! Everything that responses read: members of the cache, and files that are no members.

use std::fs::{File, Metadata};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use artifact::{BuildId, Identity};
use tokio::task::spawn_blocking;

use super::modules::Module;
use super::sidecar::{Origin, Signature};
use super::temporary_file::OpenFile;
use super::{Content, Reader};
use crate::providers::StoreError;
use crate::providers::archives::read_header;
use crate::resolve::outcome::Miss;

/// A file that responses read. Clones share it.
#[derive(Clone)]
pub(crate) enum Readable {
    /// A member of the cache, perhaps one that is still filled.
    Member(Reader),
    /// A decompressed kernel module.
    Module(Arc<Module>),
    /// A file outside the cache: an archive as it is, or a source of a build tree.
    External(Arc<ExternalFile>),
}

impl Readable {
    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Member(reader) => reader.size(),
            Self::Module(module) => module.size,
            Self::External(file) => file.stamp.size,
        }
    }

    /// Seconds since 1970.
    pub(crate) fn mtime(&self) -> i64 {
        match self {
            Self::Member(reader) => reader.info().mtime,
            Self::Module(module) => module.mtime,
            Self::External(file) => file.stamp.mtime.0,
        }
    }

    /// Hex digest that names the contents; `""` if none is known.
    pub(crate) fn digest(&self) -> &str {
        match self {
            Self::Member(reader) => &reader.info().digest,
            Self::Module(module) => &module.digest,
            Self::External(_) => "",
        }
    }

    /// SHA-256 of the contents, if it is known.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::Member(reader) => reader.info().sha256,
            Self::Module(_) | Self::External(_) => None,
        }
    }

    /// Where a relayed file comes from; `None` for all others.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Member(reader) => reader.info().origin.as_ref(),
            Self::Module(_) | Self::External(_) => None,
        }
    }

    /// The IMA signature of the whole file, if its package has one.
    pub(crate) fn signature(&self) -> Option<&Signature> {
        match self {
            Self::Member(reader) => reader.info().signature.as_ref(),
            // The signature of a compressed file is none of its contents.
            Self::Module(_) | Self::External(_) => None,
        }
    }

    /// All of its bytes.
    pub(crate) fn content(&self) -> Content {
        Content::whole(self.clone())
    }

    /// Waits until the file is complete.
    ///
    /// # Errors
    /// Why the bytes could not be had.
    pub(crate) async fn complete_file(&self) -> Result<Arc<OpenFile>, Miss> {
        match self {
            Self::Member(reader) => reader.complete_file().await,
            Self::Module(module) => Ok(module.file.clone()),
            Self::External(file) => Ok(file.file.clone()),
        }
    }

    /// Waits for `bytes` of this file as long as it is filled, for at most `timeout` without any byte.
    ///
    /// # Errors
    /// The error of `bytes`, or that no byte came.
    pub(crate) async fn while_it_flows<T>(
        &self,
        timeout: Duration,
        bytes: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        match self {
            Self::Member(reader) => reader.while_it_flows(timeout, bytes).await,
            Self::Module(_) | Self::External(_) => bytes.await,
        }
    }

    /// True unless the note of the ELF file states another build-id than `expected`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn carries(&self, expected: &BuildId) -> io::Result<bool> {
        match self {
            Self::Member(reader) => reader.carries(expected).await,
            Self::Module(module) => Ok(module.note.allows(expected)),
            Self::External(_) => Ok(true),
        }
    }

    /// How the file is named in logs.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Member(reader) => reader.path().display().to_string(),
            Self::Module(_) => "a decompressed kernel module".to_owned(),
            Self::External(_) => "a file outside the cache".to_owned(),
        }
    }

    /// Waits until the bytes up to `end` may be sent, and returns up to where they may.
    ///
    /// # Errors
    /// Why the bytes could not be had.
    pub(super) async fn available(&self, end: u64) -> Result<u64, Miss> {
        match self {
            Self::Member(reader) => reader.available(end).await,
            Self::Module(_) | Self::External(_) => Ok(self.size()),
        }
    }

    /// The open file.
    ///
    /// # Errors
    /// A member that was published cannot be opened.
    pub(super) fn open(&self) -> io::Result<Arc<OpenFile>> {
        match self {
            Self::Member(reader) => reader.open(),
            Self::Module(module) => Ok(module.file.clone()),
            Self::External(file) => Ok(file.file.clone()),
        }
    }

    /// Fails if the file was written since it was opened. Only external files can be written by others.
    ///
    /// # Errors
    /// The file has changed, or cannot be read.
    pub(super) async fn expect_unchanged(&self) -> io::Result<()> {
        match self {
            Self::Member(_) | Self::Module(_) => Ok(()),
            Self::External(file) => file.expect_unchanged().await,
        }
    }
}

impl From<Reader> for Readable {
    fn from(reader: Reader) -> Self {
        Self::Member(reader)
    }
}

/// A file outside the cache, which others may write.
pub(crate) struct ExternalFile {
    file: Arc<OpenFile>,
    /// As it was when it was opened.
    stamp: Stamp,
}

/// What changes when a file is written: its size and its time of modification.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    mtime: (i64, i64),
}

impl ExternalFile {
    /// Takes an open file.
    ///
    /// # Errors
    /// Its metadata cannot be read.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Self { file: Arc::new(file.into()), stamp })
    }

    /// All of its bytes.
    pub(crate) fn content(self: &Arc<Self>) -> Content {
        Content::whole(Readable::External(self.clone()))
    }

    /// Expects an archive to be the package `identity`. `place` names it in errors.
    ///
    /// # Errors
    /// It is another package, or cannot be read.
    pub(crate) fn read_header(&self, identity: Identity, place: &str) -> Result<(), StoreError> {
        read_header(&mut BufReader::new(&**self.file), Some(identity), place).map(drop)
    }

    async fn expect_unchanged(&self) -> io::Result<()> {
        let file = self.file.clone();
        let found = spawn_blocking(move || file.metadata()).await.map_err(io::Error::other)??;
        if Stamp::of(&found) == self.stamp {
            return Ok(());
        }
        Err(io::Error::other("expected an archive that stays as it was opened, found it changed"))
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), mtime: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}
