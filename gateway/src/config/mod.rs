//! Configuration of the gateway. Precedence: flag, environment, configuration file, the original darkserver's files,
//! default.
//!
//! - [`mod@file`]: `gateway.toml`, read as a whole;
//! - [`tables`]: its tables, their defaults and limits;
//! - [`upstreams`]: its tables `[[upstream]]`, and the upstreams of flags and variables;
//! - [`forms`]: the forms of its values.

#[cfg(test)]
mod documentation;
mod file;
mod forms;
mod tables;
mod upstreams;

use std::env;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use bytesize::ByteSize;
use ipnet::IpNet;
use sql::{DatabaseUrl, redact_passwords};
use url::Url;

use crate::cli::Arguments;
use crate::logging::LogFormat;
use crate::server::listen::Address;
use crate::server::tls;

use file::ConfigFile;
pub(crate) use tables::{
    Abandoned, AbsentQuorum, ClaimsSettings, ConnectionSettings, CorsSettings, ExtractionSettings, FederationSettings,
    IndexSettings, MetadataSettings, OnUnavailable, Prefer, PrefetchSettings, RelaySettings, RequestSettings,
};
pub(crate) use upstreams::{MAX_UPSTREAM_ABSENT_TTL, Mode, Service, Shape, UpstreamSettings};

/// Default permissions of socket files: the proxy's user is in the gateway's group.
const UNIX_MODE: u32 = 0o660;
/// Default configuration directory.
const DIRECTORY: &str = "/etc/darkserver";

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) database: DatabaseUrl,
    /// `None` if no address is configured.
    pub(crate) listen: Option<Vec<Address>>,
    /// Permissions of socket files.
    pub(crate) unix_mode: u32,
    pub(crate) tls: Option<tls::CertificateFiles>,
    pub(crate) cors: CorsSettings,
    pub(crate) public_url: Option<Url>,
    pub(crate) cache_dir: PathBuf,
    pub(crate) cache_size: ByteSize,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) log_format: LogFormat,
    pub(crate) connections: ConnectionSettings,
    pub(crate) request: RequestSettings,
    pub(crate) extraction: ExtractionSettings,
    pub(crate) prefetch: PrefetchSettings,
    pub(crate) claims: ClaimsSettings,
    pub(crate) index: IndexSettings,
    /// The upstreams, also those that are not enabled.
    pub(crate) upstreams: Vec<UpstreamSettings>,
    pub(crate) federation: FederationSettings,
    pub(crate) relay: RelaySettings,
    pub(crate) metadata: MetadataSettings,
}

impl Config {
    /// Merges all sources of configuration.
    ///
    /// # Errors
    /// If a file cannot be read, has an unknown key or a wrong value, or if the original's files name a database that
    /// is not MySQL. The message has no passwords, wherever a URL stands.
    pub(crate) fn load(arguments: Arguments) -> Result<Self> {
        Self::merge(arguments).map_err(|error| anyhow!(redact_passwords(&format!("{error:#}"))))
    }

    fn merge(arguments: Arguments) -> Result<Self> {
        let directory = env::var_os("DARKSERVER_ETC").map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from);
        let file = ConfigFile::read(arguments.config.as_deref(), &directory)?;
        let database = match (arguments.database.filter(|url| !url.is_empty()), file.database) {
            (Some(url), _) => url.parse().context("--database or DARKSERVER_DATABASE")?,
            (None, Some(url)) => url,
            (None, None) => original_database(&directory)?.unwrap_or_default(),
        };
        let upstreams = match (arguments.upstreams, file.upstream) {
            (given, None) if given.is_empty() => {
                upstreams::of_urls(debuginfod_urls(&env::var("DEBUGINFOD_URLS").unwrap_or_default())?)
            }
            (given, Some(configured)) if given.is_empty() => configured,
            (given, _) => {
                let urls: Result<Vec<Url>> =
                    given.iter().filter(|url| !url.is_empty()).map(|url| base_url(url)).collect();
                upstreams::of_urls(urls.context("--upstream or DARKSERVER_UPSTREAMS")?)
            }
        };
        let listen = listen(&arguments.listen, file.listen)?;
        let tls = match (arguments.tls_certificate.or(file.tls.certificate), arguments.tls_key.or(file.tls.key)) {
            (Some(certificate), Some(key)) => Some(tls::CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => bail!("expected tls.key beside tls.certificate, found none"),
            (None, Some(_)) => bail!("expected tls.certificate beside tls.key, found none"),
        };
        let public_url = match arguments.public_url {
            Some(url) => Some(public_url(url).context("--public-url or DARKSERVER_PUBLIC_URL")?),
            None => file.public_url,
        };
        Ok(Self {
            database,
            listen,
            unix_mode: file.unix_mode.unwrap_or(UNIX_MODE),
            tls,
            cors: file.cors,
            public_url,
            cache_dir: arguments.cache_dir.or(file.cache_dir).unwrap_or_else(cache_dir),
            cache_size: arguments.cache_size.or(file.cache_size).unwrap_or(ByteSize::gib(10)),
            trusted_proxies: file.trusted_proxies,
            log_format: arguments.log_format.or(file.log_format).unwrap_or_default(),
            connections: file.connections,
            request: file.request,
            extraction: file.extraction,
            prefetch: file.prefetch,
            claims: file.claims,
            index: IndexSettings { filter: arguments.index_filter.unwrap_or(file.index.filter), ..file.index },
            upstreams,
            federation: file.federation,
            relay: file.relay,
            metadata: file.metadata,
        })
    }

