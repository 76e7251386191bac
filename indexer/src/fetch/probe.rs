//! Probes a store over HTTP: whether it answers, honours Range, how fast it is, and where it redirects to.

use std::time::{Duration, Instant};

use http_client::{content_range, is_html, is_refused_host, reason, refused_redirect, without_secrets};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use tokio::time::timeout;
use url::Url;

use crate::fetch::network::Network;

/// Bytes of the request that shows whether Range is honoured.
const RANGE_BYTES: u64 = 1024;
/// Maximum number of bytes, and maximum time, to measure the rate.
const RATE_BYTES: u64 = 1 << 20;
const RATE_TIME: Duration = Duration::from_secs(10);

/// What was found about one property of a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Check {
    /// The property.
    pub(crate) check: &'static str,
    /// The repository that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<String>,
    pub(crate) result: Outcome,
    /// What was found, for people.
    pub(crate) detail: String,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    /// It works, and costs more than it has to.
    Warning,
    Failed,
    /// It could not be probed.
    Unknown,
}

impl Outcome {
    /// Returns the word in reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Unknown => "unknown",
        }
    }
}

/// Numbers of a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_version: Option<String>,
    /// Time from a request on an open connection to the first byte of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_second: Option<f64>,
    /// Hosts that it redirected to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) redirect_hosts: Vec<String>,
}

impl Check {
    pub(crate) fn new(check: &'static str, result: Outcome, detail: impl Into<String>) -> Self {
        Self { check, repository: None, result, detail: detail.into(), measured: Measured::default() }
    }

    /// The same with its numbers.
    fn measured(self, measured: Measured) -> Self {
        Self { measured, ..self }
    }
}

/// What is asked for.
pub(crate) struct Target {
    pub(crate) url: Url,
    /// True if it is a file that the index has at this place, so that its bytes can be asked for.
    pub(crate) is_file: bool,
}

/// Probes a store. `client` is for its URL.
pub(crate) async fn probe(network: &Network, client: &http_client::Client, target: &Target) -> Vec<Check> {
    let (shown, limit) = (without_secrets(&target.url), network.limits.stall_timeout);
    let mut checks = Vec::new();
    let request = |bytes: u64| {
        let request = client.get(target.url.clone()).header(ACCEPT_ENCODING, "identity");
        request.header(RANGE, format!("bytes=0-{}", bytes - 1))
    };
    let began = Instant::now();
    let response = match timeout(limit, request(RANGE_BYTES).send()).await {
        Ok(Ok(response)) => response,
        failed => {
            let found = failed.map_or_else(
                |_| format!("no answer within {limit:?}"),
                |sent| sent.map_or_else(|error| reason(&error), |_| String::new()),
            );
            let detail = format!("{shown}: expected an answer, found {found}");
            checks.push(Check::new("reachable", Outcome::Failed, detail));
            checks.extend(
                ["range", "speed", "redirects"].map(|check| Check::new(check, Outcome::Unknown, "it did not answer")),
            );
            return checks;
        }
    };
    let took = began.elapsed();
    checks.push(reachable(&response, target, shown.as_str(), took));
    let redirects = redirects(&response, &target.url);
    if !target.is_file {
        let detail = "no known location below the store's URL";
        checks.extend(["range", "speed"].map(|check| Check::new(check, Outcome::Unknown, detail)));
    } else {
        checks.push(range(&response, shown.as_str()));
        drop(response);
        checks.push(speed(request(RATE_BYTES), limit).await);
    }
    checks.push(redirects);
    checks
}

fn reachable(response: &Response, target: &Target, shown: &str, took: Duration) -> Check {
    let (status, version) = (response.status(), format!("{:?}", response.version()));
    let is_answer = status.is_success() || !target.is_file && status.is_client_error();
    let result = if is_answer { Outcome::Ok } else { Outcome::Failed };
    let detail = match status {
        status if is_answer => format!("{version}, {status} after {} ms", took.as_millis()),
        status if status.is_redirection() => format!("{shown}: expected a file, {}", refused_redirect(response)),
        status => format!("{shown}: expected 200 or 206, found {status}"),
    };
    let status = Some(status.as_u16());
    Check::new("reachable", result, detail).measured(Measured {
        status,
        http_version: Some(version),
        ..Measured::default()
    })
}

