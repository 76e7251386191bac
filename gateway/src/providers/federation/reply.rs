//! One request to one upstream, and what its answer proves.

use std::time::Duration;

use http_client::{is_refusal, is_refused_host, refused_redirect, without_credentials};
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use reqwest::{Response, StatusCode};
use url::Url;

use super::proof::{self, Proof};
use super::relayed_headers::{MAX_HEADER_BYTES, number};
use crate::providers::Fault;
use crate::resolve::answer::Redirect;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::CauseKind;
use crate::resolve::question::{Question, Resource};

/// A header of answers that a gateway of ours cannot give at present.
pub(crate) const UNAVAILABLE: &str = "x-darkserver-unavailable";

/// What one upstream answered.
pub(super) enum Reply {
    /// It has it, and its first bytes are what was asked for.
    Found(Box<StartedReply>),
    /// It has it, and it is larger than the client accepts: its size in bytes, if the upstream told.
    TooLarge(Option<u64>),
    /// It serves no sections, as servers state by 503: the client is to fetch the whole file.
    SectionsNotServed,
    /// It does not have it, for at most so long if it told ([RFC 9111], section 5.2.2): zero if it forbids that this is
    /// stored.
    ///
    /// [RFC 9111]: https://www.rfc-editor.org/rfc/rfc9111
    Absent { max_age: Option<Duration> },
}

/// An answer with bytes that has begun.
pub(crate) struct StartedReply {
    /// The URL that was asked, before redirects; it can contain credentials.
    pub(super) url: Url,
    /// What follows `start`.
    pub(super) response: Response,
    /// The first bytes of the body.
    pub(super) start: Vec<u8>,
    pub(super) proof: Proof,
    /// Size in bytes, if the upstream told.
    pub(super) size: Option<u64>,
}

impl StartedReply {
    /// True if a client can be sent to where this answer came from: something proves that it is the right one.
    pub(super) fn can_be_redirected_to(&self) -> bool {
        self.proof != Proof::Pending
    }

    /// True if it has the bytes, and does not only tell where they are.
    pub(super) fn can_be_relayed(&self) -> bool {
        self.proof != Proof::Redirected
    }

    /// The redirect of a client to where this answer came from, with its `X-DEBUGINFOD-*` headers and without
    /// credentials.
    pub(super) fn redirect(&self) -> Redirect {
        // The credentials are those of this gateway.
        let location = without_credentials(&self.url).into();
        let mut headers = Vec::new();
        for (name, value) in self.response.headers() {
            if name.as_str().starts_with("x-debuginfod-") && value.len() <= MAX_HEADER_BYTES {
                headers.push((name.to_string(), value.as_bytes().to_vec()));
            }
        }
        if let (false, Some(size)) = (self.response.headers().contains_key("x-debuginfod-size"), self.size) {
            headers.push(("x-debuginfod-size".into(), size.to_string().into_bytes()));
        }
        Redirect { location, headers, size: self.size }
    }
}

/// Reads what an upstream answered to `question`, which was asked at `url`. The build-id note of a file whose bytes
/// come slowly is searched for until half of the time to `deadline` has passed.
///
/// # Errors
/// The answer is neither a file nor an absence: whether the upstream has it is unknown.
pub(super) async fn read(
    mut response: Response,
    url: Url,
    question: &Question,
    absent_statuses: &[u16],
    deadline: Deadline,
) -> Result<Reply, Fault> {
    let status = response.status();
    let refused = |text: String| Err(Fault::new(CauseKind::Refused, text));
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_ACCEPTABLE => return Ok(Reply::TooLarge(number(response.headers(), "x-debuginfod-size"))),
        _ if is_refusal(&mut response).await => return refused("found 403 with a page of HTML".into()),
        status if absent_statuses.contains(&status.as_u16()) => {
            return Ok(Reply::Absent { max_age: max_age(response.headers()) });
        }
        // A redirect to a host that is not allowed. With these headers another gateway has checked it.
        _ if is_refused_host(&response) && response.headers().contains_key("x-debuginfod-size") => {
            let size = number(response.headers(), "x-debuginfod-size");
            return Ok(Reply::Found(Box::new(StartedReply {
                url,
                response,
                start: Vec::new(),
                proof: Proof::Redirected,
                size,
            })));
        }
        status if status.is_redirection() => {
            return refused(refused_redirect(&response));
        }
        StatusCode::SERVICE_UNAVAILABLE
            if matches!(question.resource, Resource::Section(_)) && !response.headers().contains_key(UNAVAILABLE) =>
        {
            return Ok(Reply::SectionsNotServed);
        }
        status => return refused(format!("expected 200 or 404, found {status}")),
    }
    let (start, proof) = proof::read(&mut response, &url, question, deadline.half()).await?;
    // Not `Response::content_length`: it counts what is left of the body.
    let size = number(response.headers(), "content-length").or_else(|| number(response.headers(), "x-debuginfod-size"));
    Ok(Reply::Found(Box::new(StartedReply { url, response, start, proof, size })))
}

/// How long an answer may be stored, by its Cache-Control.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let age = |directive: String| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        directive => directive.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    };
    directives.filter_map(age).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_may_be_stored_as_long_as_the_upstream_allows() {
        let seconds = |text: &'static str| {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]);
            max_age(&headers).map(|age| age.as_secs())
        };
        for (text, expected) in [
            ("", None),
            ("public", None),
            ("public, max-age=10", Some(10)),
            ("No-Store", Some(0)),
            ("no-cache, max-age=60", Some(0)),
            ("max-age=x", None),
            ("max-age=\"5\",public", Some(5)),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
