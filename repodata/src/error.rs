//! The error type of this crate. Every message states what was expected and what was found.

use std::io;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why metadata was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document that is broken, or states what cannot be.
    #[error("{document}, line {line}: expected {expected}, found {found}")]
    Document {
        /// `repomd.xml`, `primary.xml`...
        document: &'static str,
        /// Counted from 1.
        line: u64,
        /// What the format or the limit demands.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Not a checksum of this kind.
    #[error("expected {expected} as checksum, found {found:?}")]
    Checksum {
        /// The number of hex digits, or the known kinds.
        expected: String,
        /// The text.
        found: String,
    },
    /// Bytes are not those that were promised.
    #[error("{name}: expected {kind} {expected}, found {found}")]
    Digest {
        /// The name of the file.
        name: String,
        /// `sha256`, `md5`...
        kind: &'static str,
        /// Hex, as promised.
        expected: String,
        /// Hex, computed.
        found: String,
    },
    /// A file has more or less bytes than was promised, or is allowed.
    #[error("{name}: expected {expected}, found {found}")]
    Size {
        /// The name of the file.
        name: String,
        /// `1234 bytes`, `at most 1234 bytes`.
        expected: String,
        /// Bytes.
        found: String,
    },
    /// A compressed file is broken, or its compression cannot be read.
    #[error("{name}: expected {expected}, found {found}")]
    Compression {
        /// The name of the file.
        name: String,
        /// What the format or the limit demands.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A place that is none below the repository.
    #[error("location: expected {expected}, found {found:?}")]
    Href {
        /// What is allowed.
        expected: &'static str,
        /// The text.
        found: String,
    },
    /// Reading failed: the disk, the network.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The maximum number of characters of a text in a message: what was found comes from the network.
const MAX_SHOWN: usize = 200;

/// The start of `text`, for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// Wraps an error of this crate in an [`io::Error`], as [`io::Read`] needs it.
pub(crate) fn wrap(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Returns the error that [`wrap`] wrapped, or that a decoder did; another one as [`Error::Io`].
pub(crate) fn unwrap(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<artifact::Error>() {
            Ok(error) => of_artifact(error, "compressed file"),
            Err(error) => Error::Io(error),
        },
    }
}

/// An error of the decoders and archives of `artifact`; messages call the file `name`.
pub(crate) fn of_artifact(error: artifact::Error, name: &str) -> Error {
    match error {
        artifact::Error::Payload { expected, found } => Error::Compression { name: name.into(), expected, found },
        artifact::Error::Io(error) => unwrap(error),
        error => Error::Compression { name: name.into(), expected: "a readable file".into(), found: error.to_string() },
    }
}
