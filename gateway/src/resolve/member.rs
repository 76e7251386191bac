//! A member of a package: from the cache, or extracted from the first of its locations that gives it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use artifact::BuildId;
use sql::StoredPackage;

use super::deadline::{EXTRACTION_PERMIT_TIMEOUT, EXTRACTION_POLL_INTERVAL, FIRST_BYTES_TIMEOUT};
use super::outcome::{Cause, CauseKind, Miss};
use super::search::{Run, open_within};
use crate::cache::{Content, Filler, MemberKey, Readable, Reader};
use crate::permits::Permit;
use crate::providers::archives::{Archive, Wanted};

/// How something that has to be extracted begins.
pub(super) enum Begin<T> {
    /// With this.
    Now(Permit),
    /// It need not: somebody else had it extracted.
    Here(T),
}

/// How much of a member has to be there before it is an answer.
#[derive(Clone)]
pub(super) enum Need<'n> {
    /// The first bytes that may leave, so that a response that is begun is likely to end.
    First,
    /// The same of a part of it.
    Part(Range<u64>),
    /// So much of it that one can tell where this section lies.
    Section(&'n str),
    /// All of it: only its contents can say whether it is an answer.
    Whole,
}

/// Why a member was not to be had.
struct MemberMiss {
    miss: Miss,
    /// Another location would not give it either.
    everywhere: bool,
}

impl From<Miss> for MemberMiss {
    fn from(miss: Miss) -> Self {
        let everywhere = miss.is_local();
        Self { miss, everywhere }
    }
}

