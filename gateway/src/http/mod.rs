//! URLs. Every route answers GET and HEAD; a doubled slash in a path counts as one.

mod archive;
mod cors;
mod darkserver;
mod debuginfod;
pub(crate) mod deliver;
pub(crate) mod error;
mod links;
mod metadata;
mod operations;

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::ErrorServiceUnavailable;
use actix_web::guard::GuardContext;
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Resource, Scope, guard, web};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::index::watch;
use crate::metrics::METRICS;
use crate::resolve::Gateway;
use crate::resolve::deadline::REQUEST_PERMIT_TIMEOUT;
use crate::resolve::question::{Question, What};
use crate::server::{Busy, Connection, client, client_address, has_large_head};

/// All routes. They are tried in this order: those that are asked for most come first.
pub(crate) fn all(app: &mut web::ServiceConfig) {
    app.configure(debuginfod::routes)
        .configure(darkserver::routes)
        .configure(metadata::routes)
        .configure(archive::routes)
        .configure(operations::routes)
        .default_service(web::to(elsewhere));
}

/// What no route is for.
async fn elsewhere(request: HttpRequest) -> HttpResponse {
    match request.uri().path() {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => error::wrong_method(request.method()),
        path if path.starts_with('/') => error::unknown_path(path),
        _ => error::malformed(&"expected a path as the target of the request"),
    }
}

/// A resource that answers GET and HEAD by `handler`, and 405 otherwise.
fn resource<H, A>(path: &str, handler: H) -> Resource
where
    H: actix_web::Handler<A, Output = HttpResponse>,
    A: actix_web::FromRequest + 'static,
{
    web::resource(path)
        .route(web::route().guard(guard::fn_guard(reads)).to(handler))
        .default_service(web::to(|request: HttpRequest| async move { error::wrong_method(request.method()) }))
}

/// Everything below `folder` is answered by `handler`: as [`resource`], without a regular expression for the two paths that are asked for
/// most. The folder itself is no path.
fn below<H, A>(folder: &'static str, handler: H) -> Scope
where
    H: actix_web::Handler<A, Output = HttpResponse>,
    A: actix_web::FromRequest + 'static,
{
    let is_below = move |path: &str| above_root(path).strip_prefix(folder).is_some_and(|tail| tail.starts_with('/'));
    web::scope(folder)
        .guard(guard::fn_guard(move |context| is_below(context.head().uri.path())))
        .guard(guard::fn_guard(reads))
        .default_service(web::to(handler))
}

/// GET or HEAD?
fn reads(context: &GuardContext<'_>) -> bool {
    matches!(context.head().method, Method::GET | Method::HEAD)
}

/// The path behind `prefix`, percent-decoded; `Err` where the bytes are not UTF-8.
fn tail<'a>(request: &'a HttpRequest, prefix: &str) -> Result<Cow<'a, str>, std::str::Utf8Error> {
    let tail = above_root(request.uri().path()).strip_prefix(prefix).unwrap_or_default();
    // As nearly all are; looking for one byte takes a tenth of decoding.
    if tail.contains('%') { percent_decode_str(tail).decode_utf8() } else { Ok(Cow::Borrowed(tail)) }
}

/// A path of the JSON API as it is without `/darkserver` before it.
fn above_root(path: &str) -> &str {
    path.strip_prefix("/darkserver").filter(|path| path.starts_with('/')).unwrap_or(path)
}

/// Counts and logs every request, and holds its connection until the response is taken.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<Underway>, actix_web::Error> {
    let started = Instant::now();
    let busy = Connection::of(request.request()).map(|connection| connection.begin());
    let cors = cors::Rules::of(&request);
    let mut response = if has_large_head(&request) {
        request.into_response(error::large_head())
    } else if !has_sound_host(&request) {
        request.into_response(error::malformed(&"expected a host, with or without a port, as Host"))
    } else if let Some(answer) = cors.as_ref().and_then(|cors| cors.preflight(&request)) {
        request.into_response(answer)
    } else {
        let answer = pin!(answered_in_turn(request, next));
        match &busy {
            Some(busy) => {
                busy.unless_gone(answer).await.unwrap_or_else(|| Err(ErrorServiceUnavailable("the client is gone")))?
            }
            None => answer.await?,
        }
    };
    if let Some(cors) = cors {
        cors.allow(response.response_mut());
    }
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
    METRICS.request_duration.with_label_values(&[endpoint]).observe(seconds);
    if endpoint != "operations" {
        let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or("-");
        let peer = busy.as_ref().map_or("-", Busy::peer);
        let gateway = request.app_data::<web::Data<Gateway>>();
        let address =
            gateway.and_then(|gateway| client_address(request, &gateway.config)).map(|address| address.to_string());
        // Without X-Forwarded-For the client of a unix socket has no address.
        let client = address.as_deref().unwrap_or(peer);
        tracing::info!(
            target: "access", method = start(request.method().as_str()), path = start(request.uri().path()), status = status.as_u16(), was_reset,
            seconds, client, peer, agent = start(agent)
        );
    }
    Ok(response.map_body(|_, body| Underway { body, busy }))
}

