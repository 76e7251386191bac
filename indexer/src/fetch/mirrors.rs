//! Mirrors of one store or repository, with their health for our own reads. It is forgotten at the end of a run.
//!
//! Healthy and fast mirrors are preferred, requests are spread by what is under way, and failing ones pause. Only hosts
//! that the operator wrote down are asked at any address; those that a list names must have public ones
//! ([`http_client`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use http_client::{Client, below, without_secrets};
use sql::{AbsentStatuses, Store};
use url::Url;

use crate::fetch::failure::{Failure, FailureKind};
use crate::fetch::network::Network;

/// Maximum number of mirrors among which requests are spread. Others replace those that fail.
const MAX_ACTIVE: usize = 6;
/// Maximum number of mirrors of a list; more are ignored.
const MAX_LISTED: usize = 100;
/// Answers of a mirror that were not what was asked for, before others are preferred.
const LENIENCE: u32 = 3;
/// Failures without an answer, of all mirrors, before they count as down.
const MIN_SILENT: u32 = 4;

/// Mirrors of the same files.
pub(crate) struct Mirrors {
    pub(super) network: Arc<Network>,
    pub(super) absent_statuses: AbsentStatuses,
    client: Client,
    mirrors: Vec<Mirror>,
    /// True if they are waited for although none has answered yet.
    is_patient: bool,
    silence: Mutex<Silence>,
}

/// The time since which no mirror gave an answer.
#[derive(Default)]
struct Silence {
    since: Option<Instant>,
    failures: u32,
    answered_at: Option<Instant>,
    /// True if the operator was told.
    is_noted: bool,
}

impl Silence {
    fn end(&mut self) {
        *self = Self { answered_at: Some(Instant::now()), ..Self::default() };
    }
}

/// One mirror.
pub(super) struct Mirror {
    base: String,
    /// The host, for limits and reports.
    pub(super) host: String,
    /// True if a list named the host, not the operator.
    is_foreign: bool,
    health: Mutex<MirrorHealth>,
}

#[derive(Default)]
struct MirrorHealth {
    under_way: u32,
    /// Failures in a row that may pass.
    failures: u32,
    paused_until: Option<Instant>,
    /// Answers in a row that were not what was asked for.
    unfit: u32,
    /// Average time of its requests for headers.
    usual: Option<Duration>,
}

/// The mirror to ask next.
pub(super) struct Pick<'a> {
    pub(super) id: MirrorId,
    pub(super) mirror: &'a Mirror,
    /// How long it still pauses.
    pub(super) pause: Duration,
}

impl Mirrors {
    /// Returns the files below `base`, which the operator wrote down: a store's URL, a metalink.
    ///
    /// # Errors
    /// `base` is no http URL, or no client can be made.
    pub(crate) fn of_base(network: &Arc<Network>, store: &Store, base: &str) -> Result<Self> {
        let host = below(base, "").and_then(|url| url.host_str().map(str::to_owned));
        let Some(host) = host else { bail!("expected an http or https URL, found {}", shown(base)) };
        let client = network.client(store.redirect_hosts.as_slice(), &[], store.allow_private)?;
        let mirror = Mirror { base: base.to_owned(), host, is_foreign: false, health: Mutex::default() };
        Ok(Self::new(network, store, client, vec![mirror]))
    }

    /// Returns the files below any of `bases`, best first, which a metalink or mirrorlist of `store` names. URLs that
    /// are not http or https are ignored.
    ///
    /// # Errors
    /// None is left, or no client can be made.
    pub(crate) fn listed(network: &Arc<Network>, store: &Store, bases: &[Url]) -> Result<Self> {
        let own = store.base_url.as_deref().and_then(|base| Url::parse(base).ok());
        let own_host = own.as_ref().and_then(Url::host_str);
        let named = store.redirect_hosts.as_slice();
        let mut mirrors: Vec<Mirror> = Vec::new();
        for base in bases.iter().filter(|base| matches!(base.scheme(), "http" | "https")) {
            let Some(host) = base.host_str() else { continue };
            let is_own = own_host == Some(host) || named.iter().any(|named| named.eq_ignore_ascii_case(host));
            if mirrors.len() < MAX_LISTED && mirrors.iter().all(|mirror| mirror.base != base.as_str()) {
                let (base, host) = (base.as_str().to_owned(), host.to_owned());
                mirrors.push(Mirror { base, host, is_foreign: !is_own, health: Mutex::default() });
            }
        }
        if mirrors.is_empty() {
            bail!("expected http or https URLs of mirrors, found {} others", bases.len());
        }
        let foreign = mirrors.iter().filter(|mirror| mirror.is_foreign).map(|mirror| mirror.host.clone());
        let mut foreign: Vec<String> = foreign.collect();
        foreign.sort_unstable();
        foreign.dedup();
        let client = network.client(named, &foreign, store.allow_private)?;
        Ok(Self::new(network, store, client, mirrors))
    }

