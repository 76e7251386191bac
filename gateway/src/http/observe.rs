//! The middleware around every handler: CORS, metrics and the access log, by the columns of the route table.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::ErrorServiceUnavailable;
use actix_web::http::header::{HOST, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::web;
use bytes::Bytes;

use super::debuginfod::TRACE;
use super::route::{Form, Route};
use super::routes;
use super::{cors, error};
use crate::index::watch;
use crate::metrics::METRICS;
use crate::resolve::Gateway;
use crate::server::{Connection, RequestGuard, client_address, has_large_head};

/// Counts and logs a request. Its connection counts as busy until the client has taken the response.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<ObservedBody>, actix_web::Error> {
    let started = Instant::now();
    let busy = Connection::of(request.request()).map(|connection| connection.begin_request());
    let route = Route::of(request.match_info().as_str());
    let cors = cors::Rules::of(&request, route);
    let mut response = if has_large_head(&request) {
        request.into_response(error::large_head())
    } else if !has_sound_host(&request) {
        request.into_response(error::malformed(&"expected a host, with or without a port, as Host"))
    } else if let Some(answer) = cors.as_ref().and_then(|cors| cors.preflight(&request)) {
        request.into_response(answer)
    } else {
        let answer = pin!(next.call(request));
        match &busy {
            Some(busy) => busy
                .unless_disconnected(answer)
                .await
                .unwrap_or_else(|| Err(ErrorServiceUnavailable("the client has disconnected")))?,
            None => answer.await?,
        }
    };
    if let Some(cors) = cors {
        cors.allow(response.response_mut());
    }
    let seconds = started.elapsed().as_secs_f64();
    let endpoint = routes::endpoint(response.request(), route);
    let is_for_clients = route.is_none_or(|route| route.form != Form::Operator);
    if is_for_clients
        && let Some(gateway) = response.request().app_data::<web::Data<Gateway>>()
        && let Some(unavailable) = gateway.lookup.watch.header()
    {
        response.headers_mut().insert(watch::INDEX, unavailable);
    }
    let request = response.request();
    let status = response.status();
    let was_reset = response.response().extensions().get::<ResetMark>().is_some();
    METRICS.requests.with_label_values(&[endpoint, if was_reset { "reset" } else { status.as_str() }]).inc();
    METRICS.request_duration.with_label_values(&[endpoint]).observe(seconds);
    if is_for_clients {
        let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or("-");
        let peer = busy.as_ref().map_or("-", RequestGuard::peer);
        let gateway = request.app_data::<web::Data<Gateway>>();
        let address =
            gateway.and_then(|gateway| client_address(request, &gateway.config)).map(|address| address.to_string());
        // Without X-Forwarded-For the client of a unix socket has no address.
        let client = address.as_deref().unwrap_or(peer);
        let trace = response.headers().get(TRACE).and_then(|trace| trace.to_str().ok());
        tracing::info!(
            target: "access", method = start(request.method().as_str()), path = start(request.uri().path()),
            status = status.as_u16(), was_reset, seconds, client, peer, agent = start(agent), trace
        );
    }
    Ok(response.map_body(|_, body| ObservedBody { body, busy }))
}

/// True unless the request has a Host that is no host (RFC 9112, section 3.2). Links in answers are made of it.
fn has_sound_host(request: &ServiceRequest) -> bool {
    request
        .headers()
        .get(HOST)
        .map(HeaderValue::as_bytes)
        .is_none_or(|host| host.is_empty() || Authority::try_from(host).is_ok_and(|host| !host.as_str().contains('@')))
}

/// The body of a response. Its connection counts as busy until the body is dropped.
pub(crate) struct ObservedBody {
    body: BoxBody,
    busy: Option<RequestGuard>,
}

impl MessageBody for ObservedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(context);
        if let (Poll::Ready(_), Some(busy)) = (&next, &self.busy) {
            busy.record_progress();
        }
        next
    }
}

/// The start of a client's text, as it is logged.
fn start(text: &str) -> &str {
    const MAX_BYTES: usize = 600;
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

/// Marks a response that the client never reads: its connection is reset.
pub(crate) struct ResetMark;
