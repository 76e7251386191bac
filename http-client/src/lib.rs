//! HTTP towards servers that are not trusted: what a request may reach, and who learns secrets, is decided here.
//!
//! A [`Client`] belongs to one provider of bytes: a mirror, a debuginfod server, Koji. It is made by [`build`] with a
//! [`ClientPolicy`], sends GET, HEAD and POST requests with our User-Agent ([`user_agent`]), and follows redirects
//! itself.
//!
//! # Redirects
//! At most three are followed, to
//! - the origin that was asked, and the same host by https where it was asked by http;
//! - hosts in [`ClientPolicy::redirect_hosts`], which the operator wrote down;
//! - hosts in [`ClientPolicy::foreign_hosts`], which a document of the provider names (the mirrors of a metalink);
//! - any host, where `redirect_hosts` contains `*`.
//!
//! POST requests are not redirected at all. Credentials of the URL and [`ClientPolicy::headers`] are sent to the origin
//! that was asked alone. A redirect that is not allowed is the response of the request, and [`refused_redirect`] states
//! why.
//!
//! # Addresses
//! A host that the operator wrote down may have any address. One that another party chose may have addresses of the
//! public internet alone, unless [`ClientPolicy::allow_private`]: it must be no router and no metadata service of this
//! network. These are the hosts that only `*` allows, those in `foreign_hosts`, and the host of a request with
//! [`Request::public_only`]. Addresses are checked where the connection is made, after the name was resolved.
//!
//! # Failures
//! [`FailureKind::of`] classifies the error of a request and [`reason`] states it without the URL, which can hold
//! credentials. [`is_permanent`] tells whether another request can help. [`refused_redirect`], [`is_html`] and
//! [`is_refusal`] are about responses that are not what was asked for. [`below`] and [`below_escaped`] make URLs,
//! [`without_secrets`] makes them fit for messages.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use http_client::{ClientPolicy, below, build, user_agent};
//!
//! let policy = ClientPolicy { redirect_hosts: vec!["mirror.example.org".into()], ..ClientPolicy::default() };
//! let client = build(&policy, &user_agent("example/1.0", Some("mailto:admin@example.org")))?;
//! let url = below("https://download.example.org/pub", "Packages/h/hello-1-1.x86_64.rpm").ok_or("no http URL")?;
//! let response = client.get(url).header(reqwest::header::RANGE, "bytes=0-95").send().await?;
//! assert_eq!(response.status(), reqwest::StatusCode::PARTIAL_CONTENT);
//! # Ok(()) }
//! ```

mod addresses;
mod client;
mod failure;
mod identity;
mod pages;
mod ranges;
mod redirects;
mod tls;
mod urls;

pub use addresses::NotPublic;
pub use client::{Client, ClientPolicy, Request, build};
pub use failure::{FailureKind, is_permanent, reason};
pub use identity::user_agent;
pub use pages::{begins_page, is_html, is_page, is_refusal};
pub use ranges::content_range;
pub use redirects::{hops, is_refused_host, refused_redirect};
pub use tls::TlsFiles;
pub use urls::{ESCAPED, below, below_escaped, without_credentials, without_secrets};

#[cfg(test)]
mod tests;
