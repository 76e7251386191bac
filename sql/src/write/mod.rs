//! Everything that changes the index.

mod artifacts;
mod build_places;
mod build_tags;
mod builds;
mod candidates;
mod changes;
mod checks;
pub(crate) mod chunks;
mod claimed_packages;
mod claims;
mod clock;
mod cursors;
mod insert;
mod jobs;
pub(crate) mod known_locations;
mod leases;
mod listings;
mod locations;
mod memberships;
mod merge;
mod modules;
mod origins;
mod packages;
mod poison;
mod repositories;
mod stores;
