//! The only place that decides the order in which an answer is looked for.
//!
//! 1. The same question was undecided a moment ago: undecided again, at once, so that a client's three tries take one budget.
//! 2. The index: records of the build-id; of each, the extracted file if it is here, else the package's locations in tier order.
//! 3. The upstreams, all at once, whether the index had nothing or could not be asked.
//! 4. All said no: absent. Somebody could not be asked: undecided.
//!
//! With `federation.prefer = "redirect"` 3 comes before 2. A decision takes at most the budget; bytes may take longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, Kind};
use moka::future::Cache;
use sql::{Record, StoredPackage};

use crate::archives::{Archive, Archives, Failure};
use crate::config::{Config, Prefer};
use crate::connection::Caller;
use crate::error::Undecided;
use crate::federation::{Federation, Redirect};
use crate::files::{Content, Entry, Files, Key};
use crate::http_client;
use crate::lookup::Lookup;
use crate::question::{Question, What};

/// How long an undecided question stays so.
const UNDECIDED_FOR: Duration = Duration::from_secs(3);

/// Everything that answers are made from.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) lookup: Lookup,
    pub(crate) files: Files,
    pub(crate) federation: Federation,
    archives: Archives,
    undecided: Cache<Question, Undecided>,
}

/// What a question resolved to.
pub(crate) enum Answer {
    /// Bytes from here.
    File(Found),
    /// Somebody else has it.
    Redirect(Redirect),
}

/// Bytes, and what they are.
pub(crate) struct Found {
    pub(crate) content: Content,
    /// Path of the member.
    pub(crate) member: String,
    /// NVRA of its package.
    pub(crate) nvra: String,
}

impl Gateway {
    /// Wires the parts together.
    pub(crate) async fn new(config: Config) -> anyhow::Result<Self> {
        let index = sql::Index::open(&config.database, sql::Access::ReadOnly)?;
        Ok(Self {
            lookup: Lookup::new(index, &config.index),
            files: Files::open(&config.cache_dir, config.cache_size).await?,
            federation: Federation::new(&config.federation)?,
            archives: Archives::new(http_client::build(&config.stores.redirect_hosts)?),
            undecided: Cache::builder().max_capacity(10_000).time_to_live(UNDECIDED_FOR).build(),
            config: Arc::new(config),
        })
    }

    /// Answers a debuginfod question.
    ///
    /// # Errors
    /// Nobody who could be asked has it, and somebody could not be asked.
    pub(crate) async fn answer(&self, question: &Question, caller: &Caller) -> Result<Option<Answer>, Undecided> {
        if is_junk(question) {
            return Ok(None);
        }
        if let Some(causes) = self.undecided.get(question).await {
            return Err(causes);
        }
        let deadline = Instant::now() + self.config.federation.budget;
        let answer = self.decide(question, caller, deadline).await;
        if let Err(causes) = &answer {
            tracing::warn!(%question, %causes, "undecided");
            self.undecided.insert(question.clone(), causes.clone()).await;
        }
        answer
    }

    async fn decide(&self, question: &Question, caller: &Caller, deadline: Instant) -> Result<Option<Answer>, Undecided> {
        let upstreams_first = self.config.federation.prefer == Prefer::Redirect;
        let mut causes = Vec::new();
        for (upstreams, until) in [(upstreams_first, self.first_deadline(deadline)), (!upstreams_first, deadline)] {
            let answer = if upstreams {
                self.federation.find(question, caller, until).await.map(|found| found.map(Answer::Redirect))
            } else {
                self.in_index(question, until).await.map(|found| found.map(Answer::File))
            };
            match answer {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(Undecided(more)) => causes.extend(more),
            }
        }
        if causes.is_empty() { Ok(None) } else { Err(Undecided(causes)) }
    }

    /// Until when those who are asked first may take: a store or an upstream that hangs must leave time to ask the others.
    fn first_deadline(&self, deadline: Instant) -> Instant {
        if self.federation.is_empty() { deadline } else { deadline - self.config.federation.budget / 3 }
    }

    /// What the index and its stores have.
    async fn in_index(&self, question: &Question, deadline: Instant) -> Result<Option<Found>, Undecided> {
        let asked = tokio::time::timeout_at(index_deadline(deadline).into(), self.lookup.records(&question.build_id));
        let records = asked.await.unwrap_or_else(|_| Err("index: expected an answer within the budget, found none".into()))?;
        let mut search = Search { gateway: self, deadline, causes: Vec::new() };
        let found = match &question.what {
            What::Artifact(kind) => search.artifact(&candidates(&records, *kind), &question.build_id).await,
            What::Section(name) => search.section(&records, &question.build_id, name).await,
            What::Source(path) => search.source(&records, path).await,
        };
        match found {
            Some(found) => Ok(Some(found)),
            None if search.causes.is_empty() => Ok(None),
            None => Err(Undecided(search.causes)),
        }
    }
}

