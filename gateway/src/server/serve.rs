//! From a listening socket to the HTTP service. Actix accepts connections and speaks HTTP; how long a connection may go on and how
//! many there may be is decided here.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::boxed::{self, BoxServiceFactory};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::{Error, HttpResponse};
use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use super::crowd::Crowd;
use super::ending::Ended;
use super::listen::Listener;
use super::socket::Socket;
use super::state::{self, Connection};
use super::stream::{LINGER, Stream, linger};
use crate::config::ConnectionSettings;
use crate::metrics::METRICS;

/// How long requests in flight may go on after SIGTERM, seconds.
const SHUTDOWN_SECONDS: u64 = 30;
/// A signal that comes sooner after the first one is the same: timeout(1) signals its child, then the group that the child is
/// in.
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// How many connections there may be where descriptors would allow more: each can take some 30 KB of memory.
const MOST: usize = 100_000;

/// Serves the application that `app` makes for each worker, at `listeners`, until SIGINT or SIGTERM; then calls `on_stop` and lets
/// requests in flight finish. A second signal, 1 s after the first or later, and SIGQUIT end it at once. `tls` speaks TLS where a
/// listener wants it.
///
/// # Errors
/// If a listener cannot be used, or no signal can be received.
pub(crate) async fn serve<A, I, S, B>(
    listeners: Vec<Listener>,
    tls: Option<TlsAcceptor>,
    limits: ConnectionSettings,
    on_stop: impl FnOnce(),
    app: A,
) -> Result<()>
where
    A: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()>
        + 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let workers = available_parallelism().map_or(1, usize::from);
    let most = limits.max_count.unwrap_or_else(sensible_most).div_ceil(workers);
    // Twice as many connections, so that a new one always comes in while an old one goes. The time to finish is measured
    // below, where what is cut off can still be counted.
    let mut builder =
        Server::build().workers(workers).max_concurrent_connections(2 * most).shutdown_timeout(2 * SHUTDOWN_SECONDS);
    let stops = builder.graceful_shutdown_signal();
    for listener in listeners {
        let address = listener.to_string();
        let place = Place {
            tls: tls.clone().filter(|_| listener.is_tls()),
            limits,
            most,
            stops: stops.clone(),
            app: app.clone(),
        };
        builder = match listener {
            Listener::Tcp { listener, .. } => builder.listen(&address, listener, move || place.attendant()),
            Listener::Unix(listener) => builder.listen_uds(&address, listener, move || place.attendant()),
        }
        .with_context(|| format!("listen on {address}"))?;
        tracing::info!(%address, "listening");
    }
    let mut signals = Signals::new()?;
    let server = builder.disable_signals().run();
    let handle = server.handle();
    let mut server = pin!(server);
    tell_manager(NotifyState::Ready);
    let signal = tokio::select! {
        ended = &mut server => return ended.context("serve"),
        signal = signals.next() => signal,
    };
    on_stop();
    tell_manager(NotifyState::Stopping);
    let is_graceful = signal != SIGQUIT;
    let (connections, requests) = (METRICS.connections.get(), state::requests_in_flight());
    match is_graceful {
        true => tracing::info!(
            signal,
            connections,
            requests,
            "stopping: no new connections are accepted, requests in flight have {SHUTDOWN_SECONDS} s"
        ),
        false => tracing::info!(signal, connections, requests, "stopping at once"),
    }
    let began = Instant::now();
    let stopped = handle.stop(is_graceful);
    let requests = tokio::select! {
        ended = &mut server => {
            ended.context("serve")?;
            stopped.await;
            // Those that SIGQUIT cut off.
            if is_graceful { 0 } else { requests }
        }
        signal = signals.another(began) => {
            tracing::warn!(signal, "stopping at once: another signal came");
            state::requests_in_flight()
        }
        () = tokio::time::sleep(Duration::from_secs(SHUTDOWN_SECONDS)) => state::requests_in_flight(),
    };
    let seconds = began.elapsed().as_secs_f64();
    match requests {
        0 => tracing::info!(seconds, "stopped"),
        _ => tracing::warn!(seconds, requests, "stopped: requests in flight are cut off"),
    }
    Ok(())
}

const SIGQUIT: &str = "SIGQUIT";

