//! `repomd.xml`: the document that names the metadata of an RPM repository, verified.

use std::path::PathBuf;

use repodata::Checksum;
use repodata::checksum::Kind;
use repodata::metalink::Metalink;
use repodata::repomd::Repomd;
use sql::{Repository, Verified};

use super::download::{self, MAX_DOCUMENT_BYTES, RefreshError};
use super::signature;
use super::sources::Sources;
use crate::fetch::http::SmallFile;

/// Its path below the repository.
pub(crate) const PATH: &str = "repodata/repomd.xml";
/// Maximum number of mirrors that are asked for the newest version.
const MAX_MIRRORS: usize = 8;

/// A `repomd.xml` whose checksum is known.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 in lowercase hex.
    pub(crate) checksum: String,
    /// [`Verified::Metalink`] or [`Verified::No`].
    pub(crate) verified: Verified,
}

impl Document {
    /// Fetches the document. That of a metalink is the newest version, else an older one that the metalink names. That
    /// of a mirrorlist is not older than the one that was `imported` last, if a mirror has such a one.
    ///
    /// # Errors
    /// [`RefreshError::Inconsistent`] if it is not there, or none of the metalink's versions.
    pub(crate) async fn fetch(sources: &Sources, imported: Option<&Repository>) -> Result<Self, RefreshError> {
        match &sources.metalink {
            Some(metalink) => Self::fetch_version(sources, metalink).await,
            None => Self::fetch_newer(sources, imported).await,
        }
    }

    /// Asks mirrors that nothing vouches for, until one is not behind.
    async fn fetch_newer(sources: &Sources, imported: Option<&Repository>) -> Result<Self, RefreshError> {
        let mirrors = sources.fetcher.mirrors();
        let mut older = None;
        for _ in 0..mirrors.shown().count().min(MAX_MIRRORS) {
            let (bytes, mirror) = match download::document_of(&sources.fetcher, PATH).await {
                Ok(SmallFile { bytes, mirror, .. }) => (bytes, mirror),
                Err(RefreshError::Stopped) => return Err(RefreshError::Stopped),
                Err(error) => return older.ok_or(error),
            };
            let document = Self::new(bytes, Verified::No);
            let is_older = match (imported, document.parse()) {
                (Some(imported), Ok(repomd)) if sources.is_list => is_older(&repomd, imported),
                _ => false,
            };
            if !is_older {
                return Ok(document);
            }
            mirrors.mark_wrong(mirror);
            older.get_or_insert(document);
        }
        older.ok_or_else(|| RefreshError::Inconsistent(format!("{PATH}: expected a mirror to ask, found none")))
    }

    async fn fetch_version(sources: &Sources, metalink: &Metalink) -> Result<Self, RefreshError> {
        let mirrors = sources.fetcher.mirrors();
        let (mut older, mut found) = (None, String::new());
        for _ in 0..mirrors.shown().count().min(MAX_MIRRORS) {
            let (bytes, mirror) = match sources.fetcher.small_file(PATH, MAX_DOCUMENT_BYTES).await {
                Ok(SmallFile { bytes, mirror, .. }) => (bytes, mirror),
                Err(_) if older.is_some() => break,
                Err(error) => return Err(error.into()),
            };
            if metalink.newest.is_version(&bytes) {
                return Ok(Self::new(bytes, sources.verified));
            }
            mirrors.mark_wrong(mirror);
            if metalink.has_version(&bytes) {
                older.get_or_insert(bytes);
            } else {
                let kind = metalink.newest.checksum().map_or(Kind::Sha256, Checksum::kind);
                found = Checksum::of(kind, &bytes).to_string();
            }
        }
        if let Some(bytes) = older {
            return Ok(Self::new(bytes, sources.verified));
        }
        let expected = metalink.newest.checksum().map(ToString::to_string).unwrap_or_default();
        Err(RefreshError::Inconsistent(format!("{PATH}: expected {expected}, as the metalink states, found {found}")))
    }

    fn new(bytes: Vec<u8>, verified: Verified) -> Self {
        let checksum = Checksum::of(Kind::Sha256, &bytes).hex();
        Self { bytes, checksum, verified }
    }

    /// Checks the signature `repomd.xml.asc`.
    ///
    /// # Errors
    /// [`RefreshError::Refused`] if it is not there, or not by one of `keys`.
    pub(crate) async fn verify(&self, sources: &Sources, keys: &[PathBuf]) -> Result<Verified, RefreshError> {
        let signature = download::document(&sources.fetcher, &format!("{PATH}.asc")).await;
        signature::check(keys, PATH, &self.bytes, &signature.map_err(RefreshError::into_refused)?).await?;
        Ok(Verified::Signature)
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`RefreshError::Inconsistent`] if it is none.
    pub(crate) fn parse(&self) -> Result<Repomd, RefreshError> {
        Repomd::read(self.bytes.as_slice()).map_err(|error| RefreshError::Inconsistent(error.to_string()))
    }
}

/// True if a metalink states that its newest version is the one that was imported last.
pub(crate) fn is_newest(metalink: Option<&Metalink>, imported: Option<&str>) -> bool {
    let checksums = metalink.map(|metalink| metalink.newest.checksums.as_slice()).unwrap_or_default();
    checksums.iter().any(|checksum| checksum.kind() == Kind::Sha256 && Some(checksum.hex().as_str()) == imported)
}

/// True if a document is older than the one that was imported last, as far as both state a time.
pub(crate) fn is_older(repomd: &Repomd, imported: &Repository) -> bool {
    let time = |revision: Option<&String>| revision.and_then(|revision| revision.parse::<u64>().ok());
    match (time(repomd.revision.as_ref()), time(imported.revision.as_ref())) {
        (Some(found), Some(imported)) => found < imported,
        _ => false,
    }
}
