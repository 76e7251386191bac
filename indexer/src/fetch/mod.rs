//! Opens and reads candidates.

pub(crate) mod open_file;
pub(crate) mod reader;