/// The answer, once the client has a permit. Requests about the gateway itself need none.
async fn answered_in_turn(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let gateway = request.app_data::<web::Data<Gateway>>().filter(|_| !is_operations(request.path())).cloned();
    let Some(gateway) = gateway else { return next.call(request).await };
    let client = client(request.request(), &gateway.config);
    let permit = match gateway.permits.try_acquire(client) {
        Some(permit) => Some(permit),
        None => tokio::time::timeout(REQUEST_PERMIT_TIMEOUT, gateway.permits.acquire(client)).await.ok(),
    };
    match permit {
        Some(_turn) => next.call(request).await,
        None => {
            let is_for_clients_of_json = !above_root(request.path()).starts_with("/buildid/");
            let response = match is_for_clients_of_json {
                true => error::undecided_json(),
                false => debuginfod::undecided(request.request(), &gateway, asks_for_section(request.request())),
            };
            Ok(request.into_response(response))
        }
    }
}

/// Is its Host, if there is one, a host (RFC 9112, section 3.2)? Links in answers are made of it.
fn has_sound_host(request: &ServiceRequest) -> bool {
    request
        .headers()
        .get(HOST)
        .map(HeaderValue::as_bytes)
        .is_none_or(|host| host.is_empty() || Authority::try_from(host).is_ok_and(|host| !host.as_str().contains('@')))
}

/// The body of a request under way.
pub(crate) struct Underway {
    body: BoxBody,
    busy: Option<Busy>,
}

impl MessageBody for Underway {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(context);
        if let (Poll::Ready(_), Some(busy)) = (&next, &self.busy) {
            busy.progressed();
        }
        next
    }
}

/// As much of a client's text as is worth a log line.
fn start(text: &str) -> &str {
    const WORTH: usize = 600;
    &text[..text.floor_char_boundary(WORTH)]
}

/// Marks a response that nobody will see.
pub(crate) struct WasReset;

/// What a request turned out to ask for, where its handler had to find that out: one of the words of [`endpoint`].
struct Asked(&'static str);

/// The endpoint of a request, for metrics: one of a few words.
fn endpoint(request: &HttpRequest) -> &'static str {
    if let Some(Asked(word)) = request.extensions().get() {
        return word;
    }
    let path = above_root(request.match_info().as_str()).strip_prefix('/').unwrap_or_default();
    match path.split_once('/').unwrap_or((path, "")) {
        ("buildid", _) => question(request).map_or("malformed", |question| question.what.name()),
        ("buildids", ids) if !ids.is_empty() => "buildids",
        ("rpm2buildids", nvra) if !nvra.is_empty() => "rpm2buildids",
        ("package", nvra) if !nvra.is_empty() => "package",
        ("archive", name) if !name.is_empty() => "archive",
        ("metadata", _) => "metadata",
        _ if is_operations(request.match_info().as_str()) => "operations",
        _ => "unknown",
    }
}

/// The question of a request below `/buildid/`; `None` if it is malformed.
fn question(request: &HttpRequest) -> Option<Question> {
    Question::parse(&tail(request, "/buildid/").ok()?).ok()
}

/// True if a request asks for a section. A source path may have a directory of that name.
fn asks_for_section(request: &HttpRequest) -> bool {
    question(request).is_some_and(|question| matches!(question.what, What::Section(_)))
}

/// Does a path ask about the gateway itself?
fn is_operations(path: &str) -> bool {
    matches!(above_root(path), "" | "/" | "/metrics" | "/healthz" | "/readyz" | "/serverversion")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_section_is_told_from_a_source_below_a_directory_of_that_name() {
        for (path, is_section) in [
            ("/buildid/ab12/section/.text", true),
            ("/buildid/ab12/section%2F.text", true),
            ("/darkserver/buildid/ab12/section/.text", true),
            ("/buildid/ab12//section/.text", true),
            ("/buildid/ab12/source/usr/section/x.c", false),
            ("/buildid/ab12/source/section/x.c", false),
            ("/buildid/ab12/source%2Fsection%2Fx.c", false),
            ("/buildid/ab12/debuginfo/section/x", false),
            ("/buildid/section/.text", false),
        ] {
            assert_eq!(asks_for_section(&TestRequest::with_uri(path).to_http_request()), is_section, "{path}");
        }
    }
}
