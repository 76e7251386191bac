//! Candidates are opened and read.

pub(crate) mod archive_file;
pub(crate) mod reader;
