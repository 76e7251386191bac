//! Upstreams: other debuginfod servers, asked for what the index does not have.
//!
//! - [`upstream`]: one upstream; [`health`]: its breaker and probes; [`knowledge`]: what it has and what not;
//! - [`search`]: all that can have it are asked, by [one walk](crate::providers::walk); concurrent searches for the
//!   same are one ([`coalesce`]); what is too slow goes on in the background ([`warm`]);
//! - [`reply`]: what an answer is; [`proof`]: what its first bytes prove;
//! - [`relay`]: its bytes through this gateway; [`relay_input`]: where they come from; [`relayed_headers`]: what is
//!   told of them; [`spool`]: those of unknown number;
//! - [`absent`]: what none of them can have, for probes;
//! - [`verdict`]: found, absent or unavailable, from the words of all;
//! - [`metadata`]: `/metadata` of all of them;
//! - [`history`]: the last day of one upstream; [`report`]: the state of all of them.

mod absent;
mod changes;
mod coalesce;
mod health;
mod history;
mod knowledge;
mod metadata;
mod proof;
mod relay;
pub(crate) mod relay_input;
mod relayed_headers;
mod reply;
pub(crate) mod report;
mod search;
mod spool;
mod upstream;
pub(crate) mod verdict;
mod warm;

pub(crate) use absent::{absent_path, probed_service, random_build_id};
pub(crate) use upstream::client_of;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::timeout_at;

use crate::cache::{MemberCache, MemberKey};
use crate::config::{Config, FederationSettings, RelaySettings};
use crate::permits::Permits;
use crate::providers::identity::Identity;
use crate::resolve::answer::FoundFile;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{Cause, CauseKind, Provider};
use crate::resolve::question::{Caller, Question};
pub(crate) use reply::UNAVAILABLE;

use changes::Changes;
use coalesce::{SearchKey, Searches};
use knowledge::Knowledge;
use search::UpstreamSearch;
use upstream::Upstream;
use verdict::{Absence, UpstreamVerdict, Whole};
use warm::Warm;

/// The upstreams. Clones share them.
#[derive(Clone)]
pub(crate) struct Federation(Arc<FederationState>);

/// What all searches share.
struct FederationState {
    /// Those that are enabled.
    upstreams: Vec<Arc<Upstream>>,
    settings: FederationSettings,
    relay: RelaySettings,
    identity: Identity,
    cache: MemberCache,
    knowledge: Knowledge,
    searches: Searches,
    warm: Warm,
    changes: Arc<Changes>,
    relay_permits: Permits,
    runtime: Handle,
}

/// What upstreams are asked for, and for whom.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) caller: Caller,
    /// True if the index has a record of it: then it is never absent while an upstream is away.
    pub(crate) exists: bool,
}

impl Federation {
    /// Knows the upstreams of the configuration, and begins to probe them. Files that are relayed are in `cache`.
    ///
    /// # Errors
    /// A certificate or key of an upstream cannot be read.
    pub(crate) fn new(config: &Config, identity: Identity, cache: MemberCache) -> anyhow::Result<Self> {
        let changes = Arc::new(Changes::default());
        let enabled = config.upstreams.iter().filter(|settings| settings.enabled);
        let upstreams =
            enabled.map(|settings| Upstream::new(settings.clone(), &identity, changes.clone()).map(Arc::new));
        let shared = Arc::new(FederationState {
            upstreams: upstreams.collect::<anyhow::Result<_>>()?,
            settings: config.federation.clone(),
            relay: config.relay,
            identity,
            cache,
            knowledge: Knowledge::new(),
            searches: Searches::default(),
            warm: Warm::new(config.federation.max_warm, config.federation.warm_timeout, changes.clone()),
            changes,
            relay_permits: Permits::new(config.relay.max_concurrent, "relay"),
            runtime: Handle::current(),
        });
        for upstream in &shared.upstreams {
            let (shared, upstream) = (shared.clone(), upstream.clone());
            tokio::spawn(async move { upstream.keep_probing(&shared.identity).await });
        }
        Ok(Self(shared))
    }

    /// True if no upstream is enabled.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.upstreams.is_empty()
    }

    /// What the upstreams that can have it answer together, until `deadline`.
    pub(crate) async fn find(&self, asked: Asked, deadline: Deadline) -> UpstreamVerdict {
        let shared = &self.0;
        if let Some(reason) = self.reason_not_to_ask(&asked.caller) {
            tracing::debug!(question = %asked.question, reason, "upstreams are not asked");
            return UpstreamVerdict::without_attempts(Whole::Absent(Absence::Provisional(reason)));
        }
        let key = SearchKey {
            question: asked.question.clone(),
            max_size: asked.caller.max_size,
            hops: asked.caller.hops,
            exists: asked.exists,
        };
        // It ends a little earlier than the wait for it, so that its verdict names the upstreams that did not answer.
        let search = UpstreamSearch::new(shared.clone(), asked, deadline.at_most(deadline.remaining() * 19 / 20));
        let verdict = shared.searches.join(&shared.runtime, key, search.run());
        // The search ends in time; that of another request may have begun later.
        timeout_at(deadline.end().into(), verdict).await.unwrap_or_else(|_| {
            let text = "the upstreams: expected a verdict within the budget, found none";
            UpstreamVerdict::unavailable(Cause::gateway(CauseKind::Timeout, text))
        })
    }

    /// A file that was relayed before, or is being relayed, once its first bytes may be sent.
    pub(crate) async fn relayed(&self, question: &Question) -> Option<FoundFile> {
        relay::cached(&self.0.cache, question).await
    }

    /// The key in the cache of what is relayed for `question`.
    pub(crate) fn relay_key(&self, question: &Question) -> MemberKey {
        relay::key(question)
    }

    /// Why a question is not asked further: it passed too many servers, or this one.
    pub(crate) fn reason_not_to_ask(&self, caller: &Caller) -> Option<String> {
        let (hops, max) = (caller.hops, self.0.settings.max_hops);
        if hops >= max {
            return Some(format!("because the question passed {hops} servers, at most {max} are allowed"));
        }
        self.0.identity.has_passed(caller).then(|| "because the question passed this server before".to_owned())
    }

    /// Changes whenever an answer that was unavailable may be another one now.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.count()
    }

    /// True if the log already has that this provider, an upstream, is unavailable.
    pub(crate) fn is_logged(&self, provider: &Provider) -> bool {
        let Provider::Upstream(name) = provider else { return false };
        self.states().any(|(known, state)| known == name && matches!(state, Some(Err(_))))
    }

    /// Whether the upstreams answer, by name: `Ok` or the reason; `None` before the first probe.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&str, Option<Result<(), String>>)> {
        self.0.upstreams.iter().map(|upstream| (upstream.name(), upstream.health.state()))
    }
}

impl FederationState {
    /// The upstreams that can have what is asked for, with their numbers.
    fn serving<'a>(&'a self, question: &'a Question) -> impl Iterator<Item = (usize, &'a Arc<Upstream>)> {
        self.upstreams.iter().enumerate().filter(|(_, upstream)| upstream.serves(question))
    }
}
