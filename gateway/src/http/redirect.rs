//! Redirects, to upstreams and to other locations of an archive.

use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::too_large;
use crate::resolve::answer::Redirect;

/// An upstream, or another location, may lose the file soon.
const REDIRECT_LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// 302 with the upstream's `X-DEBUGINFOD-*` headers; 406 if the file has more bytes than the client accepts.
pub(super) fn response(request: &HttpRequest, redirect: Redirect) -> HttpResponse {
    if let Some(response) = redirect.size.and_then(|size| too_large(request, size)) {
        return response;
    }
    let mut response = to(&redirect.location);
    for (name, value) in redirect.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.append_header((name, value));
        }
    }
    response.finish()
}

/// 302 to a location.
pub(super) fn to(location: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Found();
    response.insert_header((LOCATION, location)).insert_header((CACHE_CONTROL, REDIRECT_LIFETIME));
    response
}
