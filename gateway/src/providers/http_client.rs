//! The HTTP clients: every request to a store or an upstream is sent by a client made here, with timeouts, our
//! User-Agent and redirects that never leave what the configuration allows.
//!
//! A [`Client`] belongs to one provider. It follows redirects itself ([`redirects`]) and not by reqwest's policy, for
//! two reasons. reqwest takes only Authorization and Cookie away from a request that goes to another host, and the
//! headers that an operator configured are secret, too. And a host that only `*` allows is connected to at public
//! addresses alone ([`addresses`]), which needs a client of its own: names are resolved per client, not per request.

mod addresses;
mod pages;
mod redirects;
mod tls;
mod urls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response};
use tokio::time::Instant;
use url::Url;

use crate::config::UpstreamTls;
use crate::resolve::outcome::CauseKind;
use addresses::PublicAddresses;
use redirects::{Reach, Route};

pub(crate) use pages::{begins_page, is_html, is_page, is_refusal};
pub(crate) use redirects::{is_refused_host, refused_redirect};
pub(crate) use urls::{ESCAPED, below, below_escaped, without_credentials, without_secrets};

/// The longest time without a byte, unless a client is patient.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client may do, and how it identifies itself to its provider.
#[derive(Clone, Default)]
pub(crate) struct ClientPolicy {
    /// Hosts that the provider may redirect to besides itself; `*` for all.
    pub(crate) redirect_hosts: Vec<String>,
    /// True if hosts that only `*` allows may have private addresses.
    pub(crate) allow_private: bool,
    /// Secret headers: only the origin that is asked gets them, never the target of a redirect to another one.
    pub(crate) headers: HeaderMap,
    /// Certificates.
    pub(crate) tls: UpstreamTls,
    /// True if bodies that were compressed for the transfer are decoded. Archives come as they are: many servers call
    /// a `.tar.gz` file a `.tar` file with the content encoding gzip, and decoded it would be another file.
    pub(crate) gzip: bool,
    /// True if the provider may take long between two bytes: the caller limits that itself.
    pub(crate) is_patient: bool,
}

/// An HTTP client of one provider. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Client(Arc<ClientState>);

struct ClientState {
    client: reqwest::Client,
    /// For hosts that only `*` allows. `None` if there are none, or private addresses are allowed.
    public: Option<reqwest::Client>,
    policy: ClientPolicy,
}

/// A GET request.
pub(crate) struct Request {
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeout: Option<Duration>,
}

/// Makes a client with this policy, which identifies itself as `user_agent`.
///
/// # Errors
/// A certificate or key cannot be read or used.
pub(crate) fn build(policy: &ClientPolicy, user_agent: &str) -> Result<Client> {
    let certificates = tls::Certificates::read(&policy.tls)?;
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(2))
            .pool_idle_timeout(Duration::from_secs(30));
        let builder = if policy.is_patient { builder } else { builder.read_timeout(READ_TIMEOUT) };
        certificates.add_identity(if policy.gzip { builder } else { builder.no_gzip() })
    };
    let public = redirects::needs_public_addresses(policy)
        .then(|| finish(&certificates, || builder().dns_resolver(PublicAddresses::new())));
    let shared =
        ClientState { client: finish(&certificates, builder)?, public: public.transpose()?, policy: policy.clone() };
    Ok(Client(Arc::new(shared)))
}

fn finish(certificates: &tls::Certificates, builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client> {
    let client = builder().tls_certs_merge(certificates.authorities()).build().or_else(|error| {
        // Small containers have no CA certificates, and a client without trusted certificates cannot be built
        // otherwise.
        let client = builder().tls_certs_only(certificates.authorities()).build()?;
        tracing::warn!(
            error = reason(&error),
            "no CA certificates: stores and upstreams can be asked over http, or by a tls.ca of their own, only"
        );
        Ok::<_, reqwest::Error>(client)
    });
    client.with_context(|| certificates.describe())
}

impl Client {
    /// A GET request to `url`.
    pub(crate) fn get(&self, url: Url) -> Request {
        Request { client: self.clone(), url, headers: HeaderMap::new(), timeout: None }
    }
}

impl Request {
    /// Sets a header. It is sent to targets of redirects, too: secret ones belong to [`ClientPolicy::headers`]. A
    /// value that no header can have is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the longest time until the end of the body, over all redirects.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The headers that were set.
    #[cfg(test)]
    pub(crate) fn into_headers(self) -> HeaderMap {
        self.headers
    }

    /// Sends it, and follows redirects as far as they are allowed. The first that is not comes back as the response
    /// that it is, and [`refused_redirect`] tells why.
    ///
    /// # Errors
    /// No response came, or the name of a host leads to private addresses only and may not.
    pub(crate) async fn send(self) -> reqwest::Result<Response> {
        let ClientState { client, public, policy } = &*self.client.0;
        let end = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut route = Route::new(self.url);
        loop {
            let client = match route.reach {
                Reach::Any => client,
                Reach::Public => public.as_ref().unwrap_or(client),
            };
            let mut request = client.get(route.url.clone()).headers(self.headers.clone());
            if route.is_at_origin {
                request = request.headers(policy.headers.clone());
            }
            if let Some(end) = end {
                request = request.timeout(end.saturating_duration_since(Instant::now()));
            }
            let mut response = request.send().await?;
            if !route.follow(&mut response, policy) {
                return Ok(response);
            }
        }
    }
}

/// Classifies an HTTP error.
pub(crate) fn cause_kind(error: &reqwest::Error) -> CauseKind {
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        match error.downcast_ref::<io::Error>().map(CauseKind::of_io) {
            None | Some(CauseKind::Broken) => below = error.source(),
            Some(kind) => return kind,
        }
    }
    match error {
        error if error.is_timeout() => CauseKind::Timeout,
        error if error.is_connect() => CauseKind::Refused,
        error if error.is_request() || error.is_body() => CauseKind::Reset,
        _ => CauseKind::Broken,
    }
}

/// An HTTP error with what lies below it, without the URL: that may hold credentials.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::from("request failed") };
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
