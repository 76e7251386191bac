//! A redirect to an upstream.

use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse};

use super::{error, max_bytes};
use crate::resolve::answer::Redirect;

/// An upstream may lose the file soon.
pub(super) const REDIRECT_LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// 302 with the upstream's `X-DEBUGINFOD-*` headers; 406 if the file has more bytes than the client accepts.
pub(super) fn response(request: &HttpRequest, redirect: Redirect) -> HttpResponse {
    if let (Some(max), Some(size)) = (max_bytes(request), redirect.size)
        && size > max
    {
        return error::too_large(size, max);
    }
    let mut response = HttpResponse::Found();
    response.insert_header((LOCATION, redirect.location)).insert_header((CACHE_CONTROL, REDIRECT_LIFETIME));
    for (name, value) in redirect.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.append_header((name, value));
        }
    }
    response.finish()
}
