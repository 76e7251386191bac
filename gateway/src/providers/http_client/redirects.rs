//! Which redirects are followed.

use std::sync::LazyLock;

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode};
use url::{Host, Url};

use super::ClientPolicy;
use super::addresses::{expected_public, is_public, proxy_hosts};

/// Redirects that are followed within one request.
const MAX_REDIRECTS: usize = 3;
/// Characters of a foreign host in a message.
const MAX_SHOWN: usize = 100;

/// The hosts of proxies, once for all.
static PROXIES: LazyLock<Vec<String>> = LazyLock::new(proxy_hosts);

/// The addresses that a host may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of them.
    Any,
    /// Those of the public internet.
    Public,
}

/// Where a request stands.
pub(super) struct Route {
    first: Url,
    /// The URL that is asked next.
    pub(super) url: Url,
    pub(super) reach: Reach,
    /// True as long as no redirect led to another origin (RFC 6454). Only then the request may have credentials.
    pub(super) is_at_origin: bool,
    redirects: usize,
}

/// Why a redirect was not followed. Stands in the extensions of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    text: String,
    /// True if it leads to a host that the configuration does not name, and nothing else is wrong with it.
    is_of_host: bool,
}

/// Why the redirect that `response` is was not followed.
pub(crate) fn refused_redirect(response: &Response) -> String {
    match response.extensions().get::<Refusal>() {
        Some(Refusal { text, .. }) => text.clone(),
        None => format!("expected a redirect with a location, found {}", response.status()),
    }
}

/// True if `response` is a redirect that was not followed because the configuration does not name its host.
pub(crate) fn is_refused_host(response: &Response) -> bool {
    response.extensions().get::<Refusal>().is_some_and(|refusal| refusal.is_of_host)
}

/// True if the policy allows hosts that must have public addresses.
pub(super) fn needs_public_addresses(policy: &ClientPolicy) -> bool {
    !policy.allow_private && policy.redirect_hosts.iter().any(|host| host == "*")
}

impl Refusal {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_of_host: false }
    }
}

impl Route {
    pub(super) fn new(first: Url) -> Self {
        Self { url: first.clone(), first, reach: Reach::Any, is_at_origin: true, redirects: 0 }
    }

    /// Goes on to where `response` redirects to. False if it is no redirect, or is not followed.
    pub(super) fn follow(&mut self, response: &mut Response, policy: &ClientPolicy) -> bool {
        let is_redirect = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else { return false };
        match self.go(location.as_bytes(), policy) {
            Ok(()) => true,
            Err(refusal) => {
                response.extensions_mut().insert(refusal);
                false
            }
        }
    }

    /// # Errors
    /// Why the redirect is not followed.
    fn go(&mut self, location: &[u8], policy: &ClientPolicy) -> Result<(), Refusal> {
        let target = str::from_utf8(location).ok().and_then(|text| self.url.join(text).ok());
        let mut target = target.ok_or_else(|| Refusal::new("redirects to what is no URL"))?;
        self.reach = reach(&self.first, &target, policy)?;
        if self.redirects == MAX_REDIRECTS {
            return Err(Refusal::new(format!("redirects more than {MAX_REDIRECTS} times")));
        }
        self.redirects += 1;
        self.is_at_origin &= self.first.origin() == target.origin();
        // Credentials of the configuration are sent to the configured origin alone, those of a redirect nowhere.
        let (user, password) = match self.is_at_origin {
            true => (self.first.username(), self.first.password()),
            false => ("", None),
        };
        // They fail for URLs without a host, which no http URL is.
        let _ = target.set_username(user);
        let _ = target.set_password(password);
        self.url = target;
        Ok(())
    }
}

