//! The service of one listener: it makes a connection of each socket, with TLS if configured, and passes it to the HTTP
//! service.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_server::GracefulShutdownSignal;
use actix_service::boxed::{self, BoxServiceFactory};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::{Error, HttpResponse};
use tokio_rustls::TlsAcceptor;

use super::close_reason::CloseReason;
use super::connection::Connection;
use super::socket::{LINGER_TIMEOUT, Socket};
use super::stream::Stream;
use super::tracker::ConnectionTracker;
use crate::config::ConnectionSettings;
use crate::metrics::METRICS;

/// The service of one listener, from which every worker makes its own.
#[derive(Clone)]
pub(super) struct ListenerService<A> {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: ConnectionSettings,
    /// Maximum number of connections of a worker.
    pub(super) max_count: usize,
    pub(super) stops: GracefulShutdownSignal,
    pub(super) app: A,
}

impl<A> ListenerService<A> {
    /// Returns the factory of a worker's service, which serves one connection for each socket.
    pub(super) fn factory<T, I, S, B>(&self) -> BoxServiceFactory<(), T, (), DispatchError, ()>
    where
        T: Into<Socket> + 'static,
        A: Fn() -> I + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()>
            + 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let Self { tls, limits, max_count, stops, app } = self.clone();
        boxed::factory(fn_factory(move || {
            let tracker = ConnectionTracker::of_worker(max_count, &stops);
            let stops = stops.clone();
            let http = HttpService::build()
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(LINGER_TIMEOUT)
                .graceful_shutdown_signal(move || {
                    let stops = stops.clone();
                    async move { stops.notified().await }
                })
                .on_connect_ext(|stream: &Stream, data| {
                    data.insert(stream.connection().clone());
                })
                .finish(with_capitalized_headers(app().into_factory()))
                .new_service(());
            let tls = tls.clone();
            async move {
                let http = Rc::new(http.await?);
                Ok::<_, ()>(fn_service(move |socket: T| {
                    serve_connection(socket.into(), tls.clone(), limits, tracker.clone(), http.clone())
                }))
            }
        }))
    }
}

/// Sends header names in the usual capitalized form on HTTP/1 (`Content-Length`), for every response of `app`, errors
/// too. LLVM's debuginfod clients before release 15 find `Content-Length` in no other form. On HTTP/2 names are always
/// in lower case.
fn with_capitalized_headers<F, B>(
    app: F,
) -> impl ServiceFactory<Request, Config = (), Response = ServiceResponse<B>, Error = HttpResponse, InitError = ()>
where
    F: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()>,
    B: 'static,
{
    let capitalized = |mut response: ServiceResponse<B>| {
        response.response_mut().head_mut().set_camel_case_headers(true);
        response
    };
    let app = app.map(capitalized).map_err(|error| {
        let mut response = error.error_response();
        response.head_mut().set_camel_case_headers(true);
        response
    });
    map_config(app, |()| AppConfig::default())
}

/// Serves one connection until it is closed.
async fn serve_connection<H>(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    limits: ConnectionSettings,
    tracker: Rc<ConnectionTracker>,
    http: Rc<H>,
) -> Result<(), DispatchError>
where
    H: Service<(Stream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    if !tracker.make_room() {
        METRICS.connections_closed.with_label_values(&["connection_limit"]).inc();
        // A client would cache an error, but not a reset.
        return socket.reset().map_err(DispatchError::Io);
    }
    let peer = match &socket {
        Socket::Tcp(tcp) => tcp.peer_addr().ok(),
        Socket::Unix(_) => None,
    };
    let connection = Connection::new(socket, tls.is_some(), limits, tracker);
    let mut stream = match Stream::open(&connection, tls.as_ref()).await {
        Ok(stream) => stream,
        Err(error) => {
            // Other errors: the client sent nothing, or the gateway closed the connection.
            if error.kind() == std::io::ErrorKind::InvalidData {
                METRICS.connections_closed.with_label_values(&["tls_handshake"]).inc();
                log_malformed(&error.to_string(), peer);
                connection.socket().linger().await;
            }
            return Err(DispatchError::Io(error));
        }
    };
    let protocol = stream.detect_protocol().await?;
    poll_fn(|context| http.poll_ready(context)).await?;
    let result = http.call((stream, protocol, peer)).await;
    let malformed = match &result {
        Err(DispatchError::Parse(error)) => Some(error.to_string()),
        Err(_) if connection.closing().reason() == Some(CloseReason::LongRequestLine) => {
            Some("a request line that is too long".to_owned())
        }
        _ => None,
    };
    if let Some(error) = malformed {
        METRICS.connections_closed.with_label_values(&["malformed"]).inc();
        log_malformed(&error, peer);
        connection.socket().linger().await;
    }
    result
}

fn log_malformed(error: &str, peer: Option<SocketAddr>) {
    let peer = peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_canonical().to_string());
    tracing::info!(target: "access", error, peer, "no request");
}
