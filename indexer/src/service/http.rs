//! The HTTP listener: hooks, `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{App, HttpResponse, HttpServer, Resource, guard, web};
use anyhow::Context;
use serde_json::json;

use super::hooks::{self, Hooks};
use super::{Service, workload};
use crate::report::failure::{CommandFailure, Result};

/// Number of threads that serve connections.
const WORKERS: usize = 2;
/// Maximum number of connections, which are few scrapers, hooks and uploads.
const MAX_CONNECTIONS: usize = 512;
/// Maximum time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the rest of a body that was refused, so that its client reads the answer before the connection
/// ends.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for requests in flight once the service stops, seconds.
const SHUTDOWN_SECONDS: u64 = super::SHUTDOWN_TIMEOUT.as_secs();

/// Binds the listener, and returns its server, which the caller runs.
///
/// # Errors
/// If the address cannot be bound.
pub(super) fn start(service: &Arc<Service>) -> Result<Server> {
    let listen = service.settings.listen;
    let data = web::Data::from(Arc::clone(service));
    let hooks = Hooks::new(service);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .configure(|config| hooks::configure(config, &hooks))
            .service(resource("/metrics").to(metrics))
            .service(resource("/healthz").to(healthy))
            .service(resource("/readyz").to(ready))
    })
    .workers(WORKERS)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(LINGER_TIMEOUT)
    .keep_alive(IDLE_TIMEOUT)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .bind(listen)
    .with_context(|| format!("listen on {listen}"))
    .map_err(CommandFailure::local)?;
    for address in server.addrs() {
        tracing::info!(%address, "listening");
    }
    Ok(server.run())
}

/// Returns a resource that answers GET and HEAD alone.
fn resource(path: &str) -> Resource {
    let is_read = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path).guard(is_read)
}

/// `/metrics`: every metric in the text format of Prometheus.
async fn metrics(service: web::Data<Service>) -> HttpResponse {
    workload::update(&service).await;
    match service.metrics.render() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}

/// `/healthz`: the process answers; nothing else is probed.
async fn healthy() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=utf-8")
        .body("alive\n")
}

/// `/readyz`: 200 if the database can be used; else 503 with the reason. Brokers and hubs are in the metrics alone:
/// without them the service is as useful as it can be.
async fn ready(service: web::Data<Service>) -> HttpResponse {
    let reason = service.unready();
    let mut response = if reason.is_none() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, "no-store")).json(json!({ "ready": reason.is_none(), "reason": reason }))
}
