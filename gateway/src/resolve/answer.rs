//! What a question resolves to. `Ok(Some(answer))`, `Ok(None)` and `Err(undecided)` are found, absent and unknown.

use std::fmt;

use crate::cache::Content;

/// What a question resolved to.
pub(crate) enum Answer {
    /// Bytes from here.
    File(Found),
    /// Somebody else has it.
    Redirect(Redirect),
}

/// Bytes, and what they are.
pub(crate) struct Found {
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

/// Why a question is undecided: every party that could not be asked, with what was expected and found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undecided(pub(crate) Vec<String>);

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl From<String> for Undecided {
    fn from(cause: String) -> Self {
        Self(vec![cause])
    }
}
