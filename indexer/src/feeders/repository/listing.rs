//! What a repository lists, compared with what the index knows below its path.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use artifact::{Format, Nevra};
use repodata::ListedLink;
use sql::{
    Checksum, ClaimedPackage, Index, KnownListed, KnownListing, KnownPackage, NewLocation, Origin, PackageLocation,
    PathHash,
};

use super::claims::{self, PackedBuildIds};
use super::places::StorePath;
use crate::fetch::remote::RemoteArchive;
use crate::report::failure::Result;
use crate::report::progress::MAX_NAMED;

/// Number of checksums in one query.
const CHECKSUMS: usize = 5_000;
/// Stands for the hash of a checksum that is not known.
const NO_CHECKSUM: u64 = 0;

/// A package in a listing, whatever the format of its metadata.
#[derive(Clone, Debug)]
pub(crate) struct ListedArchive {
    pub(crate) format: Format,
    pub(crate) nevra: Nevra,
    /// File name of the source package.
    pub(crate) source_rpm: Option<String>,
    /// The store, and the archive's path below it.
    pub(crate) store_id: i64,
    pub(crate) path: String,
    /// The path below the repository; `None` if the archive is elsewhere.
    pub(crate) relative: Option<String>,
    /// Size of the archive in bytes.
    pub(crate) size: Option<u64>,
    /// The main header's bytes inside the archive.
    pub(crate) header: Option<Range<u64>>,
    pub(crate) checksum: Checksum,
    /// Build-ids of debug files that the metadata states.
    pub(crate) build_ids: PackedBuildIds,
    /// Build-id links that the metadata states.
    pub(crate) links: Vec<ListedLink>,
}

/// A package that is not imported, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) package: String,
    pub(crate) reason: String,
}

/// How far packages are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// True if headers are read; false if the metadata alone is.
    pub(crate) headers: bool,
    /// True if payloads of open packages are read.
    pub(crate) payloads: bool,
}

impl Wants {
    /// True if a package of the index has to be read again.
    fn more_of(self, is_read: bool, is_open: bool) -> bool {
        if is_read { is_open && self.payloads } else { self.headers }
    }
}

/// A listing while it is read.
pub(crate) struct Listing {
    repository_id: i64,
    store_id: i64,
    wants: Wants,
    known: KnownListing,
    /// Packages that the repository listed at its last refresh.
    members: HashSet<i64>,
    /// Stores, paths, and hashes of checksums by `hasher`. More than one checksum at a path is a contradiction, which
    /// the archives settle.
    seen: BTreeSet<(i64, PathHash, u64)>,
    hasher: RandomState,
    /// Known packages that are listed still.
    listed: HashSet<i64>,
    /// Of these, those whose membership has to be written, with a path.
    unmarked: Vec<(i64, PathHash)>,
    /// Listed paths at which a check found the archive gone: only its header shows that it is there again.
    found_gone: HashSet<PathHash>,
    /// Checksums of refused entries.
    kept: HashSet<Checksum>,
    /// True if it is not known which package a refused entry is: it may be any that seems to be missing.
    is_incomplete: bool,
    /// Packages that are new at their paths, or not read far enough. Each is freed when it is imported.
    #[expect(clippy::vec_box, reason = "a growing vector of the packages themselves takes twice the memory")]
    pub(crate) new: Vec<Box<ListedArchive>>,
    /// The first of the refused entries.
    pub(crate) refused: Vec<Refused>,
    /// Number of refused entries.
    pub(crate) refused_count: u64,
    /// Number of packages listed, without duplicates and refused ones.
    pub(crate) package_count: u64,
    /// Of these: known at their paths.
    pub(crate) unchanged: u64,
    /// Entries that repeat another one.
    pub(crate) duplicates: u64,
}

/// What to do with the new packages of a listing.
#[derive(Default)]
pub(crate) struct Work {
    /// Known packages at another place.
    pub(crate) located: Vec<PackageLocation>,
    /// Packages whose header has to be read, or whose claims are inserted.
    #[expect(clippy::vec_box, reason = "a growing vector of the packages themselves takes twice the memory")]
    pub(crate) unread: Vec<Box<ListedArchive>>,
    /// Known packages whose membership begins, with a path.
    pub(crate) marks: Vec<(i64, PathHash)>,
    /// Packages whose membership ends, unless the work begins it again.
    pub(crate) ended: Vec<i64>,
    /// Paths that are listed no longer.
    pub(crate) gone: Vec<PathHash>,
}

