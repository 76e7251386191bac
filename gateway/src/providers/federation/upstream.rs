//! One upstream: another debuginfod server, with everything that is known of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use artifact::ArtifactType;
use bytes::Bytes;
use http_client::{Client, ClientPolicy, Request};
use moka::future::Cache;
use reqwest::header::{ACCEPT_ENCODING, USER_AGENT};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::absent::{absent_path, probed_service, random_build_id};
use super::changes::Changes;
use super::health::Health;
use super::reply::{self, Reply};
use crate::config::{Service, Shape, UpstreamSettings};
use crate::metrics::METRICS;
use crate::providers::Fault;
use crate::providers::identity::Identity;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::CauseKind;
use crate::resolve::question::{Caller, Question, Resource};

/// A request may take this many times as long as 99 of 100 answers took.
const DEADLINE_FACTOR: u32 = 4;

/// Maximum number of questions to which an upstream gave another file, and how long they are remembered.
const MAX_WRONG_ANSWERS: u64 = 10_000;
const WRONG_TTL: Duration = Duration::from_secs(600);

/// One other debuginfod server.
pub(super) struct Upstream {
    pub(super) settings: UpstreamSettings,
    pub(super) health: Health,
    client: Client,
    permits: Arc<Semaphore>,
    /// Questions to which it gave another file than was asked for.
    wrong_answers: Cache<Question, ()>,
}

impl Upstream {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// A certificate or key cannot be read.
    pub(super) fn new(settings: UpstreamSettings, identity: &Identity, changes: Arc<Changes>) -> anyhow::Result<Self> {
        let client = client_of(&settings, identity.user_agent())?;
        let health = Health::new(&settings.name, changes);
        let wrong_answers = Cache::builder().max_capacity(MAX_WRONG_ANSWERS).time_to_live(WRONG_TTL).build();
        Ok(Self { health, client, permits: Arc::new(Semaphore::new(settings.max_concurrent)), wrong_answers, settings })
    }

    /// The name in metrics and logs.
    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Records that the upstream gave another file than was asked for: others are asked first for a while.
    pub(super) async fn mark_wrong(&self, question: &Question) {
        self.wrong_answers.insert(question.clone(), ()).await;
    }

    /// True if the upstream gave another file than was asked for a while ago.
    pub(super) fn is_marked_wrong(&self, question: &Question) -> bool {
        self.wrong_answers.contains_key(question)
    }

    /// True if the upstream can have what is asked for: it serves the kind, and build-ids of this shape.
    pub(super) fn serves(&self, question: &Question) -> bool {
        let service = match question.resource {
            Resource::Artifact(ArtifactType::Debuginfo) => Service::Debuginfo,
            Resource::Artifact(ArtifactType::Executable) => Service::Executable,
            Resource::Section(_) => Service::Section,
            Resource::Source(_) => Service::Source,
        };
        self.settings.serves.contains(&service) && self.settings.build_ids.contains(&Shape::of(&question.build_id))
    }

    /// True if the upstream serves files with the build-id of a question, and no sections of them.
    pub(super) fn serves_whole_files_alone(&self, question: &Question) -> bool {
        let serves = |service| self.settings.serves.contains(&service);
        !serves(Service::Section)
            && (serves(Service::Debuginfo) || serves(Service::Executable))
            && self.settings.build_ids.contains(&Shape::of(&question.build_id))
    }

    /// Until when the upstream may take to answer: as configured, else some times as long as it usually takes, at least
    /// half of the time left: a hang costs one request alone, and a file that is extracted first takes longer than an
    /// absence.
    pub(super) fn deadline(&self, deadline: Deadline) -> Deadline {
        let configured = self.settings.deadline;
        let measured = || {
            let usual = self.health.latency.quantile(0.99)?;
            Some((usual * DEADLINE_FACTOR).max(deadline.half().remaining()))
        };
        configured.or_else(measured).map_or(deadline, |limit| deadline.at_most(limit))
    }

    /// How long a rival waits for the upstream before it is asked, too.
    pub(super) fn hedge_after(&self, deadline: Deadline) -> Duration {
        let max = deadline.split(4).remaining();
        self.health.latency.usual().map_or(max, |usual| usual.min(max))
    }

