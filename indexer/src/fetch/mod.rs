//! Candidates are opened and read.

pub(crate) mod open_file;
pub(crate) mod reader;
