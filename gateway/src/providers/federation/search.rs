//! One search among all upstreams for what a question asks for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use super::relay;
use super::reply::{Reply, StartedReply};
use super::upstream::Upstream;
use super::verdict::{self, Absence, Given, MemberState, QuorumMember, UpstreamAttempt, UpstreamVerdict, Whole};
use super::warm::RequestKey;
use super::{Asked, FederationState};
use crate::config::Mode;
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::providers::Fault;
use crate::providers::walk::{self, Candidate, Trigger, Walked};
use crate::resolve::answer::Answer;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{CauseKind, Miss, Outcome};
use crate::resolve::question::Resource;

/// One search.
pub(super) struct UpstreamSearch {
    pub(super) shared: Arc<FederationState>,
    pub(super) asked: Asked,
    pub(super) deadline: Deadline,
    /// Requests to upstreams.
    requests: AtomicU32,
    attempts: Mutex<Vec<UpstreamAttempt>>,
    /// Upstreams that serve no sections.
    without_sections: Mutex<Vec<usize>>,
    /// Upstreams whose absence is provisional.
    late: Mutex<Vec<usize>>,
}

impl UpstreamSearch {
    /// Nothing is asked yet.
    pub(super) fn new(shared: Arc<FederationState>, asked: Asked, deadline: Deadline) -> Self {
        Self {
            shared,
            asked,
            deadline,
            requests: AtomicU32::new(0),
            attempts: Mutex::default(),
            without_sections: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// Asks the upstreams that can have it until one has it.
    pub(super) async fn run(self) -> UpstreamVerdict {
        let (mut states, candidates) = self.candidates().await;
        let this = Arc::new(self);
        let walked = walk::walk(candidates, |number, trigger| this.clone().attempt(*number, trigger)).await;
        let Walked { found, misses } = walked;
        let whole = match found {
            Some((_, Given::Answer(answer))) => Whole::Found(answer),
            Some((_, Given::TooLarge(size))) => Whole::TooLarge(size),
            None => {
                for (number, miss) in misses {
                    states.push((number, this.state_of(number, miss)));
                }
                this.decide(states).await
            }
        };
        let requests = this.requests.load(Ordering::Relaxed);
        let result = match &whole {
            Whole::Found(_) => "found",
            Whole::TooLarge(_) => "too_large",
            Whole::Absent(Absence::Certain) | Whole::SectionsNotServed => "absent",
            Whole::Absent(Absence::Provisional(_)) => "provisional",
            Whole::Unavailable(_) => "unavailable",
        };
        METRICS.federation_answers.with_label_values(&[result]).inc();
        if !matches!(whole, Whole::Found(_) | Whole::TooLarge(_)) {
            METRICS.federation_requests_per_miss.observe(f64::from(requests));
        }
        let attempts = std::mem::take(&mut *locked(&this.attempts)).into();
        UpstreamVerdict { whole, attempts }
    }

    /// What is known of upstreams without asking them, and those that are to be asked. Of the latter those that gave a
    /// file of this build-id before come first.
    async fn candidates(&self) -> (Vec<(usize, MemberState)>, Vec<Candidate<usize>>) {
        let question = &self.asked.question;
        let owners = self.shared.knowledge.owners(&question.build_id).await;
        let (mut states, mut candidates) = (Vec::new(), Vec::new());
        // While one is away, the others decide alone: what they stated before is asked again.
        let is_one_away = self.shared.serving(question).any(|(_, upstream)| upstream.health.opening().is_some());
        for (number, upstream) in self.shared.serving(question) {
            let epoch = upstream.health.breaker.epoch();
            if let Some(opening) = upstream.health.opening() {
                let since = opening.since.elapsed();
                self.record_attempt(upstream, "open", None, &opening.cause);
                let text = format!("its breaker is open since {} s: {}", since.as_secs(), opening.cause);
                let cause = Fault::new(CauseKind::Refused, text).of_upstream(upstream.name());
                states.push((number, MemberState::Away { since, cause }));
            } else if !is_one_away && self.shared.knowledge.is_absent(number, question, epoch).await {
                self.record_attempt(upstream, "remembered", None, "");
                states.push((number, MemberState::Absent { is_late: false }));
            } else {
                let rank = match owners.contains(&number) {
                    _ if upstream.is_marked_wrong(question) => i32::MAX,
                    true => i32::MIN,
                    false => upstream.settings.priority,
                };
                let hedge_after = upstream.hedge_after(self.deadline);
                candidates.push(Candidate { provider: number, rank, hedge_after });
            }
        }
        (states, candidates)
    }

    /// Asks one upstream, until its deadline. A request that takes longer continues in the background.
    async fn attempt(self: Arc<Self>, number: usize, trigger: Trigger) -> Outcome<Given> {
        let upstream = self.shared.upstreams[number].clone();
        let key = (number, self.asked.question.clone(), self.asked.caller.max_size);
        let deadline = upstream.deadline(self.deadline);
        if let Some(given) = self.shared.warm.given(&key).await {
            self.record_attempt(&upstream, "found", None, "by a request that continued in the background");
            return Ok(given);
        }
        let outcome = match self.shared.warm.running(&key) {
            Some(continued) => {
                let ended = timeout_at(deadline.end().into(), continued).await.ok().flatten();
                let outcome = ended.unwrap_or_else(|| {
                    let text = "an earlier request for the same has no answer yet";
                    Err(Fault::new(CauseKind::Timeout, text).of_upstream(upstream.name()).into())
                });
                self.record_attempt(&upstream, word(&outcome), None, "by a request that continued in the background");
                outcome
            }
            None => {
                if trigger == Trigger::Hedge {
                    upstream.hedged();
                }
                self.clone().send(key, &upstream, deadline).await
            }
        };
        outcome.map_err(|miss| miss.of_one_provider())
    }

    /// Sends a request to one upstream.
    async fn send(self: Arc<Self>, key: RequestKey, upstream: &Arc<Upstream>, deadline: Deadline) -> Outcome<Given> {
        let failed = |kind, text: String| Err(Fault::new(kind, text).of_upstream(upstream.name()).into());
        if deadline.has_passed() {
            return failed(CauseKind::Timeout, "not asked, the budget was used up before".into());
        }
        let Ok(permit) = timeout_at(deadline.half().end().into(), upstream.acquire()).await else {
            let max = upstream.settings.max_concurrent;
            return failed(CauseKind::Refused, format!("not asked, {max} requests to it are under way"));
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut pending =
            Pending { upstream: upstream.clone(), began: Instant::now(), usual: upstream.hedge_after(deadline) };
        let request = self.clone().request(key.0, deadline);
        let mut task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _permit = permit;
            request.await
        }));
        let mut ended = timeout_at(deadline.half().end().into(), &mut task).await;
        if ended.is_err() {
            upstream.health.suspect();
            ended = timeout_at(deadline.end().into(), &mut task).await;
        }
        let took = pending.end();
        let outcome = match ended {
            Ok(joined) => {
                joined.unwrap_or_else(|error| failed(CauseKind::Broken, format!("the task ended early: {error}")))
            }
            Err(_) => {
                let text = "expected an answer within the budget, found none";
                upstream.health.timed_out(pending.began, text);
                // One that hangs is not slow for this question.
                if upstream.health.opening().is_none() {
                    self.shared.warm.continue_in_background(key, task);
                }
                failed(CauseKind::Timeout, text.into())
            }
        };
        upstream.count(word(&outcome), took);
        let detail = match &outcome {
            Err(Miss::Failed(cause)) => cause.text.as_str(),
            _ => "",
        };
        self.record_attempt(upstream, word(&outcome), Some(took), detail);
        outcome
    }

