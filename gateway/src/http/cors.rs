//! CORS (Fetch Standard, section 3.2): which requests of pages of other origins are allowed. The route table states
//! for which paths; errors and redirects are included. Credentials are never allowed.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};

use super::route::Route;
use crate::resolve::Gateway;

/// HEAD comes first: the rest is the text of elfutils' server, which clients may search for.
const METHODS: HeaderValue = HeaderValue::from_static("HEAD, GET, OPTIONS");
/// Request headers that a page may send in addition to the safelisted ones.
const SENT: HeaderValue = HeaderValue::from_static(
    "cache-control, range, if-range, if-none-match, if-modified-since, if-match, if-unmodified-since, \
     x-debuginfod-maxsize",
);
/// Response headers that a page may read in addition to the safelisted ones.
const READ: HeaderValue = HeaderValue::from_static(
    "X-DEBUGINFOD-SIZE, X-DEBUGINFOD-FILE, X-DEBUGINFOD-ARCHIVE, X-DEBUGINFOD-IMASIGNATURE, X-Darkserver-Index, \
     X-Darkserver-Trace, Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Repr-Digest",
);
/// How long a browser may cache the answer to a preflight, seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");

/// The rules of CORS for one request.
pub(super) struct Rules {
    /// The value of Access-Control-Allow-Origin, if the origin may read the answer.
    allowed: Option<HeaderValue>,
    /// True if the answer depends on the Origin of the request.
    varies: bool,
}

impl Rules {
    /// Returns `None` if no origin is configured, or the route does not allow other origins.
    pub(super) fn of(request: &ServiceRequest, route: Option<&Route>) -> Option<Self> {
        let origins = &request.app_data::<web::Data<Gateway>>()?.config.cors.origins;
        if origins.is_empty() || route.is_some_and(|route| !route.cors) {
            return None;
        }
        if origins.iter().any(|origin| origin == "*") {
            return Some(Self { allowed: Some(HeaderValue::from_static("*")), varies: false });
        }
        let asks = request.headers().get(ORIGIN);
        let allowed = asks.filter(|asks| origins.iter().any(|origin| origin.as_bytes() == asks.as_bytes())).cloned();
        Some(Self { allowed, varies: true })
    }

    /// The answer to OPTIONS. As with elfutils' server, OPTIONS without the headers of a browser is answered, too.
    pub(super) fn preflight(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        (request.method() == Method::OPTIONS).then(|| {
            let mut response = HttpResponse::Ok();
            response.insert_header((ALLOW, METHODS));
            if self.allowed.is_some() {
                response
                    .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
                    .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, SENT))
                    .insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS));
            }
            response.finish()
        })
    }

    /// Adds the headers that let a page read the answer.
    pub(super) fn allow<B>(self, response: &mut HttpResponse<B>) {
        let is_405 = matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        let headers = response.headers_mut();
        if is_405 {
            headers.insert(ALLOW, METHODS);
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        }
    }
}
