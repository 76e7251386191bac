//! Clients and their requests.
//!
//! A [`Client`] follows redirects itself ([`super::redirects`]) and not by reqwest's policy, for two reasons. reqwest
//! takes only Authorization and Cookie away from a request that goes to another host, and the headers that an operator
//! configured are secret, too. And a host that the operator did not name is connected to at public addresses alone
//! ([`super::addresses`]), which needs a client of its own: names are resolved per client, not per request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Body, ClientBuilder, Method, Response};
use rustls::crypto::{CryptoProvider, ring};
use tokio::time::Instant;
use url::Url;

use crate::addresses::{NotPublic, PublicAddresses};
use crate::failure::reason;
use crate::redirects::{Reach, Route, foreign_reach};
use crate::tls::{Certificates, TlsFiles};

/// The longest time without a byte, unless a client is patient.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time until a connection stands, unless a policy has another one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client may do, and how it identifies itself to its provider.
#[derive(Clone, Default)]
pub struct ClientPolicy {
    /// Hosts, as they stand in URLs, that the provider may redirect to besides itself; `*` for all.
    pub redirect_hosts: Vec<String>,
    /// Hosts that a document of the provider names. It may redirect to them, at public addresses.
    pub foreign_hosts: Vec<String>,
    /// True if hosts that the operator did not write down may have private addresses.
    pub allow_private: bool,
    /// Secret headers: only the origin that is asked gets them, never the target of a redirect to another one.
    pub headers: HeaderMap,
    /// Certificates.
    pub tls: TlsFiles,
    /// True if bodies that were compressed for the transfer are decoded. Archives come as they are: many servers call
    /// a `.tar.gz` file a `.tar` file with the content encoding gzip, and decoded it would be another file.
    pub gzip: bool,
    /// True if the provider may take long between two bytes: the caller limits that itself. Otherwise 10 s.
    pub is_patient: bool,
    /// The longest time until a connection stands, with TLS; `None` for 2 s.
    pub connect_timeout: Option<Duration>,
}

/// An HTTP client of one provider. Clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<ClientState>);

struct ClientState {
    client: reqwest::Client,
    /// For hosts that must have public addresses. Made when one is asked first.
    public: OnceLock<reqwest::Client>,
    certificates: Certificates,
    user_agent: String,
    policy: ClientPolicy,
}

/// A GET, HEAD or POST request.
#[must_use = "it is sent by `send`"]
pub struct Request {
    client: Client,
    method: Method,
    url: Url,
    is_foreign: bool,
    headers: HeaderMap,
    body: Option<Bytes>,
    timeout: Option<Duration>,
}

/// Makes a client with this policy, which identifies itself as `user_agent`. If the process has no default provider of
/// cryptography for TLS yet, ring becomes that.
///
/// # Errors
/// A certificate or key cannot be read or used, or `user_agent` is no value of a header.
pub fn build(policy: &ClientPolicy, user_agent: &str) -> Result<Client> {
    if CryptoProvider::get_default().is_none() {
        // It fails if another thread was faster.
        let _ = ring::default_provider().install_default();
    }
    let certificates = Certificates::read(&policy.tls)?;
    let client = finish(&certificates, || builder(policy, &certificates, user_agent));
    let state = ClientState {
        client: client.with_context(|| certificates.describe())?,
        public: OnceLock::new(),
        certificates,
        user_agent: user_agent.to_owned(),
        policy: policy.clone(),
    };
    Ok(Client(Arc::new(state)))
}

fn builder(policy: &ClientPolicy, certificates: &Certificates, user_agent: &str) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(policy.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
        .pool_idle_timeout(Duration::from_secs(30));
    let builder = if policy.is_patient { builder } else { builder.read_timeout(READ_TIMEOUT) };
    certificates.add_identity(if policy.gzip { builder } else { builder.no_gzip() })
}

fn finish(certificates: &Certificates, builder: impl Fn() -> ClientBuilder) -> reqwest::Result<reqwest::Client> {
    builder().tls_certs_merge(certificates.authorities()).build().or_else(|error| {
        // Small containers have no CA certificates, and a client without trusted certificates cannot be built
        // otherwise.
        let client = builder().tls_certs_only(certificates.authorities()).build()?;
        tracing::warn!(
            error = reason(&error),
            "no CA certificates: stores and upstreams can be asked over http, or by a tls.ca of their own, only"
        );
        Ok(client)
    })
}

