//! The client of a request: as upstreams are told, and as permits are shared.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;

use crate::config::Config;
use crate::permits::ClientAddress;
use crate::resolve::question::Caller;

/// What stands in X-Forwarded-For for an address that is not told (RFC 7239, section 6.2).
const UNKNOWN: &str = "unknown";

/// Returns the caller, from the headers of a request. As in the reference server, hops are the received elements of
/// X-Forwarded-For. Upstreams get as many, and one for the peer, but addresses only with `federation.forward_client`,
/// and of those only what can be an address, so that no client can make an upstream refuse the request.
pub(crate) fn caller(request: &HttpRequest, config: &Config) -> Caller {
    let (client, max_size, hops) = (client(request, config), max_size(request), forwarded_for(request).count());
    // No upstream is asked.
    if !config.has_upstreams() || hops >= config.federation.max_hops {
        return Caller { client, hops, max_size, ..Caller::default() };
    }
    let (forwarded_for, user_agent) = match config.federation.forward_client {
        true => (addresses(request), user_agent(request)),
        false => (vec![UNKNOWN; hops + 1].join(", "), None),
    };
    Caller { client, forwarded_for, hops, via: via(request), user_agent, max_size }
}

/// The most bytes that the client accepts. As in the reference server, 0 and what is no number mean nothing.
pub(crate) fn max_size(request: &HttpRequest) -> Option<u64> {
    let max: u64 = request.headers().get("x-debuginfod-maxsize")?.to_str().ok()?.trim().parse().ok()?;
    (max > 0).then_some(max)
}

/// The addresses that the question has passed, with the peer's behind.
fn addresses(request: &HttpRequest) -> String {
    const MAX_ELEMENT_BYTES: usize = 64;
    let is_address = |element: &str| {
        element.len() <= MAX_ELEMENT_BYTES && element.chars().all(|c| c.is_ascii_alphanumeric() || ".:[]_-".contains(c))
    };
    let received = forwarded_for(request).map(|element| if is_address(element) { element } else { UNKNOWN });
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
    received.chain([peer.as_deref().unwrap_or(UNKNOWN)]).collect::<Vec<_>>().join(", ")
}

fn user_agent(request: &HttpRequest) -> Option<String> {
    const MAX_CHARS: usize = 256;
    let user_agent = request.headers().get("user-agent")?.to_str().ok()?;
    Some(user_agent.chars().take(MAX_CHARS).collect())
}

/// The last elements of Via: a question that comes back has passed its servers not long ago.
fn via(request: &HttpRequest) -> String {
    const MAX_ELEMENT_BYTES: usize = 128;
    const MAX_ELEMENTS: usize = 16;
    let elements: Vec<_> = elements(request, "via").filter(|element| element.len() <= MAX_ELEMENT_BYTES).collect();
    elements[elements.len().saturating_sub(MAX_ELEMENTS)..].join(", ")
}

/// The client that acquires permits: the one at [`client_address`].
pub(crate) fn client(request: &HttpRequest, config: &Config) -> ClientAddress {
    client_address(request, config).map(ClientAddress::at).unwrap_or_default()
}

/// The address of the client: the peer's, or the one that trusted proxies state. `None` on a Unix socket whose proxy
/// states none.
pub(crate) fn client_address(request: &HttpRequest, config: &Config) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    // Peers on a Unix socket are trusted.
    let mut client = peer;
    if peer.is_none_or(|peer| config.trusts(peer)) {
        let elements: Vec<&str> = forwarded_for(request).collect();
        // From the nearest proxy: an element before one that is not trusted, or not an address, may be forged.
        for element in elements.into_iter().rev() {
            let Some(address) = address(element) else { break };
            client = Some(address);
            if !config.trusts(address) {
                break;
            }
        }
    }
    client
}

/// The elements of X-Forwarded-For.
fn forwarded_for(request: &HttpRequest) -> impl Iterator<Item = &str> {
    elements(request, "x-forwarded-for")
}

