//! The only place that decides the order of look-ups.
//!
//! 1. The same question was unavailable a moment ago: unavailable again, at once, so that a client's three tries take
//!    one budget.
//! 2. The index: records of the build-id; of each, the cached file, else the package's locations in tier order.
//! 3. The upstreams, all at once, whether the index had nothing or could not be asked.
//! 4. Debuginfo alone: programs of the index of which only their contents can tell whether they hold DWARF.
//! 5. All providers answered that they do not have it: absent. One of them failed: unavailable.
//!
//! With `federation.prefer = "redirect"` 3 comes before 2. A decision takes at most the budget; bytes may take longer.

pub(crate) mod answer;
mod artifact;
mod build_tree;
pub(crate) mod deadline;
mod file;
mod include_file;
mod line_tables;
mod member;
pub(crate) mod metadata;
mod other_formats;
pub(crate) mod outcome;
pub(crate) mod question;
mod recent;
mod search;
mod search_index;
mod section;
mod source;

use std::sync::Arc;
use std::time::Instant;

use crate::cache::MemberCache;
use crate::config::{Config, Prefer};
use crate::index::filter::Verdict;
use crate::index::lookup::Lookup;
use crate::permits::Permits;
use crate::providers::archives::Archives;
use crate::providers::federation::verdict::Whole;
use crate::providers::federation::{Asked, Federation};
use crate::providers::http_client::{self, ClientPolicy};
use crate::providers::identity::Identity;
use crate::readiness::Readiness;
use crate::resolve::answer::Answer;
use crate::resolve::deadline::Deadline;
use crate::resolve::line_tables::LineTables;
use crate::resolve::outcome::{Cause, Provider, Unavailable};
use crate::resolve::question::{Caller, Question, Resource};
use crate::resolve::recent::Recent;
use crate::resolve::search::SearchOutcome;

/// Everything that answers are made from.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) lookup: Lookup,
    pub(crate) cache: MemberCache,
    pub(crate) federation: Federation,
    pub(crate) readiness: Readiness,
    pub(crate) request_permits: Permits,
    archives: Archives,
    line_tables: LineTables,
    extraction_permits: Permits,
    recent: Recent,
}

/// A step of a decision.
#[derive(Clone, Copy)]
enum Step {
    /// Files of the index that are what is asked for.
    Index,
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
        let archives = Archives::new(http_client::build(&ClientPolicy::default(), identity.user_agent())?);
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

    /// Answers a debuginfod question.
    ///
    /// # Errors
    /// No provider that answered has it, and one of them failed.
    pub(crate) async fn answer(&self, question: &Question, caller: &Caller) -> Result<Option<Answer>, Unavailable> {
        if is_junk(question) {
            return Ok(None);
        }
        let now = Instant::now();
        if let Some(causes) = self.recent.find(question, now).await {
            return Err(causes);
        }
        let deadline = Deadline::after(self.config.request.budget);
        let answer = self.decide(question, caller, deadline).await;
        if let Err(causes) = &answer {
            // That a component is unavailable is logged once, not for each question.
            match self.is_logged(causes) {
                true => tracing::debug!(%question, %causes, "an answer is unavailable"),
                false => tracing::warn!(%question, %causes, "an answer is unavailable"),
            }
            Box::pin(self.recent.insert(question, causes)).await;
        }
        answer
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

    async fn decide(
        &self,
        question: &Question,
        caller: &Caller,
        mut deadline: Deadline,
    ) -> Result<Option<Answer>, Unavailable> {
        let first = if self.federation.is_empty() { deadline } else { deadline.of_first_step() };
        let (mut causes, mut unknown) = (Vec::new(), Vec::new());
        let steps = match self.config.federation.prefer {
            Prefer::Extract => [Step::Index, Step::Upstreams, Step::Unknown],
            Prefer::Redirect => [Step::Upstreams, Step::Index, Step::Unknown],
        };
        for (at, step) in steps.into_iter().enumerate() {
            let until = if at == 0 { first } else { deadline };
            let outcome = match step {
                Step::Index => match self.lookup.check_filter(&question.build_id) {
                    // Most requests: nothing is allocated for them.
                    Verdict::Absent => Ok(SearchOutcome::Absent),
                    verdict => {
                        let searched = Box::pin(self.search_index(verdict, question, caller.client, until)).await;
                        unknown = searched.unknown;
                        deadline = deadline.extended_by(searched.examined);
                        searched.outcome
                    }
                },
                Step::Upstreams if self.federation.is_empty() => Ok(SearchOutcome::Absent),
                Step::Upstreams => {
                    // The other half is for the files that may hold debuginfo.
                    let until = if unknown.is_empty() { until } else { until.half() };
                    let asked = Asked { question: question.clone(), caller: caller.clone(), exists: false };
                    match Box::pin(self.federation.find(asked, until)).await.whole {
                        Whole::Found(answer) => return Ok(Some(answer)),
                        Whole::TooLarge(_) | Whole::Absent(_) => Ok(SearchOutcome::Absent),
                        Whole::Unavailable(unavailable) => Err(unavailable),
                    }
                }
                Step::Unknown if unknown.is_empty() => Ok(SearchOutcome::Absent),
                Step::Unknown => Box::pin(self.search_unknown(&unknown, question, caller.client, until)).await,
            };
            match outcome {
                Ok(SearchOutcome::Found(found)) => return Ok(Some(Answer::File(found))),
                Ok(SearchOutcome::Settled) => return Ok(None),
                Ok(SearchOutcome::Absent) => {}
                Err(Unavailable(more)) => causes.extend(more),
            }
        }
        if causes.is_empty() { Ok(None) } else { Err(Unavailable(causes)) }
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
