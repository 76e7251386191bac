//! Everything that changes the index.

mod artifacts;
mod candidates;
mod changes;
mod claims;
mod insert;
mod locations;
mod merge;
mod modules;
mod packages;
mod pieces;
pub(crate) mod seen;
mod stores;
