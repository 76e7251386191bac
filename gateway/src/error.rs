//! What goes wrong, and the only table of statuses.
//!
//! | outcome | `/buildid/...` | JSON API |
//! |---|---|---|
//! | malformed build-id, kind or path | 400 | `200 []`, as the original |
//! | absent | 404 | `200 []` or `{}` |
//! | larger than `X-DEBUGINFOD-MAXSIZE` | 406 | |
//! | unknown: nobody who could be asked has it, and somebody could not be asked | reset, or 503 `no-store`; `/section` never 503 but 504 | 503 |
//! | unknown path | 404 | 404 |
//! | other method than GET and HEAD | 405 | 405 |

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;

/// 400 with a text that says what was expected.
pub(crate) fn malformed(error: &impl fmt::Display) -> HttpResponse {
    plain(StatusCode::BAD_REQUEST).body(format!("{error}\n"))
}

/// 404, which shared caches may keep for a short while.
pub(crate) fn absent() -> HttpResponse {
    plain(StatusCode::NOT_FOUND).insert_header((CACHE_CONTROL, "public, max-age=10")).body("not found\n")
}

/// 404 that nobody may remember.
pub(crate) fn absent_for_now() -> HttpResponse {
    no_store(&mut plain(StatusCode::NOT_FOUND)).body("not found\n")
}

/// 404 for a path that this server does not know.
pub(crate) fn unknown_path(path: &str) -> HttpResponse {
    let shown: String = path.chars().take(200).collect();
    plain(StatusCode::NOT_FOUND).body(format!("expected a path described at /, found {shown:?}\n"))
}

/// 406, the one status that clients take for "too large" and do not remember.
pub(crate) fn too_large(size: u64, most: u64) -> HttpResponse {
    plain(StatusCode::NOT_ACCEPTABLE).body(format!("expected at most {most} bytes (X-DEBUGINFOD-MAXSIZE), found {size}\n"))
}

/// 503 (504 for a section, where 503 would mean "fetch the whole file instead") that nobody may remember. The reason stays in the
/// log: it can name hosts.
pub(crate) fn undecided(is_section: bool) -> HttpResponse {
    let status = if is_section { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
    no_store(&mut plain(status)).body("could not be decided now: the index, a store or an upstream could not be asked\n")
}

/// 503 for clients that parse JSON.
pub(crate) fn undecided_json() -> HttpResponse {
    no_store(&mut HttpResponse::ServiceUnavailable())
        .json(json!({ "error": "could not be decided now: the index could not be asked" }))
}

/// 405 with the methods that are served.
pub(crate) fn wrong_method() -> HttpResponse {
    plain(StatusCode::METHOD_NOT_ALLOWED).insert_header(("Allow", "GET, HEAD")).body("expected GET or HEAD\n")
}

fn plain(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.content_type("text/plain; charset=utf-8");
    response
}

fn no_store(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
}
