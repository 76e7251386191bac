//! Reads candidates: [`local`] files, and packages of stores over HTTP. [`package`] is what both share.

pub(crate) mod local;
pub(crate) mod open_file;
pub(crate) mod package;
pub(crate) mod reader;
