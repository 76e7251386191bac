//! Uploads one file, and tries again while that may help.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http_client::{Client, is_permanent, reason, refused_redirect};
use indicatif::ProgressBar;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Response, StatusCode};
use serde::Deserialize;
use tokio_util::io::ReaderStream;
use url::Url;

use super::Package;
use crate::service::hooks::digest;

/// Bytes that are read from a file at once.
const READ_BYTES: usize = 256 << 10;
/// Maximum time in which no byte is sent, and for the answer once all are.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Interval in which that is checked.
const STALL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum size of an answer in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Pause after the first failure. It doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pause, also where the indexer asks for a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Uploads files.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) bar: ProgressBar,
    /// Time for which a file is tried again.
    pub(super) retry_timeout: Duration,
}

/// A file that is in the index.
pub(super) struct Sent {
    pub(super) nvra: String,
    pub(super) build_ids: u64,
    pub(super) is_new: bool,
}

/// Why a file was not uploaded.
#[derive(Debug)]
pub(super) enum Failure {
    /// This file alone.
    OfFile(String),
    /// Every file would fail: the token, the store or the URL is wrong.
    OfAll(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::OfFile(text) | Self::OfAll(text)) = self;
        f.write_str(text)
    }
}

/// The end of one attempt that was no success.
enum Attempt {
    Failed(Failure),
    /// Another attempt may help.
    Passing {
        text: String,
        retry_after: Option<Duration>,
    },
}

/// The body of an answer: of a success, and of any other.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerBody {
    nvra: String,
    build_ids: u64,
    error: String,
}

impl Sender {
    /// Uploads a file.
    pub(super) async fn send(&self, url: Url, package: &Package) -> Result<Sent, Failure> {
        let began = Instant::now();
        let pauses = ExponentialBuilder::default().with_min_delay(MIN_PAUSE).with_max_delay(MAX_PAUSE);
        let mut pauses = pauses.with_jitter().without_max_times().build();
        self.bar.set_prefix(package.name.clone());
        self.bar.set_length(package.bytes);
        loop {
            self.bar.set_position(0);
            let (text, retry_after) = match self.attempt(&url, package).await {
                Ok(sent) => return Ok(sent),
                Err(Attempt::Failed(failure)) => return Err(failure),
                Err(Attempt::Passing { text, retry_after }) => (text, retry_after),
            };
            let pause = retry_after.max(pauses.next()).unwrap_or(MAX_PAUSE).min(MAX_PAUSE);
            if began.elapsed() + pause > self.retry_timeout {
                return Err(Failure::OfFile(format!("{text}; tried for {:.0?}", began.elapsed())));
            }
            self.bar.set_message(format!("{text}; tries again in {pause:.0?}"));
            tokio::time::sleep(pause).await;
            self.bar.set_message("");
        }
    }

    async fn attempt(&self, url: &Url, package: &Package) -> Result<Sent, Attempt> {
        let file = tokio::fs::File::open(&package.path).await;
        let file = file.map_err(|error| Attempt::Failed(Failure::OfFile(error.to_string())))?;
        let sent = Arc::new(AtomicU64::new(0));
        let body = Body::wrap_stream(self.counted(ReaderStream::with_capacity(file, READ_BYTES), &sent));
        let digest = HeaderValue::try_from(digest::write(&package.digest));
        let headers = HeaderMap::from_iter([
            (CONTENT_LENGTH, HeaderValue::from(package.bytes)),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-rpm")),
            (HeaderName::from_static("content-digest"), digest.unwrap_or(HeaderValue::from_static(""))),
        ]);
        let response = tokio::select! {
            response = self.client.put(url.clone(), headers, body) => response.map_err(|error| {
                let text = format!("{url}: {}", reason(&error));
                match is_permanent(&error) {
                    true => Attempt::Failed(Failure::OfAll(text)),
                    false => Attempt::Passing { text, retry_after: None },
                }
            })?,
            () = stalled(&sent) => {
                let text = format!("{url}: expected an answer within {STALL_TIMEOUT:?}, found none");
                return Err(Attempt::Passing { text, retry_after: None });
            }
        };
        judge(url, response).await
    }

    /// Counts what is read from a file.
    fn counted(
        &self,
        chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        sent: &Arc<AtomicU64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (bar, sent) = (self.bar.clone(), Arc::clone(sent));
        chunks.inspect_ok(move |chunk| {
            bar.inc(chunk.len() as u64);
            sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        })
    }
}

/// Ends once no byte was sent for [`STALL_TIMEOUT`].
async fn stalled(sent: &AtomicU64) {
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < STALL_TIMEOUT {
        tokio::time::sleep(STALL_INTERVAL).await;
        let now = sent.load(Ordering::Relaxed);
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// Returns what an answer means.
async fn judge(url: &Url, response: Response) -> Result<Sent, Attempt> {
    let status = response.status();
    if status.is_redirection() {
        return Err(Attempt::Failed(Failure::OfAll(format!(
            "{url}: expected no redirect: {}",
            refused_redirect(&response)
        ))));
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    let body = read_answer(response).await;
    let text = match body.error.as_str() {
        "" => format!("{url}: expected the status 201, found {status}"),
        error => format!("{error} ({status})"),
    };
    match status {
        StatusCode::CREATED | StatusCode::OK if !body.nvra.is_empty() => {
            Ok(Sent { nvra: body.nvra, build_ids: body.build_ids, is_new: status == StatusCode::CREATED })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Err(Attempt::Failed(Failure::OfAll(text)))
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::BAD_GATEWAY
        | StatusCode::GATEWAY_TIMEOUT => Err(Attempt::Passing { text, retry_after }),
        _ => Err(Attempt::Failed(Failure::OfFile(text))),
    }
}

/// Reads the body of an answer. One that is none of an indexer's is empty.
async fn read_answer(mut response: Response) -> AnswerBody {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
    };
    // What came until then may be whole.
    let _ = tokio::time::timeout(STALL_TIMEOUT, read).await;
    serde_json::from_slice(&body).unwrap_or_default()
}
