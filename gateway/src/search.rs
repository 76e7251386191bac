//! A search through what the index knows: which record's file, from which location.

use std::sync::Arc;
use std::time::Instant;

use artifact::{BuildId, Kind};
use sql::{Location, Record, StoredPackage};

use crate::archives::{Archive, Archives, Failure};
use crate::error::Undecided;
use crate::files::{Content, Entry, Key};
use crate::question::{Question, What};
use crate::resolve::Gateway;

/// Bytes, and what they are.
pub(crate) struct Found {
    pub(crate) content: Content,
    /// Path of the member.
    pub(crate) member: String,
    /// NVRA of its package.
    pub(crate) nvra: String,
}

/// What a search came to.
pub(crate) enum Outcome {
    /// Here it is.
    Found(Found),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file is here, and has no such section. Nobody else has to be asked.
    Settled,
}

/// Searches for what `question` asks for.
///
/// # Errors
/// Not found, and the index or a store could not be asked.
pub(crate) async fn run(gateway: &Gateway, question: &Question, deadline: Instant) -> Result<Outcome, Undecided> {
    let asked = tokio::time::timeout_at(half_way_to(deadline).into(), gateway.lookup.records(&question.build_id));
    let records = asked.await.unwrap_or_else(|_| Err("index: expected an answer within the budget, found none".into()))?;
    let mut search = Search { gateway, deadline, causes: Vec::new(), settled: false };
    let found = match &question.what {
        What::Artifact(kind) => search.artifact(&candidates(&records, *kind), &question.build_id).await,
        What::Section(name) => search.section(&records, &question.build_id, name).await,
        What::Source(path) => search.source(&records, path).await,
    };
    match found {
        Some(found) => Ok(Outcome::Found(found)),
        None if !search.causes.is_empty() => Err(Undecided(search.causes)),
        None if search.settled => Ok(Outcome::Settled),
        None => Ok(Outcome::Absent),
    }
}

/// One search through candidates; remembers who could not be asked.
struct Search<'a> {
    gateway: &'a Gateway,
    deadline: Instant,
    causes: Vec<String>,
    /// A debuginfo file was looked through and does not have the section.
    settled: bool,
}

