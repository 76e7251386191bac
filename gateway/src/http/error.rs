//! Responses without an answer, and the only table of statuses.
//!
//! | outcome | `/buildid/...` | JSON API |
//! |---|---|---|
//! | malformed build-id, kind or path; `/metadata` without key or value | 400 | `200 []`, as the original |
//! | absent | 404, `public, max-age=10` | `200 []` or `{}` |
//! | absent without an upstream that is away or late, or after too many servers | 404, `no-store` | |
//! | a section that nobody has, of a file that upstreams may have that serve no sections | 503, `no-store` | |
//! | larger than `X-DEBUGINFOD-MAXSIZE`, here or at an upstream | 406 | |
//! | unavailable: no provider has it, and one of them failed | reset, or 503 (`/section`: 504), `no-store` | 503 |
//! | `/metadata` while the index cannot be asked and no upstream has anything | | 503 |
//! | unknown path | 404 | 404 |
//! | a target that is no path; a Host that is none | 400 | 400 |
//! | another method of RFC 9110 than GET and HEAD, or PATCH | 405 | 405 |
//! | any other method | 501 | 501 |
//! | a request line above 64 KiB | 414 | 414 |
//! | a head above 128 KiB on HTTP/2 | 431 | 431 |
//!
//! Bytes that are not HTTP are answered 400 (431: too large a head) by the HTTP service, which closes the connection.

use std::fmt;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;

use crate::providers::federation::UNAVAILABLE;

/// 400 with a text that states what was expected.
pub(crate) fn malformed(error: &impl fmt::Display) -> HttpResponse {
    plain(StatusCode::BAD_REQUEST).body(format!("{error}\n"))
}

/// 404, which shared caches may store for ten seconds.
pub(crate) fn absent() -> HttpResponse {
    let lifetime = HeaderValue::from_static("public, max-age=10");
    plain(StatusCode::NOT_FOUND).insert_header((CACHE_CONTROL, lifetime)).body("not found\n")
}

/// 404 that no cache may store: another server, or this one later, may have it.
pub(crate) fn absent_for_now() -> HttpResponse {
    no_store(&mut plain(StatusCode::NOT_FOUND)).body("not found\n")
}

/// 404 for a path that has no route.
pub(crate) fn unknown_path(path: &str) -> HttpResponse {
    let shown: String = path.chars().take(200).collect();
    plain(StatusCode::NOT_FOUND).body(format!("expected a path described at /, found {shown:?}\n"))
}

/// 406, the only status that clients take for "too large" and do not cache. `size` in bytes is told if it is known;
/// `max` is what the client accepts. Without headers of debuginfod: clients print those as the file's.
pub(crate) fn too_large(size: Option<u64>, max: Option<u64>) -> HttpResponse {
    let expected = max.map_or("a smaller file".to_owned(), |max| format!("at most {max} bytes (X-DEBUGINFOD-MAXSIZE)"));
    let found = size.map_or("more".to_owned(), |size| size.to_string());
    plain(StatusCode::NOT_ACCEPTABLE).body(format!("expected {expected}, found {found}\n"))
}

/// 503 that no cache may store. For a section it is 504: there 503 would mean "fetch the whole file instead". The
/// causes stay in the log: they can name hosts.
pub(crate) fn unavailable(is_section: bool) -> HttpResponse {
    let status = if is_section { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
    no_store(&mut plain(status))
        .insert_header((UNAVAILABLE, "1"))
        .body("the index, a store or an upstream did not answer, or too many requests waited\n")
}

/// 503 for a section, by which clients fetch the whole file instead.
pub(crate) fn section_not_served() -> HttpResponse {
    no_store(&mut plain(StatusCode::SERVICE_UNAVAILABLE))
        .body("an upstream that serves no sections may have the file\n")
}

/// 503 for clients that parse JSON.
pub(crate) fn unavailable_json() -> HttpResponse {
    no_store(&mut HttpResponse::ServiceUnavailable())
        .json(json!({ "error": "the index did not answer, or too many requests waited" }))
}

/// 405 with the methods that are served; 501 for a method that is not in RFC 9110 (section 9.1).
pub(crate) fn wrong_method(method: &Method) -> HttpResponse {
    const KNOWN: [Method; 7] =
        [Method::POST, Method::PUT, Method::DELETE, Method::CONNECT, Method::OPTIONS, Method::TRACE, Method::PATCH];
    let status = if KNOWN.contains(method) { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
    plain(status).insert_header(("Allow", "GET, HEAD")).body("expected GET or HEAD\n")
}

/// 431 without a body, so that nothing of the request stays in memory.
pub(crate) fn large_head() -> HttpResponse {
    HttpResponse::build(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).finish()
}

/// 414 as it is written where no request could be read.
pub(crate) const LONG_LINE: &str = "HTTP/1.1 414 URI Too Long\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\n\
    Connection: close\r\n\
    \r\n\
    expected a request line of at most 65536 bytes\n";

fn plain(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    // The text may quote what a client sent: no browser may render it as HTML.
    response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")))
        .insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    response
}

fn no_store(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
}
