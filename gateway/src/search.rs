//! A search through what the index knows: which record's file, from which location.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::foreign::Catalog;
use artifact::{BuildId, Format, Kind};
use sql::{Location, Record, StoredPackage};

use crate::answer::{Found, Undecided};
use crate::archives::{Archive, Archives, Failure, Inside, Wanted};
use crate::files::{Content, Entry, Files, Key};
use crate::lookup::Lookup;
use crate::question::{Question, What};

/// What a search came to.
pub(crate) enum Outcome {
    /// Here it is.
    Found(Found),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file is here, and has no such section. Nobody else has to be asked.
    Settled,
}

/// A client gives up after 90 s without a byte.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(75);

/// What an archive always has to give a byte.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// What is searched: the index, the files that were extracted, the archives.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) lookup: Lookup,
    pub(crate) files: Files,
    pub(crate) archives: Archives,
    /// How long an archive may give no byte before it is given up.
    pub(crate) patience: Duration,
}

impl Search {
    /// Searches for what `question` asks for.
    ///
    /// # Errors
    /// Not found, and the index or a store could not be asked.
    pub(crate) async fn run(&self, question: &Question, deadline: Instant) -> Result<Outcome, Undecided> {
        let known = self.lookup.records(&question.build_id, half_way_to(deadline)).await?;
        let records = known.value;
        let mut run = Run { search: self, deadline, causes: Vec::new(), settled: false };
        let found = match &question.what {
            What::Artifact(kind) => run.artifact(&candidates(&records, *kind), &question.build_id).await,
            What::Section(name) => run.section(&records, &question.build_id, name).await,
            What::Source(path) => run.source(&records, path).await,
        };
        // What is not in an answer of earlier may be in the index.
        if !run.settled {
            run.causes.extend(known.away);
        }
        match found {
            Some(found) => Ok(Outcome::Found(found)),
            None if !run.causes.is_empty() => Err(Undecided(run.causes)),
            None if run.settled => Ok(Outcome::Settled),
            None => Ok(Outcome::Absent),
        }
    }
}

/// One search through candidates; remembers who could not be asked.
struct Run<'a> {
    search: &'a Search,
    deadline: Instant,
    causes: Vec<String>,
    /// A debuginfo file was looked through and does not have the section.
    settled: bool,
}