impl Search<'_> {
    /// The first candidate that can be had.
    async fn artifact(&mut self, candidates: &[&Record], build_id: &BuildId) -> Option<Found> {
        for record in candidates {
            if let Some(entry) = self.member(&record.package, record.artifact.ordinal, Some(build_id), Need::First, None).await {
                return Some(found(entry.content(), &record.artifact.path, &record.package));
            }
        }
        None
    }

    /// The first candidate whose file has the section, debuginfo before executables.
    async fn section(&mut self, records: &[Record], build_id: &BuildId, name: &str) -> Option<Found> {
        for record in [candidates(records, Kind::Debuginfo), candidates(records, Kind::Executable)].concat() {
            let Some(entry) = self.member(&record.package, record.artifact.ordinal, Some(build_id), Need::Whole, None).await
            else {
                continue;
            };
            let section = name.to_owned();
            let range = match entry.whole_file().await {
                Ok(file) => tokio::task::spawn_blocking(move || artifact::elf::section(&mut &*file, &section)).await,
                Err(error) => {
                    self.causes.push(format!("{}: {error}", record.package.package.nevra));
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
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for record in records {
            let package = &record.package.package;
            let Some(source_rpm) = package.source_rpm.as_deref() else { continue };
            let build = (source_rpm, package.nevra.arch.as_str());
            if seen.contains(&build) {
                continue;
            }
            seen.push(build);
            for sibling in self.source_packages(build.0, build.1).await {
                if let Some(found) = self.source_in(&sibling, path).await {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The packages of a build that can hold its sources, likeliest first: -debugsource since Fedora 27, the kernel's
    /// -debuginfo-common, and the -debuginfo packages of older releases.
    async fn source_packages(&mut self, source_rpm: &str, arch: &str) -> Vec<Arc<StoredPackage>> {
        let (source_rpm, arch) = (source_rpm.to_owned(), arch.to_owned());
        let query = self.gateway.lookup.query(|index| async move { index.siblings(&source_rpm, &arch).await });
        let asked = tokio::time::timeout_at(half_way_to(self.deadline).into(), query);
        let siblings = asked.await.unwrap_or_else(|_| Err("index: expected an answer within the budget, found none".into()));
        let mut siblings = siblings.unwrap_or_else(|cause| {
            self.causes.push(cause);
            Vec::new()
        });
        let rank = |package: &StoredPackage| {
            let name = &package.package.nevra.name;
            if name.ends_with("-debugsource") {
                0
            } else if name.contains("-debuginfo-common") {
                1
            } else if name.ends_with("-debuginfo") {
                2
            } else {
                3
            }
        };
        siblings.retain(|package| rank(package) < 3);
        siblings.sort_by_key(rank);
        siblings.into_iter().map(Arc::new).collect()
    }

    async fn source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Found> {
        let mut opened = None;
        let header = match self.gateway.archives.known_header(package).await {
            Some(header) => header,
            None => {
                let archive = self.open(package).await?;
                let header = archive.header.clone();
                opened = Some(archive);
                header
            }
        };
        let (ordinal, _) = header.file(path).filter(|(_, file)| file.is_regular())?;
        let entry = self.member(package, ordinal, None, Need::First, opened).await?;
        Some(found(entry.content(), path, package))
    }

    /// Opens a package at the first of its locations that has it.
    async fn open(&mut self, package: &StoredPackage) -> Option<Archive> {
        let archives = self.gateway.archives.clone();
        let mut rest = archives.locations(package).into_iter();
        while let Some(location) = rest.next() {
            match open_within(&archives, package, location, self.location_deadline(rest.len())).await {
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
        ordinal: u32,
        build_id: Option<&BuildId>,
        need: Need,
        opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let key = Key { identity: package.package.identity, ordinal };
        let (files, archives) = (self.gateway.files.clone(), self.gateway.archives.clone());
        let mut entry = match files.find(key).await {
            Some(entry) => need.met_by(entry).await.map_err(|failure| self.failed(failure)).ok(),
            None => None,
        };
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = need.met(files.fill(key, build_id, async { Ok(archive) }).await).await;
            entry = filled.map_err(|failure| self.failed(failure)).ok();
        }
        let mut rest = archives.locations(package).into_iter();
        while entry.is_none()
            && let Some(location) = rest.next()
        {
            let deadline = self.location_deadline(rest.len());
            let open = {
                let (archives, package, location) = (archives.clone(), package.clone(), location.clone());
                async move { open_within(&archives, &package, &location, deadline).await }
            };
            match need.met(files.fill(key, build_id, open).await).await {
                Ok(filled) => entry = Some(filled),
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

    /// A location may take half of what is left if `others` follow it: a store that hangs must leave time to ask the next one.
    fn location_deadline(&self, others: usize) -> Instant {
        if others > 0 { half_way_to(self.deadline) } else { self.deadline }
    }

    async fn failed_at(&mut self, location: &Location, failure: Failure) {
        if matches!(failure, Failure::Unknown(_)) {
            self.gateway.archives.blame(location).await;
        }
        self.failed(failure);
    }

    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Absent(cause) => tracing::debug!(cause, "absent"),
            Failure::Unknown(cause) => self.causes.push(cause),
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

impl Need {
    async fn met(self, filled: Result<Arc<Entry>, Failure>) -> Result<Arc<Entry>, Failure> {
        self.met_by(filled?).await
    }

    async fn met_by(self, entry: Arc<Entry>) -> Result<Arc<Entry>, Failure> {
        let waited = match self {
            Self::First => entry.content().ready().await,
            Self::Whole => entry.whole_file().await.map(drop),
        };
        waited.map(|()| entry).map_err(|error| Failure::Unknown(error.to_string()))
    }
}

/// Opens an archive unless that takes too long.
async fn open_within(
    archives: &Archives,
    package: &StoredPackage,
    location: &Location,
    deadline: Instant,
) -> Result<Archive, Failure> {
    let opened = tokio::time::timeout_at(deadline.into(), archives.open(package, location)).await;
    opened.unwrap_or_else(|_| {
        Err(Failure::Unknown(format!("store {}: expected an answer within the budget, found none", location.store.name)))
    })
}

fn found(content: Content, member: &str, package: &StoredPackage) -> Found {
    Found { content, member: member.to_owned(), nvra: package.package.nevra.nvra() }
}

/// The records that can answer for `kind`, best first: files with DWARF before files that may have some and files that have none,
/// then the newest build.
fn candidates(records: &[Record], kind: Kind) -> Vec<&Record> {
    let mut candidates: Vec<&Record> = records.iter().filter(|record| record.artifact.kind == kind).collect();
    let without_dwarf = |record: &Record| match record.artifact.dwarf {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    candidates.sort_by_key(|record| {
        let dwarf = if kind == Kind::Debuginfo { without_dwarf(record) } else { 0 };
        (dwarf, std::cmp::Reverse(record.package.package.built_at), std::cmp::Reverse(record.package.id), record.artifact.ordinal)
    });
    candidates
}

/// Who is asked first may take half of what is left: one who hangs must leave time to ask the next.
fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
