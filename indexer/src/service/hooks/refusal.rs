//! Answers that are no success, as JSON.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

/// Pause that a client is asked for while the database or the disk fails.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: Value,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    /// States what was expected and what was found. What a client sent is shortened.
    pub(super) fn expected(status: StatusCode, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found): (String, String) = (expected.into(), found.into());
        let found: String = found.chars().take(200).collect();
        let error = format!("expected {expected}, found {found}");
        Self { status, body: json!({ "error": error, "expected": expected, "found": found }), header: None }
    }

    /// 400.
    pub(super) fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::expected(StatusCode::BAD_REQUEST, expected, found)
    }

    /// 422: the request is well-formed, but the configuration, the index or the package does not permit it.
    pub(super) fn unprocessable(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::expected(StatusCode::UNPROCESSABLE_ENTITY, expected, found)
    }

    /// 401. `found` is never what was sent.
    pub(super) fn without_token(found: &str) -> Self {
        let refusal = Self::expected(StatusCode::UNAUTHORIZED, "Authorization: Bearer TOKEN with a valid token", found);
        refusal.with(WWW_AUTHENTICATE, "Bearer realm=\"darkserver hooks\"")
    }

    /// 403: there are no tokens.
    pub(super) fn disabled() -> Self {
        Self::expected(StatusCode::FORBIDDEN, "hooks.token_file with a token in the configuration", "none")
    }

    /// 405 with the only method that is served.
    pub(super) fn wrong_method(allowed: &'static str, found: &str) -> Self {
        Self::expected(StatusCode::METHOD_NOT_ALLOWED, allowed, found).with(ALLOW, allowed)
    }

    /// 408: the body came too slowly.
    pub(super) fn too_slow(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::expected(StatusCode::REQUEST_TIMEOUT, expected, found)
    }

    /// 413.
    pub(super) fn too_large(max_bytes: u64, found: impl Into<String>) -> Self {
        Self::expected(StatusCode::PAYLOAD_TOO_LARGE, format!("a body of at most {max_bytes} bytes"), found)
    }

    /// 415.
    pub(super) fn wrong_type(expected: &str, found: impl Into<String>) -> Self {
        Self::expected(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected, found)
    }

    /// 429.
    pub(super) fn too_many_requests(wait: Duration) -> Self {
        Self::expected(StatusCode::TOO_MANY_REQUESTS, "fewer requests (hooks.rate, hooks.burst)", "more").retry(wait)
    }

    /// 503. The cause stays in the log: it can name hosts and directories.
    pub(super) fn unavailable(error: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, body: json!({ "error": error }), header: None }
            .retry(RETRY_LATER)
    }

    /// 507.
    pub(super) fn disk_full(min_free: u64) -> Self {
        let expected = format!("{min_free} bytes that stay free in the store's file system (hooks.min_free)");
        Self::expected(StatusCode::INSUFFICIENT_STORAGE, expected, "less")
    }

    /// The same with Retry-After in whole seconds.
    fn retry(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(RETRY_AFTER, &seconds.max(1).to_string())
    }

    fn with(self, name: HeaderName, value: &str) -> Self {
        Self { header: Some((name, value.to_owned())), ..self }
    }

    /// Returns the response.
    pub(super) fn response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CACHE_CONTROL, "no-store"));
        if let Some((name, value)) = self.header {
            response.insert_header((name, value));
        }
        response.json(self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_whole_seconds_and_never_none() {
        for (wait, seconds) in
            [(Duration::ZERO, "1"), (Duration::from_millis(1001), "2"), (Duration::from_secs(3), "3")]
        {
            let response = Refusal::too_many_requests(wait).response();
            assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), seconds);
        }
    }
}
