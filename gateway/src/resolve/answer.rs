//! What was found: bytes, or a place where the client is sent. Everything else is a [`NoAnswer`](super::decision).

use crate::cache::Content;

/// What was found.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Bytes that this gateway serves.
    File(FoundFile),
    /// An upstream has it.
    Redirect(Redirect),
}

/// Bytes of a file, and where they come from.
#[derive(Clone)]
pub(crate) struct FoundFile {
    pub(crate) content: Content,
    /// Path of the member.
    pub(crate) member: String,
    /// What its archive is called; `None` for a plain file.
    pub(crate) archive: Option<String>,
    /// A package may come that has more for the build-id: debuginfo that is not known to have DWARF.
    pub(crate) is_poor: bool,
}

/// Where a client is sent.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(crate) location: String,
    /// `X-DEBUGINFOD-*` of the upstream: clients collect them from every response of the chain.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Size in bytes, if the upstream told.
    pub(crate) size: Option<u64>,
}
