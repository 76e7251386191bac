//! The HTTP clients: every request to a store or an upstream is sent by a client made here, with timeouts, our
//! User-Agent and a redirect policy that never leaves what the configuration allows.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::ClientBuilder;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::{Attempt, Policy};
use url::Url;

use crate::resolve::outcome::CauseKind;

/// Redirects that are followed within one request.
const MOST_REDIRECTS: usize = 3;

/// Makes a client that follows redirects only to the server asked and to `redirect_hosts` (`*` for everywhere); any
/// other redirect comes back as the 3xx response that it is.
pub(crate) fn build(redirect_hosts: &[String]) -> Result<reqwest::Client> {
    finish(|| builder(redirect_hosts))
}

/// The same for stores, whose archives come as they are: many servers call a `.tar.gz` file a `.tar` file with the
/// content encoding gzip, and decoded it would be another file.
pub(crate) fn build_for_stores(redirect_hosts: &[String]) -> Result<reqwest::Client> {
    finish(|| builder(redirect_hosts).no_gzip())
}

fn builder(redirect_hosts: &[String]) -> ClientBuilder {
    let hosts = redirect_hosts.to_vec();
    let policy = Policy::custom(move |attempt: Attempt<'_>| {
        let allowed = attempt.previous().first().is_some_and(|first| may_follow(first, attempt.url(), &hosts));
        if allowed && attempt.previous().len() <= MOST_REDIRECTS { attempt.follow() } else { attempt.stop() }
    });
    reqwest::Client::builder()
        .user_agent(concat!("darkserver/", env!("CARGO_PKG_VERSION")))
        .redirect(policy)
        .referer(false)
        .connect_timeout(Duration::from_secs(2))
        .read_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(30))
}

fn finish(builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client> {
    let client = builder().build().or_else(|error| {
        // Small containers have no CA certificates, and a client without trusted certificates cannot be built
        // otherwise.
        tracing::warn!(%error, "no CA certificates: stores and upstreams can be asked over http only");
        builder().tls_certs_only([]).build()
    });
    client.context("HTTP client")
}

/// Is a redirect from `from` to `to` within what is allowed?
fn may_follow(from: &Url, to: &Url, hosts: &[String]) -> bool {
    let http = matches!(to.scheme(), "http" | "https");
    let upgraded = from.host() == to.host() && from.scheme() == "http" && to.scheme() == "https";
    let named = to
        .host_str()
        .is_some_and(|host| hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host)));
    http && (from.origin() == to.origin() || upgraded || named)
}

/// What a file name in a URL is escaped to: everything but unreserved characters (RFC 3986, section 2.3) and `/`.
/// Object stores take a literal `+` for a blank, and strict servers refuse `^`.
pub(crate) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of the file `path` below `base`. `path` is not escaped yet. `None` if `base` is no http URL, or the path has
/// dot segments, which would lead elsewhere.
pub(crate) fn below(base: &str, path: &str) -> Option<Url> {
    let mut url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let mut joined = url.path().trim_end_matches('/').to_owned();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return None;
        }
        joined.push('/');
        joined.extend(utf8_percent_encode(segment, ESCAPED));
    }
    url.set_path(&joined);
    Some(url)
}

/// True if a body is a page for people, by its content type.
pub(crate) fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| media_type.eq_ignore_ascii_case(page))
}

/// True if the body is HTML, by its content type or, where that is none or of plain text, by its first bytes.
pub(crate) async fn is_page(response: &mut Response) -> bool {
    const ENOUGH_BYTES: usize = 512;
    if is_html(response.headers()) {
        return true;
    }
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    if content_type.is_some_and(|content_type| !content_type.is_empty() && !content_type.starts_with(b"text/plain")) {
        return false;
    }
    let mut start = Vec::new();
    while start.len() < ENOUGH_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => start.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    looks_like_html(&start)
}

/// True if bytes begin like HTML: with `<`, but for XML without `<html`, which object stores answer errors with.
fn looks_like_html(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && (!text.starts_with("<?xml") && !text.starts_with("<error") || text.contains("<html"))
}

