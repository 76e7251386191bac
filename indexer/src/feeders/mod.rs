//! Feeders: each yields candidates for an import.

pub(crate) mod directory;
pub(crate) mod feed;
pub(crate) mod filter;
pub(crate) mod formats;
pub(crate) mod other_formats;
