//! `darkserver upstream check`: tries upstreams one by one with the clients that the gateway would use.
//!
//! Everything that is asked for cannot exist: random build-ids. A server that answers 200 to them answers so to
//! everything.

mod advice;
mod report;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http_client::{Client, below_escaped, is_page, is_refused_host, reason, refused_redirect, without_secrets};
use reqwest::header::{ACCEPT_ENCODING, LOCATION};
use reqwest::{Response, StatusCode};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::{ParseError, Url};

use crate::cli::CheckArguments;
use crate::config::{Config, Service, UpstreamSettings};
use crate::providers::federation::{absent_path, client_of, probed_service, random_build_id};
use crate::providers::identity::Identity;

/// Requests whose time is measured.
const TRIES: usize = 5;
/// What is asked for, with the names in `serves`.
const SERVICES: [(Service, &str); 5] = [
    (Service::Debuginfo, "debuginfo"),
    (Service::Executable, "executable"),
    (Service::Source, "source"),
    (Service::Section, "section"),
    (Service::Metadata, "metadata"),
];

/// What was found out about one upstream.
struct Check {
    settings: UpstreamSettings,
    /// `request.budget`.
    budget: Duration,
    /// The addresses of its host, or why there are none.
    addresses: Result<Vec<SocketAddr>, String>,
    /// The time of a connection to the first address, or why there is none.
    connected: Result<Duration, String>,
    /// Times of answers to random build-ids, sorted, or why one did not come.
    times: Result<Vec<Duration>, String>,
    /// Answers to random build-ids by what was asked for.
    services: Vec<(Service, &'static str, Result<CheckedAnswer, String>)>,
    /// The answer to `GET /`.
    root: Result<CheckedAnswer, String>,
}

/// One answer.
struct CheckedAnswer {
    status: StatusCode,
    meaning: Meaning,
    /// Headers by which servers and proxies can be told.
    headers: Vec<(String, String)>,
}

/// What an answer to a question for something that cannot exist means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    /// A debuginfod server answers so.
    Sound(&'static str),
    /// It does not serve what was asked for.
    NotServed,
    /// It refuses this gateway, or has no other answer for what it does not have.
    Refused { is_page: bool },
    /// It has what cannot exist.
    Junk,
    /// A redirect that is not followed, with the reason, and with the host if `redirect_hosts` could allow it.
    Redirect { host: Option<String>, reason: String },
    /// Anything else.
    Failed,
}

/// Checks upstreams and prints a report. The exit status is 0 if all are sound, 1 if one is not.
///
/// # Errors
/// The configuration is wrong, or has no such upstream.
pub(crate) fn run(arguments: CheckArguments) -> Result<ExitCode> {
    let CheckArguments { names, json, timeout, arguments } = arguments;
    let config = Config::load(arguments)?;
    let chosen = choose(&config.upstreams, &names)?;
    // A second call finds the provider installed; that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let identity = Identity::new(&config.federation);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut checks = Vec::new();
    for (number, settings) in chosen.iter().enumerate() {
        if io::stderr().is_terminal() {
            let line = format!("{} of {}: trying {}", number + 1, chosen.len(), settings.name);
            let _ = writeln!(io::stderr(), "{line}");
        }
        let client = client_of(settings, identity.probe_user_agent())?;
        let check = runtime.block_on(check(settings, config.request.budget, &client, timeout));
        if !json {
            let _ = io::stdout().write_all(report::text(&check).as_bytes());
        }
        checks.push(check);
    }
    if json {
        let _ = writeln!(io::stdout(), "{:#}", report::json(&checks));
    }
    // A name of a resolver that hangs must not keep the process.
    runtime.shutdown_background();
    Ok(if checks.iter().all(Check::is_sound) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The upstreams of these names; without names, all that are enabled.
fn choose<'a>(upstreams: &'a [UpstreamSettings], names: &[String]) -> Result<Vec<&'a UpstreamSettings>> {
    let known = || upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", ");
    if upstreams.is_empty() {
        bail!("expected an upstream in the configuration, found none: name one with [[upstream]] or --upstream");
    }
    if names.is_empty() {
        let enabled: Vec<_> = upstreams.iter().filter(|upstream| upstream.enabled).collect();
        if enabled.is_empty() {
            bail!("expected an upstream that is enabled, found none: name one of {}", known());
        }
        return Ok(enabled);
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(upstream) = upstreams.iter().find(|upstream| upstream.name == *name) else {
            bail!("expected the name of an upstream, found `{name}`: the configuration has {}", known());
        };
        chosen.push(upstream);
    }
    Ok(chosen)
}

async fn check(settings: &UpstreamSettings, budget: Duration, client: &Client, limit: Duration) -> Check {
    let asker = Asker { settings, client, limit };
    let addresses = addresses(&settings.url, limit).await;
    let connected = match &addresses {
        Ok(addresses) => connect(addresses, limit).await,
        Err(error) => Err(error.clone()),
    };
    let times = asker.times().await;
    let (mut services, mut root) = (Vec::new(), Err("not asked".to_owned()));
    // A server that does not answer would take the time limit for each question.
    if times.is_ok() {
        for (service, name) in SERVICES {
            services.push((service, name, asker.ask(Some(service)).await));
        }
        root = asker.ask(None).await;
    }
    Check { settings: settings.clone(), budget, addresses, connected, times, services, root }
}

