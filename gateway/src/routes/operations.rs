//! For operators: `/metrics`, `/healthz`, `/readyz`.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::resource;
use crate::metrics::METRICS;
use crate::resolve::Gateway;

/// How long a readiness check waits for anybody: a little longer than the index for a connection, so that it says what is wrong.
const WAIT: Duration = Duration::from_secs(2);

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(resource("/metrics", metrics)).service(resource("/healthz", healthy)).service(resource("/readyz", ready));
}

async fn metrics() -> HttpResponse {
    match METRICS.render() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}

/// The process answers; nothing else is asked.
async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("alive\n")
}

/// What can be reached: `ok` or a reason for the database, the cache folder and each upstream. Only the first two make it 503: an
/// upstream's outage is no reason to take a gateway out of service.
async fn ready(gateway: web::Data<Gateway>) -> HttpResponse {
    let schema = tokio::time::timeout(WAIT, gateway.lookup.check_schema());
    let files = gateway.files.clone();
    let cache = web::block(move || files.check());
    let (schema, cache, upstreams) = futures::join!(schema, cache, gateway.federation.reachable(WAIT));
    let database = schema.unwrap_or_else(|_| Err(format!("index: expected an answer within {WAIT:?}, found none")));
    let cache = match cache {
        Ok(checked) => checked.map_err(|error| format!("{error:#}")),
        Err(error) => Err(error.to_string()),
    };
    let upstreams: serde_json::Map<_, _> = upstreams.into_iter().map(|(name, state)| (name, state.into())).collect();
    let ready = database.is_ok() && cache.is_ok();
    let state = |result: Result<(), String>| result.err().unwrap_or_else(|| "ok".to_owned());
    let body = json!({ "ready": ready, "database": state(database), "cache": state(cache), "upstreams": upstreams });
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header(("Cache-Control", "no-store")).json(body)
}
