//! A member of a package: from the cache, or extracted from the first of its locations that gives it.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::BuildId;
use sql::StoredPackage;

use super::{MAX_RETRIES, Run, half_way_to, open_within};
use crate::cache::{Content, Entry, Key};
use crate::permits::Permit;
use crate::providers::archives::{Archive, Wanted};
use crate::resolve::failure::Failure;

/// A client gives up after 90 s without a byte.
pub(super) const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(75);

/// How long a client waits for a permit to extract.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(45);

/// How often somebody who waits looks whether another one had the same extracted.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// What an archive always has to give a byte.
pub(super) const LEAST_PATIENCE: Duration = Duration::from_millis(100);

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
struct Trouble {
    failure: Failure,
    /// Another location would not give it either.
    everywhere: bool,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let everywhere = matches!(failure, Failure::Here(_));
        Self { failure, everywhere }
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
        mut opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let Some(build_id) = build_id else { return self.any_member(package, wanted, None, need, opened).await };
        for _ in 0..MAX_RETRIES {
            let entry = self.any_member(package, wanted.clone(), Some(build_id), need.clone(), opened.take()).await?;
            match entry.carries(build_id).await {
                Ok(true) => return Some(entry),
                Ok(false) => {
                    let (nvra, ordinal) = (&package.package.nevra, wanted.ordinal);
                    tracing::warn!(%nvra, ordinal, %build_id, "a file carries another build-id than its package's header says");
                    return None;
                }
                // Another gateway removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.causes.push(error.to_string());
                    return None;
                }
            }
        }
        self.causes.push("expected a file that stays in the cache folder, found it removed again and again".into());
        None
    }

    /// The same, whatever build-id it turns out to carry.
    async fn any_member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: Wanted,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let ordinal = wanted.ordinal;
        let key = Key { identity: package.package.identity, ordinal };
        let archives = self.search.archives.clone();
        let mut entry = match self.search.files.find(key).await {
            Some(entry) => {
                self.met(need.clone(), key, build_id, entry).await.map_err(|trouble| self.failed(trouble.failure)).ok()
            }
            None => None,
        };
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = self.filled(need.clone(), key, build_id, |_| async { Ok(archive) });
            match Box::pin(filled).await {
                Ok(filled) => entry = Some(filled),
                Err(trouble) => {
                    self.failed(trouble.failure);
                    if trouble.everywhere {
                        return None;
                    }
                }
            }
        }
        let mut rest = archives.locations(package).into_iter();
        while entry.is_none()
            && let Some(location) = rest.next()
        {
            if Instant::now() >= self.deadline {
                self.causes.push(format!("store {}: not asked, the budget was used up before", location.store.name));
                break;
            }
            let others = rest.len();
            let (archives, package, at, wanted) = (archives.clone(), package.clone(), location.clone(), wanted.clone());
            let open = move |run: &Self| {
                let deadline = run.location_deadline(others);
                async move { open_within(&archives, &package, &at, &wanted, deadline).await }
            };
            match Box::pin(self.filled(need.clone(), key, build_id, open)).await {
                Ok(filled) => entry = Some(filled),
                Err(Trouble { failure, everywhere: true }) => {
                    self.failed(failure);
                    break;
                }
                Err(Trouble { failure, everywhere: false }) => self.failed_at(location, failure).await,
            }
        }
        entry
    }

    /// The member out of the archive that `open` opens once the client has a permit, as soon as enough of it is there.
    async fn filled<F>(
        &mut self,
        need: Need<'_>,
        key: Key,
        build_id: Option<&BuildId>,
        open: impl FnOnce(&Self) -> F,
    ) -> Result<Arc<Entry>, Trouble>
    where
        F: Future<Output = Result<Archive, Failure>> + Send + 'static,
    {
        let files = &self.search.files;
        let entry = match self.permit(|| files.find(key)).await? {
            Begin::Now(permit) => files.fill(key, build_id, permit, open(self)).await?,
            Begin::Here(entry) => entry,
        };
        self.met(need, key, build_id, entry).await
    }

    /// Waits for a permit to extract, unless it is `found` meanwhile. This is not the time in which somebody
    /// has to answer.
    pub(super) async fn permit<T, F>(&mut self, found: impl Fn() -> F) -> Result<Begin<T>, Failure>
    where
        F: Future<Output = Option<T>>,
    {
        let began = Instant::now();
        let mut permit = std::pin::pin!(self.search.permits.acquire(self.client));
        let begin = loop {
            if let Ok(permit) = tokio::time::timeout(LOOKS_EVERY, &mut permit).await {
                break Ok(Begin::Now(permit));
            }
            if let Some(found) = found().await {
                break Ok(Begin::Here(found));
            }
            if began.elapsed() >= PERMIT_TIMEOUT {
                break Err(Failure::Here(format!(
                    "expected a permit to extract within {PERMIT_TIMEOUT:?}, found none"
                )));
            }
        };
        self.deadline += began.elapsed();
        begin
    }

    /// Waits until enough of the member is there. An archive may be long; one that gives nothing for half a budget is given up.
    async fn met(
        &self,
        need: Need<'_>,
        key: Key,
        build_id: Option<&BuildId>,
        entry: Arc<Entry>,
    ) -> Result<Arc<Entry>, Trouble> {
        // Several that stall one after the other take one budget together.
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = self.search.patience.min(left).max(LEAST_PATIENCE);
        let flowing = async {
            match need {
                Need::First => entry.while_it_flows(patience, entry.content().ready()).await,
                Need::Part(range) => {
                    entry.while_it_flows(patience, Content::section(entry.clone(), range).ready()).await
                }
                Need::Whole => entry.while_it_flows(patience, async { entry.whole_file().await.map(drop) }).await,
                Need::Section(name) => {
                    let place = async {
                        match build_id {
                            Some(build_id) => self.search.files.section(key, &entry, build_id, name).await.map(drop),
                            None => entry.whole_file().await.map(drop),
                        }
                    };
                    entry.while_it_flows(patience, Box::pin(place)).await
                }
            }
        };
        match tokio::time::timeout(FIRST_BYTES_WITHIN, flowing).await {
            Ok(Ok(())) => Ok(entry),
            Ok(Err(failure)) => {
                self.search.files.forget(key, &entry).await;
                Err(Trouble { failure, everywhere: entry.has_failed() })
            }
            // It goes on, for whoever asks again.
            Err(_) => {
                let text = format!("expected enough of a member within {FIRST_BYTES_WITHIN:?}, found less");
                Err(Trouble { failure: Failure::Unknown(text), everywhere: true })
            }
        }
    }

    /// A location may take half of what is left if `others` follow it: a store that hangs must leave time to ask the next one.
    pub(super) fn location_deadline(&self, others: usize) -> Instant {
        if others > 0 { half_way_to(self.deadline) } else { self.deadline }
    }
}
