//! The configuration file: `gateway.toml`, read and checked for its form.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;
use sql::DatabaseUrl;
use url::Url;

use super::tables::{
    ClaimsSettings, ConnectionSettings, CorsSettings, ExtractionSettings, FederationSettings, IndexSettings,
    MetadataSettings, PrefetchSettings, RelaySettings, RequestSettings, TlsSettings,
};
use super::upstreams::UpstreamSettings;
use super::{forms, upstreams};
use crate::logging::LogFormat;
use crate::server::listen::Address;

/// Name of the file in the configuration directory.
const NAME: &str = "gateway.toml";

/// Contents of `gateway.toml`. Every key is documented in docs/configuration.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    #[serde(deserialize_with = "forms::database")]
    pub(super) database: Option<DatabaseUrl>,
    #[serde(deserialize_with = "forms::addresses")]
    pub(super) listen: Vec<Address>,
    #[serde(deserialize_with = "forms::permissions")]
    pub(super) unix_mode: Option<u32>,
    #[serde(deserialize_with = "forms::own_url")]
    pub(super) public_url: Option<Url>,
    #[serde(deserialize_with = "forms::path")]
    pub(super) cache_dir: Option<PathBuf>,
    #[serde(deserialize_with = "forms::size")]
    pub(super) cache_size: Option<ByteSize>,
    #[serde(deserialize_with = "forms::networks")]
    pub(super) trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "forms::optional_name")]
    pub(super) log_format: Option<LogFormat>,
    /// `None` if the file names none; an empty list means none at all.
    #[serde(deserialize_with = "upstreams::list")]
    pub(super) upstream: Option<Vec<UpstreamSettings>>,
    pub(super) tls: TlsSettings,
    pub(super) cors: CorsSettings,
    pub(super) connections: ConnectionSettings,
    pub(super) request: RequestSettings,
    pub(super) extraction: ExtractionSettings,
    pub(super) prefetch: PrefetchSettings,
    pub(super) claims: ClaimsSettings,
    pub(super) index: IndexSettings,
    pub(super) federation: FederationSettings,
    pub(super) relay: RelaySettings,
    pub(super) metadata: MetadataSettings,
}

impl ConfigFile {
    /// Reads the named file, or `gateway.toml` of the directory if it exists.
    ///
    /// # Errors
    /// If the named file does not exist, or the file cannot be read, is no TOML in UTF-8, or has unknown keys, wrong
    /// values or values outside their limits.
    pub(super) fn read(named: Option<&Path>, directory: &Path) -> Result<Self> {
        let default = directory.join(NAME);
        let path = named.unwrap_or(&default);
        match (sql::configuration::read_toml::<Self>(path, named.is_some()), named) {
            (Ok(file), _) => {
                file.check().with_context(|| format!("configuration file {}", path.display()))?;
                Ok(file)
            }
            (Err(error @ sql::Error::Toml { .. }), _) | (Err(error), Some(_)) => {
                Err(anyhow!("configuration file {error}"))
            }
            (Err(error), None) => Err(anyhow!(
                "configuration file {error}; let the gateway's user read it, or name another file with --config"
            )),
        }
    }

    /// Checks the limits of numbers, sizes and times. Errors name the key.
    fn check(&self) -> Result<()> {
        self.connections.check()?;
        self.request.check()?;
        self.extraction.check()?;
        self.prefetch.check()?;
        self.claims.check()?;
        self.index.check()?;
        self.federation.check()?;
        self.relay.check()?;
        upstreams::check(self.upstream.as_deref().unwrap_or_default())?;
        self.metadata.check()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("gateway.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:#}", ConfigFile::read(None, directory.path()).unwrap_err());
        assert!(error.contains("lisen") && error.contains("gateway.toml"), "{error}");
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(ConfigFile::read(None, directory.path()).is_ok());
        let path = directory.path().join("gateway.toml");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = ConfigFile::read(None, directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("gateway.toml: expected a file, found a link to nowhere, which does not exist"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = ConfigFile::read(None, directory.path()).unwrap_err().to_string();
        assert!(error.contains("expected a regular file, found a directory") && error.contains("--config"), "{error}");
    }

    #[test]
    fn a_broken_file_is_told_without_its_passwords() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.toml");
        for text in [
            "database = \"mysql://u:secret@h/d",
            "upstream = \"https://u:secret@h\"",
            "upstream = [\"https://u:secret@h\"]",
            "[[upstream]]\nname = \"a\"\nurl = \"https://u:secret@h:x\"",
            "[[upstream]]\nname = \"https://u:secret@h\"\nurl = \"https://h\"",
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", ConfigFile::read(Some(&path), directory.path()).unwrap_err());
            assert!(!error.contains("secret") && error.contains("gateway.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn only_regular_files_in_utf_8_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        for named in [None, Some(&*path)] {
            let error = ConfigFile::read(named, directory.path()).unwrap_err().to_string();
            assert!(error.contains("expected a regular file, found a pipe"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"listen = \"\xff\"\n").unwrap();
        let error = ConfigFile::read(None, directory.path()).unwrap_err().to_string();
        assert!(error.contains("expected text in UTF-8, found other bytes from byte 10 on"), "{error}");
    }

    #[test]
    fn errors_state_line_and_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        for (text, expected) in [
            (
                "\n[federation]\nprefer = \"none\"\n",
                ", line 3: expected `extract` or `redirect`, found `none` in `federation.prefer`",
            ),
            (
                "[request]\nbudget = 4\n",
                ", line 2: expected a duration like 4s, 300ms or 1d, found `4` in `request.budget`",
            ),
            ("listen = 8002\n", ", line 1: invalid type: integer `8002`, expected an address like 0.0.0.0:8002"),
            ("[limits]\nrequests = 5\n", ", line 1: unknown field `limits`, expected one of `database`, `listen`"),
            ("[cors]\n\n\nhosts = []\n", ", line 4: unknown field `hosts`, expected `origins` in `cors"),
            ("[stores]\nredirect_hosts = []\n", ", line 1: unknown field `stores`, expected one of"),
            ("database = \"a\"\ndatabase = \"b\"\n", ", line 2: duplicate key"),
            (
                "database = [\"mysql://u:secret@h/d\"]",
                ", line 1: invalid type: sequence, expected a string in `database`",
            ),
            ("tls = \"mysql://u:secret@h/d\"", ", line 1: invalid type: string"),
            ("\"mysql://u:secret@h/d\" = 1", ", line 1: unknown field"),
        ] {
            fs::write(&path, text).unwrap();
            let error = ConfigFile::read(Some(&path), directory.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