impl Listing {
    /// Returns an empty listing of a repository, to be compared with the index.
    pub(crate) fn new(repository: &sql::Repository, wants: Wants, known: KnownListing, members: HashSet<i64>) -> Self {
        Self {
            repository_id: repository.id,
            store_id: repository.store_id,
            wants,
            known,
            members,
            seen: BTreeSet::new(),
            hasher: RandomState::new(),
            listed: HashSet::new(),
            unmarked: Vec::new(),
            found_gone: HashSet::new(),
            kept: HashSet::new(),
            is_incomplete: false,
            new: Vec::new(),
            refused: Vec::new(),
            refused_count: 0,
            package_count: 0,
            unchanged: 0,
            duplicates: 0,
        }
    }

    /// True if everything that the index knows of the repository is read as far as wanted, so that unchanged metadata
    /// needs no other look. `package_count` is that of the last complete listing.
    pub(crate) fn is_read_as_wanted(
        known: &KnownListing,
        members: &HashSet<i64>,
        wants: Wants,
        package_count: Option<u64>,
    ) -> bool {
        let listed = || known.values().filter(|known| known.is_listed && !known.is_gone);
        package_count.is_some_and(|count| count <= members.len().max(listed().count()) as u64)
            && !listed().any(|known| wants.more_of(known.is_read, known.is_open))
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: ListedArchive) {
        let path_hash = PathHash::of_path(&entry.path);
        if !self.seen.insert((entry.store_id, path_hash, self.hasher.hash_one(&entry.checksum))) {
            self.duplicates += 1;
            return;
        }
        self.package_count += 1;
        let known = self.known.get(&path_hash).filter(|_| entry.store_id == self.store_id);
        let Some(known) = known.filter(|known| known.checksum.as_ref() == Some(&entry.checksum)) else {
            self.new.push(Box::new(entry));
            return;
        };
        self.listed.insert(known.package_id);
        if known.is_found_gone {
            self.unmarked.push((known.package_id, path_hash));
            if self.wants.headers {
                self.found_gone.insert(path_hash);
                self.new.push(Box::new(entry));
            } else {
                self.unchanged += 1;
            }
            return;
        }
        if known.is_gone || self.wants.more_of(known.is_read, known.is_open) {
            self.new.push(Box::new(entry));
            return;
        }
        self.unchanged += 1;
        if !known.is_listed {
            self.unmarked.push((known.package_id, path_hash));
        }
    }

    /// Number of entries so far.
    pub(crate) fn entry_count(&self) -> u64 {
        self.package_count + self.duplicates + self.refused_count
    }

    /// Refuses an entry. The first ones are named, the others counted.
    pub(crate) fn refuse(&mut self, package: impl Into<String>, reason: impl Into<String>) {
        self.refused_count += 1;
        if self.refused.len() < MAX_NAMED {
            self.refused.push(Refused { package: package.into(), reason: reason.into() });
        }
    }

    /// Keeps known packages with the checksum of a refused entry as they are: they are listed still.
    pub(crate) fn keep(&mut self, checksum: Checksum) {
        self.kept.insert(checksum);
    }

    /// Keeps what the index knows at the place of a refused entry as it is. Without a place, or with one in another
    /// store, everything that seems to be listed no longer is kept.
    pub(crate) fn keep_place(&mut self, place: Option<&StorePath>) {
        let Some(place) = place.filter(|place| place.store_id == self.store_id) else {
            self.is_incomplete = true;
            return;
        };
        let path_hash = PathHash::of_path(&place.path);
        self.seen.insert((place.store_id, path_hash, NO_CHECKSUM));
        self.listed.extend(self.known.get(&path_hash).map(|known| known.package_id));
    }