    /// Asks one upstream, remembers what it stated, and makes an answer of what it gave.
    async fn request(self: Arc<Self>, number: usize, deadline: Deadline) -> Outcome<Given> {
        let (shared, asked) = (&self.shared, &self.asked);
        let upstream = &shared.upstreams[number];
        let epoch = upstream.health.breaker.epoch();
        let reply = upstream.ask(&shared.identity, &asked.question, &asked.caller, deadline).await;
        match reply.map_err(|fault| fault.of_upstream(upstream.name()))? {
            Reply::Found(begun) => {
                let answer = self.answer(number, *begun).await?;
                shared.knowledge.found(number, &asked.question).await;
                Ok(Given::Answer(answer))
            }
            // The client stated no maximum.
            Reply::TooLarge(_) if asked.caller.max_size.is_none() => {
                let text = "expected 200 or 404, found 406 without X-DEBUGINFOD-MAXSIZE in the request";
                Err(Fault::new(CauseKind::Refused, text).of_upstream(upstream.name()).into())
            }
            Reply::TooLarge(size) => {
                shared.knowledge.found(number, &asked.question).await;
                Ok(Given::TooLarge(size))
            }
            Reply::SectionsNotServed => {
                locked(&self.without_sections).push(number);
                Err(Miss::Absent(format!("upstream {}: serves no sections", upstream.name())))
            }
            Reply::Absent { max_age } => {
                let ttl = upstream.settings.absent_ttl.min(max_age.unwrap_or(Duration::MAX));
                let is_late = max_age == Some(Duration::ZERO) || self.is_late(number).await;
                match is_late {
                    true => locked(&self.late).push(number),
                    false => shared.knowledge.absent(number, &asked.question, epoch, ttl).await,
                }
                Err(Miss::Absent(format!("upstream {}: absent", upstream.name())))
            }
        }
    }

