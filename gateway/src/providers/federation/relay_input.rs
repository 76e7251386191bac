//! The upstreams of one relay: the one whose bytes come, and those that can continue when it breaks off.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode};
use tempfile::SpooledTempFile;
use tokio::time::timeout;
use url::Url;

use super::relayed_headers::{length, sha256};
use super::reply::{Reply, StartedReply};
use super::upstream::Upstream;
use crate::cache::Told;
use crate::providers::Fault;
use crate::providers::identity::Identity;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{Cause, CauseKind, Provider};
use crate::resolve::question::{Caller, Question};

/// Requests of one relay to one upstream.
const MAX_REQUESTS: u32 = 2;
/// The rest of a file is asked for with so many bytes before it, which have to be the same as before.
const OVERLAP_BYTES: u64 = 64 << 10;
/// Bytes that are read at once of a file that was taken whole.
const CHUNK_BYTES: usize = 256 << 10;

/// Where the bytes of one relay come from.
pub(crate) struct RelayInput {
    told: Told,
    question: Question,
    caller: Caller,
    identity: Identity,
    candidates: Vec<UpstreamCandidate>,
    /// The number of the present one among the candidates.
    present: usize,
    body: Body,
    /// Of the answer of the present one.
    validators: ResumeValidators,
}

/// An upstream that can have the file.
struct UpstreamCandidate {
    upstream: Arc<Upstream>,
    /// Requests of this relay.
    request_count: u32,
}

/// The bytes of an answer that were not taken yet.
pub(super) enum Body {
    /// What was read before, and what follows.
    Response(Bytes, Response),
    /// All of them, of an answer whose length was not told.
    File(SpooledTempFile),
}

/// What tells whether the rest of a file is of the same file.
struct ResumeValidators {
    /// The URL that was asked.
    url: Url,
    /// Value of If-Range: a strong ETag, else the time of modification.
    if_range: Option<HeaderValue>,
    etag: Option<HeaderValue>,
}

impl ResumeValidators {
    fn of(url: Url, headers: &HeaderMap) -> Self {
        let etag = headers.get(ETAG).cloned();
        let strong = etag.clone().filter(|etag| !etag.as_bytes().starts_with(b"W/"));
        Self { url, if_range: strong.or_else(|| headers.get(LAST_MODIFIED).cloned()), etag }
    }
}

impl RelayInput {
    /// The answer of the upstream `present` of those that can have the file. `body` has its bytes, and `headers` are
    /// its headers.
    pub(super) fn new(
        told: Told,
        asked: (Question, Caller),
        identity: Identity,
        upstreams: impl IntoIterator<Item = Arc<Upstream>>,
        url: Url,
        headers: &HeaderMap,
        body: Body,
    ) -> Self {
        let (question, caller) = asked;
        let name = &told.origin.upstream;
        let candidate = |upstream: Arc<Upstream>| {
            let request_count = u32::from(upstream.name() == name);
            UpstreamCandidate { upstream, request_count }
        };
        let candidates: Vec<_> = upstreams.into_iter().map(candidate).collect();
        let present = candidates.iter().position(|candidate| candidate.request_count > 0).unwrap_or_default();
        let validators = ResumeValidators::of(url, headers);
        Self { told, question, caller, identity, candidates, present, body, validators }
    }

    /// What the first upstream told of the file.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    /// Name of the present upstream.
    pub(crate) fn name(&self) -> &str {
        self.upstream().name()
    }

    fn upstream(&self) -> &Upstream {
        &self.candidates[self.present].upstream
    }

    /// A failure of the present upstream.
    pub(crate) fn cause(&self, kind: CauseKind, text: impl Into<String>) -> Cause {
        Fault::new(kind, text).of_upstream(self.name())
    }

    /// The next bytes; `None` at the end. Cancelling it loses none.
    ///
    /// # Errors
    /// The upstream broke off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        let upstream = &self.candidates[self.present].upstream;
        match &mut self.body {
            Body::Response(start, _) if !start.is_empty() => Ok(Some(upstream.received(std::mem::take(start)))),
            Body::Response(_, response) => {
                let chunk = response.chunk().await.map_err(|error| Fault::from(error).of_upstream(upstream.name()))?;
                Ok(chunk.map(|bytes| upstream.received(bytes)))
            }
            Body::File(file) => {
                let mut bytes = vec![0; CHUNK_BYTES];
                let read = file.read(&mut bytes);
                let read =
                    read.map_err(|error| Cause::gateway(CauseKind::Local, format!("a temporary file: {error}")))?;
                bytes.truncate(read);
                Ok(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
            }
        }
    }

    /// Records that the present upstream broke off.
    pub(crate) fn failed(&self, cause: &Cause) {
        if cause.provider != Provider::Gateway {
            self.upstream().health.failed(&cause.text);
        }
    }

    /// Records that the present upstream gave another file than was asked for.
    pub(crate) async fn mark_wrong(&self, cause: &Cause) {
        let upstream = self.upstream();
        upstream.junk();
        upstream.health.refused(&cause.text);
        upstream.mark_wrong(&self.question).await;
    }

