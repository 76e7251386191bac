//! The links of an answer: where packages can be had.

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use sql::{StoredPackage, UnreadPackage};

use crate::providers::archives::published;
use crate::resolve::Gateway;
use crate::server::{Connection, is_trusted};

/// The links of an answer.
pub(super) struct Links {
    /// This gateway's own URL, without a slash at the end.
    pub(super) base: String,
}

impl Links {
    pub(super) fn of(request: &HttpRequest, gateway: &Gateway) -> Self {
        let base = match &gateway.config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => own_url(request, gateway),
        };
        Self { base }
    }

    /// Where the package can be had: the URL of its best location that has one, else this gateway's own copy, else "".
    pub(super) fn url(&self, package: &StoredPackage) -> String {
        if let Some(url) = published(&package.locations) {
            return url.into();
        }
        if !package.present_locations().any(|location| location.store.root.is_some()) {
            return String::new();
        }
        self.own(package).unwrap_or_default()
    }

    /// The same of a package with claims. Without an identity this gateway's own copy has no name.
    pub(super) fn url_of_unread(package: &UnreadPackage) -> String {
        published(&package.locations).map_or_else(String::new, String::from)
    }

    /// This gateway's own copy of a package.
    pub(super) fn own(&self, package: &StoredPackage) -> Option<String> {
        let path = format!("archive/{}/{}", package.package.identity, package.archive_name()?);
        http_client::below(&self.base, &path).map(String::from)
    }
}

/// The URL of this gateway, from the request's Host. Only a trusted proxy may name another
/// (X-Forwarded-Host and -Proto, Forwarded): a name that any client may choose would lead the next
/// reader of a shared cache to another host.
fn own_url(request: &HttpRequest, gateway: &Gateway) -> String {
    let connection = Connection::of(request);
    let scheme = if connection.as_ref().is_some_and(Connection::is_tls) { "https" } else { "http" };
    if is_trusted(request, &gateway.config) {
        let forwarded = request.connection_info();
        let tells = ["forwarded", "x-forwarded-proto"].iter().any(|name| request.headers().contains_key(*name));
        return format!("{}://{}", if tells { forwarded.scheme() } else { scheme }, forwarded.host());
    }
    // An absolute target takes precedence over Host (RFC 9112, section 3.2.2).
    let target = request.uri().authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let host = target.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    match host {
        Some(host) => [scheme, "://", host].concat(),
        None => connection
            .and_then(|connection| connection.local_address())
            .map_or_else(String::new, |address| format!("{scheme}://{address}")),
    }
}