async fn addresses(url: &Url, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or_default();
    match timeout(limit, lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the resolver did not answer in time".to_owned()),
    }
}

/// The time of a connection to the first of these addresses that accepts one.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<Duration, String> {
    let started = Instant::now();
    match timeout(limit, TcpStream::connect(addresses)).await {
        Ok(Ok(_)) => Ok(started.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("timed out".to_owned()),
    }
}

/// Asks one upstream.
struct Asker<'a> {
    settings: &'a UpstreamSettings,
    client: &'a Client,
    limit: Duration,
}

impl Asker<'_> {
    /// The times of several answers, sorted.
    ///
    /// # Errors
    /// Why one did not come.
    async fn times(&self) -> Result<Vec<Duration>, String> {
        let mut times = Vec::new();
        for _ in 0..TRIES {
            let started = Instant::now();
            self.send(Some(probed_service(&self.settings.serves))).await?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    }

    /// The answer for a random build-id, or to `GET /`.
    ///
    /// # Errors
    /// Why none came.
    async fn ask(&self, service: Option<Service>) -> Result<CheckedAnswer, String> {
        let mut response = self.send(service).await?;
        let status = response.status();
        let headers = telling_headers(&response);
        let read = timeout(self.limit, self.meaning(service, &mut response)).await;
        Ok(CheckedAnswer { status, meaning: read.unwrap_or(Meaning::Failed), headers })
    }

    async fn send(&self, service: Option<Service>) -> Result<Response, String> {
        let url = self.url(service).map_err(|error| error.to_string())?;
        let request = self.client.get(url).header(ACCEPT_ENCODING, "identity").timeout(self.limit);
        request.send().await.map_err(|error| reason(&error))
    }

    fn url(&self, service: Option<Service>) -> Result<Url, ParseError> {
        let Some(service) = service else { return Ok(self.settings.url.clone()) };
        below_escaped(&self.settings.url, &absent_path(service, &random_build_id()))
    }

    async fn meaning(&self, service: Option<Service>, response: &mut Response) -> Meaning {
        let status = response.status();
        match (status, service) {
            (StatusCode::NOT_IMPLEMENTED, _) => Meaning::NotServed,
            (status, _) if status.is_redirection() => {
                let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                let target = location.and_then(|text| response.url().join(text).ok());
                let host = target.and_then(|url| url.host_str().map(str::to_owned));
                let host = host.filter(|_| is_refused_host(response));
                Meaning::Redirect { host, reason: refused_redirect(response) }
            }
            (_, None) => Meaning::Sound("answered"),
            (StatusCode::OK, Some(Service::Metadata)) if is_metadata(response).await => Meaning::Sound("served"),
            (StatusCode::OK, Some(_)) => Meaning::Junk,
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => {
                let is_page = is_page(response).await;
                if !is_page && self.settings.absent_statuses.contains(&status.as_u16()) {
                    return Meaning::Sound("absent");
                }
                Meaning::Refused { is_page }
            }
            // The endpoint itself is absent: metadata without results is 200. elfutils 0.188 answers 503.
            (_, Some(Service::Metadata)) => Meaning::NotServed,
            (status, _) if self.settings.absent_statuses.contains(&status.as_u16()) => Meaning::Sound("absent"),
            _ => Meaning::Failed,
        }
    }
}

/// True if a body is an answer of /metadata.
async fn is_metadata(response: &mut Response) -> bool {
    const MAX_BYTES: usize = 1 << 20;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return false;
        }
    }
    serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|value| value["results"].is_array())
}

/// The headers that tell which software answered, and what it tells of files.
fn telling_headers(response: &Response) -> Vec<(String, String)> {
    const MAX_CHARS: usize = 100;
    let is_telling = |name: &str| {
        matches!(name, "server" | "via" | "cache-control" | "x-cache") || name.starts_with("x-debuginfod-")
    };
    let headers = response.headers().iter().filter(|(name, _)| is_telling(name.as_str()));
    let text = |value: &[u8]| {
        let text = String::from_utf8_lossy(value);
        text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
    };
    headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

impl Check {
    /// The time that answers usually took.
    fn usual_time(&self) -> Option<Duration> {
        self.times.as_ref().ok().and_then(|times| times.get(times.len() / 2).copied())
    }

    /// True if everything that the upstream is asked for by its settings is answered as debuginfod servers answer.
    fn is_sound(&self) -> bool {
        let asked = self.services.iter().filter(|(service, ..)| self.settings.serves.contains(service));
        let is_sound = |answer: &Result<CheckedAnswer, String>| {
            matches!(answer, Ok(CheckedAnswer { meaning: Meaning::Sound(_) | Meaning::NotServed, .. }))
        };
        self.times.is_ok() && asked.map(|(_, _, answer)| answer).all(is_sound)
    }

    /// The URL without what may be secret.
    fn shown_url(&self) -> Url {
        without_secrets(&self.settings.url)
    }
}
