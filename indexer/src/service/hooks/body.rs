//! The JSON body of a hook.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use actix_web::web::{BytesMut, Payload};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;

/// Maximum time for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a JSON body of at most `max_bytes` bytes.
///
/// # Errors
/// It is of another type, encoded, too large, too slow, or no JSON of the expected form, which `expected` states.
pub(super) async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: &mut Payload,
    max_bytes: u64,
    expected: &str,
) -> Result<T, Refusal> {
    check_type(request, &["application/json"])?;
    check_length(request, max_bytes)?;
    let end = Instant::now() + BODY_TIMEOUT;
    let mut body = BytesMut::new();
    loop {
        let Ok(chunk) = timeout_at(end, payload.next()).await else {
            let (expected, found) = (format!("a whole body within {BODY_TIMEOUT:?}"), format!("{} bytes", body.len()));
            return Err(Refusal::too_slow(expected, found));
        };
        match chunk {
            None => break,
            Some(Ok(chunk)) if (body.len() + chunk.len()) as u64 > max_bytes => {
                return Err(Refusal::too_large(max_bytes, "more"));
            }
            Some(Ok(chunk)) => body.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(Refusal::malformed("a whole body", error.to_string())),
        }
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::malformed(expected, error.to_string()))
}

/// Expects one of these media types (parameters do not count), and no content encoding.
pub(super) fn check_type(request: &HttpRequest, types: &[&str]) -> Result<(), Refusal> {
    let expected = || types.join(" or ");
    let found = text(request, &CONTENT_TYPE)?.unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if !types.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        let found = if found.is_empty() { "no Content-Type" } else { found };
        return Err(Refusal::wrong_type(&expected(), found));
    }
    match text(request, &CONTENT_ENCODING)? {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            Err(Refusal::wrong_type(&format!("{} without Content-Encoding", expected()), encoding))
        }
        _ => Ok(()),
    }
}

/// Returns the stated length of the body; `None` if it is sent in chunks.
///
/// # Errors
/// It is longer than `max_bytes`.
pub(super) fn check_length(request: &HttpRequest, max_bytes: u64) -> Result<Option<u64>, Refusal> {
    let Some(length) = text(request, &CONTENT_LENGTH)? else { return Ok(None) };
    match length.parse::<u64>() {
        Ok(bytes) if bytes <= max_bytes => Ok(Some(bytes)),
        Ok(bytes) => Err(Refusal::too_large(max_bytes, bytes.to_string())),
        Err(_) => Err(Refusal::malformed("Content-Length in bytes", length)),
    }
}

/// Returns the value of a header field.
///
/// # Errors
/// It has other bytes than visible ASCII.
pub(super) fn text<'r>(request: &'r HttpRequest, name: &HeaderName) -> Result<Option<&'r str>, Refusal> {
    let value = request.headers().get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| Refusal::malformed(format!("{name} in ASCII"), "other bytes"))
}