    fn new(network: &Arc<Network>, store: &Store, client: Client, mirrors: Vec<Mirror>) -> Self {
        let absent_statuses = store.absent_statuses.clone();
        let (network, silence) = (Arc::clone(network), Mutex::default());
        Self { network, absent_statuses, client, mirrors, is_patient: false, silence }
    }

    /// The same, in the middle of an import: waits for a server that has not answered yet as for one that has.
    pub(crate) fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// Returns the URLs of the mirrors without secrets, in the order of the list.
    pub(crate) fn shown(&self) -> impl Iterator<Item = String> {
        self.mirrors.iter().map(|mirror| shown(&mirror.base))
    }

    /// Makes the mirror that gave a wrong file, by its checksum say, the last choice.
    pub(crate) fn mark_wrong(&self, mirror: MirrorId) {
        if let Some(mirror) = self.mirrors.get(mirror.0) {
            mirror.health().unfit = u32::MAX;
        }
    }

    /// Returns the mirror to ask next, of those that are not in `but`. `None` if there is none.
    pub(super) fn pick(&self, but: &[MirrorId]) -> Option<Pick<'_>> {
        let now = Instant::now();
        let ids = (0..).map(MirrorId);
        let found = ids.zip(&self.mirrors).filter(|(id, _)| !but.contains(id));
        let mut found: Vec<MirrorCandidate<'_>> =
            found.map(|(id, mirror)| MirrorCandidate::new(id, mirror, now)).collect();
        found.sort_by_key(MirrorCandidate::fitness);
        let first = found.first()?.fitness();
        let best = found.iter().filter_map(|candidate| candidate.usual).min().unwrap_or_default();
        let alike = found.into_iter().take(MAX_ACTIVE).filter(|candidate| candidate.fitness() == first);
        let best = alike.min_by_key(|candidate| candidate.cost(best))?;
        Some(Pick { id: best.id, mirror: best.mirror, pause: best.pause })
    }

    /// A mirror gave what was asked for.
    pub(super) fn succeeded(&self, id: MirrorId) {
        self.silence().end();
        let Some(mirror) = self.mirrors.get(id.0) else { return };
        let mut health = mirror.health();
        (health.failures, health.paused_until) = (0, None);
        if health.unfit != u32::MAX {
            health.unfit = 0;
        }
    }

    /// A mirror failed a request that began at `began`.
    pub(super) fn failed(&self, id: MirrorId, began: Instant, kind: FailureKind) {
        let retry_after = match kind {
            FailureKind::Silent => {
                let mut silence = self.silence();
                silence.since.get_or_insert(began);
                silence.failures = silence.failures.saturating_add(1);
                None
            }
            FailureKind::Passing { retry_after } => {
                self.silence().end();
                retry_after
            }
            FailureKind::Absent | FailureKind::Wrong | FailureKind::Refused => {
                self.silence().end();
                if let Some(mirror) = self.mirrors.get(id.0) {
                    let mut health = mirror.health();
                    health.unfit = health.unfit.saturating_add(1);
                }
                return;
            }
        };
        let Some(mirror) = self.mirrors.get(id.0) else { return };
        let mut health = mirror.health();
        let (now, limits) = (Instant::now(), &self.network.limits);
        let asked_for = retry_after.map(|pause| now + pause.min(limits.max_pause));
        // Requests that were under way when it began to pause count as one.
        if let Some(until) = health.paused_until.filter(|until| began < *until) {
            health.paused_until = Some(asked_for.map_or(until, |asked_for| asked_for.max(until)));
            return;
        }
        let pauses = ExponentialBuilder::default().with_min_delay(limits.min_pause).with_max_delay(limits.max_pause);
        let mut pauses = pauses.with_jitter().without_max_times().build();
        let pause = pauses.nth(health.failures.min(16) as usize).unwrap_or(limits.max_pause);
        health.failures = health.failures.saturating_add(1);
        health.paused_until = asked_for.max(Some(now + pause.min(limits.max_pause)));
    }

    /// A mirror gave the head of an answer.
    pub(super) fn answered(&self) {
        self.silence().end();
    }

    /// Returns the time without any answer after which the mirrors are given up. Those that never answered get less:
    /// their address may be wrong.
    pub(super) fn patience(&self) -> Duration {
        let limits = &self.network.limits;
        if self.is_patient || self.silence().answered_at.is_some() {
            return limits.down_timeout;
        }
        let mirrors = if self.mirrors.len() > 1 { 2 } else { 1 };
        limits.down_timeout.min(limits.first_timeout * mirrors)
    }

    /// True if no mirror gave any answer for too long.
    pub(super) fn is_down(&self) -> bool {
        let patience = self.patience();
        let silence = self.silence();
        let is_long = silence.since.is_some_and(|since| since.elapsed() >= patience);
        is_long && (silence.failures >= MIN_SILENT || silence.answered_at.is_none() && !self.is_patient)
    }

    /// Waits for an answer: to a request to `mirror` that began at `began`, or between two requests. Tells the operator
    /// once if no mirror gives any, and ends if none ever did and the time for the first one is over.
    pub(super) async fn watch(&self, mirror: &Mirror, began: Option<Instant>) {
        let since = self.silence().since;
        let Some(began) = since.into_iter().chain(began).min() else { return std::future::pending().await };
        tokio::time::sleep_until((began + self.network.limits.notice_time).into()).await;
        if self.note_silence(began) {
            let text = format!("does not answer yet; it is asked again for up to {:?}", self.patience());
            self.network.notify(&mirror.host, &text);
        }
        tokio::time::sleep_until((began + self.patience()).into()).await;
        if self.is_patient || self.silence().answered_at.is_some() {
            std::future::pending().await
        }
    }

    /// True if no mirror has answered since `began` and the operator was not told yet.
    fn note_silence(&self, began: Instant) -> bool {
        let mut silence = self.silence();
        let has_answered = silence.answered_at.is_some_and(|answered| answered >= began);
        !has_answered && !std::mem::replace(&mut silence.is_noted, true)
    }

    /// True if a mirror gave any answer not long ago.
    pub(super) fn has_answered(&self) -> bool {
        let timeout = self.network.limits.down_timeout;
        self.silence().answered_at.is_some_and(|answered| answered.elapsed() < timeout)
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a GET request to `mirror` for the file at `url`.
    ///
    /// # Errors
    /// A list named the host, and it has no public address.
    pub(super) fn request(&self, mirror: &Mirror, url: Url) -> Result<http_client::Request, Failure> {
        let request = self.client.get(url);
        if !mirror.is_foreign {
            return Ok(request);
        }
        request.public_only().map_err(|error| Failure::new(FailureKind::Refused, error.to_string()))
    }
}

