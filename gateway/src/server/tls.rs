//! TLS: the certificate of the gateway, reloaded when its files change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// Time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The protocols of ALPN, the preferred one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of a certificate, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    /// The certificate, followed by its chain.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// A certificate that is reloaded when its files change.
pub(crate) struct Certificate {
    files: CertificateFiles,
    current: Arc<Current>,
    /// The state of the files at the last reload.
    stamps: [Option<Stamp>; 2],
    hangups: Signal,
}

/// Modification time, length and inode of a file.
type Stamp = (SystemTime, u64, u64);

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Certificate {
    /// Reads the files, and receives SIGHUP from now on.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or the key is not the certificate's.
    pub(crate) fn read(files: CertificateFiles) -> Result<Self> {
        let stamps = files.stamps();
        let current = Arc::new(Current(RwLock::new(Arc::new(files.read()?))));
        let hangups = signal(SignalKind::hangup()).context("SIGHUP")?;
        Ok(Self { files, current, stamps, hangups })
    }

    /// Returns the acceptor of TLS connections. Each handshake uses the current certificate.
    ///
    /// # Errors
    /// If no version of TLS is supported.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_cert_resolver(self.current.clone());
        config.alpn_protocols = PROTOCOLS.map(Vec::from).to_vec();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reloads the files at SIGHUP and when they have changed, as long as the process lives. If they are invalid, the
    /// certificate stays.
    pub(crate) async fn keep_current(mut self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_requested = tokio::select! {
                Some(()) = self.hangups.recv() => true,
                _ = ticks.tick() => false,
            };
            let files = self.files.clone();
            let before = self.stamps;
            let reloaded = tokio::task::spawn_blocking(move || {
                let stamps = files.stamps();
                (is_requested || stamps != before).then(|| (stamps, files.read()))
            });
            let Ok(Some((stamps, certificate))) = reloaded.await else { continue };
            self.stamps = stamps;
            match certificate {
                Ok(certificate) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
                    tracing::info!(certificate = %self.files.certificate.display(), "the TLS certificate was reloaded");
                }
                Err(error) => tracing::error!("the TLS certificate stays what it was: {error:#}"),
            }
        }
    }
}

impl CertificateFiles {
    /// Reads both files. A key that is not the certificate's is refused.
    fn read(&self) -> Result<CertifiedKey> {
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| malformed(&error, "a chain of certificates")).and_then(|chain| {
            match chain.as_slice() {
                [] => bail!("expected a chain of certificates in PEM, found none"),
                _ => Ok(chain),
            }
        });
        let chain = chain.with_context(|| format!("TLS certificate {}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| malformed(&error, "a private key"))
            .with_context(|| format!("TLS key {}", self.key.display()))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let [key, certificate] = [&self.key, &self.certificate].map(|path| path.display());
                anyhow!("TLS key {key}: expected the key of the first certificate in {certificate}, found another one")
            }
            error => {
                let [key, certificate] = [&self.key, &self.certificate].map(|path| path.display());
                anyhow!("TLS certificate {certificate} and key {key}: {error}")
            }
        })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| stamp(path))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

/// An error without any content of the file, which may be a key.
fn malformed(error: &pem::Error, expected: &str) -> anyhow::Error {
    match error {
        pem::Error::Io(error) => anyhow!("{error}"),
        pem::Error::NoItemsFound => anyhow!("expected {expected} in PEM, found none"),
        _ => anyhow!("expected {expected} in PEM, found something broken"),
    }
}
