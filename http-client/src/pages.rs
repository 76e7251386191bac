//! Whether a body is a page for people, by its content type or its first bytes.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};

/// True if a body is a page for people, by its content type.
pub fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| media_type.eq_ignore_ascii_case(page))
}

/// True if the body is HTML, by its content type or, where that is none or of plain text, by its first bytes.
pub async fn is_page(response: &mut Response) -> bool {
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

/// True of a 403 with a page of HTML: the server refuses this gateway, also where 403 stands for absence, as it does at
/// object stores. It proves nothing of what was asked for.
pub async fn is_refusal(response: &mut Response) -> bool {
    response.status() == StatusCode::FORBIDDEN && is_page(response).await
}

/// True if bytes begin like HTML: with `<`, but for XML without `<html`, which object stores answer errors with.
fn looks_like_html(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && (!text.starts_with("<?xml") && !text.starts_with("<error") || text.contains("<html"))
}

/// True if a text is a page of HTML, as browsers tell it (WHATWG, MIME Sniffing, section 7.1): by its first tag,
/// behind a byte order mark, blanks and comments. Of a comment that does not end here nothing is known.
pub fn begins_page(start: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
