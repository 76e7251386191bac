//! Candidates, the reader of one store's archives, and the outcomes of reading.

use artifact::Format;
use sql::{ClaimedPackage, Import, PackageLocation, PathHash};

use crate::feeders::repository::listing::ListedArchive;
use crate::fetch::local::{LocalCandidate, LocalReader};
use crate::fetch::remote::RemoteReader;
use crate::pipeline::stop::Stop;

/// An archive that a feeder found.
pub(crate) enum Candidate {
    /// A file of this machine.
    Local(LocalCandidate),
    /// A package that a repository lists.
    Remote(Box<ListedArchive>),
}

impl Candidate {
    /// True if the archive has no header and is read as a whole.
    pub(crate) fn is_read_whole(&self) -> bool {
        match self {
            Self::Local(candidate) => candidate.is_read_whole(),
            Self::Remote(_) => false,
        }
    }
}

/// The reader of one store's archives, shared by all jobs.
pub(crate) enum Reader {
    /// Reads files of this machine.
    Local(LocalReader),
    /// Reads packages that a repository lists.
    Remote(RemoteReader),
}

impl Reader {
    /// Reads an archive unless it is known and unchanged. `buffer` is scratch space for its header.
    pub(crate) fn read(&self, candidate: &Candidate, buffer: &mut Vec<u8>) -> ReadOutcome {
        match (self, candidate) {
            (Self::Local(reader), Candidate::Local(candidate)) => reader.read(candidate, buffer),
            (Self::Remote(reader), Candidate::Remote(listed)) => reader.read(listed.remote()),
            // A feeder sends what its reader reads.
            (Self::Local(_), Candidate::Remote(_)) | (Self::Remote(_), Candidate::Local(_)) => ReadOutcome::Skipped,
        }
    }

    /// Returns the flag that stops the import.
    pub(crate) fn stop(&self) -> &Stop {
        match self {
            Self::Local(reader) => &reader.package.stop,
            Self::Remote(reader) => &reader.package.stop,
        }
    }
}

/// The outcome of reading a candidate or directory.
pub(crate) enum ReadOutcome {
    /// Known and unchanged: not read.
    Unchanged(PathHash, Format),
    /// Read.
    Read(Box<ReadArchive>),
    /// Not read: known from the metadata of a repository.
    Claimed(Box<ClaimedPackage>),
    /// Not read: a known package at another place.
    Located(Box<PackageLocation>, Format),
    /// The archive is broken.
    Broken { path: String, reason: String },
    /// The file or directory could not be read: its contents are unknown.
    Unreadable { path: String, reason: String, still_present: StillPresent },
    /// A link to a directory outside the store's directory: it is not followed.
    OutsideLink { path: String, target: String },
    /// The file was removed, or is none of the store's archives.
    Skipped,
    /// The query of the index failed.
    Failed(sql::Error),
}

/// An archive that was read.
pub(crate) struct ReadArchive {
    pub(crate) path_hash: PathHash,
    pub(crate) import: Import,
    pub(crate) header_bytes: u64,
    pub(crate) payload_read: bool,
    /// Path and reason if the payload is broken although the header is valid, or if ELF files of an archive without a
    /// header are too large.
    pub(crate) broken: Option<(String, String)>,
}

/// Locations that must not be marked as gone because something could not be read.
pub(crate) enum StillPresent {
    Archive(PathHash),
    Below(String),
    Everything,
    Nothing,
}

impl ReadOutcome {
    /// True if the archive is valid.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Unchanged(..) | Self::Claimed(_) | Self::Located(..) => true,
            Self::Read(reading) => reading.broken.is_none(),
            _ => false,
        }
    }
}
