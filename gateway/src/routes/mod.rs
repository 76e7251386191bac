//! URLs. Every route answers GET and HEAD; a doubled slash in a path counts as one.

mod archive;
mod darkserver;
mod debuginfod;
mod operations;

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, Resource, guard, web};
use percent_encoding::percent_decode_str;

use crate::error;
use crate::metrics::METRICS;
use crate::question::Question;
use crate::resolve::Gateway;
use crate::watch;

/// All routes.
pub(crate) fn all(app: &mut web::ServiceConfig) {
    app.configure(debuginfod::routes)
        .configure(archive::routes)
        .configure(operations::routes)
        .configure(darkserver::routes)
        .default_service(web::to(|request: HttpRequest| async move { error::unknown_path(request.uri().path()) }));
}

/// A resource that answers GET and HEAD by `handler`, and 405 otherwise.
fn resource<H, A>(path: &str, handler: H) -> Resource
where
    H: actix_web::Handler<A, Output = HttpResponse>,
    A: actix_web::FromRequest + 'static,
{
    web::resource(path)
        .route(web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler))
        .default_service(web::to(|| async { error::wrong_method() }))
}

/// The path behind its first `prefix`, percent-decoded; `Err` where the bytes are not UTF-8.
fn tail(request: &HttpRequest, prefix: &str) -> Result<String, std::str::Utf8Error> {
    let path = request.uri().path();
    let tail = path.split_once(prefix).map_or("", |(_, tail)| tail);
    percent_decode_str(tail).decode_utf8().map(|tail| tail.into_owned())
}

/// Counts and logs every request.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let mut response = next.call(request).await?;
    let seconds = started.elapsed().as_secs_f64();
    let endpoint = endpoint(response.request());
    if endpoint != "operations"
        && let Some(gateway) = response.request().app_data::<web::Data<Gateway>>()
        && let Some(away) = gateway.lookup.watch.header()
    {
        response.headers_mut().insert(watch::INDEX, away);
    }
    let request = response.request();
    let status = response.status();
    let was_reset = response.response().extensions().get::<WasReset>().is_some();
    METRICS.requests.with_label_values(&[endpoint, if was_reset { "reset" } else { status.as_str() }]).inc();
    METRICS.request_seconds.with_label_values(&[endpoint]).observe(seconds);
    if endpoint != "operations" {
        let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or("-");
        let peer = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        tracing::info!(
            target: "access", method = %request.method(), path = request.uri().path(), status = status.as_u16(), was_reset,
            seconds, peer, agent
        );
    }
    Ok(response)
}

/// Marks a response that nobody will see.
pub(crate) struct WasReset;

/// The endpoint of a request, for metrics: one of a few words.
fn endpoint(request: &HttpRequest) -> &'static str {
    let pattern = request.match_pattern().unwrap_or_default();
    let pattern = pattern.strip_prefix("/darkserver").unwrap_or(&pattern);
    match pattern.split('/').nth(1).unwrap_or_default() {
        "buildid" => match tail(request, "/buildid/").ok().and_then(|tail| Question::parse(&tail).ok()) {
            Some(question) => question.what.name(),
            None => "malformed",
        },
        "buildids" => "buildids",
        "rpm2buildids" => "rpm2buildids",
        "package" => "package",
        "archive" => "archive",
        "metrics" | "healthz" | "readyz" | "serverversion" | "" => "operations",
        _ => "unknown",
    }
}
