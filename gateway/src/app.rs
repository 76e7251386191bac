//! Binds, wires, serves until a signal.

use std::net::SocketAddr;

use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, web};
use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, ConnectionSettings};
use crate::http;
use crate::resolve::Gateway;
use crate::server::listen::{Address, Listener};
use crate::server::serve;
use crate::server::tls::Certificate;

/// Where the gateway listens if nobody says anything.
const USUAL: ([u8; 4], u16) = ([127, 0, 0, 1], 8002);

/// Serves until SIGINT or SIGTERM, then lets requests in flight finish. `inherited` are sockets to listen on besides
/// those that the configuration names.
pub(crate) async fn run(config: Config, inherited: Vec<Listener>) -> Result<()> {
    // A second call finds the provider installed; that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_descriptor_limit();
    let limits = config.connections;
    tracing::info!(database = %config.database, cache = %config.cache_dir.display(), "starting");
    let listeners = listeners(&config, inherited)?;
    let certificate = config.tls.clone().map(Certificate::read).transpose()?;
    let acceptor = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let gateway = web::Data::new(Gateway::new(config).await?);
    // The gateway serves what it can without its index; the first answer knows whether there is one.
    gateway.readiness.wait_for_first_probes().await;
    if let Some(certificate) = certificate {
        tokio::spawn(certificate.keep_current());
    }
    let readiness = gateway.readiness.clone();
    let on_stop = move || readiness.stop();
    serve_within(listeners, acceptor, limits, on_stop, move |app| {
        app.app_data(gateway.clone()).configure(http::register);
    })
    .await
}

/// Checks that there are a certificate and an address for TLS, or neither.
///
/// # Errors
/// If one of them is missing.
pub(crate) fn check_certificate(config: &Config, inherited: &[Listener]) -> Result<()> {
    let is_tls = |address: &Address| matches!(address, Address::Tcp { is_tls: true, .. });
    let has_address = config.listen.iter().flatten().any(is_tls) || inherited.iter().any(Listener::is_tls);
    match (&config.tls, has_address) {
        (None, true) => {
            bail!("expected tls.certificate and tls.key for the addresses that begin with `tls:`, found neither")
        }
        (Some(_), false) => {
            bail!("tls.certificate and tls.key: expected an address to listen on that begins with `tls:`, found none")
        }
        _ => Ok(()),
    }
}

/// The sockets that are configured, and those that were inherited; the usual one if there are none.
fn listeners(config: &Config, inherited: Vec<Listener>) -> Result<Vec<Listener>> {
    let addresses = match &config.listen {
        None if inherited.is_empty() => vec![Address::from(SocketAddr::from(USUAL))],
        addresses => addresses.clone().unwrap_or_default(),
    };
    let bound: Result<Vec<_>> = addresses.iter().map(|address| Listener::bind(address, config.unix_mode)).collect();
    Ok(bound?.into_iter().flatten().chain(inherited).collect())
}

/// The HTTP service around any `routes`: what stands before every handler, and how connections are treated, with
/// default limits. Ends at SIGINT or SIGTERM.
///
/// # Errors
/// If `listen` cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> Result<()> {
    let listeners = Listener::bind(&listen.into(), 0)?;
    serve_within(listeners, None, ConnectionSettings::default(), || {}, routes).await
}

async fn serve_within(
    listeners: Vec<Listener>,
    tls: Option<TlsAcceptor>,
    limits: ConnectionSettings,
    on_stop: impl FnOnce(),
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> Result<()> {
    let app = move || {
        App::new()
            .wrap(from_fn(http::observe))
            .wrap(NormalizePath::new(TrailingSlash::MergeOnly))
            .configure(routes.clone())
    };
    serve::serve(listeners, tls, limits, on_stop, app).await
}

/// As many descriptors as the system allows this process: every client has one, every extraction a few.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, found = ?limit.current, "the limit of descriptors could not be raised");
    }
}
