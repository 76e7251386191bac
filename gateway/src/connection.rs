//! What a request can do to its connection: reset it.
//!
//! To libdebuginfod every HTTP error means "absent for ten minutes", and so does a body that breaks off in an orderly way. A TCP
//! reset is retried and remembered by nobody: the only honest answer to "cannot tell now" on a direct HTTP/1.1 connection.

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::{HttpRequest, http};
use rustix::net::{connect_unspec, sockopt};

use crate::config::{Config, Unknown};
use crate::question::Caller;

/// How long a client may leave a response unread.
const UNREAD_MILLISECONDS: u32 = 90_000;

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
        // A client that takes nothing any more must not hold its response for ever (tcp(7), TCP_USER_TIMEOUT).
        if let Err(error) = sockopt::set_tcp_user_timeout(stream, UNREAD_MILLISECONDS) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT was not set");
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

/// Who asks, from a request's headers. Like the reference server: hops are the elements of X-Forwarded-For as received. What a client
/// wrote there is passed on only as far as it can be an address, so that nobody can make an upstream refuse the question.
pub(crate) fn caller(request: &HttpRequest) -> Caller {
    const LONGEST_ELEMENT: usize = 64;
    const MOST_ELEMENTS: usize = 16;
    const LONGEST_AGENT: usize = 256;
    let texts = |name: &'static str| request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    let received: Vec<&str> =
        texts("x-forwarded-for").flat_map(|text| text.split(',')).map(str::trim).filter(|element| !element.is_empty()).collect();
    let hops = received.len();
    let is_address = |element: &&str| {
        element.len() <= LONGEST_ELEMENT && element.chars().all(|c| c.is_ascii_alphanumeric() || ".:[]_-".contains(c))
    };
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
    let addresses = received.into_iter().filter(is_address).take(MOST_ELEMENTS).map(str::to_owned);
    let forwarded_for = addresses.chain(peer).collect::<Vec<_>>().join(", ");
    let user_agent = texts("user-agent").next().map(|agent| agent.chars().take(LONGEST_AGENT).collect());
    Caller { forwarded_for, hops, user_agent }
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
        let caller = caller(&request);
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (2, "10.0.0.1, 10.0.0.2, 192.0.2.7"));
        let caller = super::caller(&TestRequest::default().peer_addr(([192, 0, 2, 7], 5).into()).to_http_request());
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (0, "192.0.2.7"));
    }

    #[test]
    fn what_cannot_be_an_address_counts_but_is_not_passed_on() {
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", format!("{}, 10.0.0.1, <script>, [::1]", "a".repeat(9000))))
            .insert_header(("User-Agent", "x".repeat(9000)))
            .to_http_request();
        let caller = super::caller(&request);
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (4, "10.0.0.1, [::1]"));
        assert_eq!(caller.user_agent.unwrap().len(), 256);
    }
}
