//! From a listening socket to the HTTP service. Actix accepts connections and speaks HTTP; how long a connection may go on and how
//! many there may be is decided here.

use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_server::Server;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::{Error, rt};
use anyhow::{Context, Result};
use rustix::net::connect_unspec;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpSocket;

use super::crowd::Crowd;
use super::state::{Connection, Ended};
use super::stream::{LINGER, Stream, linger};
use crate::config::Connections;
use crate::error;
use crate::metrics::METRICS;

/// How long requests in flight may go on after SIGTERM, seconds.
const SHUTDOWN_SECONDS: u64 = 30;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How many connections there may be where descriptors would allow more: each can take some 30 KB of memory.
const MOST: usize = 100_000;

/// Serves the application that `app` makes for each worker, at `listen`, until SIGINT or SIGTERM; then lets requests in flight
/// finish.
///
/// # Errors
/// If `listen` cannot be bound.
pub(crate) async fn serve<A, I, S, B>(listen: SocketAddr, limits: Connections, app: A) -> Result<()>
where
    A: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error, InitError = ()> + 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let listener = bind(listen).with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr()?;
    let workers = available_parallelism().map_or(1, usize::from);
    let most = limits.most.unwrap_or_else(sensible_most).div_ceil(workers);
    // Twice as many, so that a new one always comes in while an old one goes.
    let builder = Server::build().workers(workers).max_concurrent_connections(2 * most).shutdown_timeout(SHUTDOWN_SECONDS);
    let stops = builder.graceful_shutdown_signal();
    let factory = move || {
        let (app, stops) = (app.clone(), stops.clone());
        fn_factory(move || {
            let crowd = Rc::new(Crowd::new(most));
            let draining = (crowd.clone(), stops.clone());
            rt::spawn(async move {
                draining.1.notified().await;
                draining.0.drain();
            });
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
                .finish(map_config(app().into_factory().map_err(|error| error.error_response()), |()| AppConfig::default()))
                .new_service(());
            async move {
                let http = Rc::new(http.await?);
                Ok::<_, ()>(fn_service(move |tcp: TcpStream| attend(tcp, limits, crowd.clone(), http.clone())))
            }
        })
    };
    let server = builder.listen("http", listener, factory)?.run();
    tracing::info!(%address, "listening");
    server.await.context("serve")
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// As many as leave a quarter of the process's descriptors for files, archives and the database.
fn sensible_most() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(MOST, |descriptors| (descriptors / 4 * 3).clamp(1, MOST))
}

/// One connection, from its first byte to its last.
async fn attend<H>(tcp: TcpStream, limits: Connections, crowd: Rc<Crowd>, http: Rc<H>) -> Result<(), DispatchError>
where
    H: Service<(Stream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    if !crowd.makes_room() {
        METRICS.connections_closed.with_label_values(&["refused"]).inc();
        // It is reset: an error would be remembered.
        return connect_unspec(&tcp).map_err(|error| DispatchError::Io(error.into()));
    }
    let peer = tcp.peer_addr().ok();
    let connection = Connection::new(tcp, limits, crowd);
    let mut stream = Stream::new(connection.clone());
    let protocol = stream.protocol().await?;
    poll_fn(|context| http.poll_ready(context)).await?;
    let result = http.call((stream, protocol, peer)).await;
    let malformed = match &result {
        Err(DispatchError::Parse(error)) => Some(error.to_string()),
        Err(_) if connection.ended_for() == Some(Ended::Line) => {
            // The service was not given enough to answer it.
            let _ = connection.tcp().try_write(error::LONG_LINE.as_bytes());
            Some("a request line that is too long".to_owned())
        }
        _ => None,
    };
    if let Some(error) = malformed {
        METRICS.connections_closed.with_label_values(&["malformed"]).inc();
        let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        tracing::info!(target: "access", error, peer, "no request");
        linger(&connection).await;
    }
    result
}