/// One search through candidates; remembers who could not be asked.
struct Search<'a> {
    gateway: &'a Gateway,
    deadline: Instant,
    causes: Vec<String>,
}

impl Search<'_> {
    /// The first candidate that can be had.
    async fn artifact(&mut self, candidates: &[&Record], build_id: &BuildId) -> Option<Found> {
        for record in candidates {
            if let Some(entry) = self.member(&record.package, record.artifact.ordinal, Some(build_id), None).await {
                let content = entry.content();
                if let Some(found) = self.ready(content, &record.artifact.path, &record.package).await {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The first candidate whose file has the section, debuginfo before executables.
    async fn section(&mut self, records: &[Record], build_id: &BuildId, name: &str) -> Option<Found> {
        for record in [candidates(records, Kind::Debuginfo), candidates(records, Kind::Executable)].concat() {
            let Some(entry) = self.member(&record.package, record.artifact.ordinal, Some(build_id), None).await else {
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
                    let content = Content { entry, range };
                    return Some(Found {
                        content,
                        member: record.artifact.path.clone(),
                        nvra: record.package.package.nevra.nvra(),
                    });
                }
                Ok(Ok(None)) => {}
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
        let asked = tokio::time::timeout_at(index_deadline(self.deadline).into(), query);
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
        let entry = self.member(package, ordinal, None, opened).await?;
        let content = entry.content();
        self.ready(content, path, package).await
    }

    /// Opens a package at the first of its locations that has it.
    async fn open(&mut self, package: &StoredPackage) -> Option<Archive> {
        for location in package.locations.iter().filter(|location| location.gone_at.is_none()) {
            let open = tokio::time::timeout_at(self.deadline.into(), self.gateway.archives.open(package, location));
            match open.await {
                Ok(Ok(archive)) => return Some(archive),
                Ok(Err(failure)) => self.failed(failure),
                Err(_) => {
                    self.causes.push(format!("store {}: expected an answer within the budget, found none", location.store.name))
                }
            }
        }
        None
    }

    /// The member, from the cache, from `opened`, or from the first location that has it.
    async fn member(
        &mut self,
        package: &Arc<StoredPackage>,
        ordinal: u32,
        build_id: Option<&BuildId>,
        opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let key = Key { identity: package.package.identity, ordinal };
        let files = &self.gateway.files;
        let mut entry = files.find(key).await;
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = files.fill(key, build_id, async { Ok(archive) }).await;
            entry = filled.map_err(|failure| self.failed(failure)).ok();
        }
        for location in package.locations.iter().filter(|location| location.gone_at.is_none()) {
            if entry.is_some() {
                break;
            }
            let (archives, package, location, deadline) =
                (self.gateway.archives.clone(), package.clone(), location.clone(), self.deadline);
            let open = async move {
                let opened = tokio::time::timeout_at(deadline.into(), archives.open(&package, &location)).await;
                opened.unwrap_or_else(|_| {
                    Err(Failure::Unknown(format!(
                        "store {}: expected an answer within the budget, found none",
                        location.store.name
                    )))
                })
            };
            let filled = files.fill(key, build_id, open).await;
            entry = filled.map_err(|failure| self.failed(failure)).ok();
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

    /// The answer, once its first bytes may leave.
    async fn ready(&mut self, content: Content, member: &str, package: &StoredPackage) -> Option<Found> {
        let nvra = package.package.nevra.nvra();
        match content.ready().await {
            Ok(()) => Some(Found { content, member: member.to_owned(), nvra }),
            Err(error) => {
                self.causes.push(format!("{nvra}: {error}"));
                None
            }
        }
    }

    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Absent(cause) => tracing::debug!(cause, "absent"),
            Failure::Unknown(cause) => self.causes.push(cause),
        }
    }
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

/// Names that DWARF has for code without a file; GDB asks for them.
fn is_junk(question: &Question) -> bool {
    match &question.what {
        What::Source(path) => path.ends_with("/<built-in>") || path.ends_with("/<unknown>") || path.ends_with("/<command-line>"),
        _ => false,
    }
}

/// The index may take half of what is left: a database that hangs must leave time to ask the upstreams.
fn index_deadline(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
