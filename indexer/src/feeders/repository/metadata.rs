//! Fetches the metadata of a repository: it is unchanged, or has to be imported.

use std::collections::HashSet;

use repodata::repomd::Repomd;
use sql::{KnownListing, Repository, Verified};
use url::Url;

use super::address::AddressKind;
use super::download::RefreshError;
use super::entries::ListingFile;
use super::listing::Listing;
use super::repomd::{self, Document};
use super::sources::Sources;
use super::{Plan, Refresher, arch, debian};

/// Metadata as the mirrors have it.
pub(super) enum Fetched {
    /// It was imported already.
    Unchanged(Verified),
    /// It was not, or not as far as wanted.
    New { checksum: String, revision: Option<String>, verified: Verified, contents: Contents },
}

/// Metadata that has to be imported.
pub(super) struct Metadata {
    /// SHA-256 of the document that names the other files, or of the only one.
    pub(super) checksum: String,
    pub(super) revision: Option<String>,
    pub(super) verified: Verified,
    pub(super) contents: Contents,
    pub(super) started_at: i64,
    pub(super) known: Known,
}

/// The listings of metadata.
pub(super) enum Contents {
    /// Those that `repomd.xml` names, not downloaded yet.
    Repomd(Box<Repomd>),
    /// `Packages`, or a database of pacman.
    Listing(ListingFile),
}

/// What the index knows of a repository.
pub(super) struct Known {
    /// The paths below it.
    pub(super) paths: KnownListing,
    /// The packages that it lists.
    pub(super) members: HashSet<i64>,
    /// True if all of these are read as far as wanted.
    is_read: bool,
}

/// Fetches the metadata of one repository.
pub(super) struct MetadataFetch<'a> {
    pub(super) refresher: &'a Refresher,
    pub(super) plan: &'a Plan,
    pub(super) sources: &'a Sources,
    pub(super) repository: &'a Repository,
}

impl MetadataFetch<'_> {
    /// Fetches the document that names the other files, or the only file, and compares it with the one that was
    /// imported last.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub(super) async fn fetch(&self, known: &Known) -> Result<Fetched, RefreshError> {
        match &self.plan.address.kind {
            AddressKind::Base | AddressKind::Metalink | AddressKind::Mirrorlist => self.repomd(known).await,
            AddressKind::Debian { root } => self.packages(root, known).await,
            AddressKind::Arch { directory } => self.database(directory, known).await,
        }
    }

    /// Fetches `repomd.xml`.
    async fn repomd(&self, known: &Known) -> Result<Fetched, RefreshError> {
        let (imported, keys) = (self.repository.metadata_checksum.as_deref(), &self.plan.keys);
        let metalink = self.sources.metalink.as_ref();
        if known.is_read && keys.is_empty() && repomd::is_newest(metalink, imported) {
            return Ok(Fetched::Unchanged(self.sources.verified));
        }
        let document = Document::fetch(self.sources, Some(self.repository)).await?;
        let is_same = imported == Some(document.checksum.as_str());
        let is_signed = is_same && self.repository.verified == Verified::Signature;
        let verified = match (keys.is_empty(), is_signed) {
            (true, _) => document.verified,
            (false, true) => Verified::Signature,
            (false, false) => document.verify(self.sources, keys).await?,
        };
        if is_same && known.is_read {
            return Ok(Fetched::Unchanged(verified));
        }
        let repomd = document.parse()?;
        // Mirrors may be behind. What one server has, or a metalink calls the newest version, is meant.
        let is_newest = metalink.is_some_and(|metalink| metalink.newest.is_version(&document.bytes));
        if self.sources.is_list && !is_newest && repomd::is_older(&repomd, self.repository) {
            return Err(RefreshError::Refused(format!(
                "{}: expected a version not older than the one imported last (revision {}), found revision {}: its \
                 mirrors are behind",
                repomd::PATH,
                self.repository.revision.as_deref().unwrap_or_default(),
                repomd.revision.as_deref().unwrap_or_default(),
            )));
        }
        let (checksum, revision) = (document.checksum, repomd.revision.clone());
        Ok(Fetched::New { checksum, revision, verified, contents: Contents::Repomd(Box::new(repomd)) })
    }

    /// Fetches `Packages` of Debian.
    async fn packages(&self, root: &Url, known: &Known) -> Result<Fetched, RefreshError> {
        let imported = self.repository.metadata_checksum.as_deref().filter(|_| known.is_read);
        let place = (&self.plan.address.url, root);
        let (packages, downloaded) = debian::fetch(self.sources, place, &self.plan.keys, imported).await?;
        let (revision, verified) = (packages.revision, packages.verified);
        Ok(match downloaded {
            Some((file, checksum)) => Fetched::New { checksum, revision, verified, contents: Contents::Listing(file) },
            None => Fetched::Unchanged(verified),
        })
    }

    /// Fetches a database of pacman.
    async fn database(&self, directory: &Url, known: &Known) -> Result<Fetched, RefreshError> {
        let place = (&self.plan.address.url, directory);
        let (file, checksum, verified) = arch::fetch(self.sources, place, &self.plan.keys).await?;
        if known.is_read && self.repository.metadata_checksum.as_deref() == Some(checksum.as_str()) {
            return Ok(Fetched::Unchanged(verified));
        }
        Ok(Fetched::New { checksum, revision: None, verified, contents: Contents::Listing(file) })
    }

    /// Returns what the index knows of the repository.
    ///
    /// # Errors
    /// The index failed.
    pub(super) async fn known(&self) -> Result<Known, RefreshError> {
        let index = &self.refresher.index;
        let paths = index.known_listing(self.repository.id).await?;
        let members = index.listed_packages(self.repository.id).await?;
        let (wants, count) = (self.plan.wants(), self.repository.package_count);
        let is_read = Listing::is_read_as_wanted(&paths, &members, wants, count);
        Ok(Known { paths, members, is_read })
    }
}
