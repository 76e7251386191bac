//! The location at which an archive was opened, and the other locations of its package.

use std::sync::Arc;

use sql::StoredPackage;

use super::locations::ELSEWHERE_TIMEOUT;
use super::{Archive, Archives, LocationKey, WantedMember, location_key};
use crate::providers::walk::Walked;
use crate::resolve::deadline::Deadline;

/// The location at which an archive was opened: it is marked unhealthy when its payload is broken.
pub(crate) struct Place {
    pub(super) archives: Archives,
    pub(super) package: Arc<StoredPackage>,
    pub(super) wanted: WantedMember,
    pub(super) location: LocationKey,
    /// Locations before this one.
    pub(super) tried: Vec<LocationKey>,
}

impl Place {
    /// The name of its store.
    pub(crate) fn store(&self) -> &str {
        let mut locations = self.package.locations.iter();
        locations
            .find(|location| location_key(location) == self.location)
            .map_or("", |location| location.store.name.as_str())
    }

    /// The key of this location.
    pub(crate) fn location(&self) -> LocationKey {
        self.location.clone()
    }

    /// Marks this location as unhealthy: others are tried before it for a while. For threads that may block.
    pub(crate) fn mark_unhealthy(&self) {
        self.archives.runtime.block_on(self.archives.unhealthy.insert(self.location.clone(), ()));
    }

    /// The same package at the next location that has it, each location once; one that fails is marked unhealthy. For
    /// threads that may block.
    pub(crate) fn elsewhere(self) -> Option<Archive> {
        let Self { archives, package, wanted, location, mut tried } = self;
        tried.push(location);
        let mut locations = archives.locations(&package);
        locations.retain(|location| !tried.contains(&location_key(location)));
        let deadline = Deadline::after(ELSEWHERE_TIMEOUT);
        let opening = archives.open_first(&package, locations, &wanted, deadline);
        let Walked { found, misses } = archives.runtime.block_on(opening);
        for (location, miss) in misses {
            tracing::debug!(failure = %miss, "another location gave nothing");
            tried.push(location_key(&location));
        }
        let (_, mut archive) = found?;
        archive.place.tried = tried;
        Some(archive)
    }
}