/// True if a text is a page of HTML, as browsers tell it (WHATWG, MIME Sniffing, section 7.1): by its first tag,
/// behind a byte order mark, blanks and comments. Of a comment that does not end here nothing is known.
pub(crate) fn begins_page(start: &[u8]) -> bool {
    const TAGS: [&str; 12] =
        ["!doctype html", "html", "head", "title", "body", "script", "style", "meta", "iframe", "h1", "div", "table"];
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let mut text = text.trim_start_matches('\u{feff}').trim_start();
    while let Some((_, rest)) = text.strip_prefix("<!--").and_then(|comment| comment.split_once("-->")) {
        text = rest.trim_start();
    }
    let Some(tag) = text.strip_prefix('<') else { return false };
    let is_end = |rest: &str| rest.starts_with([' ', '>', '\t', '\n', '\r', '\u{c}']) || rest.is_empty();
    TAGS.iter().any(|name| tag.strip_prefix(name).is_some_and(is_end))
}

/// Classifies an HTTP error.
pub(crate) fn cause_kind(error: &reqwest::Error) -> CauseKind {
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        match error.downcast_ref::<io::Error>().map(CauseKind::of_io) {
            None | Some(CauseKind::Broken) => below = error.source(),
            Some(kind) => return kind,
        }
    }
    match error {
        error if error.is_timeout() => CauseKind::Timeout,
        error if error.is_connect() => CauseKind::Refused,
        error if error.is_request() || error.is_body() => CauseKind::Reset,
        _ => CauseKind::Broken,
    }
}

/// An HTTP error with what lies below it, without the URL: that may hold credentials.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::from("request failed") };
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn redirects_stay_where_the_configuration_allows() {
        let store = url("http://mirror.example/pub/");
        let named = ["other.example".to_owned()];
        assert!(may_follow(&store, &url("http://mirror.example/else"), &[]));
        assert!(may_follow(&store, &url("https://mirror.example/else"), &[]));
        assert!(may_follow(&store, &url("https://OTHER.example/x"), &named));
        assert!(!may_follow(&store, &url("http://169.254.169.254/latest"), &named));
        assert!(!may_follow(&store, &url("http://mirror.example:8080/"), &[]));
        assert!(!may_follow(&store, &url("file:///etc/passwd"), &["*".to_owned()]));
    }

    #[test]
    fn a_path_never_leaves_its_base() {
        assert_eq!(
            below("http://m.example/pub", "a/b c#?.rpm").unwrap().as_str(),
            "http://m.example/pub/a/b%20c%23%3F.rpm"
        );
        assert_eq!(
            below("http://m.example/pub/", "/libstdc++-1.rpm").unwrap().as_str(),
            "http://m.example/pub/libstdc%2B%2B-1.rpm"
        );
        assert_eq!(
            below("http://m.example", "a^b~c\\d:e.rpm").unwrap().as_str(),
            "http://m.example/a%5Eb~c%5Cd%3Ae.rpm"
        );
        assert_eq!(
            below("http://m.example/a%2Fb+c/", "%2e%2e/é").unwrap().as_str(),
            "http://m.example/a%2Fb+c/%252e%252e/%C3%A9"
        );
        assert_eq!(below("http://m.example/pub/", "a/../../x"), None);
        assert_eq!(below("file:///etc/", "passwd"), None);
    }

    #[test]
    fn pages_of_html_are_told_by_their_type_or_their_start() {
        let of_type = |text: &str| is_html(&HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]));
        for page in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml ;q=1"] {
            assert!(of_type(page), "{page}");
        }
        for other in ["", "application/xml", "text/plain", "text/htmlx", "application/octet-stream"] {
            assert!(!of_type(other), "{other}");
        }
        assert!(!is_html(&HeaderMap::new()));
        for page in
            ["<html>", "\r\n \t<!doctype HTML>", "\u{feff}<!-- x --><p>", "<?xml version=\"1.0\"?>\n<html xmlns=\"x\">"]
        {
            assert!(looks_like_html(page.as_bytes()), "{page}");
        }
        for page in [
            "<!DOCTYPE html>",
            "\u{feff}<!doctype HTML public>",
            " \n<!-- a comment -->\n<!-- another -->\n<html lang=x>",
            "<head><title>Sign in",
            "<script>location = '/login'</script>",
        ] {
            assert!(begins_page(page.as_bytes()), "{page}");
        }
        for source in [
            "",
            "<",
            "<!-- a licence",
            "<?xml version=\"1.0\"?>",
            "<header.h>",
            "<node>",
            "#include <html>",
            "{}",
            "int x;",
        ] {
            assert!(!begins_page(source.as_bytes()), "{source}");
        }
        for other in [
            "",
            "Forbidden",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "<Error>",
            "{}",
            "\u{1f}\u{8b}",
        ] {
            assert!(!looks_like_html(other.as_bytes()), "{other}");
        }
    }
}
