//! Binds, wires, serves until a signal.

use std::net::SocketAddr;

use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, web};
use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Connections};
use crate::connection::server;
use crate::resolve::Gateway;
use crate::routes;

/// Serves until SIGINT or SIGTERM, then lets requests in flight finish.
pub(crate) async fn run(config: Config) -> Result<()> {
    // A second call finds the provider installed; that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_descriptor_limit();
    let (listen, limits) = (config.listen, config.connections);
    tracing::info!(database = %config.database, cache = %config.cache_dir.display(), "starting");
    let gateway = web::Data::new(Gateway::new(config).await?);
    // The gateway serves what it can without its index, but says so at once.
    if let Err(cause) = gateway.lookup.check_schema().await {
        tracing::warn!(cause, "the index cannot be asked yet");
    }
    serve_within(limits, listen, move |app| {
        app.app_data(gateway.clone()).configure(routes::all);
    })
    .await
}

/// The HTTP service around any `routes`: what stands before every handler, and how connections are treated, with default limits. Ends
/// at SIGINT or SIGTERM.
///
/// # Errors
/// If `listen` cannot be bound.
pub async fn serve(listen: SocketAddr, routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Result<()> {
    serve_within(Connections::default(), listen, routes).await
}

async fn serve_within(
    limits: Connections,
    listen: SocketAddr,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> Result<()> {
    let app = move || {
        App::new().wrap(from_fn(routes::observe)).wrap(NormalizePath::new(TrailingSlash::MergeOnly)).configure(routes.clone())
    };
    server::serve(listen, limits, app).await
}

/// As many descriptors as the system allows this process: every client has one, every extraction a few.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, found = ?limit.current, "the limit of descriptors could not be raised");
    }
}
