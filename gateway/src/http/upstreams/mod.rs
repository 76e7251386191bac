//! `/upstreams`: the state of every upstream and its last day, for operators.
//!
//! - [`page`]: the page; [`chart`]: the charts in it; [`text`]: values as people read them.

mod chart;
mod page;
mod text;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use url::form_urlencoded;

use super::page::POLICY;
use crate::resolve::Gateway;

/// The report as JSON for who accepts that, else as a page.
pub(super) async fn answer(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let report = gateway.federation.report(&gateway.config.upstreams);
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((VARY, "Accept"));
    if wants_json(&request) {
        return response.json(report);
    }
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(page::page(&report))
}

/// True for `?format=json`, and for clients that accept JSON and no page.
fn wants_json(request: &HttpRequest) -> bool {
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    if let Some((_, format)) = query.find(|(key, _)| key == "format") {
        return format == "json";
    }
    let accepts = |wanted: &str| {
        let values = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
        let mut types =
            values.flat_map(|value| value.split(',')).map(|part| part.split(';').next().unwrap_or_default());
        types.any(|found| found.trim().eq_ignore_ascii_case(wanted))
    };
    accepts("application/json") && !accepts("text/html")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn json_is_for_who_asks_for_it() {
        for (uri, accept, is_json) in [
            ("/upstreams", "*/*", false),
            ("/upstreams", "application/json", true),
            ("/upstreams", "text/plain, Application/JSON;q=0.9", true),
            ("/upstreams", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("/upstreams", "text/html, application/json;q=0.1", false),
            ("/upstreams?format=json", "text/html", true),
            ("/upstreams?format=html", "application/json", false),
        ] {
            let request = TestRequest::with_uri(uri).insert_header((ACCEPT, accept)).to_http_request();
            assert_eq!(wants_json(&request), is_json, "{uri} {accept}");
        }
        assert!(!wants_json(&TestRequest::with_uri("/upstreams").to_http_request()));
    }
}