impl Client {
    /// A GET request to `url`, whose host the operator wrote down.
    pub fn get(&self, url: Url) -> Request {
        self.request(Method::GET, url)
    }

    /// A HEAD request to `url`, whose host the operator wrote down.
    pub fn head(&self, url: Url) -> Request {
        self.request(Method::HEAD, url)
    }

    /// A POST request with this body to `url`, whose host the operator wrote down. It is never redirected: a redirect
    /// is the response, as one that is not allowed.
    pub fn post(&self, url: Url, body: impl Into<Bytes>) -> Request {
        Request { body: Some(body.into()), ..self.request(Method::POST, url) }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        Request {
            client: self.clone(),
            method,
            url,
            is_foreign: false,
            headers: HeaderMap::new(),
            body: None,
            timeout: None,
        }
    }
}

impl ClientState {
    /// The client for hosts with this reach.
    fn client(&self, reach: Reach) -> reqwest::Result<&reqwest::Client> {
        if reach == Reach::Any {
            return Ok(&self.client);
        }
        if let Some(client) = self.public.get() {
            return Ok(client);
        }
        let builder = || builder(&self.policy, &self.certificates, &self.user_agent);
        let public = finish(&self.certificates, || builder().dns_resolver(PublicAddresses::new()))?;
        Ok(self.public.get_or_init(|| public))
    }
}

impl Client {
    /// Sends a PUT request with a body that is streamed, to `url`, whose host the operator wrote down. With
    /// Content-Length among the headers the body has that length; otherwise it goes in chunks. It is never redirected:
    /// a body can be sent once. The caller limits the time of a patient client.
    ///
    /// # Errors
    /// No response came. The server may have read a part of the body.
    pub async fn put(&self, url: Url, headers: HeaderMap, body: Body) -> reqwest::Result<Response> {
        let state = &*self.0;
        let request = state.client(Reach::Any)?.request(Method::PUT, url).headers(state.policy.headers.clone());
        request.headers(headers).body(body).send().await
    }
}

impl Request {
    /// Sets a header. It is sent to targets of redirects, too: secret ones belong to [`ClientPolicy::headers`]. A
    /// value that no header can have is left out.
    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the longest time until the end of the body, over all redirects.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// States that another party chose the host: a metalink or a mirrorlist, say. It must have public addresses and
    /// gets no secret headers, unless `redirect_hosts` names it or [`ClientPolicy::allow_private`] permits private
    /// ones.
    ///
    /// # Errors
    /// The host is a private address, or a proxy of the environment. The addresses of a name are checked by
    /// [`Self::send`].
    pub fn public_only(mut self) -> Result<Self, NotPublic> {
        foreign_reach(&self.url, &self.client.0.policy)?;
        self.is_foreign = true;
        Ok(self)
    }

    /// The headers that were set.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Sends it, and follows redirects as far as they are allowed, those of a POST request never. The first that is not
    /// comes back as the response that it is, and [`refused_redirect`](crate::refused_redirect) tells why.
    ///
    /// # Errors
    /// No response came, or the name of a host leads to private addresses only and may not.
    pub async fn send(self) -> reqwest::Result<Response> {
        let state = &*self.client.0;
        let policy = &state.policy;
        let end = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut route = if self.is_foreign { Route::foreign(self.url, policy) } else { Route::new(self.url) };
        loop {
            let client = state.client(route.reach)?;
            let mut request = client.request(self.method.clone(), route.url.clone()).headers(self.headers.clone());
            if route.is_at_origin {
                request = request.headers(policy.headers.clone());
            }
            if let Some(body) = &self.body {
                request = request.body(body.clone());
            }
            if let Some(end) = end {
                request = request.timeout(end.saturating_duration_since(Instant::now()));
            }
            let mut response = request.send().await?;
            if !route.follow(&self.method, &mut response, policy) {
                route.record(&mut response);
                return Ok(response);
            }
        }
    }
}
