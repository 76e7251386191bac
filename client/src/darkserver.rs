//! Sends queries to a darkserver over HTTP.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::args::Query;
use crate::error::ClientError;
use crate::ids;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read: more than 100,000 records.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The maximum of an error's body that is read, and shown.
const MAX_REASON_BYTES: usize = 16 << 10;
const MAX_REASON_CHARS: usize = 300;

/// The characters escaped in a path segment: all but unreserved ones (RFC 3986, section 2.3). Some proxies take a
/// literal `+` for a blank.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one darkserver.
pub(crate) struct DarkserverClient {
    base: Url,
    client: Client,
}

impl DarkserverClient {
    /// Creates a client of the server at `base`. Each request times out after `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Local`] where the HTTP client cannot be built.
    pub(crate) fn new(base: Url, timeout: Duration) -> Result<Self, ClientError> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("darkclient/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT.min(timeout))
                .timeout(timeout)
        };
        let client = match builder().build() {
            // Small containers have no CA certificates. A client without any must be built explicitly.
            Err(_) if base.scheme() == "http" => builder().tls_certs_only([]).build(),
            built => built,
        };
        Ok(Self { base, client: client.map_err(ClientError::local)? })
    }

    /// Sends `query` and returns the server's JSON. Many ids take several requests; their records are returned as one
    /// list without duplicates.
    pub(crate) async fn fetch_answer(&self, query: &Query) -> Result<Value, ClientError> {
        match query {
            Query::Rpm(nvra) => self.fetch_json("rpm2buildids", &encode_segment(nvra)).await,
            Query::Package(nvra) => self.fetch_json("package", &encode_segment(nvra)).await,
            Query::Ids(ids) => self.fetch_records(ids).await,
        }
    }

    async fn fetch_records(&self, ids: &[String]) -> Result<Value, ClientError> {
        let encoded: Vec<String> = ids.iter().map(|id| encode_segment(id)).collect();
        let chunks = ids::split_requests(&encoded);
        if let [chunk] = chunks[..] {
            return self.fetch_json("buildids", &chunk.join(",")).await;
        }
        let (mut records, mut seen) = (Vec::new(), HashSet::new());
        for chunk in chunks {
            match self.fetch_json("buildids", &chunk.join(",")).await? {
                Value::Array(more) => records.extend(more.into_iter().filter(|record| seen.insert(record.clone()))),
                Value::Object(none) if none.is_empty() => {}
                _ => {
                    return Err(ClientError::UnexpectedAnswer(
                        "expected a list of records, found other JSON".to_string(),
                    ));
                }
            }
        }
        Ok(Value::Array(records))
    }

    async fn fetch_json(&self, endpoint: &str, argument: &str) -> Result<Value, ClientError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{endpoint}/{argument}", self.base.path().trim_end_matches('/')));
        let body = self
            .fetch_body(&url)
            .await
            .map_err(|error| ClientError::Unreachable(format!("{}: {error:#}", shorten_url(&url))))?;
        serde_json::from_slice(&body).map_err(|error| {
            ClientError::UnexpectedAnswer(format!("{}: expected JSON, found {error}", shorten_url(&url)))
        })
    }

    async fn fetch_body(&self, url: &Url) -> anyhow::Result<Vec<u8>> {
        let response = self.client.get(url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if !status.is_success() {
            let reason = read_error_reason(response).await.map(|reason| format!(": {reason}")).unwrap_or_default();
            bail!("expected 200 OK, found {status}{reason}");
        }
        read_body(response).await.context("reading the answer")
    }
}

async fn read_body(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(body.len() + bytes.len() <= MAX_ANSWER_BYTES, "expected at most {MAX_ANSWER_BYTES} bytes, found more");
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// Returns the reason that a server states for an error status, in one line: the `error` of its JSON, or its plain
/// text. `None` for other content types.
async fn read_error_reason(mut response: Response) -> Option<String> {
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(content_type.as_str(), "application/json" | "text/plain") {
        return None;
    }
    let mut body = Vec::new();
    // A body that breaks off is shown as far as it was received.
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() > MAX_REASON_BYTES {
            body.truncate(MAX_REASON_BYTES);
            break;
        }
    }
    let text = match content_type.as_str() {
        "text/plain" => String::from_utf8_lossy(&body).into_owned(),
        _ => serde_json::from_slice::<Value>(&body).ok()?.get("error")?.as_str()?.to_owned(),
    };
    let printable: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect();
    (!printable.is_empty()).then_some(printable)
}

fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Returns the URL for a message: without password, at most 200 characters.
fn shorten_url(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs without host, which have no password either.
    let _ = url.set_password(None);
    match url.as_str() {
        short if short.len() <= 200 => short.to_string(),
        long => format!("{}...", &long[..200]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_everything_but_unreserved_characters() {
        assert_eq!(encode_segment("libstdc++-4.6.2-1.fc16.x86_64"), "libstdc%2B%2B-4.6.2-1.fc16.x86_64");
        assert_eq!(encode_segment("a-1~rc1^git-1.noarch"), "a-1~rc1%5Egit-1.noarch");
        assert_eq!(encode_segment("a b/c?d#e%2Bé"), "a%20b%2Fc%3Fd%23e%252B%C3%A9");
    }

    #[test]
    fn a_url_in_a_message_is_short_and_has_no_password() {
        let url = Url::parse(&format!("http://me:secret@a.example/buildids/{}", "a".repeat(6000))).unwrap();
        let text = shorten_url(&url);
        assert!(text.len() <= 203 && text.starts_with("http://me@a.example/buildids/aaa"), "{text}");
    }
}