    /// A redirect, or a relay: of what cannot be redirected to since nothing proves it yet, and of sources, with whose
    /// time debuggers compare that of the program.
    async fn answer(&self, number: usize, begun: StartedReply) -> Outcome<Answer> {
        let upstream = &self.shared.upstreams[number];
        let is_small = begun.size.is_some_and(|size| size <= self.shared.relay.max_source.as_u64());
        let is_source = matches!(self.asked.question.resource, Resource::Source(_));
        if upstream.settings.mode == Mode::Redirect
            && begun.can_be_redirected_to()
            && !(is_source && is_small && begun.can_be_relayed())
        {
            return Ok(Answer::Redirect(begun.redirect()));
        }
        match relay::begin(&self.shared, &self.asked, number, begun).await {
            Ok(file) => Ok(Answer::File(file)),
            // It has stated that it has the file: whatever became of the bytes, that is no absence.
            Err(Miss::Absent(text)) => Err(Fault::new(CauseKind::Wrong, text).of_upstream(upstream.name()).into()),
            Err(failed) => Err(failed),
        }
    }

    /// The state of an upstream that was asked.
    fn state_of(&self, number: usize, miss: Miss) -> MemberState {
        match miss {
            Miss::Absent(_) => MemberState::Absent { is_late: locked(&self.late).contains(&number) },
            Miss::Failed(cause) => MemberState::Failed(cause),
        }
    }

    /// True if the upstream is one that may have the file some minutes after it had not.
    async fn is_late(&self, number: usize) -> bool {
        let Some(window) = self.shared.upstreams[number].settings.late_absent_ttl else { return false };
        let first = self.shared.knowledge.record_first_absence(number, &self.asked.question.build_id).await;
        first.elapsed() < window
    }

    async fn decide(&self, states: Vec<(usize, MemberState)>) -> Whole {
        let owners = self.shared.knowledge.owners(&self.asked.question.build_id).await;
        let member = |(number, state): (usize, MemberState)| {
            let upstream = &self.shared.upstreams[number];
            let is_known_to_have_it = owners.contains(&number) && !upstream.is_marked_wrong(&self.asked.question);
            QuorumMember { name: upstream.name().to_owned(), state, is_known_to_have_it }
        };
        let settings = &self.shared.settings;
        let members = states.into_iter().map(member).collect();
        match verdict::decide(members, settings.absent, settings.unreachable_after, self.asked.exists) {
            Ok(_) if self.needs_the_whole_file() => Whole::SectionsNotServed,
            Ok(absence) => Whole::Absent(absence),
            Err(unavailable) => Whole::Unavailable(unavailable),
        }
    }

    /// True if a section was asked for, and an upstream may have the file and serves no sections.
    fn needs_the_whole_file(&self) -> bool {
        let question = &self.asked.question;
        matches!(question.resource, Resource::Section(_))
            && (!locked(&self.without_sections).is_empty()
                || self.shared.upstreams.iter().any(|upstream| upstream.serves_whole_files_alone(question)))
    }

    fn record_attempt(&self, upstream: &Upstream, outcome: &'static str, took: Option<Duration>, detail: &str) {
        let upstream = upstream.name().to_owned();
        locked(&self.attempts).push(UpstreamAttempt { upstream, outcome, took, detail: detail.to_owned() });
    }
}

/// The word for the outcome of a request: the label `outcome` of metrics.
fn word(outcome: &Outcome<Given>) -> &'static str {
    match outcome {
        Ok(Given::Answer(_)) => "found",
        Ok(Given::TooLarge(_)) => "too_large",
        Err(Miss::Absent(_)) => "absent",
        Err(Miss::Failed(_)) => "failed",
    }
}

/// A request that is under way. If it is dropped because another upstream has the file, and takes longer than usual, a
/// probe tells whether its upstream hangs.
struct Pending {
    upstream: Arc<Upstream>,
    began: Instant,
    usual: Duration,
}

impl Pending {
    /// The request ended: how long it took.
    fn end(&mut self) -> Duration {
        self.usual = Duration::MAX;
        self.began.elapsed()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.began.elapsed() > self.usual {
            self.upstream.health.suspect();
        }
    }
}
