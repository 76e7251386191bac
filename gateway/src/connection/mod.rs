//! Connections: accepted, timed, answered, reset.
//!
//! - [`listen`]: where to listen; [`tls`]: with which certificate;
//! - [`server`]: from a listening socket to the HTTP service;
//! - [`state`]: one connection, as its stream and its requests share it; what a request can do to it: reset it;
//! - [`stream`]: the bytes of one connection as HTTP has them; [`wire`]: as they are on its [`socket`], and the clock that ends it;
//! - [`crowd`]: the connections of a worker, and who goes when they are too many.
//!
//! To libdebuginfod every HTTP error means "absent for ten minutes", and so does a body that breaks off in an orderly way. A TCP
//! reset is retried and remembered by nobody: the only honest answer to "cannot tell now" on a direct HTTP/1.1 connection. For the
//! same reason a connection that takes too long is closed without a status.

mod crowd;
pub(crate) mod listen;
pub(crate) mod server;
mod socket;
mod state;
mod stream;
pub(crate) mod tls;
mod wire;

use actix_web::{HttpRequest, http};

pub(crate) use self::state::{Busy, Connection};
use crate::config::{Config, Unknown};
use crate::question::Caller;

/// Resets the connection of an undecided question if that is the right answer: always or never if configured so, else where the
/// client itself is at the other end, so that nothing in between makes an error of it, and where no other request suffers: on HTTP/1,
/// and on HTTP/2 through TLS, which is what every client speaks there, while the question is alone on its connection.
pub(crate) fn reset_undecided(request: &HttpRequest, config: &Config) -> bool {
    let Some(connection) = Connection::of(request) else { return false };
    let is_http1 = request.version() <= http::Version::HTTP_11;
    let wanted = match config.federation.unknown {
        Unknown::Auto => !is_trusted(request, config) && (is_http1 || connection.is_tls() && connection.is_alone()),
        Unknown::Reset => true,
        Unknown::Status => false,
    };
    if wanted {
        connection.reset();
    }
    wanted
}

/// Comes the request through a proxy that is trusted? Who may use a unix socket is one: clients of debuginfod cannot.
pub(crate) fn is_trusted(request: &HttpRequest, config: &Config) -> bool {
    match request.peer_addr() {
        Some(peer) => config.trusts(peer.ip()),
        None => Connection::of(request).is_some_and(|connection| connection.is_unix()),
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