    /// True if an upstream is enabled.
    pub(crate) fn has_upstreams(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.enabled)
    }

    /// True if the peer is in `trusted_proxies`.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// Returns the database that the original darkserver's files name.
fn original_database(directory: &Path) -> Result<Option<DatabaseUrl>> {
    sql::original::gateway_database(directory).map_err(|error| match error {
        // Its message contains the cause. With a source attached, the cause would be printed twice.
        sql::Error::File { .. } => {
            anyhow!("configuration file {error}; let the gateway's user read it, or name the database with --database")
        }
        error => error.into(),
    })
}

/// Addresses of the command line, else those of the file, else none.
fn listen(arguments: &[String], file: Vec<Address>) -> Result<Option<Vec<Address>>> {
    let given = arguments.iter().filter(|text| !text.is_empty()).map(|text| text.parse());
    let given = given.collect::<Result<Vec<_>>>().context("--listen or DARKSERVER_LISTEN")?;
    let addresses = if given.is_empty() { file } else { given };
    Ok(Some(addresses).filter(|addresses| !addresses.is_empty()))
}

/// Default cache directory. Other users cannot create it first, except in the last case.
fn cache_dir() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    match env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home) {
        _ if rustix::process::geteuid().is_root() => "/var/cache/darkserver".into(),
        Some(caches) => caches.join("darkserver"),
        None => env::temp_dir().join("darkserver-cache"),
    }
}

/// Parses `DEBUGINFOD_URLS`: separated by blanks, `http` without a scheme. `ima:` words concern signatures and are
/// skipped.
fn debuginfod_urls(text: &str) -> Result<Vec<Url>> {
    text.split_whitespace()
        .filter(|word| !word.starts_with("ima:") && !word.starts_with("file:"))
        .map(|word| {
            let url = if word.contains("://") { word.to_owned() } else { format!("http://{word}") };
            base_url(&url).context("DEBUGINFOD_URLS")
        })
        .collect()
}

/// Parses a URL. The error never contains the URL, which can contain a password.
fn http_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| anyhow!("expected an http or https URL, found none: {error}"))?;
    expect_http(&url)?;
    Ok(url)
}

/// Parses the URL of a server, below which paths are. The error never contains it: it can contain a password.
fn base_url(text: &str) -> Result<Url> {
    let url = http_url(text)?;
    let found = match &url {
        url if url.query().is_some() => "a query",
        url if url.fragment().is_some() => "a fragment",
        _ => return Ok(url),
    };
    bail!("expected an http or https URL without query and fragment, found {found}")
}

/// Checks the gateway's own URL, which every client receives in links.
fn public_url(url: Url) -> Result<Url> {
    expect_http(&url)?;
    let found = match &url {
        url if !url.username().is_empty() || url.password().is_some() => "a user or password",
        url if url.query().is_some() => "a query",
        url if url.fragment().is_some() => "a fragment",
        _ => return Ok(url),
    };
    bail!("expected an http or https URL of host, port and path alone, found {found}")
}

fn expect_http(url: &Url) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        bail!("expected an http or https URL, found scheme `{}`", url.scheme());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
