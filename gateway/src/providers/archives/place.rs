//! Where an archive was opened, and where it can be had besides.

use std::sync::Arc;

use sql::StoredPackage;

use super::{Archive, Archives, WantedMember, key};

/// Where an archive was opened: what to blame when its payload is broken, and from where to go on.
pub(crate) struct Place {
    pub(super) archives: Archives,
    pub(super) package: Arc<StoredPackage>,
    pub(super) wanted: WantedMember,
    pub(super) location: (i64, String),
    /// Locations before this one.
    pub(super) tried: Vec<(i64, String)>,
}

impl Place {
    /// Other locations go before this one for a while. For threads that may block.
    pub(crate) fn blame(&self) {
        self.archives.runtime.block_on(self.archives.faulty.insert(self.location.clone(), ()));
    }

    /// The same package at the next location that has it, each location once; one that fails is to blame. For threads
    /// that may block.
    pub(crate) fn elsewhere(self) -> Option<Archive> {
        let Self { archives, package, wanted, location, mut tried } = self;
        tried.push(location);
        for location in archives.locations(&package) {
            if tried.contains(&key(location)) {
                continue;
            }
            match archives.runtime.block_on(archives.open(&package, location, &wanted)) {
                Ok(mut archive) => {
                    archive.place.tried = tried;
                    return Some(archive);
                }
                Err(miss) => {
                    tracing::debug!(failure = %miss, "not to be had elsewhere");
                    if miss.is_of_provider() {
                        archives.runtime.block_on(archives.blame(location));
                    }
                    tried.push(key(location));
                }
            }
        }
        None
    }
}
