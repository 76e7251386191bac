//! One question over HTTP, answered with the server's JSON.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::args::Question;
use crate::failure::Failure;
use crate::ids;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// More than 100 000 records. Whatever is longer is no answer to a command line.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How much of an error's body is read, and shown.
const MAX_REASON_BYTES: usize = 16 << 10;
const MAX_REASON_CHARS: usize = 300;

/// What is escaped in a segment of a path: everything but unreserved characters (RFC 3986, section 2.3). Some proxies
/// take a literal `+` for a blank.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The server that is asked.
pub(crate) struct Server {
    base: Url,
    client: Client,
}

impl Server {
    /// A server at `base` that has `timeout` to answer each request.
    pub(crate) fn new(base: Url, timeout: Duration) -> Result<Server, Failure> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("darkclient/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT.min(timeout))
                .timeout(timeout)
        };
        let client = match builder().build() {
            // Small containers have no CA certificates, and there is no other way to build a client that trusts nobody.
            Err(_) if base.scheme() == "http" => builder().tls_certs_only([]).build(),
            built => built,
        };
        Ok(Server { base, client: client.map_err(Failure::local)? })
    }

    /// The server's JSON. Many ids take several requests; their lists come as one, each record once.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Value, Failure> {
        match question {
            Question::Rpm(nvra) => self.fetch("rpm2buildids", &encode(nvra)).await,
            Question::Package(nvra) => self.fetch("package", &encode(nvra)).await,
            Question::Ids(ids) => self.records(ids).await,
        }
    }

    async fn records(&self, ids: &[String]) -> Result<Value, Failure> {
        let encoded: Vec<String> = ids.iter().map(|id| encode(id)).collect();
        let chunks = ids::chunks(&encoded);
        if let [chunk] = chunks[..] {
            return self.fetch("buildids", &chunk.join(",")).await;
        }
        let (mut records, mut seen) = (Vec::new(), HashSet::new());
        for chunk in chunks {
            match self.fetch("buildids", &chunk.join(",")).await? {
                Value::Array(more) => records.extend(more.into_iter().filter(|record| seen.insert(record.clone()))),
                Value::Object(none) if none.is_empty() => {}
                _ => return Err(Failure::Garbled("expected a list of records, found other JSON".to_string())),
            }
        }
        Ok(Value::Array(records))
    }

    async fn fetch(&self, endpoint: &str, argument: &str) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{endpoint}/{argument}", self.base.path().trim_end_matches('/')));
        let body =
            self.body(&url).await.map_err(|error| Failure::Unreachable(format!("{}: {error:#}", shorten(&url))))?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Garbled(format!("{}: expected JSON, found {error}", shorten(&url))))
    }

    async fn body(&self, url: &Url) -> anyhow::Result<Vec<u8>> {
        let response = self.client.get(url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if !status.is_success() {
            let reason = reason(response).await.map(|reason| format!(": {reason}")).unwrap_or_default();
            bail!("expected 200 OK, found {status}{reason}");
        }
        read(response).await.context("reading the answer")
    }
}

async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(body.len() + bytes.len() <= ANSWER_BYTES_MAX, "expected at most {ANSWER_BYTES_MAX} bytes, found more");
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// The reason that a server states for an error status: the `error` of its JSON, or its plain text, in one line. Other types, as
/// HTML, are pages for people.
async fn reason(mut response: Response) -> Option<String> {
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(content_type.as_str(), "application/json" | "text/plain") {
        return None;
    }
    let mut body = Vec::new();
    // A body that breaks off is shown as far as it came.
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

fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The URL for a message: without password, and not with 150 build-ids.
fn shorten(url: &Url) -> String {
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
        assert_eq!(encode("libstdc++-4.6.2-1.fc16.x86_64"), "libstdc%2B%2B-4.6.2-1.fc16.x86_64");
        assert_eq!(encode("a-1~rc1^git-1.noarch"), "a-1~rc1%5Egit-1.noarch");
        assert_eq!(encode("a b/c?d#e%2Bé"), "a%20b%2Fc%3Fd%23e%252B%C3%A9");
    }

    #[test]
    fn messages_name_a_url_shortly_and_without_password() {
        let url = Url::parse(&format!("http://me:secret@a.example/buildids/{}", "a".repeat(6000))).unwrap();
        let text = shorten(&url);
        assert!(text.len() <= 203 && text.starts_with("http://me@a.example/buildids/aaa"), "{text}");
    }
}
