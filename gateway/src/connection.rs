//! What a request can do to its connection: reset it.
//!
//! To libdebuginfod every HTTP error means "absent for ten minutes", and so does a body that breaks off in an orderly way. A TCP
//! reset is retried and remembered by nobody: the only honest answer to "cannot tell now" on a direct HTTP/1.1 connection.

use std::any::Any;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::{HttpRequest, http};
use rustix::net::connect_unspec;

use crate::config::{Config, Unknown};

/// A handle on the TCP connection of a request.
#[derive(Clone)]
pub(crate) struct Connection(Arc<OwnedFd>);

impl Connection {
    /// Remembers every connection as it is accepted. Head and body of a response are written one after the other: without
    /// TCP_NODELAY a small body would wait 40 ms for the client's acknowledgement of the head (Nagle's algorithm, tcp(7)).
    pub(crate) fn remember(stream: &dyn Any, data: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        if let Ok(fd) = stream.as_fd().try_clone_to_owned() {
            data.insert(Self(Arc::new(fd)));
        }
    }

    /// The connection that a request came on.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// Resets it: disconnecting a connected TCP socket (connect to AF_UNSPEC, connect(2)) makes Linux send RST at once. What is
    /// written to it afterwards fails and is dropped with the connection.
    pub(crate) fn reset(&self) {
        if let Err(error) = connect_unspec(&self.0) {
            tracing::debug!(%error, "connection was not reset");
        }
    }
}

/// Resets the connection of an undecided question if that is the right answer: always or never if configured so, else where the
/// client itself is at the other end and HTTP/1 is spoken, so that nothing in between makes an error of it.
pub(crate) fn reset_undecided(request: &HttpRequest, config: &Config) -> bool {
    let direct = request.version() <= http::Version::HTTP_11 && !request.peer_addr().is_some_and(|peer| config.trusts(peer.ip()));
    let wanted = match config.federation.unknown {
        Unknown::Auto => direct,
        Unknown::Reset => true,
        Unknown::Status => false,
    };
    match Connection::of(request) {
        Some(connection) if wanted => {
            connection.reset();
            true
        }
        _ => false,
    }
}

/// Who asks, as upstreams are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The addresses that the question has passed, from X-Forwarded-For, with the peer's behind.
    pub(crate) forwarded_for: String,
    /// How many servers the question has passed.
    pub(crate) hops: usize,
    /// As sent; upstreams log it.
    pub(crate) user_agent: Option<String>,
}

impl Caller {
    /// Reads a request's headers. Like the reference server: hops are the elements of X-Forwarded-For as received.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let text = |name: &str| {
            let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
            values.map(str::trim).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(", ")
        };
        let received = text("x-forwarded-for");
        let peer = request.peer_addr().map(|peer| peer.ip().to_canonical()).map(|ip: IpAddr| ip.to_string());
        let hops = received.split(',').filter(|element| !element.trim().is_empty()).count();
        let elements = [received, peer.unwrap_or_default()];
        let forwarded_for = elements.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ");
        Self { forwarded_for, hops, user_agent: Some(text("user-agent")).filter(|agent| !agent.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn hops_are_the_elements_received_and_the_peer_comes_behind() {
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", "10.0.0.1, 10.0.0.2"))
            .peer_addr(([192, 0, 2, 7], 5).into())
            .to_http_request();
        let caller = Caller::of(&request);
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (2, "10.0.0.1, 10.0.0.2, 192.0.2.7"));
        let caller = Caller::of(&TestRequest::default().peer_addr(([192, 0, 2, 7], 5).into()).to_http_request());
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (0, "192.0.2.7"));
    }
}