/// The elements of a header that is a list, which may stand in several lines.
fn elements<'a>(request: &'a HttpRequest, name: &'static str) -> impl Iterator<Item = &'a str> {
    let headers = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    headers.flat_map(|text| text.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

/// Parses an element of X-Forwarded-For, with or without a port.
fn address(element: &str) -> Option<IpAddr> {
    let parsed = element.parse().or_else(|_| element.parse().map(|address: SocketAddr| address.ip()));
    parsed.ok().or_else(|| element.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::cli::Arguments;

    /// A configuration that trusts a network of proxies, and has an upstream.
    fn config() -> Config {
        with_settings("")
    }

    fn with_settings(federation: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.toml");
        let text = format!(
            "trusted_proxies = [\"10.0.0.0/8\"]\n[federation]\n{federation}\n[[upstream]]\nname = \"u\"\n\
             url = \"http://u.example\"\n"
        );
        std::fs::write(&path, text).unwrap();
        Config::load(Arguments { config: Some(path), ..Arguments::default() }).unwrap()
    }

    fn peer() -> SocketAddr {
        ([192, 0, 2, 7], 5).into()
    }

    #[test]
    fn hops_are_the_received_elements_and_each_is_unknown() {
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", "10.0.0.1, 10.0.0.2"))
            .insert_header(("User-Agent", "gdb/1"))
            .peer_addr(peer());
        let caller = caller(&request.to_http_request(), &config());
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (2, "unknown, unknown, unknown"));
        assert_eq!(caller.user_agent, None);
        let direct = TestRequest::default().peer_addr(peer()).to_http_request();
        let caller = super::caller(&direct, &config());
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (0, "unknown"));
    }

    #[test]
    fn addresses_and_the_user_agent_travel_only_where_that_is_configured() {
        let config = with_settings("forward_client = true");
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", "10.0.0.1, 10.0.0.2"))
            .insert_header(("User-Agent", "gdb/1"))
            .peer_addr(peer());
        let caller = caller(&request.to_http_request(), &config);
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (2, "10.0.0.1, 10.0.0.2, 192.0.2.7"));
        assert_eq!(caller.user_agent.as_deref(), Some("gdb/1"));
        // On a Unix socket.
        let caller = super::caller(&TestRequest::default().to_http_request(), &config);
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (0, "unknown"));
    }

    #[test]
    fn an_element_that_is_not_an_address_counts_but_is_not_passed_on() {
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", format!("{}, 10.0.0.1, <script>, [::1]", "a".repeat(9000))))
            .insert_header(("User-Agent", "x".repeat(9000)))
            .peer_addr(peer())
            .to_http_request();
        let caller = super::caller(&request, &with_settings("forward_client = true"));
        let expected = "unknown, 10.0.0.1, unknown, [::1], 192.0.2.7";
        assert_eq!((caller.hops, caller.forwarded_for.as_str()), (4, expected));
        assert_eq!(caller.user_agent.unwrap().len(), 256);
    }

    #[test]
    fn a_question_that_passed_too_many_servers_needs_no_header() {
        let forwarded = ["192.0.2.1"; 8].join(",");
        let request = TestRequest::default()
            .insert_header(("X-Forwarded-For", forwarded))
            .insert_header(("X-DEBUGINFOD-MAXSIZE", "7"))
            .to_http_request();
        let caller = super::caller(&request, &config());
        assert_eq!((caller.hops, caller.forwarded_for.as_str(), caller.max_size), (8, "", Some(7)));
    }

    #[test]
    fn the_last_elements_of_via_are_kept() {
        let via = |values: &[String]| {
            let mut request = TestRequest::default();
            for value in values {
                request = request.append_header(("Via", value.as_str()));
            }
            super::caller(&request.to_http_request(), &config()).via
        };
        assert_eq!(via(&[]), "");
        assert_eq!(via(&["1.1 a,HTTP/2 b (x)".into(), "1.0 c".into()]), "1.1 a, HTTP/2 b (x), 1.0 c");
        let many: Vec<String> = (0..40).map(|number| format!("1.1 g{number}")).collect();
        assert_eq!(via(&[many.join(", ")]), many[24..].join(", "));
        assert_eq!(via(&[format!("1.1 a, 1.1 {}, 1.1 b", "x".repeat(9000))]), "1.1 a, 1.1 b");
    }

    #[test]
    fn the_most_bytes_that_a_client_accepts_are_a_number_above_0() {
        for (text, expected) in [("7", Some(7)), (" 7 ", Some(7)), ("0", None), ("-1", None), ("x", None), ("", None)] {
            let request = TestRequest::default().insert_header(("X-DEBUGINFOD-MAXSIZE", text)).to_http_request();
            assert_eq!(max_size(&request), expected, "{text}");
        }
    }

    #[test]
    fn the_client_is_the_first_address_behind_trusted_proxies() {
        let config = config();
        let client_of = |peer: [u8; 4], forwarded: &'static str| {
            let request =
                TestRequest::default().insert_header(("X-Forwarded-For", forwarded)).peer_addr((peer, 5).into());
            client(&request.to_http_request(), &config)
        };
        let at = |text: &str| ClientAddress::at(text.parse().unwrap());
        for (peer, forwarded, expected) in [
            ([192, 0, 2, 7], "198.51.100.1", "192.0.2.7"),
            ([10, 0, 0, 7], "198.51.100.1", "198.51.100.1"),
            ([10, 0, 0, 7], "203.0.113.9, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
            ([10, 0, 0, 7], "198.51.100.1:4711, 10.1.1.1", "198.51.100.1"),
            ([10, 0, 0, 7], "[2001:db8::1]", "2001:db8::1"),
            ([10, 0, 0, 7], "203.0.113.9, unknown", "10.0.0.7"),
            ([10, 0, 0, 7], "", "10.0.0.7"),
        ] {
            assert_eq!(client_of(peer, forwarded), at(expected), "{peer:?}, {forwarded}");
        }
        let proxied = TestRequest::default()
            .insert_header(("X-Forwarded-For", "2001:db8::1:2:3:4"))
            .peer_addr(([10, 0, 0, 7], 5).into());
        let address = client_address(&proxied.to_http_request(), &config);
        assert_eq!(address, Some("2001:db8::1:2:3:4".parse().unwrap()), "the log has the whole address");
        let unix = TestRequest::default().insert_header(("X-Forwarded-For", "198.51.100.1")).to_http_request();
        assert_eq!(client(&unix, &config), at("198.51.100.1"));
        assert_eq!(client(&TestRequest::default().to_http_request(), &config), ClientAddress::default());
    }
}
