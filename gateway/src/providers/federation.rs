//! Upstreams: other debuginfod servers.
//!
//! All are asked at once, with GET (the reference server answers 400 to HEAD), and the first that proves to have it
//! ([`proof`]) wins. The client is redirected there; no byte is relayed. All answer that they do not have it: absent.
//! Anything else: unknown, which is not cached. `/metadata` is asked of all of them ([`metadata`]). Whether they answer
//! is probed in the background ([`health`]).

mod health;
mod metadata;
mod proof;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::header::ACCEPT_ENCODING;
use reqwest::{Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::timeout_at;
use url::Url;

use crate::config::{Config, UpstreamSettings};
use crate::metrics::METRICS;
use crate::providers::Fault;
use crate::providers::http_client::{self, Client, ClientPolicy, Request, is_page, refused_redirect};
use crate::providers::identity::Identity;
use crate::resolve::answer::Redirect;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{Cause, CauseKind, Provider, Unavailable};
use crate::resolve::question::{Caller, Question};
use health::Health;

/// The upstreams.
#[derive(Clone)]
pub(crate) struct Federation {
    upstreams: Arc<[Upstream]>,
    max_hops: usize,
    runtime: Handle,
}

/// One other debuginfod server.
struct Upstream {
    url: Url,
    /// How metrics and logs name it. The URL may hold credentials.
    name: String,
    client: Client,
    health: Arc<Health>,
    identity: Identity,
}

impl Federation {
    /// Knows the upstreams of the configuration, and begins to probe them.
    pub(crate) fn new(config: &Config, identity: &Identity) -> anyhow::Result<Self> {
        let enabled = config.upstreams.iter().filter(|settings| settings.enabled);
        let upstreams: Arc<[Upstream]> =
            enabled.map(|settings| Upstream::new(settings, identity.clone())).collect::<anyhow::Result<_>>()?;
        let runtime = Handle::current();
        // A redirect to another host is an answer.
        let probing = http_client::build(&ClientPolicy::default(), identity.probe_user_agent())?;
        for upstream in upstreams.iter() {
            let (client, health, url) = (probing.clone(), upstream.health.clone(), upstream.url.clone());
            runtime.spawn(async move { health.keep_probing(&client, &url).await });
        }
        Ok(Self { upstreams, max_hops: config.federation.max_hops, runtime })
    }

    /// True if no upstream is configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// Asks all upstreams until one has it.
    ///
    /// # Errors
    /// No upstream had it, and one did not answer until `deadline`.
    pub(crate) async fn find(
        &self,
        question: &Question,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<Option<Redirect>, Unavailable> {
        if self.is_empty() {
            return Ok(None);
        }
        if caller.hops >= self.max_hops || self.upstreams.iter().any(|upstream| upstream.identity.has_passed(caller)) {
            tracing::info!(
                hops = caller.hops,
                max = self.max_hops,
                "a question passed too many servers: not asked further"
            );
            return Ok(None);
        }
        let mut asked: FuturesUnordered<_> = (0..self.upstreams.len())
            .map(|number| self.clone().ask(number, question.clone(), caller.clone(), deadline))
            .collect();
        let mut causes = Vec::new();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Some(redirect)) => return Ok(Some(redirect)),
                Ok(None) => {}
                Err(cause) => causes.push(cause),
            }
        }
        if causes.is_empty() { Ok(None) } else { Err(Unavailable(causes)) }
    }

    /// Asks one upstream, on the main runtime, counted.
    async fn ask(
        self,
        number: usize,
        question: Question,
        caller: Caller,
        deadline: Deadline,
    ) -> Result<Option<Redirect>, Cause> {
        let started = Instant::now();
        let name = self.upstreams[number].name.clone();
        let runtime = self.runtime.clone();
        let health = self.upstreams[number].health.clone();
        let ask = runtime.spawn(async move {
            let upstream = &self.upstreams[number];
            let asked = timeout_at(deadline.end().into(), upstream.ask(&question, &caller, deadline));
            asked.await.unwrap_or_else(|_| {
                Err(Fault::new(CauseKind::Timeout, "expected an answer within the budget, found none"))
            })
        });
        let answer = ask
            .await
            .unwrap_or_else(|error| Err(Fault::new(CauseKind::Broken, format!("the task ended early: {error}"))));
        let result = match &answer {
            Ok(Some(_)) => "found",
            Ok(None) => "absent",
            Err(_) => "failed",
        };
        METRICS.upstream_requests.with_label_values(&[name.as_str(), result]).inc();
        METRICS.upstream_request_duration.with_label_values(&[name.as_str()]).observe(started.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => health.answered(),
            Err(fault) => health.failed(&fault.text),
        }
        answer.map_err(|fault| fault.of_upstream(&name))
    }

    /// True if the log already has that this provider, an upstream, is unavailable.
    pub(crate) fn is_logged(&self, provider: &Provider) -> bool {
        let Provider::Upstream(name) = provider else { return false };
        self.states().any(|(known, state)| known == name && matches!(state, Some(Err(_))))
    }

    /// Whether the upstreams answer, by name: `Ok` or the reason; `None` before the first probe.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&str, Option<Result<(), String>>)> {
        self.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream.health.state()))
    }
}

