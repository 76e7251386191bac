//! The locations of a package: their order, and the walk over them.

use std::sync::Arc;
use std::time::Duration;

use artifact::formats::Catalog;
use sql::{Location, StoredPackage};
use tokio::time::timeout_at;

use super::{Archive, Archives, WantedMember, ended_early, location_key};
use crate::permits::Permit;
use crate::providers::walk::{Candidate, Walked, walk};
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{CauseKind, Miss, Outcome};

impl Archives {
    /// The present locations of a package in the order in which they are tried.
    pub(crate) fn locations(&self, package: &StoredPackage) -> Vec<Location> {
        self.in_order(package.present_locations())
    }

    /// Those locations that failed a moment ago behind the others, and those of stores that hang behind these. Derived
    /// places that did not have the package a moment ago are left out.
    pub(crate) fn in_order<'a>(&self, locations: impl Iterator<Item = &'a Location>) -> Vec<Location> {
        let may_be_there =
            |location: &&Location| !location.derived || !self.never_there.contains_key(&location_key(location));
        let mut locations: Vec<Location> = locations.filter(may_be_there).cloned().collect();
        locations.sort_by_cached_key(|location| {
            (self.stores.hangs(&location.store), self.unhealthy.contains_key(&location_key(location)))
        });
        locations
    }

    /// Marks a location as unhealthy: others are tried before it for a while.
    pub(crate) async fn mark_unhealthy(&self, location: &Location) {
        self.unhealthy.insert(location_key(location), ()).await;
    }

    /// Opens the archive of `package` at the first of `locations` that has it.
    pub(crate) async fn open_first(
        &self,
        package: &Arc<StoredPackage>,
        locations: Vec<Location>,
        wanted: &WantedMember,
        deadline: Deadline,
    ) -> Walked<Location, Archive> {
        let open = |location: Location| {
            let (archives, package, wanted) = (self.clone(), package.clone(), wanted.clone());
            async move { archives.open(&package, &location, &wanted).await }
        };
        self.walk(locations, deadline, open).await
    }

    /// What `open` opens at the first of `locations` in directories of this machine.
    pub(crate) async fn open_on_disk<T: Send + 'static>(
        &self,
        locations: Vec<Location>,
        deadline: Deadline,
        open: impl Fn(&Location) -> Outcome<T> + Clone + Send + 'static,
    ) -> Walked<Location, T> {
        let open = |location: Location| {
            let (archives, open, store) = (self.clone(), open.clone(), location.store.clone());
            async move {
                let opened = archives.on_disk(&store, move || open(&location)).await;
                opened.unwrap_or_else(|error| Err(error.of_store(&store.name)))
            }
        };
        self.walk(locations, deadline, open).await
    }

    /// The catalog of `package` from the first of `locations` that gives it. Like an extraction it may take long, as
    /// long as bytes come: each location has a stall timeout. The next one is not tried beside one that is read: all
    /// requests for a catalog share one read of an archive.
    pub(crate) async fn catalog_of_first(
        &self,
        package: &StoredPackage,
        locations: Vec<Location>,
        permit: &Arc<Permit>,
        stall_timeout: impl Fn() -> Duration,
    ) -> Walked<Location, Arc<Catalog>> {
        let candidate = |(rank, provider): (i32, Location)| Candidate { provider, rank, hedge_after: Duration::MAX };
        let walked = walk((0..).zip(locations).map(candidate).collect(), |location: &Location, _| {
            let (location, stall_timeout) = (location.clone(), stall_timeout());
            async move { self.catalog(package, &location, permit, stall_timeout).await }
        })
        .await;
        self.mark_failed(&walked.misses).await;
        walked
    }

    /// Tries `locations` one after the other until one opens, the next one also when the one before takes unusually
    /// long. Those that fail are marked unhealthy, and so their stores' health is observed. An attempt goes on for a
    /// while behind the walk: it may be known later than `deadline` whether a store hangs.
    pub(super) async fn walk<T, F>(
        &self,
        locations: Vec<Location>,
        deadline: Deadline,
        open: impl Fn(Location) -> F,
    ) -> Walked<Location, T>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        // All are asked by the middle of the time, so that each has as much.
        let share = deadline.half().remaining() / u32::try_from(locations.len()).unwrap_or(u32::MAX).max(1);
        let candidate = |(rank, location): (i32, Location)| {
            let hedge_after = self.stores.of(&location.store).hedge_after(share);
            Candidate { provider: location, rank, hedge_after }
        };
        let candidates = (0..).zip(locations).map(candidate).collect();
        let walked = walk(candidates, |location: &Location, _| {
            let observed = self.clone().observe(location.clone(), open(location.clone()));
            let (opening, name) = (self.runtime.spawn(observed), location.store.name.clone());
            async move {
                match timeout_at(deadline.end().into(), opening).await {
                    Ok(opened) => opened.unwrap_or_else(|error| Err(ended_early(&error).of_store(&name))),
                    Err(_) => {
                        let text = format!("store {name}: expected an answer within the budget, found none");
                        Err(Miss::store(&name, CauseKind::Timeout, text))
                    }
                }
            }
        })
        .await;
        self.mark_failed(&walked.misses).await;
        walked
    }

    /// Marks the locations that failed as unhealthy. A derived place may never have had the package: that is
    /// remembered, too.
    pub(super) async fn mark_failed(&self, misses: &[(Location, Miss)]) {
        for (location, miss) in misses {
            if location.derived && matches!(miss, Miss::Absent(_)) {
                self.never_there.insert(location_key(location), ()).await;
            }
            if miss.is_of_provider() {
                self.mark_unhealthy(location).await;
            }
        }
    }
}

/// The time in which an extraction finds another location.
pub(super) const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(20);
