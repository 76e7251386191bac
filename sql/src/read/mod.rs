//! Queries that need SELECT alone.

pub(crate) mod builds;
pub(crate) mod changes;
pub(crate) mod glob;
mod hashes;
mod includes;
mod jobs;
mod lives;
pub(crate) mod paths;
mod records;
pub(crate) mod repositories;
mod sample;
mod service;
mod status;
pub(crate) mod stores;
