//! One reading of a repository: its metadata, its listing, its packages, and the end of its listing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use artifact::Format;
use repodata::deb;
use repodata::primary::MAX_PACKAGES;
use sql::{CompleteListing, Repository, Verified};
use tokio::runtime::Handle;

use super::download::{self, Expected, RefreshError};
use super::entries::{Entries, ListingFile, MAX_OPEN_BYTES};
use super::listing::{ListedArchive, Listing, Work};
use super::metadata::{Contents, Fetched, Known, Metadata, MetadataFetch};
use super::places::Places;
use super::repomd::Document;
use super::rpm;
use super::sources::Sources;
use super::{Plan, Refresher};
use crate::feeders::feed::Feed;
use crate::fetch::http::Fetcher;
use crate::fetch::mirrors::Mirrors;
use crate::fetch::package::PackageReader;
use crate::fetch::reader::{Candidate, ReadOutcome, Reader};
use crate::fetch::remote::{PackageTraffic, RemoteReader};
use crate::pipeline::Pipeline;
use crate::pipeline::writer::Writer;
use crate::report::failure::CommandFailure;
use crate::report::progress::ImportProgress;
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::time::now;

/// Number of packages in one statement of memberships.
const MARKS: usize = 5_000;
/// Maximum number of candidates in a batch between threads: a request takes longer than to send one.
const BATCH: usize = 1;

/// One reading of a repository.
pub(super) struct Attempt<'a> {
    pub(super) refresher: &'a Refresher,
    pub(super) plan: &'a Plan,
    pub(super) sources: &'a Sources,
    pub(super) repository: &'a Repository,
    pub(super) summary: &'a mut RepositorySummary,
}

/// A listing that was read to its end.
struct CompleteRead {
    listing: Listing,
    /// With `--metadata-only`, if the repository has it.
    filelists: Option<ListingFile>,
}

