//! How the gateway identifies itself to stores and upstreams, and what it tells them of its clients.
//!
//! Every request has our User-Agent. Of the client it has the number of servers that the question has passed, by
//! X-Forwarded-For, which elfutils' server counts, and the names of those that state theirs, by Via (RFC 9110, section
//! 7.6.3). Addresses and the client's User-Agent travel on only with `federation.forward_client`.

use std::hash::{BuildHasher, RandomState};

use http_client::Request;
use reqwest::header::{HeaderName, USER_AGENT, VIA};

use crate::config::FederationSettings;
use crate::resolve::question::Caller;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_DEBUGINFOD_MAXSIZE: HeaderName = HeaderName::from_static("x-debuginfod-maxsize");

/// The gateway's identity.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user_agent: String,
    probe_user_agent: String,
    instance: String,
    forward_client: bool,
}

impl Identity {
    /// With the contact and the name in Via of the configuration; the name defaults to a random one.
    pub(crate) fn new(settings: &FederationSettings) -> Self {
        const PRODUCT: &str = concat!("darkserver/", env!("CARGO_PKG_VERSION"));
        let contact = settings.contact.as_deref();
        Self {
            user_agent: http_client::user_agent(PRODUCT, contact),
            probe_user_agent: match contact {
                Some(contact) => format!("{PRODUCT} (probe; +{contact})"),
                None => format!("{PRODUCT} (probe)"),
            },
            instance: settings.instance.clone().unwrap_or_else(random_instance),
            forward_client: settings.forward_client,
        }
    }

    /// The User-Agent of every request that is no probe.
    pub(crate) fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// The User-Agent of a probe, by which the operator of a server can tell it from a client's question.
    pub(crate) fn probe_user_agent(&self) -> &str {
        &self.probe_user_agent
    }

    /// Adds what a server is told of the caller: X-Forwarded-For, Via, X-DEBUGINFOD-MAXSIZE, and its User-Agent where
    /// that is configured.
    pub(crate) fn apply(&self, request: Request, caller: &Caller) -> Request {
        let mut request = request.header(VIA, self.via(&caller.via));
        if !caller.forwarded_for.is_empty() {
            request = request.header(X_FORWARDED_FOR, &caller.forwarded_for);
        }
        if let Some(size) = caller.max_size {
            request = request.header(X_DEBUGINFOD_MAXSIZE, size.to_string());
        }
        match &caller.user_agent {
            Some(user_agent) if self.forward_client => request.header(USER_AGENT, user_agent),
            _ => request,
        }
    }

    /// True if the question has passed this gateway before.
    pub(crate) fn has_passed(&self, caller: &Caller) -> bool {
        let names = caller.via.split(',').filter_map(|element| element.split_ascii_whitespace().nth(1));
        names.into_iter().any(|name| name.eq_ignore_ascii_case(&self.instance))
    }

    /// The received Via with this gateway behind.
    fn via(&self, received: &str) -> String {
        match received {
            "" => format!("1.1 {}", self.instance),
            received => format!("{received}, 1.1 {}", self.instance),
        }
    }
}

/// A name that no other gateway has: it tells only whether a question comes back here.
fn random_instance() -> String {
    // Its keys are random.
    let random = RandomState::new().hash_one(std::process::id());
    format!("darkserver-{:08x}", random as u32)
}

#[cfg(test)]
mod tests {
    use http_client::ClientPolicy;
    use url::Url;

    use super::*;

    fn identity(forward_client: bool) -> Identity {
        Identity::new(&FederationSettings {
            contact: Some("mailto:me@example.org".into()),
            instance: Some("gateway-a".into()),
            forward_client,
            ..FederationSettings::default()
        })
    }

    fn caller(via: &str) -> Caller {
        let (user_agent, forwarded_for) = (Some("gdb/1".to_owned()), "unknown, unknown".to_owned());
        Caller { via: via.to_owned(), user_agent, forwarded_for, max_size: Some(7), hops: 1, ..Caller::default() }
    }

    #[test]
    fn the_user_agent_has_version_and_contact() {
        let version = env!("CARGO_PKG_VERSION");
        let named = identity(false);
        assert_eq!(named.user_agent(), format!("darkserver/{version} (+mailto:me@example.org)"));
        assert_eq!(named.probe_user_agent(), format!("darkserver/{version} (probe; +mailto:me@example.org)"));
        let nameless = Identity::new(&FederationSettings::default());
        assert_eq!(nameless.user_agent(), format!("darkserver/{version}"));
        assert_eq!(nameless.probe_user_agent(), format!("darkserver/{version} (probe)"));
    }

    #[test]
    fn an_instance_without_a_name_gets_a_random_one() {
        let [first, second] = [(); 2].map(|()| Identity::new(&FederationSettings::default()).instance);
        assert_ne!(first, second);
        let digits = first.strip_prefix("darkserver-").unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    }

    #[test]
    fn a_loop_is_found_by_the_name_in_via() {
        let own = identity(false);
        for (via, has_passed) in [
            ("", false),
            ("1.1 gateway-b", false),
            ("1.1 gateway-a", true),
            ("1.1 gateway-b, HTTP/2 GATEWAY-A (a comment),1.1 c", true),
            ("1.1 gateway-a2, 1.1 b-gateway-a", false),
            ("gateway-a", false),
        ] {
            assert_eq!(own.has_passed(&caller(via)), has_passed, "{via}");
        }
        assert_eq!(own.via("1.1 b"), "1.1 b, 1.1 gateway-a");
        assert!(own.has_passed(&caller(&own.via(""))));
    }

    #[test]
    fn the_client_is_named_only_where_that_is_configured() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = http_client::build(&ClientPolicy::default(), "own/1").unwrap();
        let headers = |identity: Identity, caller: &Caller| {
            identity.apply(client.get(Url::parse("http://u.example/").unwrap()), caller).headers().clone()
        };
        let told = headers(identity(false), &caller("1.1 b"));
        let value = |name: &str| told.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(value("via"), Some("1.1 b, 1.1 gateway-a"));
        assert_eq!(value("x-forwarded-for"), Some("unknown, unknown"));
        assert_eq!(value("x-debuginfod-maxsize"), Some("7"));
        assert_eq!(value("user-agent"), None, "the client's own is set for all requests");
        let told = headers(identity(true), &caller(""));
        assert_eq!(told.get("user-agent").unwrap(), "gdb/1");
        let told = headers(identity(true), &Caller::default());
        assert_eq!(told.keys().collect::<Vec<_>>(), ["via"]);
    }
}
