//! Addresses of the public internet, and a resolver of names that knows no others.
//!
//! A host that the operator did not write down is chosen by another party: by the provider that redirects, or by its
//! list of mirrors. It must not be one of this network: loopback, a router, a cloud's metadata service. The addresses
//! are checked where the connection is made, so that a name cannot have others by then.

use std::env;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use url::Url;

/// IPv4 networks that are not globally reachable (IANA's special-purpose address registry), and multicast.
const PRIVATE_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Within `2000::/3`, the networks that are not globally reachable: those of protocols (with Teredo) and documentation.
const PRIVATE_V6: [([u16; 8], u8); 3] =
    [([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20)];

/// True if an address belongs to the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let in_net =
        |(net, prefix): ([u8; 4], u8)| Ipv4Net::new(net.into(), prefix).is_ok_and(|net| net.contains(&address));
    !PRIVATE_V4.into_iter().any(in_net)
}

/// Of all addresses only `2000::/3` is assigned to the public internet: unique-local, link-local, multicast, loopback
/// and unspecified addresses are outside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let in_net =
        |(net, prefix): ([u16; 8], u8)| Ipv6Net::new(net.into(), prefix).is_ok_and(|net| net.contains(&address));
    address.segments()[0] & 0xe000 == 0x2000 && !PRIVATE_V6.into_iter().any(in_net)
}

/// The IPv4 address that an IPv6 address leads to: mapped (`::ffff:0:0/96`), by NAT64 (`64:ff9b::/96`) or by 6to4
/// (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// A host that must have a public address has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a public address of {host}, found {found}; name the host in redirect_hosts, or set allow_private")]
pub struct NotPublic {
    pub(super) host: String,
    /// What was found instead: an address, `none` or `a proxy`.
    pub(super) found: String,
}

impl NotPublic {
    /// Characters of a foreign host in a message.
    pub(super) const MAX_SHOWN: usize = 100;

    pub(super) fn new(host: &str, found: impl Into<String>) -> Self {
        Self { host: host.chars().take(Self::MAX_SHOWN).collect(), found: found.into() }
    }
}

/// Resolves names as the system does, to their public addresses alone. The proxies of the environment may have any:
/// with a proxy, the proxy decides where a name leads.
pub(super) struct PublicAddresses {
    proxies: Arc<[String]>,
}

impl PublicAddresses {
    pub(super) fn new() -> Self {
        Self { proxies: proxy_hosts().into() }
    }
}

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        let proxies = self.proxies.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = lookup_host((host, 0)).await?.collect();
            let is_proxy = proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(host));
            let public = if is_proxy { found } else { keep_public(host, &found)? };
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The public ones of the addresses that `host` has.
///
/// # Errors
/// There is none.
fn keep_public(host: &str, found: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let public: Vec<_> = found.iter().copied().filter(|address| is_public(address.ip())).collect();
    match found.first() {
        Some(first) if public.is_empty() => Err(io::Error::other(NotPublic::new(host, first.ip().to_string()))),
        None => Err(io::Error::other(NotPublic::new(host, "none"))),
        Some(_) => Ok(public),
    }
}

/// The hosts of the proxies that the environment names, as the HTTP client reads it.
pub(super) fn proxy_hosts() -> Vec<String> {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    names.into_iter().filter_map(|name| env::var(name).ok()).filter_map(|proxy| proxy_host(&proxy)).collect()
}

/// The host of a proxy, which is a URL or one without its scheme.
fn proxy_host(proxy: &str) -> Option<String> {
    let proxy = proxy.trim();
    let url = if proxy.contains("://") { Url::parse(proxy) } else { Url::parse(&format!("http://{proxy}")) };
    url.ok()?.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_others() {
        for public in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.3.1", "223.1.1.1"]
            .into_iter()
            .chain(["2606:4700::1111", "2a01:4f8::1", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"])
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_the_public_ones_are_used() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = [at("10.0.0.1"), at("1.1.1.1"), at("::1"), at("2606:4700::1111")];
        assert_eq!(keep_public("h.example", &mixed).unwrap(), [at("1.1.1.1"), at("2606:4700::1111")]);
        for (found, shown) in [(&[at("10.0.0.1"), at("::1")][..], "10.0.0.1"), (&[], "none")] {
            assert_eq!(
                keep_public("h.example", found).unwrap_err().to_string(),
                format!(
                    "expected a public address of h.example, found {shown}; name the host in redirect_hosts, or set \
                     allow_private"
                )
            );
        }
    }

    #[test]
    fn the_host_of_a_proxy_is_read_as_clients_read_it() {
        for (proxy, host) in [
            ("http://proxy.example:3128", Some("proxy.example")),
            ("http://me:secret@proxy.example", Some("proxy.example")),
            (" proxy.example:3128 ", Some("proxy.example")),
            ("10.0.0.1:3128", Some("10.0.0.1")),
            ("", None),
        ] {
            assert_eq!(proxy_host(proxy).as_deref(), host, "{proxy}");
        }
    }
}
