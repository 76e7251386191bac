//! One route: its path, and all that does not depend on one request.

use std::future::Future;
use std::pin::Pin;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::resolve::Gateway;

/// The response of a handler.
pub(super) type Response = Pin<Box<dyn Future<Output = HttpResponse>>>;

/// The handler of a route.
pub(super) type Handler = fn(HttpRequest, web::Data<Gateway>) -> Response;

/// One route.
pub(super) struct Route {
    pub(super) path: Path,
    /// True if the same path below `/darkserver` is this route, too.
    pub(super) is_mirrored: bool,
    /// The label `endpoint` of metrics; [`super::debuginfod::endpoint`] has a finer one for `buildid`.
    pub(super) endpoint: &'static str,
    pub(super) form: Form,
    /// True if pages of other origins may read it where the configuration allows that.
    pub(super) cors: bool,
    pub(super) admission: Admission,
    /// Calls and what they return, for the page at `/`.
    pub(super) calls: &'static [(&'static str, &'static str)],
    pub(super) handler: Handler,
}

/// The paths of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// This path.
    Is(&'static str),
    /// Every path that begins with this one, which ends in a slash, and has more.
    Below(&'static str),
    /// Every path that begins with this one, which ends in a slash.
    AtOrBelow(&'static str),
}

/// The clients of a route, and so the form of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text. To libdebuginfod every status means "absent", so an unavailable answer may be a reset of the connection.
    Debuginfod,
    /// An object of JSON.
    Json,
    /// Text.
    Download,
    /// Text, for operators: neither in the access log nor with the state of the index in a header.
    Operator,
}

/// Whether a request waits for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It waits for a permit of its client.
    Permit,
    /// It is answered at once, however many requests wait.
    Immediate,
}

/// The endpoint that a handler found, where the path alone does not tell it.
pub(super) struct Endpoint(pub(super) &'static str);

impl Path {
    /// True if this is `path`, or contains it.
    pub(super) fn matches(self, path: &str) -> bool {
        match self {
            Self::Is(expected) => path == expected,
            Self::Below(start) => path.len() > start.len() && path.starts_with(start),
            Self::AtOrBelow(start) => path.starts_with(start),
        }
    }
}
