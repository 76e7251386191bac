//! What the gateway is told: flag, environment, own file, the original's files, default, in this order of precedence. The tables of the
//! own file are in [`tables`].

mod forms;
mod tables;

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;
use sql::DatabaseUrl;
use url::Url;

use crate::cli::Arguments;
use crate::logging::LogFormat;
use crate::server::listen::Address;
use crate::server::tls;

use tables::TlsSettings;
pub(crate) use tables::{
    Abandoned, ConnectionSettings, CorsSettings, ExtractionSettings, FederationSettings, IndexSettings,
    MetadataSettings, OnUnavailable, Prefer, PrefetchSettings, RequestSettings, StoreSettings,
};

/// Permissions of socket files: the proxy's user is in the gateway's group.
const UNIX_MODE: u32 = 0o660;
/// Where distribution packages put configuration.
const FOLDER: &str = "/etc/darkserver";

/// Everything the gateway is told, decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) database: DatabaseUrl,
    /// Nothing where nobody said anything.
    pub(crate) listen: Option<Vec<Address>>,
    /// Permissions of socket files.
    pub(crate) unix_mode: u32,
    pub(crate) tls: Option<tls::Files>,
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
    pub(crate) index: IndexSettings,
    pub(crate) stores: StoreSettings,
    pub(crate) federation: FederationSettings,
    pub(crate) metadata: MetadataSettings,
}

/// `/etc/darkserver/gateway.toml`; every key is documented in docs/configuration.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    database: Option<String>,
    listen: Option<OneOrMany>,
    unix_mode: Option<String>,
    tls: TlsSettings,
    cors: CorsSettings,
    #[serde(deserialize_with = "forms::url")]
    public_url: Option<Url>,
    cache_dir: Option<PathBuf>,
    #[serde(deserialize_with = "forms::size")]
    cache_size: Option<ByteSize>,
    #[serde(deserialize_with = "forms::networks")]
    trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "forms::optional_name")]
    log_format: Option<LogFormat>,
    connections: ConnectionSettings,
    request: RequestSettings,
    extraction: ExtractionSettings,
    prefetch: PrefetchSettings,
    index: IndexSettings,
    stores: StoreSettings,
    federation: FederationSettings,
    metadata: MetadataSettings,
}

/// `listen`
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Config {
    /// Puts the layers together.
    ///
    /// # Errors
    /// Where a named file cannot be read, holds an unknown key or a value of the wrong form; where the original's configuration
    /// names a database that is not MySQL.
    pub(crate) fn load(arguments: Arguments) -> Result<Self> {
        let folder = env::var_os("DARKSERVER_ETC").map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
        let file = File::read(arguments.config.as_deref(), &folder)?;
        let database = match (arguments.database.filter(|url| !url.is_empty()), file.database) {
            (Some(url), _) => url.parse().context("--database or DARKSERVER_DATABASE")?,
            (None, Some(url)) => url.parse().context("configuration key `database`")?,
            (None, None) => original_database(&folder)?.unwrap_or_default(),
        };
        let mut federation = file.federation;
        let upstreams = match (arguments.upstreams, federation.upstreams.take()) {
            (given, None) if given.is_empty() => debuginfod_urls(&env::var("DEBUGINFOD_URLS").unwrap_or_default())?,
            (given, Some(configured)) if given.is_empty() => configured,
            (given, _) => {
                let urls: Result<Vec<Url>> =
                    given.iter().filter(|url| !url.is_empty()).map(|url| http_url(url)).collect();
                urls.context("--upstream or DARKSERVER_UPSTREAMS")?
            }
        };
        federation.upstreams = Some(upstreams);
        file.index.check()?;
        file.metadata.check()?;
        file.connections.check()?;
        file.request.check()?;
        file.extraction.check()?;
        file.prefetch.check()?;
        file.cors.check()?;
        let listen = listen(arguments.listen, file.listen)?;
        let tls = match (arguments.tls_certificate.or(file.tls.certificate), arguments.tls_key.or(file.tls.key)) {
            (Some(certificate), Some(key)) => Some(tls::Files { certificate, key }),
            (None, None) => None,
            (Some(_), None) => bail!("expected tls.key beside tls.certificate, found none"),
            (None, Some(_)) => bail!("expected tls.certificate beside tls.key, found none"),
        };
        let public_url = arguments.public_url.or(file.public_url);
        if let Some(url) = &public_url {
            expect_http(url)?;
        }
        Ok(Self {
            database,
            listen,
            unix_mode: file.unix_mode.as_deref().map_or(Ok(UNIX_MODE), permissions)?,
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
            index: IndexSettings { filter: arguments.index_filter.unwrap_or(file.index.filter), ..file.index },
            stores: file.stores,
            federation,
            metadata: file.metadata,
        })
    }

    /// Is the peer a proxy that is configured as trusted?
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

impl File {
    /// Reads the named file, or `gateway.toml` of the directory if there is one.
    ///
    /// # Errors
    /// If the named file is not there, or a file that is there cannot be read or understood.
    fn read(named: Option<&Path>, folder: &Path) -> Result<Self> {
        let usual = folder.join("gateway.toml");
        let path = named.unwrap_or(&usual);
        let wrong = |found: String| anyhow!("configuration file {}: {found}", path.display());
        // A link that leads nowhere is there.
        let is_absent = || matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound);
        if named.is_none() && is_absent() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(|error| match named {
            Some(_) => wrong(error.to_string()),
            None => wrong(format!("{error}; let the gateway's user read it, or name another file with --config")),
        })?;
        config::Config::builder()
            .add_source(config::File::from_str(&text, config::FileFormat::Toml))
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| wrong(without_secrets(&error)))
    }
}

