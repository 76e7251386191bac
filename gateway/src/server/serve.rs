//! Serves the application at all listeners until a signal stops it. Actix accepts connections and speaks HTTP.

use std::pin::pin;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use actix_http::Request;
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use tokio_rustls::TlsAcceptor;

use super::connection;
use super::listen::Listener;
use super::service::ListenerService;
use super::signals::{SIGQUIT, Signals, notify_manager};
use crate::config::ConnectionSettings;
use crate::metrics::METRICS;

/// Maximum time for requests in flight after SIGTERM, seconds.
const SHUTDOWN_SECONDS: u64 = 30;
/// Upper bound of the default maximum of connections: each can take some 30 KB of memory.
const MAX_DEFAULT_COUNT: usize = 100_000;

/// Serves the application that `app` makes for each worker, at `listeners`, until SIGINT or SIGTERM; then calls
/// `on_stop` and lets requests in flight finish. A second signal, 1 s after the first or later, and SIGQUIT stop it at
/// once. `tls` accepts the connections of TLS listeners.
///
/// # Errors
/// If a listener cannot be used, or no signal handler can be installed.
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
    let max_count = limits.max_count.unwrap_or_else(default_max_count).div_ceil(workers);
    // Actix accepts twice as many: our tracker evicts an idle connection for a new one. The time for requests in flight
    // is limited below, where those that are cut off can still be counted.
    let mut builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(2 * max_count)
        .shutdown_timeout(2 * SHUTDOWN_SECONDS);
    let stops = builder.graceful_shutdown_signal();
    for listener in listeners {
        let address = listener.to_string();
        let service = ListenerService {
            tls: tls.clone().filter(|_| listener.is_tls()),
            limits,
            max_count,
            stops: stops.clone(),
            app: app.clone(),
        };
        builder = match listener {
            Listener::Tcp { listener, .. } => builder.listen(&address, listener, move || service.factory()),
            Listener::Unix(listener) => builder.listen_uds(&address, listener, move || service.factory()),
        }
        .with_context(|| format!("listen on {address}"))?;
        tracing::info!(%address, "listening");
    }
    let mut signals = Signals::new()?;
    let server = builder.disable_signals().run();
    let handle = server.handle();
    let mut server = pin!(server);
    notify_manager(NotifyState::Ready);
    let signal = tokio::select! {
        ended = &mut server => return ended.context("serve"),
        signal = signals.next() => signal,
    };
    on_stop();
    notify_manager(NotifyState::Stopping);
    let is_graceful = signal != SIGQUIT;
    let (connections, requests) = (METRICS.connections.get(), connection::requests_in_flight());
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
            // SIGQUIT cut them off.
            if is_graceful { 0 } else { requests }
        }
        signal = signals.next_after(began) => {
            tracing::warn!(signal, "stopping at once: another signal came");
            connection::requests_in_flight()
        }
        () = tokio::time::sleep(Duration::from_secs(SHUTDOWN_SECONDS)) => connection::requests_in_flight(),
    };
    let seconds = began.elapsed().as_secs_f64();
    match requests {
        0 => tracing::info!(seconds, "stopped"),
        _ => tracing::warn!(seconds, requests, "stopped: requests in flight are cut off"),
    }
    Ok(())
}

/// The default maximum of connections: a quarter of the process's descriptors is left for files, archives and the
/// database.
fn default_max_count() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|count| usize::try_from(count).ok());
    descriptors.map_or(MAX_DEFAULT_COUNT, |descriptors| (descriptors / 4 * 3).clamp(1, MAX_DEFAULT_COUNT))
}
