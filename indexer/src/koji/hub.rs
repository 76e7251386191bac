//! Requests to one hub.
//!
//! A hub is shared by all builders and users of a Koji: there is one request at a time, and each asks for as much as a
//! hub gives at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use backon::{ExponentialBuilder, Retryable};
use dxr::Value;
use http_client::{Client, is_html, is_permanent, reason, refused_redirect, without_secrets};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use url::Url;

use super::build::{BuildQuery, BuildRef, HubBuild, HubHeader, HubRpm};
use super::fault::{Fault, HubError, HubErrorKind};
use super::members::{HEADER_TAGS, elements, read_build, read_header, read_keys, read_rpm, state_code};
use super::xmlrpc::{AnswerError, Call, int, read_answer, read_results};
use crate::fetch::network::Network;

/// Maximum number of calls in one request.
const MAX_CALLS: usize = 100;
/// The same of calls with small results.
const MAX_SMALL_CALLS: usize = 500;
/// Maximum size of a request in bytes. Koji's `MaxRequestLength` is 4 MiB by default.
const MAX_REQUEST_BYTES: usize = 3 << 20;
/// Maximum size of an answer in bytes, decompressed.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Maximum number of times that a request is sent again after a failure that may pass.
const MAX_RETRIES: usize = 3;

/// Maximum time of a call with all its retries, in which requests were under way: none is begun that could take longer.
const MAX_CALL_TIME: Duration = Duration::from_secs(180);
/// Minimum rate of answers in bytes per second.
const MIN_RATE: u64 = 100 << 10;

/// Asks one hub. Clones share everything.
#[derive(Clone)]
pub(crate) struct Hub(Arc<HubState>);

struct HubState {
    network: Arc<Network>,
    client: Client,
    url: Url,
    /// The URL without secrets.
    shown: String,
    host: String,
    /// One request at a time.
    turn: Mutex<()>,
    calls: AtomicU64,
    failures: AtomicU64,
}

/// A page of builds, in the order of the query.
#[derive(Debug, Default)]
pub(crate) struct BuildList {
    pub(crate) builds: Vec<HubBuild>,
    /// Number of elements that cannot be read.
    pub(crate) skipped: usize,
}

/// Why one attempt of a request failed.
struct Failure {
    error: HubError,
    /// True if the same request may succeed later.
    may_pass: bool,
    /// The pause that the hub asked for.
    retry_after: Option<Duration>,
    /// True if one of the calls may be the cause: the answer is too large, or cannot be read. Fewer calls at once may
    /// help.
    is_of_calls: bool,
}

impl Failure {
    fn passing(text: impl Into<String>) -> Self {
        Self { may_pass: true, ..Self::lasting(HubError::unreachable(text)) }
    }

    fn lasting(error: HubError) -> Self {
        Self { error, may_pass: false, retry_after: None, is_of_calls: false }
    }

    fn of_calls(text: impl Into<String>) -> Self {
        Self { is_of_calls: true, ..Self::lasting(HubError::wrong(text)) }
    }
}