impl Attempt<'_> {
    /// Fetches the metadata. `None` if everything that it names was imported already, which is recorded.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub(super) async fn metadata(&mut self) -> Result<Option<Metadata>, RefreshError> {
        let Self { refresher, plan, sources, repository, .. } = *self;
        let started_at = refresher.index.begin_listing(repository.id).await?;
        let fetch = MetadataFetch { refresher, plan, sources, repository };
        let known = fetch.known().await?;
        match fetch.fetch(&known).await? {
            Fetched::Unchanged(verified) => {
                self.confirm_unchanged(verified, started_at).await?;
                Ok(None)
            }
            Fetched::New { checksum, revision, verified, contents } => {
                Ok(Some(Metadata { checksum, revision, verified, contents, started_at, known }))
            }
        }
    }

    async fn confirm_unchanged(&mut self, verified: Verified, started_at: i64) -> Result<(), RefreshError> {
        self.refresher.index.confirm_unchanged(self.repository.id, verified, now().max(started_at)).await?;
        self.summary.outcome = RepositoryOutcome::Unchanged;
        self.summary.verified = verified;
        self.summary.packages = self.repository.package_count.unwrap_or_default();
        self.summary.unchanged = self.summary.packages;
        Ok(())
    }

    /// Imports what the metadata names. Reads all listings to their ends first.
    ///
    /// # Errors
    /// [`RefreshError::Inconsistent`] also if packages are refused and the metadata has changed meanwhile.
    pub(super) async fn import(
        &mut self,
        metadata: Metadata,
        progress: &mut ImportProgress,
    ) -> Result<(), RefreshError> {
        let bytes = self.refresher.network.traffic().bytes();
        let Metadata { checksum, revision, verified, contents, started_at, known } = metadata;
        let read = self.read_listing(contents, known).await;
        self.summary.metadata_bytes += self.refresher.network.traffic().bytes() - bytes;
        let CompleteRead { mut listing, filelists } = read?;
        progress.set_phase("comparing with the index");
        let mut work = listing.end(&self.refresher.index).await?;
        let (ended, gone) = (std::mem::take(&mut work.ended), std::mem::take(&mut work.gone));
        let marks = std::mem::take(&mut work.marks);
        for refused in &listing.refused {
            progress.report_broken(&refused.package, &refused.reason);
        }
        progress.count_broken(listing.refused_count - listing.refused.len() as u64);
        if !(work.located.is_empty() && work.unread.is_empty() && marks.is_empty()) {
            self.refresher.index.forget_metadata(self.repository.id).await?;
        }
        Box::pin(self.run(work, filelists, progress)).await?;
        self.mark_listed(&marks).await?;
        let has_refused = progress.summary.broken + progress.summary.unreadable > 0;
        if has_refused && Box::pin(self.has_changed(&checksum)).await {
            progress.restart();
            return Err(RefreshError::Inconsistent("packages were replaced while they were read".into()));
        }
        progress.set_phase("ending the listing");
        let end = CompleteListing {
            revision,
            metadata_checksum: (!has_refused).then_some(checksum),
            verified,
            package_count: listing.package_count,
            ended,
            gone,
            started_at,
            refused_count: progress.summary.broken + progress.summary.unreadable,
            refused: progress.first_refused(),
        };
        let end = self.refresher.index.complete_listing(self.repository.id, &end).await?;
        let summary = &mut *self.summary;
        (summary.outcome, summary.verified) = (RepositoryOutcome::Imported, verified);
        (summary.packages, summary.unchanged) = (listing.package_count, listing.unchanged);
        (summary.duplicates, summary.ended, summary.gone) = (listing.duplicates, end.ended, end.gone);
        Ok(())
    }

    /// True if `repomd.xml` is another one now.
    async fn has_changed(&self, checksum: &str) -> bool {
        if self.plan.format != Format::Rpm {
            return false;
        }
        // A metalink that was read before the change names the former document alone.
        let Refresher { network, .. } = self.refresher;
        let Ok(sources) = Sources::resolve(&self.plan.address, network, &self.plan.store).await else { return false };
        let again = Document::fetch(&sources, None).await;
        again.is_ok_and(|again| again.checksum != checksum)
    }

    /// Downloads and reads the listings.
    async fn read_listing(&mut self, contents: Contents, known: Known) -> Result<CompleteRead, RefreshError> {
        let stores = self.refresher.index.stores().await?;
        let places = Places::new(&self.plan.store, &self.repository.path, self.sources.bases.clone(), &stores);
        let (mut file, mut filelists) = match contents {
            Contents::Listing(file) => (file, None),
            Contents::Repomd(repomd) => {
                let primary = self.download(&repomd.primary, &places).await?;
                let filelists = match repomd.find("filelists").filter(|_| self.plan.metadata_only) {
                    Some(entry) => Some(self.download(entry, &places).await?),
                    None => None,
                };
                (primary, filelists)
            }
        };
        let mut listing = Listing::new(self.repository, self.plan.wants(), known.paths, known.members);
        let (stop, format, with_claims) = (self.refresher.stop.clone(), self.plan.format, !self.plan.wants().headers);
        let read = tokio::task::spawn_blocking(move || {
            let (listed, places) = (&mut listing, &places);
            let mut entries = Entries {
                listing: listed,
                places,
                format,
                with_claims,
                stop: &stop,
                rubbish: 0,
                max_entries: MAX_PACKAGES,
                has_too_many: false,
            };
            match format {
                Format::Deb => drop(deb::read_packages(file.open()?, |entry| entries.add(entry))?),
                Format::Arch => drop(repodata::arch::read(file.packed()?, MAX_OPEN_BYTES, |entry| entries.add(entry))?),
                _ => rpm::read_primary(&mut file, &mut entries)?,
            }
            let rubbish = entries.rubbish;
            if entries.has_too_many {
                return Ok(None);
            }
            if let Some(filelists) = filelists.as_mut().filter(|_| !listing.new.is_empty()) {
                rpm::check_filelists(filelists, &stop)?;
            }
            Ok::<_, repodata::Error>(Some((listing, filelists, rubbish)))
        });
        let read = read.await.map_err(CommandFailure::local)?;
        if self.refresher.stop.is_set() {
            return Err(RefreshError::Stopped);
        }
        let read = read.map_err(|error| RefreshError::Inconsistent(error.to_string()))?;
        let (listing, filelists, rubbish) = read.ok_or_else(|| {
            RefreshError::Refused(format!("expected at most {MAX_PACKAGES} packages in a listing, found more"))
        })?;
        self.summary.rubbish_provides = rubbish;
        Ok(CompleteRead { listing, filelists })
    }

    /// Downloads a listing that `repomd.xml` names.
    async fn download(&self, entry: &repodata::repomd::Entry, places: &Places) -> Result<ListingFile, RefreshError> {
        let refuse = |reason| RefreshError::Refused(format!("{}: {reason}", entry.kind));
        let place = places.find(&entry.href).map_err(refuse)?;
        let expected = Expected { checksum: &entry.checksum, size: entry.size };
        let downloaded = match &place.relative {
            Some(relative) => download::listing(&self.sources.fetcher, relative, Some(expected)).await?,
            None => {
                let fetcher = self.fetcher_of(place.store_id).await?;
                download::listing(&fetcher, &place.path, Some(expected)).await?
            }
        };
        Ok(ListingFile { file: downloaded.file, name: format!("{}.xml", entry.kind), open_size: entry.open_size })
    }

    /// Returns the fetcher of another store.
    async fn fetcher_of(&self, store_id: i64) -> Result<Fetcher, RefreshError> {
        let stores = self.refresher.index.stores().await?;
        let store = stores.iter().find(|store| store.id == store_id);
        let base = store.and_then(|store| Some((store, store.base_url.as_deref()?)));
        let Some((store, base)) = base else {
            return Err(RefreshError::Refused("expected a store with a URL, found none".into()));
        };
        let mirrors = Mirrors::of_base(&self.refresher.network, store, base);
        mirrors.map(|mirrors| Fetcher::new(mirrors.patient())).map_err(|error| RefreshError::Refused(error.to_string()))
    }

    /// Reads and writes packages.
    async fn run(
        &mut self,
        work: Work,
        filelists: Option<ListingFile>,
        progress: &mut ImportProgress,
    ) -> Result<(), RefreshError> {
        let refresher = self.refresher;
        let total = (work.located.len() + work.unread.len()) as u64;
        if total == 0 {
            return Ok(());
        }
        progress.found_counter().store(total, Ordering::Relaxed);
        let elsewhere: HashSet<i64> =
            work.unread.iter().filter(|listed| listed.relative.is_none()).map(|listed| listed.store_id).collect();
        let mut stores = HashMap::new();
        for store_id in elsewhere {
            stores.insert(store_id, self.fetcher_of(store_id).await?);
        }
        let traffic = Arc::new(PackageTraffic::default());
        let given_up = Arc::new(Mutex::new(None));
        let reader = RemoteReader {
            package: PackageReader {
                repository_id: Some(self.repository.id),
                distro: self.plan.distro.clone(),
                payload: self.plan.payload,
                temp_limit: refresher.temp_limit,
                index: refresher.index.clone(),
                runtime: Handle::current(),
                stop: refresher.stop.clone(),
                complete: Mutex::default(),
            },
            fetcher: self.sources.fetcher.clone(),
            stores,
            traffic: Arc::clone(&traffic),
            given_up: Arc::clone(&given_up),
        };
        let feeding = Feeding {
            format: self.plan.format,
            wants_headers: self.plan.wants().headers,
            distro: self.plan.distro.clone(),
            repository_id: self.repository.id,
            broken: Arc::clone(&given_up),
        };
        let mut writer = Writer::of_repository(refresher.index.clone(), self.repository.store_id);
        let pipeline = Pipeline {
            reader: Reader::Remote(reader),
            jobs: refresher.jobs,
            batch: BATCH,
            stop: refresher.stop.clone(),
        };
        let ran = pipeline.run(move |feed| feeding.run(work, filelists, feed), &mut writer, progress).await;
        let summary = &mut *self.summary;
        summary.headers += traffic.headers.load(Ordering::Relaxed);
        summary.header_bytes += traffic.header_bytes.load(Ordering::Relaxed);
        summary.payload_bytes += traffic.payload_bytes.load(Ordering::Relaxed);
        ran?;
        if refresher.stop.is_set() {
            return Err(RefreshError::Stopped);
        }
        let given_up = given_up.lock().unwrap_or_else(PoisonError::into_inner).take();
        given_up.map_or(Ok(()), |reason| Err(RefreshError::Refused(reason)))
    }

    /// Begins the memberships of known packages.
    async fn mark_listed(&self, marks: &[(i64, sql::PathHash)]) -> Result<(), RefreshError> {
        for marks in marks.chunks(MARKS) {
            let (ids, paths): (Vec<i64>, Vec<sql::PathHash>) = marks.iter().copied().unzip();
            self.refresher.index.mark_listed(self.repository.id, &ids, &paths, now()).await?;
        }
        Ok(())
    }
}

