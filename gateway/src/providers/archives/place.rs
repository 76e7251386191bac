//! The location at which an archive was opened, and the other locations of its package.

use std::sync::Arc;

use sql::StoredPackage;

use super::{Archive, Archives, LocationKey, WantedMember, location_key};

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
        for location in archives.locations(&package) {
            if tried.contains(&location_key(location)) {
                continue;
            }
            match archives.runtime.block_on(archives.open(&package, location, &wanted)) {
                Ok(mut archive) => {
                    archive.place.tried = tried;
                    return Some(archive);
                }
                Err(miss) => {
                    tracing::debug!(failure = %miss, "another location gave nothing");
                    if miss.is_of_provider() {
                        archives.runtime.block_on(archives.mark_unhealthy(location));
                    }
                    tried.push(location_key(location));
                }
            }
        }
        None
    }
}