/// The database that the original's configuration names.
fn original_database(folder: &Path) -> Result<Option<DatabaseUrl>> {
    sql::original::gateway_database(folder).map_err(|error| match error {
        // The message states the cause already: with a source behind it, it would be printed twice.
        sql::Error::File { .. } => {
            anyhow!("configuration file {error}; let the gateway's user read it, or name the database with --database")
        }
        error => error.into(),
    })
}

/// What is wrong with a file, without the lines of it that the parser quotes and without passwords.
fn without_secrets(error: &config::ConfigError) -> String {
    let text = match error {
        config::ConfigError::FileParse { cause, .. } => cause.to_string().lines().next().unwrap_or_default().to_owned(),
        error => error.to_string(),
    };
    sql::redact_passwords(&text)
}

/// The addresses to listen on: those given, else those of the file.
fn listen(given: Vec<String>, file: Option<OneOrMany>) -> Result<Option<Vec<Address>>> {
    let read = |list: Vec<String>| {
        list.iter().filter(|text| !text.is_empty()).map(|text| text.parse()).collect::<Result<Vec<_>>>()
    };
    let given = read(given).context("--listen or DARKSERVER_LISTEN")?;
    if !given.is_empty() {
        return Ok(Some(given));
    }
    let list = match file {
        None => return Ok(None),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    };
    let list = read(list).context("configuration key `listen`")?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

/// Permissions as chmod(1) takes them.
fn permissions(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.with_context(|| format!("unix_mode: expected permissions in octal, like 0660, found `{text}`"))
}

/// Where extracted files go unless the configuration says: a folder that other users cannot make before us.
fn cache_dir() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    match env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home) {
        _ if rustix::process::geteuid().is_root() => "/var/cache/darkserver".into(),
        Some(caches) => caches.join("darkserver"),
        None => env::temp_dir().join("darkserver-cache"),
    }
}

/// The URLs in `DEBUGINFOD_URLS`: separated by blanks, without scheme http is meant; `ima:` words are about signatures.
fn debuginfod_urls(text: &str) -> Result<Vec<Url>> {
    text.split_whitespace()
        .filter(|word| !word.starts_with("ima:") && !word.starts_with("file:"))
        .map(|word| {
            let url = if word.contains("://") { word.to_owned() } else { format!("http://{word}") };
            http_url(&url).context("DEBUGINFOD_URLS")
        })
        .collect()
}

/// A URL that may hold a password: an error does not show it.
fn http_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| anyhow!("expected an http or https URL, found none: {error}"))?;
    expect_http(&url)?;
    Ok(url)
}