/// A mirror that may be asked next.
struct MirrorCandidate<'a> {
    id: MirrorId,
    mirror: &'a Mirror,
    pause: Duration,
    unfit: u32,
    usual: Option<Duration>,
    under_way: u32,
}

impl<'a> MirrorCandidate<'a> {
    fn new(id: MirrorId, mirror: &'a Mirror, now: Instant) -> Self {
        let health = mirror.health();
        let pause = health.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        Self { id, mirror, pause, unfit: health.unfit / LENIENCE, usual: health.usual, under_way: health.under_way }
    }

    /// Those with the lowest are asked.
    fn fitness(&self) -> (Duration, u32) {
        (self.pause, self.unfit)
    }

    /// The time that a request is expected to take. A mirror that was not measured yet counts as the best, so that it
    /// is.
    fn cost(&self, best: Duration) -> Duration {
        self.usual.unwrap_or(best).max(Duration::from_millis(1)) * self.under_way.saturating_add(1)
    }
}

impl Mirror {
    /// Returns the URL of the file `path`.
    ///
    /// # Errors
    /// The path has dot segments.
    pub(super) fn url(&self, path: &str) -> Result<Url, Failure> {
        below(&self.base, path)
            .ok_or_else(|| Failure::wrong(format!("expected a path below {}, found {path:?}", shown(&self.base))))
    }

    /// Counts a request that begins. The returned guard ends it.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.health().under_way += 1;
        UnderWay(self)
    }

    /// A request for a header took this long.
    pub(super) fn measured(&self, took: Duration) {
        let mut health = self.health();
        health.usual = Some(health.usual.map_or(took, |usual| (usual * 7 + took) / 8));
    }

    fn health(&self) -> MutexGuard<'_, MirrorHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mirror among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MirrorId(pub(super) usize);

/// A request that is under way.
pub(super) struct UnderWay<'a>(&'a Mirror);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut health = self.0.health();
        health.under_way = health.under_way.saturating_sub(1);
    }
}

/// A URL for messages.
fn shown(base: &str) -> String {
    Url::parse(base).map_or_else(|_| "no URL".to_owned(), |url| without_secrets(&url).into())
}
