//! The error type of this crate. Every message states what was expected and what was found.

use std::io;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a build-id.
    #[error("expected an even number of hex digits, 2 to 128, as build-id, found {found}")]
    BuildId {
        /// The text, or how many bytes.
        found: String,
    },
    /// Not an identity.
    #[error("expected 64 hex digits (SHA-256 of a main header) as identity, found {found:?}")]
    Identity {
        /// The text.
        found: String,
    },
    /// Not a package name.
    #[error("expected NAME-[EPOCH:]VERSION-RELEASE.ARCH, found {found:?}")]
    Nevra {
        /// The text.
        found: String,
    },
    /// The structure of a lead or header is not that of an RPM, or is beyond the limits that rpm itself enforces.
    #[error("{part}: expected {expected}, found {found}")]
    Header {
        /// `lead`, `signature header`, `main header`.
        part: &'static str,
        /// The value that the format or the limit demands.
        expected: String,
        /// The value that was found.
        found: String,
    },
    /// The signature header has the digest of another main header: SHA-256 (tag 273), or SHA-1 (tag 269) in packages
    /// without it.
    #[error("main header: expected {algorithm} {expected} (as the signature header has it), found {found}")]
    HeaderDigest {
        /// `SHA-256` or `SHA-1`.
        algorithm: &'static str,
        /// As recorded.
        expected: String,
        /// As computed, in hex.
        found: String,
    },
    /// The archive is shorter than its header states.
    #[error("archive cut off: expected {expected} bytes, as its header states, found {found}")]
    CutOff {
        /// Bytes, from the header.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The archive's payload is broken.
    #[error("payload: expected {expected}, found {found}")]
    Payload {
        /// The value that the header or the format states.
        expected: String,
        /// The value that was found.
        found: String,
    },
    /// A member's bytes are not those that the header promised.
    #[error("{path}: expected {algorithm} digest {expected}, found {found}")]
    FileDigest {
        /// Member path.
        path: String,
        /// `SHA-256`, `MD5`...
        algorithm: &'static str,
        /// Hex, from the header.
        expected: String,
        /// Hex, computed.
        found: String,
    },
    /// An ELF file that cannot be read.
    #[error("ELF: expected {expected}, found {found}")]
    Elf {
        /// The value that the format demands.
        expected: String,
        /// The value that was found.
        found: String,
    },
    /// Reading failed: the disk, the network, a truncated archive.
    #[error(transparent)]
    Io(#[from] io::Error),
}