fn expect_http(url: &Url) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        bail!("expected an http or https URL, found scheme `{}`", url.scheme());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn debuginfod_urls_are_read_as_clients_read_them() {
        let urls = debuginfod_urls("https://a.example/  b.example:8002 ima:enforcing file:///x").unwrap();
        assert_eq!(urls.iter().map(Url::as_str).collect::<Vec<_>>(), ["https://a.example/", "http://b.example:8002/"]);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:#}", File::read(None, folder.path()).unwrap_err());
        assert!(error.contains("lisen") && error.contains("gateway.toml"), "{error}");
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(File::read(None, folder.path()).is_ok());
        let path = folder.path().join("gateway.toml");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = File::read(None, folder.path()).unwrap_err().to_string();
        assert!(error.contains("gateway.toml: No such file"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = File::read(None, folder.path()).unwrap_err().to_string();
        assert!(error.contains("gateway.toml: Is a directory") && error.contains("--config"), "{error}");
    }

    #[test]
    fn a_file_of_the_original_that_cannot_be_read_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        // Root may read whatever has a mode.
        std::os::unix::fs::symlink("nowhere", folder.path().join("darkserverweb.conf")).unwrap();
        let error = format!("{:#}", original_database(folder.path()).unwrap_err());
        assert_eq!(error.matches("No such file").count(), 1, "{error}");
        assert!(error.contains("darkserverweb.conf") && error.contains("--database"), "{error}");
    }

    #[test]
    fn a_broken_file_is_told_without_its_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        for text in [
            "database = \"mysql://u:secret@h/d",
            "[federation]\nupstreams = \"https://u:secret@h\"",
            "[federation]\nupstreams = [\"https://u:secret@h:x\"]",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", File::read(Some(&path), folder.path()).unwrap_err());
            assert!(!error.contains("secret") && error.contains("gateway.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        std::fs::write(
            &path,
            "listen = \"127.0.0.1:1\"\ncache_size = \"1 GiB\"\ndatabase = \"sqlite:file.db\"\n\
             [request]\nbudget = \"2s\"\n[federation]\nunavailable = \"503\"\nupstreams = [\"http://u.example\"]\n",
        )
        .unwrap();
        let arguments = Arguments { config: Some(path), listen: vec!["127.0.0.1:2".into()], ..Arguments::default() };
        let config = Config::load(arguments).unwrap();
        assert_eq!(config.listen, Some(vec!["127.0.0.1:2".parse().unwrap()]));
        assert_eq!(config.cache_size, ByteSize::gib(1));
        assert_eq!(config.federation.unavailable, OnUnavailable::Status);
        assert_eq!(config.request.budget, Duration::from_secs(2));
        assert_eq!(config.federation.upstreams.unwrap()[0].as_str(), "http://u.example/");
        assert_eq!(config.federation.max_hops, 8);
    }

    #[test]
    fn where_to_listen_is_one_address_or_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() })
                .map_err(|error| format!("{error:#}"))
        };
        let config = load("listen = [\"127.0.0.1:1\", \"unix:/run/g.sock\"]\nunix_mode = \"0666\"\n").unwrap();
        assert_eq!(config.listen.unwrap().len(), 2);
        assert_eq!(config.unix_mode, 0o666);
        assert_eq!(load("listen = []\n").unwrap().listen, None);
        for (text, expected) in [
            (
                "listen = \"here\"",
                "configuration key `listen`: expected ADDRESS:PORT, NAME:PORT, *:PORT, one of them behind `tls:`, or unix:/PATH, found `here`",
            ),
            ("unix_mode = \"0999\"", "unix_mode: expected permissions in octal, like 0660, found `0999`"),
            ("[tls]\nkey = \"/k\"", "expected tls.certificate beside tls.key, found none"),
            ("[tls]\ncertificate = \"/c\"", "expected tls.key beside tls.certificate, found none"),
            (
                "[cors]\norigins = [\"https://a.example/\"]",
                "cors.origins: expected `*` or an origin like https://example.org, found `https://a.example/`",
            ),
            (
                "[cors]\norigins = [\"*\", \"https://a.example\"]",
                "cors.origins: expected `*` alone, found other origins beside it",
            ),
        ] {
            assert_eq!(load(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn connections_need_some_time_and_some_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        for (text, expected) in [
            ("head_timeout = \"0s\"", "connections.head_timeout: expected 100ms to 1h, found 0s"),
            ("idle_timeout = \"2h\"", "connections.idle_timeout: expected 100ms to 1h, found 2h"),
            ("max_count = 0", "connections.max_count: expected a number of connections, found 0"),
        ] {
            std::fs::write(&path, format!("[connections]\n{text}\n")).unwrap();
            let error = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() }).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn requests_extractions_and_prefetching_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        for (text, expected) in [
            ("[request]\nmax_concurrent = 1", "request.max_concurrent: expected 2 to 1000000, found 1"),
            ("[request]\nbudget = \"90s\"", "request.budget: expected 100ms to 1m, found 1m 30s"),
            ("[extraction]\nmax_concurrent = 2000", "extraction.max_concurrent: expected 2 to 1024, found 2000"),
            ("[prefetch]\nmax_bytes = \"300MiB\"", "prefetch.max_bytes: expected at most 256.0 MiB, found 300.0 MiB"),
            ("[prefetch]\ntimeout = \"11s\"", "prefetch.timeout: expected at most 10s, found 11s"),
            ("[index]\nabsent_ttl = \"3s\"", "index.absent_ttl: expected at most 2s, found 3s"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() }).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn answers_about_files_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        let load = |text: &str| {
            std::fs::write(&path, format!("[metadata]\n{text}\n")).unwrap();
            Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() })
                .map_err(|error| error.to_string())
        };
        let metadata = load("budget = \"2s\"\nmax_results = 7").unwrap().metadata;
        assert_eq!((metadata.budget, metadata.max_results), (Duration::from_secs(2), 7));
        for (text, expected) in [
            ("budget = \"0s\"", "metadata.budget: expected 100ms to 1m, found 0s"),
            ("max_results = 0", "metadata.max_results: expected 1 to 100000, found 0"),
        ] {
            assert_eq!(load(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        let arguments = Arguments { config: Some("/nonexistent/gateway.toml".into()), ..Arguments::default() };
        let error = format!("{:#}", Config::load(arguments).unwrap_err());
        assert!(error.contains("/nonexistent/gateway.toml"), "{error}");
    }
}