impl Run<'_> {
    /// The first candidate that can be had.
    async fn artifact(&mut self, candidates: &[&Record], build_id: &BuildId) -> Option<Found> {
        for record in candidates {
            if let Some(entry) =
                self.member(&record.package, Wanted::of(&record.artifact), Some(build_id), Need::First, None).await
            {
                let is_poor = record.artifact.kind == Kind::Debuginfo && record.artifact.dwarf != Some(true);
                return Some(Found { is_poor, ..found(entry.content(), &record.artifact.path, &record.package) });
            }
        }
        None
    }

    /// The first candidate whose file has the section, debuginfo before executables.
    async fn section(&mut self, records: &[Record], build_id: &BuildId, name: &str) -> Option<Found> {
        for record in [candidates(records, Kind::Debuginfo), candidates(records, Kind::Executable)].concat() {
            let Some(entry) = self.member(&record.package, Wanted::of(&record.artifact), Some(build_id), Need::Whole, None).await
            else {
                continue;
            };
            let section = name.to_owned();
            let range = match entry.whole_file().await {
                Ok(file) => tokio::task::spawn_blocking(move || artifact::elf::section(&mut &*file, &section)).await,
                Err(failure) => {
                    self.failed(failure);
                    continue;
                }
            };
            match range {
                Ok(Ok(Some(range))) => {
                    return Some(found(Content { entry, range }, &record.artifact.path, &record.package));
                }
                Ok(Ok(None)) => self.settled |= record.artifact.kind == Kind::Debuginfo,
                Ok(Err(error)) => self.causes.push(format!("{}: {error}", record.package.package.nevra)),
                Err(error) => self.causes.push(error.to_string()),
            }
        }
        None
    }

    /// The source file: out of the packages with debug sources among those built from one source package.
    async fn source(&mut self, records: &[Record], path: &str) -> Option<Found> {
        let mut seen: Vec<&StoredPackage> = Vec::new();
        for record in records {
            let package = &record.package;
            if seen.iter().any(|seen| is_same_build(seen, package)) {
                continue;
            }
            seen.push(package);
            for sibling in self.source_packages(package).await {
                if let Some(found) = self.source_in(&sibling, path).await {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The packages of a build that can hold its sources, likeliest first: -debugsource since Fedora 27, the kernel's
    /// -debuginfo-common, and the -debuginfo packages of older releases; Arch's -debug; a tar archive itself. Of several builds of one
    /// source package those that are nearest in distribution and time.
    async fn source_packages(&mut self, of: &Arc<StoredPackage>) -> Vec<Arc<StoredPackage>> {
        let Some(source_rpm) = &of.package.source_rpm else {
            return source_rank(of).map(|_| of.clone()).into_iter().collect();
        };
        let known = self.search.lookup.siblings(source_rpm, &of.package.nevra.arch, half_way_to(self.deadline)).await;
        let siblings = match known {
            Ok(known) => {
                self.causes.extend(known.away);
                known.value
            }
            Err(cause) => {
                self.causes.push(cause);
                return Vec::new();
            }
        };
        let mut siblings: Vec<_> = siblings.iter().filter(|sibling| source_rank(sibling).is_some()).cloned().collect();
        siblings.sort_by_key(|sibling| {
            let seconds_apart = match (sibling.package.built_at, of.package.built_at) {
                (Some(a), Some(b)) => a.abs_diff(b),
                _ => u64::MAX,
            };
            (sibling.distro != of.distro, source_rank(sibling), seconds_apart)
        });
        siblings
    }

    async fn source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Found> {
        if package.package.format != Format::Rpm {
            let catalog = self.catalog(package).await?;
            let (ordinal, file) = catalog.file(path)?;
            let wanted = Wanted { ordinal: *ordinal, file: Some(Arc::new(file.clone())) };
            let entry = self.member(package, wanted, None, Need::First, None).await?;
            return Some(found(entry.content(), path, package));
        }
        let mut opened = None;
        let header = match self.search.archives.known_header(package).await {
            Some(header) => header,
            None => {
                let archive = self.open(package).await?;
                let Inside::Rpm(header) = &archive.inside else { return None };
                let header = header.clone();
                opened = Some(archive);
                header
            }
        };
        let (ordinal, _) = header.file(path).filter(|(_, file)| file.is_regular())?;
        let entry = self.member(package, Wanted { ordinal, file: None }, None, Need::First, opened).await?;
        Some(found(entry.content(), path, package))
    }

    /// What is in a package without a header, from the first of its locations that tells it. Like an extraction it may take longer than
    /// the budget, as long as bytes come.
    async fn catalog(&mut self, package: &StoredPackage) -> Option<Arc<Catalog>> {
        let archives = self.search.archives.clone();
        if let Some(catalog) = archives.known_catalog(package).await {
            return Some(catalog);
        }
        for location in archives.locations(package) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let patience = self.search.patience.min(left).max(LEAST_PATIENCE);
            let made = tokio::time::timeout(FIRST_BYTES_WITHIN, archives.catalog(package, location, patience)).await;
            match made {
                Ok(Ok(catalog)) => return Some(catalog),
                Ok(Err(failure)) => self.failed_at(location, failure).await,
                Err(_) => {
                    let nvra = &package.package.nevra;
                    self.causes.push(format!("{nvra}: expected to have read it within {FIRST_BYTES_WITHIN:?}, it goes on"));
                    return None;
                }
            }
        }
        None
    }

    /// Opens a package at the first of its locations that has it.
    async fn open(&mut self, package: &StoredPackage) -> Option<Archive> {
        let archives = self.search.archives.clone();
        let mut rest = archives.locations(package).into_iter();
        while let Some(location) = rest.next() {
            let any = Wanted { ordinal: 0, file: None };
            match open_within(&archives, package, location, &any, self.location_deadline(rest.len())).await {
                Ok(archive) => return Some(archive),
                Err(failure) => self.failed_at(location, failure).await,
            }
        }
        None
    }

    /// The member, from the cache, from `opened`, or from the first location that gives it.
    async fn member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: Wanted,
        build_id: Option<&BuildId>,
        need: Need,
        opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let ordinal = wanted.ordinal;
        let key = Key { identity: package.package.identity, ordinal };
        let archives = self.search.archives.clone();
        let mut entry = match self.search.files.find(key).await {
            Some(entry) => self.met(need, key, entry).await.map_err(|failure| self.failed(failure)).ok(),
            None => None,
        };
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = self.filled(need, key, build_id, async { Ok(archive) }).await;
            entry = filled.map_err(|failure| self.failed(failure)).ok();
        }
        let mut rest = archives.locations(package).into_iter();
        while entry.is_none()
            && let Some(location) = rest.next()
        {
            if Instant::now() >= self.deadline {
                self.causes.push(format!("store {}: not asked, the budget was used up before", location.store.name));
                break;
            }
            let deadline = self.location_deadline(rest.len());
            let open = {
                let (archives, package, location, wanted) = (archives.clone(), package.clone(), location.clone(), wanted.clone());
                async move { open_within(&archives, &package, &location, &wanted, deadline).await }
            };
            match self.filled(need, key, build_id, open).await {
                Ok(filled) => entry = Some(filled),
                Err(failure @ Failure::Here(_)) => {
                    self.failed(failure);
                    break;
                }
                Err(failure) => self.failed_at(location, failure).await,
            }
        }
        let entry = entry?;
        match build_id {
            None => Some(entry),
            Some(build_id) => match entry.carries(build_id).await {
                Ok(true) => Some(entry),
                Ok(false) => {
                    let nvra = &package.package.nevra;
                    tracing::warn!(%nvra, ordinal, %build_id, "a file carries another build-id than its package's header says");
                    None
                }
                Err(error) => {
                    self.causes.push(error.to_string());
                    None
                }
            },
        }
    }

    /// The member out of the archive that `open` opens, as soon as enough of it is there.
    async fn filled<F>(&self, need: Need, key: Key, build_id: Option<&BuildId>, open: F) -> Result<Arc<Entry>, Failure>
    where
        F: Future<Output = Result<Archive, Failure>> + Send + 'static,
    {
        let entry = self.search.files.fill(key, build_id, open).await?;
        self.met(need, key, entry).await
    }

    /// Waits until enough of the member is there. An archive may be long; one that gives nothing for half a budget is given up.
    async fn met(&self, need: Need, key: Key, entry: Arc<Entry>) -> Result<Arc<Entry>, Failure> {
        // Several that stall one after the other take one budget together.
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = self.search.patience.min(left).max(LEAST_PATIENCE);
        let flowing = async {
            match need {
                Need::First => entry.while_it_flows(patience, entry.content().ready()).await,
                Need::Whole => entry.while_it_flows(patience, entry.whole_file()).await.map(drop),
            }
        };
        match tokio::time::timeout(FIRST_BYTES_WITHIN, flowing).await {
            Ok(Ok(())) => Ok(entry),
            Ok(Err(failure)) => {
                self.search.files.forget(key, &entry).await;
                Err(failure)
            }
            // It goes on, for whoever asks again.
            Err(_) => Err(Failure::Unknown(format!("expected enough of a member within {FIRST_BYTES_WITHIN:?}, found less"))),
        }
    }

    /// A location may take half of what is left if `others` follow it: a store that hangs must leave time to ask the next one.
    fn location_deadline(&self, others: usize) -> Instant {
        if others > 0 { half_way_to(self.deadline) } else { self.deadline }
    }

    async fn failed_at(&mut self, location: &Location, failure: Failure) {
        if matches!(failure, Failure::Unknown(_)) {
            self.search.archives.blame(location).await;
        }
        self.failed(failure);
    }

    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Absent(cause) => tracing::debug!(cause, "absent"),
            Failure::Unknown(cause) | Failure::Here(cause) => self.causes.push(cause),
        }
    }
}

