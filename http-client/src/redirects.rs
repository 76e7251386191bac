//! Which redirects are followed.

use std::sync::LazyLock;

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode};
use url::{Host, Url};

use crate::ClientPolicy;
use crate::addresses::{NotPublic, is_public, proxy_hosts};

/// Redirects that are followed within one request.
const MAX_REDIRECTS: usize = 3;

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
    /// The addresses that the host of the first URL may have.
    first_reach: Reach,
    /// The URL that is asked next.
    pub(super) url: Url,
    pub(super) reach: Reach,
    /// True as long as no redirect led to another origin (RFC 6454). Only then the request may have credentials.
    pub(super) is_at_origin: bool,
    redirects: usize,
    /// The URLs that were asked before this one.
    before: Vec<Url>,
}

/// The URLs that were asked for a response. Stands in its extensions.
#[derive(Clone, Debug)]
struct Hops(Vec<Url>);

/// The URLs that were asked for `response`: the first, and those of the redirects that were followed.
pub fn hops(response: &Response) -> &[Url] {
    response.extensions().get::<Hops>().map(|hops| hops.0.as_slice()).unwrap_or_default()
}

/// Why a redirect was not followed. Stands in the extensions of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    text: String,
    /// True if it leads to a host that the configuration does not name, and nothing else is wrong with it.
    is_of_host: bool,
}

/// Why the redirect that `response` is was not followed.
pub fn refused_redirect(response: &Response) -> String {
    match response.extensions().get::<Refusal>() {
        Some(Refusal { text, .. }) => text.clone(),
        None => format!("expected a redirect with a location, found {}", response.status()),
    }
}

/// True if `response` is a redirect that was not followed because the configuration does not name its host.
pub fn is_refused_host(response: &Response) -> bool {
    response.extensions().get::<Refusal>().is_some_and(|refusal| refusal.is_of_host)
}

impl Refusal {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_of_host: false }
    }
}

impl Route {
    /// From a URL whose host the operator wrote down.
    pub(super) fn new(first: Url) -> Self {
        let reach = Reach::Any;
        Self {
            url: first.clone(),
            first,
            first_reach: reach,
            reach,
            is_at_origin: true,
            redirects: 0,
            before: Vec::new(),
        }
    }

    /// From a URL that another party chose, and that [`foreign_reach`] does not refuse. Secret headers are not sent.
    pub(super) fn foreign(first: Url, policy: &ClientPolicy) -> Self {
        let reach = foreign_reach(&first, policy).unwrap_or(Reach::Public);
        Self { first_reach: reach, reach, is_at_origin: false, ..Self::new(first) }
    }

    /// Goes on to where `response` redirects a request by `method` to. False if it is no redirect, or is not followed.
    pub(super) fn follow(&mut self, method: &Method, response: &mut Response, policy: &ClientPolicy) -> bool {
        let is_redirect = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else { return false };
        let went = match *method {
            // What is posted was meant for the one that the operator named.
            Method::POST => Err(Refusal::new("redirects a POST request")),
            _ => self.go(location.as_bytes(), policy),
        };
        match went {
            Ok(()) => true,
            Err(refusal) => {
                response.extensions_mut().insert(refusal);
                false
            }
        }
    }

    /// Has [`hops`] return the URLs that were asked for `response`.
    pub(super) fn record(&self, response: &mut Response) {
        let hops = self.before.iter().chain([&self.url]).cloned().collect();
        response.extensions_mut().insert(Hops(hops));
    }

    /// # Errors
    /// Why the redirect is not followed.
    fn go(&mut self, location: &[u8], policy: &ClientPolicy) -> Result<(), Refusal> {
        let target = str::from_utf8(location).ok().and_then(|text| self.url.join(text).ok());
        let mut target = target.ok_or_else(|| Refusal::new("redirects to what is no URL"))?;
        self.reach = reach(&self.first, self.first_reach, &target, policy)?;
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
        self.before.push(std::mem::replace(&mut self.url, target));
        Ok(())
    }
}

/// The addresses that `to` may have, where the provider at `from`, which may have those of `from_reach`, redirects to
/// it.
///
/// # Errors
/// Why the redirect is not followed.
fn reach(from: &Url, from_reach: Reach, to: &Url, policy: &ClientPolicy) -> Result<Reach, Refusal> {
    if !matches!(to.scheme(), "http" | "https") {
        return Err(Refusal::new("redirects to a URL that is neither http nor https"));
    }
    let host = to.host_str().unwrap_or_default();
    let is_own = from.host() == to.host();
    let is_upgraded = is_own && from.scheme() == "http" && to.scheme() == "https";
    if is_named(&policy.redirect_hosts, host) {
        return Ok(Reach::Any);
    }
    if from.origin() == to.origin() || is_upgraded {
        return Ok(from_reach);
    }
    if !policy.redirect_hosts.iter().any(|host| host == "*") && !is_named(&policy.foreign_hosts, host) {
        let shown: String = host.chars().take(NotPublic::MAX_SHOWN).collect();
        let text = format!("redirects to a host that redirect_hosts does not allow: {shown}");
        return Err(Refusal { text, is_of_host: true });
    }
    if is_own {
        return Ok(from_reach);
    }
    foreign_reach(to, policy).map_err(|error| Refusal::new(format!("redirects elsewhere: {error}")))
}