fn range(response: &Response, shown: &str) -> Check {
    let status = response.status();
    let (result, detail) = match status {
        StatusCode::PARTIAL_CONTENT => {
            let value = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let value = value.unwrap_or("none");
            let is_right = content_range(value).is_some_and(|(first, last, size)| {
                let end = size.map_or(RANGE_BYTES, |size| size.min(RANGE_BYTES));
                first == 0 && last + 1 == end
            });
            let asked = format!("bytes 0-{}", RANGE_BYTES - 1);
            match is_right {
                true => (Outcome::Ok, format!("206 with {value}")),
                false => (Outcome::Failed, format!("{shown}: expected {asked}, found Content-Range {value:?}")),
            }
        }
        StatusCode::OK if is_html(response.headers()) => {
            (Outcome::Failed, format!("{shown}: expected a file, found a page of HTML"))
        }
        StatusCode::OK => {
            let detail = "200: it ignores Range, so that each header costs a connection that is dropped";
            (Outcome::Warning, detail.to_owned())
        }
        status => (Outcome::Unknown, format!("{shown}: found {status}")),
    };
    let status = Some(status.as_u16());
    Check::new("range", result, detail).measured(Measured { status, ..Measured::default() })
}

/// Measures on the connection of the request before, where the server keeps it.
async fn speed(request: http_client::Request, limit: Duration) -> Check {
    let began = Instant::now();
    let failed = |found: String| Check::new("speed", Outcome::Unknown, found);
    let mut response = match timeout(limit, request.send()).await {
        Ok(Ok(response)) if response.status().is_success() => response,
        Ok(Ok(response)) => return failed(format!("found {}", response.status())),
        Ok(Err(error)) => return failed(reason(&error)),
        Err(_) => return failed(format!("no answer within {limit:?}")),
    };
    let (mut first_byte, mut bytes) = (None, 0_u64);
    while bytes < RATE_BYTES && began.elapsed() < RATE_TIME {
        match timeout(RATE_TIME, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                first_byte.get_or_insert_with(|| began.elapsed());
                bytes += chunk.len() as u64;
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return failed(format!("after {bytes} bytes: {}", reason(&error))),
            Err(_) => return failed(format!("no byte within {RATE_TIME:?} after {bytes}")),
        }
    }
    let Some(first_byte) = first_byte else { return failed("found an empty file".to_owned()) };
    let seconds = began.elapsed().as_secs_f64().max(1e-6);
    // Exact below 2^53 bytes.
    #[expect(clippy::cast_precision_loss, reason = "at most some MiB")]
    let rate = bytes as f64 / seconds;
    let detail =
        format!("first byte after {} ms; {} bytes at {:.0} KiB/s", first_byte.as_millis(), bytes, rate / 1024.0);
    Check::new("speed", Outcome::Ok, detail).measured(Measured {
        first_byte_seconds: Some(first_byte.as_secs_f64()),
        bytes_per_second: Some(rate),
        ..Measured::default()
    })
}

fn redirects(response: &Response, asked: &Url) -> Check {
    if response.status().is_redirection() {
        let result = if is_refused_host(response) { Outcome::Failed } else { Outcome::Warning };
        return Check::new("redirects", result, refused_redirect(response));
    }
    let found = response.url();
    if found.origin() == asked.origin() {
        return Check::new("redirects", Outcome::Ok, "none to another host");
    }
    let host = found.host_str().unwrap_or_default().to_owned();
    let detail = format!("to {}, which is allowed", found.origin().ascii_serialization());
    Check::new("redirects", Outcome::Ok, detail)
        .measured(Measured { redirect_hosts: vec![host], ..Measured::default() })
}