impl Hub {
    /// Returns the hub at a URL, which the operator wrote down.
    ///
    /// # Errors
    /// It is no http or https URL, or no client can be made.
    pub(crate) fn new(network: &Arc<Network>, hub_url: &Url) -> anyhow::Result<Self> {
        let shown = without_secrets(hub_url).to_string();
        if !matches!(hub_url.scheme(), "http" | "https") {
            bail!("expected an http or https URL of a hub, found {shown}");
        }
        let client = network.rpc_client().with_context(|| shown.clone())?;
        let host = hub_url.host_str().unwrap_or_default().to_owned();
        let (network, url) = (Arc::clone(network), hub_url.clone());
        Ok(Self(Arc::new(HubState {
            network,
            client,
            url,
            shown,
            host,
            turn: Mutex::default(),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// Returns the number of HTTP requests that were made.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// Returns the number of these that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Asks for builds (`getBuild`). `None`: the hub knows no such build. Results are in the order of `refs`. A result
    /// that is no build is a fault.
    ///
    /// # Errors
    /// No answer of a hub came.
    pub(crate) async fn builds(&self, refs: &[BuildRef]) -> Result<Vec<Result<Option<HubBuild>, Fault>>, HubError> {
        let call = |asked: &BuildRef| {
            let asked = match asked {
                BuildRef::Id(id) => int(*id),
                BuildRef::Nvr(nvr) => Value::String(nvr.clone()),
            };
            Call::new("getBuild", [asked])
        };
        self.ask_each(refs.iter().map(call).collect(), MAX_CALLS, |_, value| read_build(value)).await
    }

    /// Lists builds (`listBuilds`). What cannot be read is left out and counted.
    ///
    /// # Errors
    /// No answer of a hub came, it is a fault, or not a list.
    pub(crate) async fn list_builds(&self, query: &BuildQuery) -> Result<BuildList, HubError> {
        let mut list = BuildList::default();
        let mut parts = VecDeque::from([(query.offset, query.limit)]);
        while let Some((offset, limit)) = parts.pop_front() {
            let failure = match self.list_part(query, offset, limit).await {
                Ok(values) => {
                    for value in &values {
                        match read_build(value) {
                            Ok(Some(build)) => list.builds.push(build),
                            Ok(None) => self.skip(&mut list, "build: expected a struct, found nil"),
                            Err(text) => self.skip(&mut list, &text),
                        }
                    }
                    if values.len() < limit {
                        break;
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.is_of_calls && limit > 1 {
                let half = limit / 2;
                parts.push_front((offset + half, limit - half));
                parts.push_front((offset, half));
            } else if failure.is_of_calls && self.answers().await {
                self.skip(&mut list, &failure.error.text);
            } else {
                return Err(failure.error);
            }
        }
        Ok(list)
    }

    fn skip(&self, list: &mut BuildList, found: &str) {
        tracing::warn!(hub = self.0.shown, found, "a listed build is left out");
        list.skipped += 1;
    }

    /// Returns the elements of a part of a list of builds.
    async fn list_part(&self, query: &BuildQuery, offset: usize, limit: usize) -> Result<Vec<Value>, Failure> {
        let options = [
            ("order", Value::String(query.order.as_str().to_owned())),
            ("limit", int(i64::try_from(limit).unwrap_or(i64::MAX))),
            ("offset", int(i64::try_from(offset).unwrap_or(i64::MAX))),
        ];
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut call = Call::new("listBuilds", [])
            .keyword("state", Value::Integer(state_code(query.state)))
            .keyword("type", Value::String("rpm".to_owned()))
            .keyword("queryOpts", Value::Struct(options));
        for (name, time) in [("completeAfter", query.complete_after), ("completeBefore", query.complete_before)] {
            if let Some(time) = time {
                call = call.keyword(name, Value::Double(time));
            }
        }
        match self.call(&call).await? {
            Value::Array(values) => Ok(values),
            other => {
                let text = elements("builds", &other).err().unwrap_or_default();
                Err(Failure::lasting(HubError::wrong(text).at(&self.0.shown)))
            }
        }
    }

    /// True if the hub answers a call that concerns no build.
    async fn answers(&self) -> bool {
        match self.call(&Call::new("getAPIVersion", [])).await {
            Ok(_) => true,
            Err(failure) => failure.error.kind == HubErrorKind::Fault,
        }
    }

    /// Asks for the RPMs of builds (`listBuildRPMs`). A result that is no list of RPMs is a fault.
    ///
    /// # Errors
    /// No answer of a hub came.
    pub(crate) async fn build_rpms(&self, builds: &[i64]) -> Result<Vec<Result<Vec<HubRpm>, Fault>>, HubError> {
        let calls = builds.iter().map(|build| Call::new("listBuildRPMs", [int(*build)])).collect();
        let read = |at: usize, value: &Value| {
            let build = builds.get(at).copied().unwrap_or_default();
            elements("rpms", value)?.iter().map(|rpm| read_rpm(build, rpm)).collect()
        };
        self.ask_each(calls, MAX_CALLS, read).await
    }

    /// Asks for the keys that RPMs are signed with (`queryRPMSigs`), in lower-case hex, sorted. Signed copies can be
    /// missing all the same.
    ///
    /// # Errors
    /// No answer of a hub came.
    pub(crate) async fn signatures(&self, rpms: &[i64]) -> Result<Vec<Result<Vec<String>, Fault>>, HubError> {
        let calls = rpms.iter().map(|rpm| Call::new("queryRPMSigs", []).keyword("rpm_id", int(*rpm))).collect();
        self.ask_each(calls, MAX_SMALL_CALLS, |_, value| read_keys(value)).await
    }

    /// Asks for what headers state (`getRPMHeaders`). `None`: the hub has no file of the RPM.
    ///
    /// # Errors
    /// No answer of a hub came.
    pub(crate) async fn headers(&self, rpms: &[i64]) -> Result<Vec<Result<Option<HubHeader>, Fault>>, HubError> {
        let tags = || Value::Array(HEADER_TAGS.iter().map(|tag| Value::String((*tag).to_owned())).collect());
        let call = |rpm: &i64| Call::new("getRPMHeaders", [int(*rpm)]).keyword("headers", tags());
        self.ask_each(rpms.iter().map(call).collect(), MAX_CALLS, |_, value| read_header(value)).await
    }

    /// Makes calls, at most `max_calls` in one request and fewer where the answer would be too large, or cannot be
    /// read. One call whose answer is so all by itself has a fault, if the hub answers otherwise. `read` reads the
    /// result of the call with this number.
    async fn ask_each<T>(
        &self,
        calls: Vec<Call>,
        max_calls: usize,
        read: impl Fn(usize, &Value) -> Result<T, String>,
    ) -> Result<Vec<Result<T, Fault>>, HubError> {
        let mut answered = Vec::with_capacity(calls.len());
        let parts = (0..calls.len()).step_by(max_calls).map(|first| first..calls.len().min(first + max_calls));
        let mut parts: VecDeque<Range<usize>> = parts.collect();
        while let Some(part) = parts.pop_front() {
            let of_part = calls.get(part.clone()).unwrap_or_default();
            let failure = match self.multi_call(of_part).await {
                Ok(results) => {
                    for (at, result) in part.zip(results) {
                        answered.push(result.and_then(|value| read(at, &value).map_err(Fault::wrong_result)));
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            if !failure.is_of_calls {
                return Err(failure.error);
            }
            if part.len() < 2 {
                if !self.answers().await {
                    return Err(failure.error);
                }
                answered.push(Err(Fault::wrong_result(failure.error)));
                continue;
            }
            let middle = part.start + part.len() / 2;
            parts.push_front(middle..part.end);
            parts.push_front(part.start..middle);
        }
        Ok(answered)
    }

    async fn multi_call(&self, calls: &[Call]) -> Result<Vec<Result<Value, Fault>>, Failure> {
        let wrong = |text: String| Failure::lasting(HubError::wrong(text).at(&self.0.shown));
        let call = Call::multi(calls).map_err(wrong)?;
        read_results(self.call(&call).await?, calls.len()).map_err(wrong)
    }

    /// Makes a call, again after failures that may pass.
    async fn call(&self, call: &Call) -> Result<Value, Failure> {
        let limits = self.0.network.limits;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(limits.min_pause)
            .with_max_delay(limits.max_pause)
            .with_jitter()
            .with_max_times(MAX_RETRIES);
        let result = async {
            let body = call.to_xml().map_err(|text| Failure::lasting(HubError::wrong(text)))?;
            if body.len() > MAX_REQUEST_BYTES {
                let found = body.len();
                return Err(Failure::of_calls(format!(
                    "expected a request of {MAX_REQUEST_BYTES} bytes, found {found}"
                )));
            }
            let body = bytes::Bytes::from(body);
            let spent = AtomicU64::new(0);
            (|| self.0.attempt(body.clone(), &spent))
                .retry(pauses)
                .when(|failure: &Failure| {
                    let spent = Duration::from_millis(spent.load(Ordering::Relaxed));
                    failure.may_pass
                        && !self.0.network.stop.is_set()
                        && spent.saturating_add(limits.down_timeout) <= MAX_CALL_TIME
                })
                .adjust(|failure, pause| {
                    let asked = failure.retry_after.unwrap_or_default().min(limits.max_pause);
                    pause.map(|pause| pause.max(asked))
                })
                .await
        };
        tokio::select! {
            result = result => {
                result.map_err(|failure| Failure { error: failure.error.at(&self.0.shown), ..failure })
            }
            () = self.0.network.stopped() => {
                Err(Failure::lasting(HubError::unreachable("stopped").at(&self.0.shown)))
            }
        }
    }
}

impl HubState {
    /// Sends a request once, and adds to `spent` the milliseconds that it took since it had its turn.
    async fn attempt(&self, body: bytes::Bytes, spent: &AtomicU64) -> Result<Value, Failure> {
        let turn = self.turn.lock().await;
        let permit = self.network.acquire(&self.host).await;
        let began = Instant::now();
        let result = self.send(body).await;
        spent.fetch_add(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        drop((permit, turn));
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn send(&self, body: bytes::Bytes) -> Result<Value, Failure> {
        let meter = self.network.meter();
        let answer_timeout = self.network.limits.down_timeout;
        let request = self.client.post(self.url.clone(), body).header(CONTENT_TYPE, "text/xml");
        self.calls.fetch_add(1, Ordering::Relaxed);
        meter.count_request();
        let mut response = match timeout(answer_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let may_pass = !is_permanent(&error);
                return Err(Failure { may_pass, ..Failure::passing(reason(&error)) });
            }
            Err(_) => {
                return Err(Failure::passing(format!("expected an answer within {answer_timeout:?}, found none")));
            }
        };
        check(&response)?;
        let mut answer = Vec::new();
        let stall_timeout = self.network.limits.stall_timeout;
        let began = Instant::now();
        loop {
            let received = answer.len();
            if began.elapsed() > answer_timeout.saturating_add(Duration::from_secs(received as u64 / MIN_RATE)) {
                let text = format!("expected {MIN_RATE} bytes per second, found {received} in {:.0?}", began.elapsed());
                return Err(Failure::passing(text));
            }
            let chunk = match timeout(stall_timeout, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    let text = format!("expected more bytes, found the end after {received}: {}", reason(&error));
                    return Err(Failure::passing(text));
                }
                Err(_) => {
                    let text = format!("expected more bytes within {stall_timeout:?}, found none after {received}");
                    return Err(Failure::passing(text));
                }
            };
            meter.count_bytes(chunk.len());
            if received + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::of_calls(format!("expected at most {MAX_ANSWER_BYTES} bytes, found more")));
            }
            answer.extend_from_slice(&chunk);
        }
        drop(response);
        // Large ones take seconds.
        let read = tokio::task::spawn_blocking(move || read_answer(&answer)).await;
        match read {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(fault))) => {
                let may_pass = fault.may_pass();
                Err(Failure { may_pass, ..Failure::lasting(fault.into()) })
            }
            Ok(Err(AnswerError::Wrong(text) | AnswerError::TooLarge(text))) => Err(Failure::of_calls(text)),
            Err(error) => Err(Failure::passing(format!("reading of the answer failed: {error}"))),
        }
    }
}

/// Checks the head of a response.
fn check(response: &Response) -> Result<(), Failure> {
    let status = response.status();
    if status == StatusCode::OK {
        return match is_html(response.headers()) {
            true => Err(Failure::lasting(HubError::wrong("expected an answer of XML-RPC, found a page of HTML"))),
            false => Ok(()),
        };
    }
    if status.is_redirection() {
        let text = format!("expected 200, found {status}: {}", refused_redirect(response));
        return Err(Failure::lasting(HubError::wrong(text)));
    }
    let text = format!("expected 200, found {status}");
    let may_pass = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    if !may_pass {
        return Err(Failure::lasting(HubError::wrong(text)));
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Failure { retry_after: seconds.map(Duration::from_secs), ..Failure::passing(text) })
}

#[cfg(test)]
mod tests;