/// How much of a member has to be there before it is an answer.
#[derive(Clone, Copy)]
enum Need {
    /// The first bytes that may leave, so that a response that is begun is likely to end.
    First,
    /// All of it.
    Whole,
}

/// Opens an archive unless that takes too long.
async fn open_within(
    archives: &Archives,
    package: &StoredPackage,
    location: &Location,
    wanted: &Wanted,
    deadline: Instant,
) -> Result<Archive, Failure> {
    let opened = tokio::time::timeout_at(deadline.into(), archives.open(package, location, wanted)).await;
    opened.unwrap_or_else(|_| {
        Err(Failure::Unknown(format!("store {}: expected an answer within the budget, found none", location.store.name)))
    })
}

fn found(content: Content, member: &str, package: &StoredPackage) -> Found {
    Found { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}

/// Packages that come from one run of one source package, as far as the index can tell.
fn is_same_build(a: &StoredPackage, b: &StoredPackage) -> bool {
    let build = |stored: &StoredPackage| {
        let package = &stored.package;
        (package.source_rpm.clone(), package.nevra.arch.clone(), stored.distro.clone(), package.built_at)
    };
    a.package.source_rpm.is_some() && build(a) == build(b)
}

/// How likely a package holds debug sources, 0 the likeliest; `None` where it cannot.
fn source_rank(package: &StoredPackage) -> Option<u8> {
    let name = &package.package.nevra.name;
    match (package.package.format, name) {
        (Format::Tar, _) => Some(0),
        (Format::File, _) => None,
        (Format::Arch, name) => name.ends_with("-debug").then_some(0),
        // Nobody's but those of Yocto: Debian's packages have no sources.
        (Format::Deb, name) => name.ends_with("-src").then_some(0),
        (Format::Rpm, name) => rank_of_rpm(name),
    }
}

fn rank_of_rpm(name: &str) -> Option<u8> {
    match name {
        name if name.ends_with("-debugsource") => Some(0),
        name if name.contains("-debuginfo-common") => Some(1),
        name if name.ends_with("-debuginfo") => Some(2),
        _ => None,
    }
}

/// The records that can answer for `kind`, best first: files with DWARF before files that may have some and files that have none,
/// then the newest build.
fn candidates(records: &[Record], kind: Kind) -> Vec<&Record> {
    let mut candidates: Vec<&Record> = records.iter().filter(|record| record.artifact.kind == kind).collect();
    let dwarf_rank = |record: &Record| match record.artifact.dwarf {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    candidates.sort_by_key(|record| {
        let dwarf = if kind == Kind::Debuginfo { dwarf_rank(record) } else { 0 };
        (dwarf, std::cmp::Reverse(record.package.package.built_at), std::cmp::Reverse(record.package.id), record.artifact.ordinal)
    });
    candidates
}

/// Who is asked first may take half of what is left: one who hangs must leave time to ask the next.
fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
