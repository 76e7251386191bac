//! HTTP: requests become questions, answers become responses.
//!
//! - [`routes`]: the table of all routes; [`observe`]: what happens around every handler; [`cors`];
//! - [`debuginfod`], [`darkserver`], [`metadata`], [`archive`], [`operations`], [`page`]: the handlers;
//! - [`deliver`]: an answer as a response; [`links`]: URLs in answers; [`mod@error`]: the table of statuses.

mod archive;
mod cors;
mod darkserver;
mod debuginfod;
pub(crate) mod deliver;
pub(crate) mod error;
mod links;
mod metadata;
mod observe;
mod operations;
mod page;
mod routes;

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;

pub(crate) use observe::{ResetMark, observe};
pub(crate) use routes::register;

/// The path after `prefix`, percent-decoded. The prefix may stand below `/darkserver`.
///
/// # Errors
/// The decoded bytes are not UTF-8.
fn tail<'a>(request: &'a HttpRequest, prefix: &str) -> Result<Cow<'a, str>, std::str::Utf8Error> {
    let path = request.uri().path();
    let path = path.strip_prefix("/darkserver").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let tail = path.strip_prefix(prefix).unwrap_or_default();
    // Nearly all have none, and searching for one byte takes a tenth of decoding.
    if tail.contains('%') { percent_decode_str(tail).decode_utf8() } else { Ok(Cow::Borrowed(tail)) }
}