    /// Asks the present upstream for the bytes that follow the first `written` ones, within `limit`. Returns where the
    /// bytes begin that come.
    ///
    /// # Errors
    /// It was asked often enough, or does not have the rest of the same file.
    pub(crate) async fn resume_here(&mut self, written: u64, limit: Duration) -> Result<u64, Cause> {
        let candidate = &mut self.candidates[self.present];
        let upstream = candidate.upstream.clone();
        if candidate.request_count >= MAX_REQUESTS || matches!(self.body, Body::File(_)) {
            return Err(self.cause(CauseKind::Refused, "not asked again"));
        }
        candidate.request_count += 1;
        let began = Instant::now();
        let resumed = timeout(limit, self.request_rest(&upstream, written)).await.unwrap_or_else(|_| {
            Err(Fault::new(
                CauseKind::Timeout,
                format!("expected the rest of a file within {limit:?}, found no answer"),
            ))
        });
        upstream.count(if resumed.is_ok() { "found" } else { "failed" }, began.elapsed());
        match resumed {
            Ok((position, response)) => {
                upstream.health.answered(began.elapsed());
                upstream.resumed();
                self.body = Body::Response(Bytes::new(), response);
                Ok(position)
            }
            Err(fault) => Err(fault.of_upstream(upstream.name())),
        }
    }

    async fn request_rest(&self, upstream: &Upstream, written: u64) -> Result<(u64, Response), Fault> {
        let (size, validators) = (self.told.size, &self.validators);
        let position = written.saturating_sub(OVERLAP_BYTES);
        let mut request = upstream.request(&self.identity, validators.url.clone(), &self.caller);
        if position > 0 {
            request = request.header(RANGE, format!("bytes={position}-"));
            if let Some(validator) = &validators.if_range {
                request = request.header(IF_RANGE, validator.clone());
            }
        }
        let _permit = upstream.acquire().await;
        let response = request.send().await?;
        let headers = response.headers();
        let wrong = |text: String| Err(Fault::new(CauseKind::Wrong, text));
        let etag = headers.get(ETAG);
        if etag.is_some() && validators.etag.is_some() && etag != validators.etag.as_ref() {
            return wrong("expected the rest of the same file, found that of one with another ETag".into());
        }
        if let (Some(expected), Some(found)) = (self.told.sha256, sha256(headers))
            && expected != found
        {
            return wrong("expected the rest of the same file, found that of one with another digest".into());
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let expected = format!("bytes {position}-{}/{size}", size.saturating_sub(1));
                match headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()) {
                    Some(found) if found.trim() == expected => Ok((position, response)),
                    found => wrong(format!("expected Content-Range {expected:?}, found {found:?}")),
                }
            }
            StatusCode::OK => match length(headers, &self.question) {
                Some(found) if found == size => Ok((0, response)),
                found => wrong(format!("expected a file of {size} bytes, found {found:?}")),
            },
            status => Err(Fault::new(CauseKind::Refused, format!("expected the rest of a file, found {status}"))),
        }
    }

    /// Asks the other upstreams for the whole file, within `limit`. The first one that has it is the present one from
    /// then on.
    ///
    /// # Errors
    /// None has a file of this size.
    pub(crate) async fn resume_elsewhere(&mut self, limit: Duration) -> Result<(), Cause> {
        let deadline = Deadline::after(limit);
        let mut asked = FuturesUnordered::new();
        for (number, candidate) in self.candidates.iter_mut().enumerate() {
            let is_open = candidate.upstream.health.opening().is_some();
            if number != self.present && candidate.request_count < MAX_REQUESTS && !is_open {
                candidate.request_count += 1;
                let (upstream, identity) = (candidate.upstream.clone(), &self.identity);
                let (told, question, caller) = (&self.told, &self.question, &self.caller);
                asked.push(async move {
                    let began = Instant::now();
                    let reply = timeout(limit, async {
                        let _permit = upstream.acquire().await;
                        upstream.ask(identity, question, caller, deadline).await
                    });
                    let (outcome, found) = match reply.await {
                        Ok(Ok(Reply::Found(begun))) if is_same_file(told, &begun, question) => ("found", Some(begun)),
                        Ok(Ok(Reply::Absent { .. })) => ("absent", None),
                        Ok(Ok(Reply::TooLarge(_))) => ("too_large", None),
                        Ok(Ok(Reply::Found(_) | Reply::SectionsNotServed) | Err(_)) | Err(_) => ("failed", None),
                    };
                    upstream.count(outcome, began.elapsed());
                    Some((number, found?))
                });
            }
        }
        let mut found = None;
        while let (None, Some(ended)) = (&found, asked.next().await) {
            found = ended;
        }
        drop(asked);
        let Some((number, begun)) = found else {
            return Err(self.cause(CauseKind::Refused, "no other upstream has a file of the same size"));
        };
        let StartedReply { url, response, start, .. } = *begun;
        self.validators = ResumeValidators::of(url, response.headers());
        self.body = Body::Response(start.into(), response);
        self.present = number;
        self.upstream().resumed();
        Ok(())
    }
}

/// True unless an answer is one with another file than an upstream told of before.
fn is_same_file(told: &Told, begun: &StartedReply, question: &Question) -> bool {
    let headers = begun.response.headers();
    let is_same_digest = match (told.sha256, sha256(headers)) {
        (Some(expected), Some(found)) => expected == found,
        _ => true,
    };
    begun.response.status() == StatusCode::OK && length(headers, question) == Some(told.size) && is_same_digest
}
