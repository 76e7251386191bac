//! A member of a package: from the cache, or extracted from the first location that gives it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use artifact::BuildId;
use sql::StoredPackage;

use super::deadline::{self, Deadline, EXTRACTION_PERMIT_TIMEOUT, FIRST_BYTES_TIMEOUT};
use super::outcome::{Cause, CauseKind, Miss};
use super::search::Search;
use crate::cache::{Content, Filler, MemberKey, MemberPlace, Readable, Reader};
use crate::locked::locked;
use crate::permits::PermitOr;
use crate::providers::archives::{Archive, LocationKey, WantedMember, location_key};
use crate::providers::walk::Walked;

/// How much of a member has to be there before it is an answer.
#[derive(Clone)]
pub(super) enum Need<'n> {
    /// The first bytes that may be sent, so that a response that is begun is likely to end.
    First,
    /// The first bytes of a part of it.
    Part(Range<u64>),
    /// As much of it as tells where this section lies.
    Section(&'n str),
    /// All of it: only its contents can tell whether it is an answer.
    Whole,
}

/// Why a member could not be had.
struct MemberMiss {
    miss: Miss,
    /// True if no other location would give it.
    is_everywhere: bool,
}

impl From<Miss> for MemberMiss {
    fn from(miss: Miss) -> Self {
        let is_everywhere = miss.is_local();
        Self { miss, is_everywhere }
    }
}

