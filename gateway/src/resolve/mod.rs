//! The only place that decides the order of look-ups.
//!
//! 1. The same question was unavailable a moment ago, and nothing has changed since: unavailable again, at once, so
//!    that a client's three tries take one budget.
//! 2. The index: records of the build-id; of each, the cached file, else the package's locations in tier order. If they
//!    give nothing, the packages that claim the build-id, whose headers are read first ([`claims`]).
//! 3. What was relayed before or is being relayed, then the upstreams, all at once, whether the index had nothing or
//!    could not be asked.
//! 4. Debuginfo alone: programs of the index of which only their contents can tell whether they hold DWARF.
//! 5. All providers answered that they do not have it: absent. One of them failed: unavailable.
//!
//! With `federation.prefer = "redirect"` 3 comes before 2. A decision takes at most the budget; bytes may take longer.

pub(crate) mod answer;
mod artifact;
mod build_tree;
mod claims;
pub(crate) mod deadline;
pub(crate) mod decision;
mod file;
mod include_file;
mod line_tables;
mod member;
pub(crate) mod metadata;
mod other_formats;
pub(crate) mod outcome;
pub(crate) mod question;
mod recent;
mod relayed;
mod search;
mod search_index;
mod section;
mod source;
mod trace;

use std::sync::Arc;
use std::time::Instant;

use crate::cache::MemberCache;
use crate::config::{Config, Prefer};
use crate::index::filter::Verdict;
use crate::index::lookup::Lookup;
use crate::permits::Permits;
use crate::providers::archives::Archives;
use crate::providers::federation::{Asked, Federation};
use crate::providers::identity::Identity;
use crate::readiness::Readiness;
use crate::resolve::answer::Answer;
use crate::resolve::deadline::{Deadline, after_hops};
use crate::resolve::decision::{Course, Decision, NoAnswer};
use crate::resolve::line_tables::LineTables;
use crate::resolve::outcome::{Cause, Provider, Unavailable};
use crate::resolve::question::{Caller, Question, Resource};
use crate::resolve::recent::Recent;

/// Everything that answers are made from.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) lookup: Lookup,
    pub(crate) cache: MemberCache,
    pub(crate) federation: Federation,
    pub(crate) readiness: Readiness,
    pub(crate) request_permits: Permits,
    pub(crate) archives: Archives,
    line_tables: LineTables,
    extraction_permits: Permits,
    recent: Recent,
}

/// A step of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Files of the index that are what is asked for.
    Index,
    /// What was relayed before.
    Relayed,
    /// All upstreams.
    Upstreams,
    /// Files of the index that may be what is asked for.
    Unknown,
}

impl Gateway {
    /// Wires the parts together.
    pub(crate) async fn new(config: Config) -> anyhow::Result<Self> {
        // Steps that can fail come before those that start background tasks.
        let cache =
            MemberCache::open(&config.cache_dir, config.cache_size, config.extraction.abandoned, config.prefetch)
                .await?;
        let identity = Identity::new(&config.federation);
        let archives = Archives::new(identity.user_agent());
        let index = sql::Index::open(&config.database, sql::Access::ReadOnly)?;
        let federation = Federation::new(&config, identity, cache.clone())?;
        let lookup = Lookup::new(index, &config.index, config.request.budget, &config.cache_dir);
        Ok(Self {
            readiness: Readiness::start(lookup.clone(), cache.clone(), federation.clone()),
            lookup,
            cache,
            federation,
            request_permits: Permits::new(config.request.max_concurrent, "request"),
            archives,
            line_tables: LineTables::new(),
            extraction_permits: Permits::new(config.extraction.max_concurrent, "extraction"),
            recent: Recent::new(),
            config: Arc::new(config),
        })
    }

    /// Decides a debuginfod question, and logs and remembers that an answer is unavailable.
    pub(crate) async fn answer(&self, question: &Question, caller: &Caller) -> Decision {
        if is_junk(question) {
            return Decision::absent();
        }
        // For a larger file, or at a server that it has passed less often, the question has another answer.
        let is_like_others = caller.max_size.is_none() && self.federation.reason_not_to_ask(caller).is_none();
        // Before the decision: what changes in its course may change it.
        let changes = self.federation.changes();
        if is_like_others && let Some(causes) = self.recent.find(question, Instant::now(), changes).await {
            return Decision::unavailable_again(causes);
        }
        let budget = after_hops(self.config.request.budget, caller.hops);
        let decision = self.decide(question, caller, Deadline::after(budget)).await;
        match &decision.answer {
            Err(NoAnswer::Unavailable(causes)) => {
                // That a component is unavailable is logged once, not for each question.
                match self.is_logged(causes) {
                    true => tracing::debug!(%question, %causes, trace = %decision, "an answer is unavailable"),
                    false => tracing::warn!(%question, %causes, trace = %decision, "an answer is unavailable"),
                }
                if is_like_others {
                    Box::pin(self.recent.insert(question, causes, changes)).await;
                }
            }
            _ => tracing::debug!(%question, trace = %decision, "decided"),
        }
        decision
    }