    /// Ends the listing: looks up new packages by their checksums, and finds what is listed no longer.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) async fn end(&mut self, index: &Index) -> Result<Work> {
        let mut work = Work { marks: std::mem::take(&mut self.unmarked), ..Work::default() };
        let mut new = std::mem::take(&mut self.new).into_iter();
        loop {
            let batch: Vec<Box<ListedArchive>> = new.by_ref().take(CHECKSUMS).collect();
            if batch.is_empty() {
                break;
            }
            let checksums: Vec<Checksum> = batch.iter().map(|entry| entry.checksum.clone()).collect();
            let by_checksum = index.packages_by_checksum(&checksums).await?;
            for entry in batch {
                let known = by_checksum.get(&entry.checksum);
                let known = known.filter(|known| entry.nevra.is_same_package(&known.nevra));
                // Listed also if it cannot be read now.
                self.listed.extend(known.map(|known| known.package_id));
                let is_read = |known: &&KnownPackage| !self.wants.more_of(true, known.is_open);
                let known = known.filter(is_read).filter(|_| proves_identity(&entry.checksum));
                let Some(known) = known.filter(|_| !self.is_found_gone(&entry)) else {
                    work.unread.push(entry);
                    continue;
                };
                let located = self.location_of(&entry, known);
                match located.check() {
                    Ok(()) => work.located.push(located),
                    Err(error) => self.refuse(entry.nevra.nvra(), error.to_string()),
                }
            }
        }
        if self.is_incomplete {
            return Ok(work);
        }
        let kept: Vec<Checksum> = self.kept.iter().cloned().collect();
        let kept_elsewhere = index.packages_by_checksum(&kept).await?;
        self.listed.extend(kept_elsewhere.values().map(|known| known.package_id));
        let is_kept =
            |known: &KnownListed| known.checksum.as_ref().is_some_and(|checksum| self.kept.contains(checksum));
        let checksums = |path: PathHash| (self.store_id, path, 0)..=(self.store_id, path, u64::MAX);
        let is_seen = |path: &PathHash| self.seen.range(checksums(*path)).next().is_some();
        for (path, known) in &self.known {
            if is_kept(known) {
                self.listed.insert(known.package_id);
            } else if !known.is_gone && !is_seen(path) {
                work.gone.push(*path);
            }
        }
        work.gone.sort_unstable();
        work.ended = self.members.difference(&self.listed).copied().collect();
        work.ended.sort_unstable();
        Ok(work)
    }

    /// True if a check found the archive of an entry gone.
    fn is_found_gone(&self, entry: &ListedArchive) -> bool {
        entry.store_id == self.store_id && self.found_gone.contains(&PathHash::of_path(&entry.path))
    }

    fn location_of(&self, entry: &ListedArchive, known: &KnownPackage) -> PackageLocation {
        PackageLocation {
            package_id: known.package_id,
            location: NewLocation {
                header: known.header.clone(),
                signing_key: known.signing_key.clone(),
                ..entry.location()
            },
            repository_id: Some(self.repository_id),
        }
    }
}

impl ListedArchive {
    /// Returns the archive for its reader.
    pub(crate) fn remote(&self) -> RemoteArchive<'_> {
        RemoteArchive {
            nevra: &self.nevra,
            store_id: self.store_id,
            path: &self.path,
            relative: self.relative.as_deref(),
            size: self.size,
            header: self.header.as_ref(),
            checksum: Some(&self.checksum),
        }
    }

    /// Returns the location of the archive, as far as the listing states it.
    pub(crate) fn location(&self) -> NewLocation {
        NewLocation {
            store_id: self.store_id,
            path: self.path.clone(),
            size: self.size,
            mtime_ns: None,
            header: self.header.clone(),
            checksum: Some(self.checksum.clone()),
            signing_key: None,
        }
    }

    /// Returns the package as the metadata alone states it.
    pub(crate) fn into_claimed(self, distro: Option<&str>, repository_id: i64) -> ClaimedPackage {
        let location = Some(self.location());
        let Self { format, nevra, source_rpm, build_ids, links, .. } = self;
        let distro = distro.map_or_else(|| nevra.dist_tag().to_owned(), str::to_owned);
        let repository_id = Some(repository_id);
        ClaimedPackage {
            origin: Origin::Repository,
            format,
            nevra,
            source_rpm,
            distro,
            claims: claims::merge(&build_ids, links),
            location,
            repository_id,
            koji: None,
        }
    }
}

/// True if archives with the same checksum are the same. Different ones with the same MD5 or SHA-1 can be made.
fn proves_identity(checksum: &Checksum) -> bool {
    !matches!(checksum.kind.as_str(), "md5" | "sha1")
}