    /// Asks, and records what that tells of the upstream. It takes as long as the upstream does: the caller gives up,
    /// and holds a permit meanwhile.
    ///
    /// # Errors
    /// Whether the upstream has it is unknown.
    pub(super) async fn ask(
        &self,
        identity: &Identity,
        question: &Question,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<Reply, Fault> {
        let began = Instant::now();
        let mut is_answered = false;
        let reply = async {
            let url = self.below(&question.to_string())?;
            let response = self.request(identity, url.clone(), caller).send().await?;
            is_answered = true;
            reply::read(response, url, question, &self.settings.absent_statuses, deadline).await
        };
        let reply = reply.await;
        match &reply {
            Ok(_) => self.health.answered(began.elapsed()),
            Err(fault) if is_answered && matches!(fault.kind, CauseKind::Refused | CauseKind::Wrong) => {
                if fault.kind == CauseKind::Wrong {
                    self.junk();
                }
                self.health.refused(&fault.text);
            }
            // It takes connections, or drops their packets.
            Err(fault) if !is_answered && fault.kind == CauseKind::Timeout => {
                self.health.timed_out(began, &fault.text);
            }
            Err(fault) => self.health.failed(&fault.text),
        }
        reply
    }

    /// The permit of one request, once fewer than `max_concurrent` are under way.
    pub(super) async fn acquire(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.permits.clone().acquire_owned().await
    }

    /// Counts a request that ended with `outcome` after `took`.
    pub(super) fn count(&self, outcome: &str, took: Duration) {
        METRICS.upstream_requests.with_label_values(&[self.name(), outcome]).inc();
        METRICS.upstream_request_duration.with_label_values(&[self.name()]).observe(took.as_secs_f64());
        self.health.history.ended(SystemTime::now(), outcome, took);
    }

    /// Counts a request that was sent because another upstream took longer than usual.
    pub(super) fn hedged(&self) {
        METRICS.upstream_hedges.with_label_values(&[self.name()]).inc();
        self.health.history.hedged(SystemTime::now());
    }

    /// Counts an answer that was not what was asked for.
    pub(super) fn junk(&self) {
        METRICS.upstream_junk.with_label_values(&[self.name()]).inc();
        self.health.history.junk(SystemTime::now());
    }

    /// Counts a relay that this upstream continued after it broke off.
    pub(super) fn resumed(&self) {
        METRICS.upstream_resumes.with_label_values(&[self.name()]).inc();
    }

    /// Counts bytes of a file that a relay received.
    pub(super) fn received(&self, bytes: Bytes) -> Bytes {
        let length = bytes.len() as u64;
        METRICS.upstream_received_bytes.with_label_values(&[self.name()]).inc_by(length);
        self.health.history.received(SystemTime::now(), length);
        bytes
    }

    /// A request for a client's question.
    pub(super) fn request(&self, identity: &Identity, url: Url, caller: &Caller) -> Request {
        identity.apply(self.client.get(url).header(ACCEPT_ENCODING, "identity"), caller)
    }

    /// Probes the upstream as long as the process lives: asks for a random build-id.
    pub(super) async fn keep_probing(&self, identity: &Identity) {
        // With our name in Via: another gateway answers us by a status where it would reset the connection of a client.
        let probe = || {
            let request = identity.apply(self.client.get(self.probe_url()), &Caller::default());
            request.header(USER_AGENT, identity.probe_user_agent())
        };
        self.health.keep_probing(&self.settings.absent_statuses, || probe().send()).await;
    }

    /// The URL of something that cannot exist.
    fn probe_url(&self) -> Url {
        let path = absent_path(probed_service(&self.settings.serves), &random_build_id());
        // The URL of an upstream and hex digits make a URL.
        self.below(&path).unwrap_or_else(|_| self.settings.url.clone())
    }

    /// The upstream's own URL for a path without a slash before it.
    ///
    /// # Errors
    /// They do not make a URL.
    pub(super) fn below(&self, path: &str) -> Result<Url, Fault> {
        let url = http_client::below_escaped(&self.settings.url, path);
        url.map_err(|error| Fault::new(CauseKind::Wrong, error.to_string()))
    }
}

/// The client of an upstream with these settings.
///
/// # Errors
/// A certificate or key cannot be read.
pub(crate) fn client_of(settings: &UpstreamSettings, user_agent: &str) -> anyhow::Result<Client> {
    let policy = ClientPolicy {
        redirect_hosts: settings.redirect_hosts.clone(),
        allow_private: settings.allow_private,
        headers: settings.headers.clone(),
        tls: settings.tls.clone(),
        gzip: true,
        is_patient: true,
        ..ClientPolicy::default()
    };
    http_client::build(&policy, user_agent)
}

#[cfg(test)]
impl Upstream {
    /// An upstream with default settings.
    pub(super) fn of_url(url: &str) -> Self {
        let settings = UpstreamSettings::new("u".into(), Url::parse(url).unwrap());
        let identity = Identity::new(&crate::config::FederationSettings::default());
        Self::new(settings, &identity, Arc::default()).unwrap()
    }
}
