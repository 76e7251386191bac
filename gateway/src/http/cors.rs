//! What pages of other origins may ask for and read in a browser (Fetch Standard, section 3.2), where the configuration allows it: every
//! path for clients, errors and redirects too, without credentials.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};

use super::routes::Route;
use crate::resolve::Gateway;

/// HEAD goes first: what comes behind it is what elfutils' server says, and somebody may look for.
const METHODS: HeaderValue = HeaderValue::from_static("HEAD, GET, OPTIONS");
/// What a page may send besides what it always may.
const SENT: HeaderValue = HeaderValue::from_static(
    "cache-control, range, if-range, if-none-match, if-modified-since, if-match, if-unmodified-since, x-debuginfod-maxsize",
);
/// What a page may read besides what it always may.
const READ: HeaderValue = HeaderValue::from_static(
    "X-DEBUGINFOD-SIZE, X-DEBUGINFOD-FILE, X-DEBUGINFOD-ARCHIVE, X-DEBUGINFOD-IMASIGNATURE, X-Darkserver-Index, Accept-Ranges, \
     Content-Disposition, Content-Length, Content-Range, ETag",
);
/// How long a browser may keep the answer to a preflight, seconds; none keeps it longer.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");

/// What CORS says of a request.
pub(super) struct Rules {
    /// The origin that may read the answer, as it is said to the browser.
    allowed: Option<HeaderValue>,
    /// Others may get other answers.
    varies: bool,
}

impl Rules {
    /// `None` where nothing is allowed to anybody, and on the paths for operators.
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

    /// The answer to OPTIONS. Any is answered, as elfutils' server does it, also one that no browser sent.
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

    /// Lets the page read the answer.
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