    /// True if the log already has that every provider that failed is unavailable.
    fn is_logged(&self, causes: &Unavailable) -> bool {
        let is_index_unavailable = self.lookup.watch.unavailable().is_some();
        let is_logged = |cause: &Cause| match &cause.provider {
            Provider::Index => is_index_unavailable,
            provider => self.federation.is_logged(provider),
        };
        causes.0.iter().all(is_logged)
    }

    async fn decide(&self, question: &Question, caller: &Caller, whole: Deadline) -> Decision {
        let has_upstreams = !self.federation.is_empty();
        let first = if has_upstreams { whole.of_first_step() } else { whole };
        let steps = match self.config.federation.prefer {
            Prefer::Extract => {
                [(Step::Index, first), (Step::Relayed, whole), (Step::Upstreams, whole), (Step::Unknown, whole)]
            }
            Prefer::Redirect => {
                [(Step::Relayed, first), (Step::Upstreams, first), (Step::Index, whole), (Step::Unknown, whole)]
            }
        };
        let mut course = Course::new();
        for (step, until) in steps {
            let until = until.extended_by(course.examined);
            let end = match step {
                Step::Index => {
                    let verdict = self.lookup.check_filter(&question.build_id);
                    course.trace.filter = Some(verdict);
                    match verdict {
                        // Most requests: nothing is allocated for them.
                        Verdict::Absent => None,
                        verdict => Box::pin(self.ask_index(verdict, question, caller, until, &mut course)).await,
                    }
                }
                Step::Relayed | Step::Upstreams if !has_upstreams => None,
                Step::Relayed => course.add_outcome(Ok(Box::pin(self.search_relayed(question, until)).await)),
                Step::Upstreams => Box::pin(self.ask_upstreams(question, caller, until, &mut course)).await,
                Step::Unknown if course.unknown.is_empty() => None,
                Step::Unknown => Box::pin(self.examine(question, caller, until, &mut course)).await,
            };
            if let Some(answer) = end {
                return course.end(step, answer);
            }
        }
        course.conclude()
    }

    /// Asks the index, of which the filter has this `verdict`, and the stores.
    async fn ask_index(
        &self,
        verdict: Verdict,
        question: &Question,
        caller: &Caller,
        until: Deadline,
        course: &mut Course,
    ) -> Option<Result<Answer, NoAnswer>> {
        let searched = self.search_index(verdict, question, caller.client, until).await;
        (course.trace.records, course.trace.confirmed) = (Some(searched.records), searched.confirmed);
        (course.unknown, course.exists, course.examined) = (searched.unknown, searched.exists, searched.examined);
        let end = course.add_outcome(searched.outcome);
        if end.is_none() && course.exists && self.federation.reason_not_to_ask(caller).is_none() {
            course.distrust_absence();
        }
        end
    }

    /// Asks the upstreams.
    async fn ask_upstreams(
        &self,
        question: &Question,
        caller: &Caller,
        until: Deadline,
        course: &mut Course,
    ) -> Option<Result<Answer, NoAnswer>> {
        // The other half is for the files that may hold debuginfo.
        let until = if course.unknown.is_empty() { until } else { until.half() };
        let asked = Asked { question: question.clone(), caller: caller.clone(), exists: course.exists };
        course.add_verdict(self.federation.find(asked, until).await)
    }

    /// Examines the files of which only the contents can tell whether they are what is asked for.
    async fn examine(
        &self,
        question: &Question,
        caller: &Caller,
        until: Deadline,
        course: &mut Course,
    ) -> Option<Result<Answer, NoAnswer>> {
        course.trace.examined = Some(course.unknown.len());
        let outcome = self.search_unknown(&course.unknown, question, caller.client, until).await;
        course.add_outcome(outcome)
    }
}

/// Names that DWARF has for code without a file; GDB asks for them.
fn is_junk(question: &Question) -> bool {
    match &question.resource {
        Resource::Source(path) => {
            path.ends_with("/<built-in>") || path.ends_with("/<unknown>") || path.ends_with("/<command-line>")
        }
        _ => false,
    }
}