impl Run<'_> {
    /// The member, from the cache, from `opened`, or from the first location that gives it.
    pub(super) async fn member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: Wanted,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        opened: Option<Archive>,
    ) -> Option<Reader> {
        let ordinal = wanted.ordinal;
        let entry = self.any_member(package, wanted, build_id, need, opened).await?;
        let Some(build_id) = build_id else { return Some(entry) };
        match entry.carries(build_id).await {
            Ok(true) => Some(entry),
            Ok(false) => {
                let nvra = &package.package.nevra;
                tracing::warn!(%nvra, ordinal, %build_id, "a file carries another build-id than its header states");
                None
            }
            Err(error) => {
                self.causes.push(Cause::gateway(CauseKind::of_io(&error), error.to_string()));
                None
            }
        }
    }

    /// The same, whatever build-id it turns out to carry.
    async fn any_member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: Wanted,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        opened: Option<Archive>,
    ) -> Option<Reader> {
        let ordinal = wanted.ordinal;
        let key = MemberKey { identity: package.package.identity, ordinal };
        let archives = self.search.archives.clone();
        let mut entry = match self.search.cache.find(key).await {
            Some(entry) => {
                self.met(need.clone(), key, build_id, entry).await.map_err(|miss| self.failed(miss.miss)).ok()
            }
            None => None,
        };
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = self.filled(need.clone(), key, build_id, |_| async { Ok(archive) });
            match Box::pin(filled).await {
                Ok(filled) => entry = Some(filled),
                Err(miss) => {
                    self.failed(miss.miss);
                    if miss.everywhere {
                        return None;
                    }
                }
            }
        }
        let mut rest = archives.locations(package).into_iter();
        while entry.is_none()
            && let Some(location) = rest.next()
        {
            if self.deadline.has_passed() {
                let name = &location.store.name;
                let text = format!("store {name}: not asked, the budget was used up before");
                self.causes.push(Cause::store(name, CauseKind::Timeout, text));
                break;
            }
            let others = rest.len();
            let (archives, package, at, wanted) = (archives.clone(), package.clone(), location.clone(), wanted.clone());
            let open = move |run: &Self| {
                let deadline = run.deadline.of_location(others);
                async move { open_within(&archives, &package, &at, &wanted, deadline).await }
            };
            match Box::pin(self.filled(need.clone(), key, build_id, open)).await {
                Ok(filled) => entry = Some(filled),
                Err(MemberMiss { miss, everywhere: true }) => {
                    self.failed(miss);
                    break;
                }
                Err(MemberMiss { miss, everywhere: false }) => self.failed_at(location, miss).await,
            }
        }
        entry
    }

    /// The member out of the archive that `open` opens once the client has a permit, as soon as enough of it is there.
    async fn filled<F>(
        &mut self,
        need: Need<'_>,
        key: MemberKey,
        build_id: Option<&BuildId>,
        open: impl FnOnce(&Self) -> F,
    ) -> Result<Reader, MemberMiss>
    where
        F: Future<Output = Result<Archive, Miss>> + Send + 'static,
    {
        let cache = &self.search.cache;
        let entry = match self.permit(|| cache.find(key)).await? {
            Begin::Now(permit) => {
                let archive = open(self);
                let filler = async { Ok(Filler::Extraction(Box::new(archive.await?))) };
                cache.fill(key, build_id, permit, filler).await?
            }
            Begin::Here(entry) => entry,
        };
        self.met(need, key, build_id, entry).await
    }

    /// Waits for a permit to extract, unless it is `found` meanwhile. This is not the time in which somebody
    /// has to answer.
    pub(super) async fn permit<T, F>(&mut self, found: impl Fn() -> F) -> Result<Begin<T>, Miss>
    where
        F: Future<Output = Option<T>>,
    {
        let began = Instant::now();
        let mut permit = std::pin::pin!(self.search.permits.acquire(self.client));
        let begin = loop {
            if let Ok(permit) = tokio::time::timeout(EXTRACTION_POLL_INTERVAL, &mut permit).await {
                break Ok(Begin::Now(permit));
            }
            if let Some(found) = found().await {
                break Ok(Begin::Here(found));
            }
            if began.elapsed() >= EXTRACTION_PERMIT_TIMEOUT {
                break Err(Miss::local(format!(
                    "expected a permit to extract within {EXTRACTION_PERMIT_TIMEOUT:?}, found none"
                )));
            }
        };
        self.deadline = self.deadline.extended_by(began.elapsed());
        begin
    }

    /// Waits until enough of the member is there. An archive may be long; one that gives nothing for half a budget is
    /// given up.
    async fn met(
        &self,
        need: Need<'_>,
        key: MemberKey,
        build_id: Option<&BuildId>,
        entry: Reader,
    ) -> Result<Reader, MemberMiss> {
        let patience = self.deadline.stall_timeout(self.search.budget);
        let flowing = async {
            match need {
                Need::First => entry.while_it_flows(patience, entry.content().ready()).await,
                Need::Part(range) => {
                    entry.while_it_flows(patience, Content::section(entry.clone().into(), range).ready()).await
                }
                Need::Whole => entry.while_it_flows(patience, async { entry.complete_file().await.map(drop) }).await,
                Need::Section(name) => {
                    let place = async {
                        match build_id {
                            Some(build_id) => {
                                let file = Readable::from(entry.clone());
                                self.search.cache.find_section(key, &file, build_id, name).await.map(drop)
                            }
                            None => entry.complete_file().await.map(drop),
                        }
                    };
                    entry.while_it_flows(patience, Box::pin(place)).await
                }
            }
        };
        match tokio::time::timeout(FIRST_BYTES_TIMEOUT, flowing).await {
            Ok(Ok(())) => Ok(entry),
            Ok(Err(miss)) => {
                self.search.cache.detach(key, &entry);
                Err(MemberMiss { miss, everywhere: entry.has_failed() })
            }
            // It goes on, for whoever asks again.
            Err(_) => {
                let text = format!("expected enough of a member within {FIRST_BYTES_TIMEOUT:?}, found less");
                Err(MemberMiss { miss: Miss::gateway(CauseKind::Timeout, text), everywhere: true })
            }
        }
    }
}
