//! Redirects, to upstreams and to other locations of an archive.
//!
//! A client sees nothing of how the gateway logs in: no user and password in the location, and no header of the
//! upstream but `X-DEBUGINFOD-*`.

use std::borrow::Cow;

use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use http_client::without_credentials;
use url::Url;

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
        if !name.to_ascii_lowercase().starts_with("x-debuginfod-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.append_header((name, value));
        }
    }
    response.finish()
}

/// 302 to a location.
pub(super) fn to(location: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Found();
    let location = location_for_clients(location);
    response.insert_header((LOCATION, &*location)).insert_header((CACHE_CONTROL, REDIRECT_LIFETIME));
    response
}

/// A location without the user and password that it may have.
fn location_for_clients(location: &str) -> Cow<'_, str> {
    let url = location.contains('@').then(|| Url::parse(location).ok()).flatten();
    url.map_or(Cow::Borrowed(location), |url| Cow::Owned(without_credentials(&url).into()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_redirect_has_the_headers_of_debuginfod_and_no_secret() {
        let headers =
            [("x-debuginfod-size", "7"), ("X-DEBUGINFOD-FILE", "/a"), ("set-cookie", "s=1"), ("x-token", "t")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).into();
        let location = "https://me:secret@u.example/base/buildid/ab12/source/a@b.c".to_owned();
        let redirect = Redirect { location, headers, size: Some(7) };
        let response = response(&TestRequest::default().to_http_request(), redirect);
        assert_eq!(response.status(), 302);
        let mut found: Vec<_> =
            response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("cache-control", "public, max-age=60"),
                ("location", "https://u.example/base/buildid/ab12/source/a@b.c"),
                ("x-debuginfod-file", "/a"),
                ("x-debuginfod-size", "7"),
            ]
        );
    }

    #[test]
    fn what_is_larger_than_the_client_accepts_is_no_redirect() {
        let of_size = |max: &'static str| {
            let redirect = Redirect { location: "https://u.example/".into(), headers: Vec::new(), size: Some(8) };
            response(&TestRequest::default().insert_header(("X-DEBUGINFOD-MAXSIZE", max)).to_http_request(), redirect)
        };
        for (max, status) in [("7", 406), ("8", 302), ("0", 302), ("-1", 302), ("x", 302)] {
            assert_eq!(of_size(max).status(), status, "{max}");
        }
    }
}