impl Search<'_> {
    /// The member, from the cache, from the archive `opened`, or from the first location that gives it.
    pub(super) async fn member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: WantedMember,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        opened: Option<Archive>,
    ) -> Option<Reader> {
        let key = MemberKey { identity: package.package.identity, ordinal: wanted.ordinal };
        if let Some(reader) = self.gateway.cache.find(key).await {
            match self.wait_for(need.clone(), key, build_id, reader).await {
                Ok(reader) => return Some(reader),
                Err(MemberMiss { miss, .. }) => self.failed(miss),
            }
        }
        let mut tried = Vec::new();
        if let Some(archive) = opened {
            let at = archive.place.location();
            tried.push(at.clone());
            match Box::pin(self.fill(need.clone(), key, vec![at], build_id, |_| async { Ok(archive) })).await {
                Ok(reader) => return Some(reader),
                Err(MemberMiss { miss, is_everywhere }) => {
                    self.failed(miss);
                    if is_everywhere {
                        return None;
                    }
                }
            }
        }
        self.member_of_location(package, &wanted, build_id, need, key, tried).await
    }

    /// The member from the first location that gives it, but for those that were `tried`. Each opens at most once: one
    /// that opened and then stalled is followed by the others.
    async fn member_of_location(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: &WantedMember,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        key: MemberKey,
        mut tried: Vec<LocationKey>,
    ) -> Option<Reader> {
        let archives = &self.gateway.archives;
        for _ in 0..package.locations.len() {
            let mut locations = archives.locations(package);
            locations.retain(|location| !tried.contains(&location_key(location)));
            let Some(first) = locations.first() else { break };
            if self.deadline.has_passed() {
                let name = &first.store.name;
                let text = format!("store {name}: not asked, the budget was used up before");
                self.causes.push(Cause::store(name, CauseKind::Timeout, text));
                return None;
            }
            let keys = locations.iter().map(location_key).collect();
            let walked = Arc::new(Mutex::new(Vec::new()));
            let open = {
                let (archives, package, wanted) = (archives.clone(), package.clone(), wanted.clone());
                let walked = walked.clone();
                move |deadline: Deadline| async move {
                    let Walked { found, misses } = archives.open_first(&package, locations, &wanted, deadline).await;
                    let found_at = found.as_ref().map(|(location, _)| location);
                    locked(&walked).extend(misses.iter().map(|(location, _)| location).chain(found_at).cloned());
                    found
                        .map(|(_, archive)| archive)
                        .ok_or_else(|| Miss::of_all(misses.into_iter().map(|(_, miss)| miss)))
                }
            };
            match Box::pin(self.fill(need.clone(), key, keys, build_id, open)).await {
                Ok(reader) => return Some(reader),
                Err(MemberMiss { miss, is_everywhere: true }) => {
                    self.failed(miss);
                    return None;
                }
                Err(MemberMiss { miss, is_everywhere: false }) => {
                    let walked = std::mem::take(&mut *locked(&walked));
                    // The last one is that which opened.
                    if let Some(stalled) = walked.last()
                        && miss.is_of_provider()
                    {
                        archives.mark_unhealthy(stalled).await;
                    }
                    tried.extend(walked.iter().map(location_key));
                    self.failed(miss);
                }
            }
        }
        None
    }

    /// Fills a member from the archive at one of `locations`, which `open` opens until a deadline, once the client has
    /// a permit. Returns when enough of it is there.
    async fn fill<F>(
        &mut self,
        need: Need<'_>,
        key: MemberKey,
        locations: Vec<LocationKey>,
        build_id: Option<&BuildId>,
        open: impl FnOnce(Deadline) -> F,
    ) -> Result<Reader, MemberMiss>
    where
        F: Future<Output = Result<Archive, Miss>> + Send + 'static,
    {
        let cache = &self.gateway.cache;
        let reader = match self.permit(|| cache.find(key)).await? {
            PermitOr::Permit(permit) => {
                let archive = open(self.deadline);
                let filler = async { Ok(Filler::Extraction(Box::new(archive.await?))) };
                let places = locations.into_iter().map(MemberPlace::Location).collect();
                let filled = cache.fill(key, places, build_id, permit, filler).await;
                // All locations were tried, or this machine failed.
                filled.map_err(|miss| MemberMiss { miss, is_everywhere: true })?
            }
            PermitOr::Found(reader) => reader,
        };
        self.wait_for(need, key, build_id, reader).await
    }

    /// Waits for a permit to extract, or until `found` returns something. The deadline is extended by the wait: no
    /// provider was asked meanwhile.
    pub(super) async fn permit<T, F>(&mut self, found: impl Fn() -> F) -> Result<PermitOr<T>, Miss>
    where
        F: Future<Output = Option<T>>,
    {
        let began = Instant::now();
        let permits = &self.gateway.extraction_permits;
        let permit = permits.acquire_unless(self.client, EXTRACTION_PERMIT_TIMEOUT, found).await;
        self.deadline = self.deadline.extended_by(began.elapsed());
        permit.ok_or_else(|| {
            Miss::local(format!("expected a permit to extract within {EXTRACTION_PERMIT_TIMEOUT:?}, found none"))
        })
    }

    /// Waits until enough of the member is there. An archive may be long; one that gives no byte for the stall timeout
    /// is given up.
    async fn wait_for(
        &self,
        need: Need<'_>,
        key: MemberKey,
        build_id: Option<&BuildId>,
        reader: Reader,
    ) -> Result<Reader, MemberMiss> {
        let stall_timeout = self.deadline.stall_timeout(self.gateway.config.request.budget);
        let enough = async {
            match (need, build_id) {
                (Need::First, _) => reader.content().ready().await,
                (Need::Part(range), _) => Content::section(reader.clone().into(), range).ready().await,
                (Need::Section(name), Some(build_id)) => {
                    let file = Readable::from(reader.clone());
                    self.gateway.cache.find_section(key, &file, build_id, name).await.map(drop)
                }
                (Need::Section(_), None) | (Need::Whole, _) => reader.complete_file().await.map(drop),
            }
        };
        let flowing = reader.while_it_flows(stall_timeout, Box::pin(enough));
        match tokio::time::timeout(FIRST_BYTES_TIMEOUT, flowing).await {
            Ok(Ok(())) => Ok(reader),
            Ok(Err(miss)) => {
                // A fill that goes on is that of every location. A request that has less time left than half of the
                // whole timeout does not end what others share.
                let max_silence = deadline::stall_timeout(self.gateway.config.request.budget) / 2;
                let goes_on = !self.gateway.cache.detach(key, &reader, max_silence);
                Err(MemberMiss { miss, is_everywhere: goes_on || reader.has_failed() })
            }
            // It is filled further, for the next request.
            Err(_) => {
                let text = format!("expected enough of a member within {FIRST_BYTES_TIMEOUT:?}, found less");
                Err(MemberMiss { miss: Miss::gateway(CauseKind::Timeout, text), is_everywhere: true })
            }
        }
    }
}