/// The signals that end the gateway.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let receive = |kind| signal(kind).context("receive signals");
        Ok(Self {
            interrupt: receive(SignalKind::interrupt())?,
            terminate: receive(SignalKind::terminate())?,
            quit: receive(SignalKind::quit())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => SIGQUIT,
        }
    }

    /// The name of the next one that is not the same as the first, which came at `first`.
    async fn another(&mut self, first: Instant) -> &'static str {
        loop {
            let signal = self.next().await;
            if signal == SIGQUIT || first.elapsed() >= SAME_SIGNAL {
                return signal;
            }
        }
    }
}

/// Tells the system manager, if there is one that wants to know (sd_notify(3)).
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the system manager was not told");
    }
}

/// What is done at one listener, in every worker.
#[derive(Clone)]
struct Place<A> {
    tls: Option<TlsAcceptor>,
    limits: ConnectionSettings,
    /// Connections of a worker.
    most: usize,
    stops: GracefulShutdownSignal,
    app: A,
}

impl<A> Place<A> {
    /// Attends to the sockets that a worker gets.
    fn attendant<T, I, S, B>(&self) -> BoxServiceFactory<(), T, (), DispatchError, ()>
    where
        T: Into<Socket> + 'static,
        A: Fn() -> I + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()>
            + 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let Self { tls, limits, most, stops, app } = self.clone();
        boxed::factory(fn_factory(move || {
            let crowd = Crowd::of_worker(most, &stops);
            let stops = stops.clone();
            let http = HttpService::build()
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(LINGER)
                .graceful_shutdown_signal(move || {
                    let stops = stops.clone();
                    async move { stops.notified().await }
                })
                .on_connect_ext(|stream: &Stream, data| {
                    data.insert(stream.connection().clone());
                })
                .finish(map_config(with_capitalized_headers(app().into_factory()), |()| AppConfig::default()))
                .new_service(());
            let tls = tls.clone();
            async move {
                let http = Rc::new(http.await?);
                Ok::<_, ()>(fn_service(move |socket: T| {
                    attend(socket.into(), tls.clone(), limits, crowd.clone(), http.clone())
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
) -> impl ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = HttpResponse, InitError = ()>
where
    F: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()>,
    B: 'static,
{
    let capitalized = |mut response: ServiceResponse<B>| {
        response.response_mut().head_mut().set_camel_case_headers(true);
        response
    };
    app.map(capitalized).map_err(|error| {
        let mut response = error.error_response();
        response.head_mut().set_camel_case_headers(true);
        response
    })
}

/// As many as leave a quarter of the process's descriptors for files, archives and the database.
fn sensible_most() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(MOST, |descriptors| (descriptors / 4 * 3).clamp(1, MOST))
}

/// One connection, from its first byte to its last.
async fn attend<H>(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    limits: ConnectionSettings,
    crowd: Rc<Crowd>,
    http: Rc<H>,
) -> Result<(), DispatchError>
where
    H: Service<(Stream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    if !crowd.makes_room() {
        METRICS.connections_closed.with_label_values(&["connection_limit"]).inc();
        // It is reset: an error would be remembered.
        return socket.reset().map_err(DispatchError::Io);
    }
    let peer = match &socket {
        Socket::Tcp(tcp) => tcp.peer_addr().ok(),
        Socket::Unix(_) => None,
    };
    let connection = Connection::new(socket, tls.is_some(), limits, crowd);
    let mut stream = match Stream::open(&connection, tls.as_ref()).await {
        Ok(stream) => stream,
        Err(error) => {
            // Nothing came at all, or the gateway ended it: that is no failed handshake.
            if error.kind() == std::io::ErrorKind::InvalidData {
                METRICS.connections_closed.with_label_values(&["tls_handshake"]).inc();
                log_no_request(&error.to_string(), peer);
                linger(&connection).await;
            }
            return Err(DispatchError::Io(error));
        }
    };
    let protocol = stream.protocol().await?;
    poll_fn(|context| http.poll_ready(context)).await?;
    let result = http.call((stream, protocol, peer)).await;
    let malformed = match &result {
        Err(DispatchError::Parse(error)) => Some(error.to_string()),
        Err(_) if connection.ending().why() == Some(Ended::Line) => Some("a request line that is too long".to_owned()),
        _ => None,
    };
    if let Some(error) = malformed {
        METRICS.connections_closed.with_label_values(&["malformed"]).inc();
        log_no_request(&error, peer);
        linger(&connection).await;
    }
    result
}

fn log_no_request(error: &str, peer: Option<SocketAddr>) {
    let peer = peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_canonical().to_string());
    tracing::info!(target: "access", error, peer, "no request");
}
