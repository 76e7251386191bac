//! Sockets, TLS, limits of connections, resets. Actix accepts connections and speaks HTTP (ADR 0028).
//!
//! - [`listen`]: addresses to listen on; [`tls`]: the certificate; [`signals`]: what stops the gateway.
//! - [`serve`]: serves all listeners until a signal; [`service`]: the service of one listener.
//! - [`mod@connection`]: the state that the stream and the requests of a connection share: deadline, reset.
//! - [`stream`]: the byte stream that the HTTP service reads; [`timed_socket`]: the [`socket`] below it, with the
//!   timer.
//! - [`tracker`]: the connections of a worker, and the eviction of idle ones; [`close_reason`]: why a connection is
//!   closed.
//! - [`mod@http2`]: limits of an HTTP/2 connection; [`mod@caller`]: the client of a request, behind its proxies.
//!
//! libdebuginfod caches every HTTP error as "absent" for ten minutes, and so a body that ends early. It retries after a
//! TCP reset and caches nothing: a reset is the only correct answer for "unavailable" on a direct HTTP/1.1 connection.
//! For the same reason a connection that exceeds a timeout is closed without a status.

mod caller;
mod close_reason;
mod connection;
mod http2;
pub(crate) mod listen;
pub(crate) mod serve;
mod service;
mod signals;
mod socket;
mod stream;
mod timed_socket;
pub(crate) mod tls;
mod tracker;

use actix_web::{HttpRequest, http};

pub(crate) use self::caller::{caller, client, client_address, max_size};
pub(crate) use self::connection::{Connection, RequestGuard};
pub(crate) use self::http2::has_large_head;
use crate::config::{Config, OnUnavailable};
use crate::metrics::METRICS;

/// Resets the connection of an unavailable answer, if `federation.unavailable` allows it. Returns true if it was reset.
///
/// With `auto` it is reset if the client is at the other end, not a proxy or gateway, and no other request is affected:
/// on HTTP/1, and on HTTP/2 through TLS while the request is alone on its connection. The answer is counted before: the
/// client may read the metrics at once.
pub(crate) fn reset_unavailable(request: &HttpRequest, config: &Config) -> bool {
    let is_http1 = request.version() <= http::Version::HTTP_11;
    let is_allowed = |connection: &Connection| match config.federation.unavailable {
        OnUnavailable::Auto => {
            !is_trusted(request, config)
                && !has_passed_servers(request)
                && (is_http1 || connection.is_tls() && connection.is_alone())
        }
        OnUnavailable::Reset => true,
        OnUnavailable::Status => false,
    };
    let connection = Connection::of(request).filter(is_allowed);
    METRICS.unavailable.with_label_values(&[if connection.is_some() { "reset" } else { "status" }]).inc();
    connection.map(|connection| connection.reset()).is_some()
}

/// True if the request states by Via that it passed another server: a proxy or a gateway, which understands a status.
fn has_passed_servers(request: &HttpRequest) -> bool {
    request.headers().contains_key(http::header::VIA)
}

/// True if the request arrived through a trusted proxy. Peers on a Unix socket are trusted: clients of debuginfod
/// cannot use one.
pub(crate) fn is_trusted(request: &HttpRequest, config: &Config) -> bool {
    match request.peer_addr() {
        Some(peer) => config.trusts(peer.ip()),
        None => Connection::of(request).is_some_and(|connection| connection.is_unix()),
    }
}