fn is_named(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|named| named.eq_ignore_ascii_case(host))
}

/// The addresses that the host of `to` may have, where another party chose it.
///
/// # Errors
/// It is a private address or a proxy, and may not be.
pub(super) fn foreign_reach(to: &Url, policy: &ClientPolicy) -> Result<Reach, NotPublic> {
    let host = to.host_str().unwrap_or_default();
    if policy.allow_private || is_named(&policy.redirect_hosts, host) {
        return Ok(Reach::Any);
    }
    let found = match to.host() {
        Some(Host::Ipv4(address)) if !is_public(address.into()) => address.to_string(),
        Some(Host::Ipv6(address)) if !is_public(address.into()) => address.to_string(),
        // Its addresses are not checked, because it has to be connected to.
        Some(Host::Domain(name)) if PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) => "a proxy".into(),
        _ => return Ok(Reach::Public),
    };
    Err(NotPublic::new(host, found))
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
            assert_eq!(reach(&store, Reach::Any, &url(to), policy), Ok(Reach::Any), "{to}");
        }
        for (from, to) in [
            ("http://mirror.example/", "http://169.254.169.254/latest"),
            ("http://mirror.example/", "http://mirror.example:8080/"),
            ("http://mirror.example:81/", "http://mirror.example/"),
            ("https://mirror.example/", "http://mirror.example/"),
            ("http://mirror.example/", "http://mirror.example.evil.example/"),
        ] {
            let refusal = reach(&url(from), Reach::Any, &url(to), &named).unwrap_err();
            assert!(
                refusal.text.starts_with("redirects to a host that redirect_hosts does not allow: "),
                "{refusal:?}"
            );
        }
        for scheme in ["file:///etc/passwd", "ftp://mirror.example/", "data:,x"] {
            let refusal = reach(&store, Reach::Any, &url(scheme), &policy(&["*"], true)).unwrap_err();
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
            assert_eq!(reach(&upstream, Reach::Any, &url(to), &all), Ok(expected), "{to}");
        }
        for (to, found) in [
            ("http://127.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254"),
            ("http://[fe80::1]/", "fe80::1"),
        ] {
            let refusal = reach(&upstream, Reach::Any, &url(to), &all).unwrap_err();
            assert!(
                refusal.text.contains(&format!("found {found}; name the host in redirect_hosts, or set")),
                "{refusal:?}"
            );
            assert_eq!(reach(&upstream, Reach::Any, &url(to), &policy(&["*"], true)), Ok(Reach::Any), "{to}");
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

    #[test]
    fn hosts_that_another_party_chose_are_public_ones_unless_the_operator_names_them() {
        let hosts = |allow_private| ClientPolicy {
            foreign_hosts: vec!["m.example".into(), "10.0.0.2".into()],
            ..policy(&["10.0.0.1"], allow_private)
        };
        for (to, expected) in [
            ("http://m.example/", Ok(Reach::Public)),
            ("http://10.0.0.1/", Ok(Reach::Any)),
            ("http://10.0.0.2/", Err(NotPublic::new("10.0.0.2", "10.0.0.2"))),
        ] {
            assert_eq!(foreign_reach(&url(to), &hosts(false)), expected, "{to}");
            assert_eq!(foreign_reach(&url(to), &hosts(true)), Ok(Reach::Any), "{to}");
        }
        let store = url("http://store.example/");
        assert_eq!(reach(&store, Reach::Any, &url("http://m.example/"), &hosts(false)), Ok(Reach::Public));
        let private = reach(&store, Reach::Any, &url("http://10.0.0.2/"), &hosts(false)).unwrap_err();
        assert!(private.text.contains("expected a public address of 10.0.0.2"), "{private:?}");
        assert!(reach(&store, Reach::Any, &url("http://n.example/"), &hosts(true)).unwrap_err().is_of_host);
        let mut route = Route::foreign(url("http://m.example/a"), &hosts(false));
        assert_eq!((route.reach, route.is_at_origin), (Reach::Public, false));
        route.go(b"https://m.example/b", &hosts(false)).unwrap();
        assert_eq!(route.reach, Reach::Public, "its own host stays one that another party chose");
        route.go(b"http://10.0.0.1/", &hosts(false)).unwrap();
        assert_eq!((route.reach, route.is_at_origin), (Reach::Any, false));
    }
}
