//! HTTP: requests become questions, answers become responses.
//!
//! - [`routes`]: the table of all routes; [`mod@observe`]: the middleware around every handler; [`cors`];
//! - [`debuginfod`], [`darkserver`], [`metadata`], [`archive`], [`operations`], [`upstreams`], [`page`]: the
//!   handlers;
//! - [`deliver`]: the response with a file, with [`conditional`] requests and the [`download_name`]; [`redirect`];
//!   [`links`]: URLs in answers; [`mod@error`]: the table of statuses.

mod archive;
mod conditional;
mod cors;
mod darkserver;
mod debuginfod;
mod deliver;
mod download_name;
pub(crate) mod error;
mod links;
mod metadata;
mod observe;
mod operations;
mod page;
mod redirect;
mod route;
mod routes;
mod upstreams;

use std::borrow::Cow;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;

pub(crate) use observe::{ResetMark, observe};
use route::Route;
pub(crate) use routes::register;

use crate::server::max_size;

/// The path after the name of its route, percent-decoded. The route may stand below `/darkserver`.
///
/// # Errors
/// The decoded bytes are not UTF-8.
fn tail(request: &HttpRequest) -> Result<Cow<'_, str>, std::str::Utf8Error> {
    // Both are `/ROUTE/...`; slashes are the same before and after decoding.
    let segments = if Route::is_below_darkserver(request.match_info().as_str()) { 3 } else { 2 };
    let tail = request.uri().path().splitn(segments + 1, '/').nth(segments).unwrap_or_default();
    // Nearly all have none, and searching for one byte takes a tenth of decoding.
    if tail.contains('%') { percent_decode_str(tail).decode_utf8() } else { Ok(Cow::Borrowed(tail)) }
}

/// 406 if the client accepts fewer than `size` bytes (`X-DEBUGINFOD-MAXSIZE`).
fn too_large(request: &HttpRequest, size: u64) -> Option<HttpResponse> {
    let max = max_size(request)?;
    (size > max).then(|| error::too_large(Some(size), Some(max)))
}

/// A header value of any text; what a header cannot have is left out.
fn value(text: &str) -> HeaderValue {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect();
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}
