//! For operators: `/metrics`, `/healthz`, `/readyz`.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use url::form_urlencoded;

use crate::metrics::METRICS;
use crate::resolve::Gateway;

/// `/metrics`: every metric in the text format of Prometheus.
pub(super) async fn metrics() -> HttpResponse {
    match METRICS.render() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}

/// The process answers; nothing else is probed.
pub(super) async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("alive\n")
}

/// The results of background probes, for every component: `ok` or a reason. 200 if something useful can be answered;
/// with `?strict` only if every part can be used.
pub(super) async fn ready(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let is_strict = form_urlencoded::parse(request.query_string().as_bytes()).any(|(key, _)| key == "strict");
    let report = gateway.readiness.report();
    let is_ok = if is_strict { report.is_whole } else { report.is_ready };
    let mut response = if is_ok { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, "no-store")).json(report.json)
}