/// The feeder of a repository.
struct Feeding {
    format: Format,
    wants_headers: bool,
    distro: Option<String>,
    repository_id: i64,
    /// Gets the reason if a listing breaks off.
    broken: Arc<Mutex<Option<String>>>,
}

impl Feeding {
    /// Sends all work to the pipeline.
    fn run(&self, work: Work, filelists: Option<ListingFile>, feed: &Feed) {
        for located in work.located {
            if !feed.send_outcome(ReadOutcome::Located(Box::new(located), self.format)) {
                return;
            }
        }
        if self.wants_headers {
            // Stops at the first that is not taken.
            let _ = work.unread.into_iter().all(|listed| feed.send_candidate(Candidate::Remote(listed)));
            return;
        }
        let claim = |listed: Box<ListedArchive>| {
            let claimed = listed.into_claimed(self.distro.as_deref(), self.repository_id);
            let outcome = match claimed.check() {
                Ok(()) => ReadOutcome::Claimed(Box::new(claimed)),
                Err(error) => ReadOutcome::Broken { path: claimed.nevra.nvra(), reason: error.to_string() },
            };
            feed.send_outcome(outcome)
        };
        let Some(mut filelists) = filelists else {
            let _ = work.unread.into_iter().all(claim);
            return;
        };
        if let Err(error) = rpm::add_filelists(&mut filelists, work.unread, claim) {
            *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }
}