/// The addresses that `to` may have, where the provider at `from` redirects to it.
///
/// # Errors
/// Why the redirect is not followed.
fn reach(from: &Url, to: &Url, policy: &ClientPolicy) -> Result<Reach, Refusal> {
    if !matches!(to.scheme(), "http" | "https") {
        return Err(Refusal::new("redirects to a URL that is neither http nor https"));
    }
    let host = to.host_str().unwrap_or_default();
    let is_own = from.host() == to.host();
    let is_named = policy.redirect_hosts.iter().any(|named| named.eq_ignore_ascii_case(host));
    let is_upgraded = is_own && from.scheme() == "http" && to.scheme() == "https";
    if from.origin() == to.origin() || is_upgraded || is_named {
        return Ok(Reach::Any);
    }
    let shown = || host.chars().take(MAX_SHOWN).collect::<String>();
    if !policy.redirect_hosts.iter().any(|host| host == "*") {
        let text = format!("redirects to a host that redirect_hosts does not allow: {}", shown());
        return Err(Refusal { text, is_of_host: true });
    }
    if is_own || policy.allow_private {
        return Ok(Reach::Any);
    }
    let found = match to.host() {
        Some(Host::Ipv4(address)) if !is_public(address.into()) => address.to_string(),
        Some(Host::Ipv6(address)) if !is_public(address.into()) => address.to_string(),
        // Its addresses are not checked, because it has to be connected to.
        Some(Host::Domain(name)) if PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) => "a proxy".into(),
        _ => return Ok(Reach::Public),
    };
    Err(Refusal::new(format!("redirects elsewhere: {}", expected_public(&shown(), &found))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn policy(hosts: &[&str], allow_private: bool) -> ClientPolicy {
        let redirect_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        ClientPolicy { redirect_hosts, allow_private, ..ClientPolicy::default() }
    }

    #[test]
    fn redirects_stay_where_the_configuration_allows() {
        let store = url("http://mirror.example/pub/");
        let (none, named) = (policy(&[], false), policy(&["other.example", "10.0.0.1", "[fd00::1]"], false));
        for (to, policy) in [
            ("http://mirror.example/else", &none),
            ("https://mirror.example/else", &none),
            ("https://OTHER.example/x", &named),
            ("http://other.example:8080/x", &named),
            ("http://10.0.0.1/x", &named),
            ("http://[fd00::1]/x", &named),
        ] {
            assert_eq!(reach(&store, &url(to), policy), Ok(Reach::Any), "{to}");
        }
        for (from, to) in [
            ("http://mirror.example/", "http://169.254.169.254/latest"),
            ("http://mirror.example/", "http://mirror.example:8080/"),
            ("http://mirror.example:81/", "http://mirror.example/"),
            ("https://mirror.example/", "http://mirror.example/"),
            ("http://mirror.example/", "http://mirror.example.evil.example/"),
        ] {
            let refusal = reach(&url(from), &url(to), &named).unwrap_err();
            assert!(
                refusal.text.starts_with("redirects to a host that redirect_hosts does not allow: "),
                "{refusal:?}"
            );
        }
        for scheme in ["file:///etc/passwd", "ftp://mirror.example/", "data:,x"] {
            let refusal = reach(&store, &url(scheme), &policy(&["*"], true)).unwrap_err();
            assert_eq!(refusal.text, "redirects to a URL that is neither http nor https");
        }
    }

    #[test]
    fn hosts_that_only_the_star_allows_are_public_ones() {
        let upstream = url("http://10.1.2.3:8002/");
        let all = policy(&["*", "192.168.7.7"], false);
        for (to, expected) in [
            ("http://cdn.example/x", Reach::Public),
            ("http://1.1.1.1/x", Reach::Public),
            ("http://[2606:4700::1111]/x", Reach::Public),
            ("http://192.168.7.7/x", Reach::Any),
            // Its own host, whatever the port.
            ("http://10.1.2.3:9000/x", Reach::Any),
            // A name, whose addresses are checked when it is connected to.
            ("http://localhost/x", Reach::Public),
        ] {
            assert_eq!(reach(&upstream, &url(to), &all), Ok(expected), "{to}");
        }
        for (to, found) in [
            ("http://127.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254"),
            ("http://[fe80::1]/", "fe80::1"),
        ] {
            let refusal = reach(&upstream, &url(to), &all).unwrap_err();
            assert!(
                refusal.text.contains(&format!("found {found}; name the host in redirect_hosts, or set")),
                "{refusal:?}"
            );
            assert_eq!(reach(&upstream, &url(to), &policy(&["*"], true)), Ok(Reach::Any), "{to}");
        }
    }

    #[test]
    fn credentials_stay_with_the_origin_that_is_asked() {
        let all = policy(&["*"], true);
        let mut route = Route::new(url("http://me:secret@a.example/x/y"));
        route.go(b"../z", &all).unwrap();
        assert_eq!((route.url.as_str(), route.is_at_origin), ("http://me:secret@a.example/z", true));
        route.go(b"http://a.example/w", &all).unwrap();
        assert_eq!((route.url.as_str(), route.is_at_origin), ("http://me:secret@a.example/w", true));
        route.go(b"http://you:too@b.example/", &all).unwrap();
        assert_eq!((route.url.as_str(), route.is_at_origin), ("http://b.example/", false));
        let mut route = Route::new(url("http://me:secret@a.example/"));
        route.go(b"//b.example/", &all).unwrap();
        // What another server chose is not asked with them.
        route.go(b"http://a.example/chosen", &all).unwrap();
        assert_eq!((route.url.as_str(), route.is_at_origin), ("http://a.example/chosen", false));
        let mut route = Route::new(url("http://me:secret@a.example/"));
        route.go(b"https://a.example/", &all).unwrap();
        assert_eq!((route.url.as_str(), route.is_at_origin), ("https://a.example/", false));
    }

    #[test]
    fn three_redirects_are_followed_and_no_fourth() {
        let mut route = Route::new(url("http://a.example/"));
        for _ in 0..MAX_REDIRECTS {
            route.go(b"/again", &ClientPolicy::default()).unwrap();
        }
        assert_eq!(route.go(b"/again", &ClientPolicy::default()), Err(Refusal::new("redirects more than 3 times")));
        for wrong in [&b"http://"[..], b"http://a b/", b"\xff\xfe"] {
            let mut route = Route::new(url("http://a.example/"));
            assert_eq!(route.go(wrong, &ClientPolicy::default()), Err(Refusal::new("redirects to what is no URL")));
        }
    }
}
