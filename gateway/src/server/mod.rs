//! Connections: accepted, timed, answered, reset.
//!
//! - [`listen`]: where to listen; [`tls`]: with which certificate;
//! - [`serve`]: from a listening socket to the HTTP service;
//! - [`state`]: one connection, as its stream and its requests share it; what a request can do to it: reset it;
//! - [`mod@http2`]: how much may be asked for at once on HTTP/2;
//! - [`stream`]: the bytes of one connection as HTTP has them; [`wire`]: as they are on its [`socket`], and the clock that ends it;
//! - [`mod@caller`]: who asks;
//! - [`crowd`]: the connections of a worker, and who goes when they are too many; [`ending`]: how one of them comes to its end.
//!
//! To libdebuginfod every HTTP error means "absent for ten minutes", and so does a body that breaks off in an orderly way. A TCP
//! reset is retried and remembered by nobody: the only honest answer to "cannot tell now" on a direct HTTP/1.1 connection. For the
//! same reason a connection that takes too long is closed without a status.

mod caller;
mod crowd;
mod ending;
mod http2;
pub(crate) mod listen;
pub(crate) mod serve;
mod socket;
mod state;
mod stream;
pub(crate) mod tls;
mod wire;

use actix_web::{HttpRequest, http};

pub(crate) use self::caller::{caller, client, client_address};
pub(crate) use self::http2::has_large_head;
pub(crate) use self::state::{Busy, Connection};
use crate::config::{Config, OnUnavailable};
use crate::metrics::METRICS;

/// Resets the connection of an undecided question if that is the right answer: always or never if configured so, else where the
/// client itself is at the other end, so that nothing in between makes an error of it, and where no other request suffers: on HTTP/1,
/// and on HTTP/2 through TLS, which is what every client speaks there, while the question is alone on its connection. It is counted
/// before: a client that is reset may look at the metrics at once.
pub(crate) fn reset_undecided(request: &HttpRequest, config: &Config) -> bool {
    let is_http1 = request.version() <= http::Version::HTTP_11;
    let is_right = |connection: &Connection| match config.federation.unavailable {
        OnUnavailable::Auto => {
            !is_trusted(request, config) && (is_http1 || connection.is_tls() && connection.is_alone())
        }
        OnUnavailable::Reset => true,
        OnUnavailable::Status => false,
    };
    let connection = Connection::of(request).filter(is_right);
    METRICS.unavailable.with_label_values(&[if connection.is_some() { "reset" } else { "status" }]).inc();
    connection.map(|connection| connection.reset()).is_some()
}

/// Comes the request through a proxy that is trusted? Who may use a unix socket is one: clients of debuginfod cannot.
pub(crate) fn is_trusted(request: &HttpRequest, config: &Config) -> bool {
    match request.peer_addr() {
        Some(peer) => config.trusts(peer.ip()),
        None => Connection::of(request).is_some_and(|connection| connection.is_unix()),
    }
}