impl Upstream {
    fn new(settings: &UpstreamSettings, identity: Identity) -> anyhow::Result<Self> {
        let policy = ClientPolicy {
            redirect_hosts: settings.redirect_hosts.clone(),
            allow_private: settings.allow_private,
            headers: settings.headers.clone(),
            tls: settings.tls.clone(),
            gzip: true,
        };
        let name = settings.name.clone();
        let (client, health) = (http_client::build(&policy, identity.user_agent())?, Arc::new(Health::new(&name)));
        Ok(Self { url: settings.url.clone(), name, client, health, identity })
    }

    async fn ask(&self, question: &Question, caller: &Caller, deadline: Deadline) -> Result<Option<Redirect>, Fault> {
        let url = self.below(&question.to_string())?;
        let mut response = self.request(url.clone(), caller).send().await?;
        match response.status() {
            StatusCode::OK => {}
            // Object stores have no other answer for what they do not have, and a server that refuses this gateway
            // sends a page.
            StatusCode::FORBIDDEN if is_page(&mut response).await => {
                return Err(Fault::new(CauseKind::Refused, "found 403 with a page of HTML"));
            }
            // 501: it does not serve this sort of question at all.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN | StatusCode::NOT_IMPLEMENTED => {
                return Ok(None);
            }
            // A redirect to a host that is not allowed. With these headers another gateway has checked it.
            status if status.is_redirection() && response.headers().contains_key("x-debuginfod-size") => {
                return Ok(Some(redirect(url, &response)));
            }
            status if status.is_redirection() => {
                return Err(Fault::new(CauseKind::Refused, refused_redirect(&response)));
            }
            status => {
                return Err(Fault::new(CauseKind::Refused, format!("expected 200 or 404, found {status}")));
            }
        }
        proof::check(&mut response, &url, question, deadline.half()).await?;
        Ok(Some(redirect(url, &response)))
    }

    /// A request that names the client.
    fn request(&self, url: Url, caller: &Caller) -> Request {
        self.identity.apply(self.client.get(url).header(ACCEPT_ENCODING, "identity"), caller)
    }

    /// The upstream's own URL for a question, which is a path.
    fn below(&self, question: &str) -> Result<Url, Fault> {
        let base = self.url.as_str().split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        Url::parse(&format!("{base}/{question}")).map_err(|error| Fault::new(CauseKind::Wrong, error.to_string()))
    }
}

/// The redirect to `url`, which answered with `response`.
fn redirect(mut url: Url, response: &Response) -> Redirect {
    // The credentials are those of this gateway.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut headers = Vec::new();
    for (name, value) in response.headers() {
        if name.as_str().starts_with("x-debuginfod-") {
            headers.push((name.to_string(), value.as_bytes().to_vec()));
        }
    }
    let number = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    let named: Option<u64> = number("x-debuginfod-size");
    // Not `Response::content_length`: it counts what is left of the body.
    let size = named.or_else(|| response.status().is_success().then(|| number("content-length"))?);
    if let (None, Some(size)) = (named, size) {
        headers.push(("x-debuginfod-size".into(), size.to_string().into_bytes()));
    }
    Redirect { location: url.into(), headers, size }
}
