//! The files at a path, at paths that match a pattern, or with a build-id: from the index and from all upstreams.
//!
//! Clients cache an answer for an hour, whatever it is, and take every error for an incomplete answer without files
//! (docs/adr/0014). So an answer is called complete only if the index and every upstream answered completely.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sql::{ClaimRecord, Life, PathMatches, PathQuery, Record};

use crate::metrics::METRICS;
use crate::resolve::Gateway;
use crate::resolve::deadline::{Deadline, after_hops};
use crate::resolve::outcome::{Cause, CauseKind, Unavailable};
use crate::resolve::question::Caller;

/// The property that files are asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataKey {
    File,
    Glob,
    BuildId,
}

/// A question for files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataQuery {
    pub(crate) key: MetadataKey,
    pub(crate) value: String,
}

/// One file with a build-id. The first four keys are those of elfutils' server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct MetadataEntry {
    /// `executable` or `debuginfo`
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) buildid: String,
    /// False if nothing states whether the file is a program or a debug file.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) certain: bool,
    /// Path inside the package; of an upstream's file that is in none, on its disk.
    pub(crate) file: String,
    /// The package's file: `NVRA.rpm`; of an upstream, the name that it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) archive: Option<String>,
    /// With the epoch where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nevra: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_rpm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distro: Option<String>,
    /// True if the metadata of a repository states the file, and no header confirmed it yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) claimed: bool,
    /// Where the package is or was, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) locations: Vec<MetadataLocation>,
    /// The repositories that list or listed the package, by the time of their beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) memberships: Vec<MetadataMembership>,
    /// NVRA of the package that replaced it in its repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) obsoleted_by: Option<String>,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// The time of a package in a repository, seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct MetadataMembership {
    /// Name of the repository.
    pub(crate) repository: String,
    pub(crate) first_seen: i64,
    pub(crate) last_seen: i64,
    /// Since when the package is not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<i64>,
}

/// Where a package is or was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct MetadataLocation {
    /// `local`, `mirror`, `koji`, `archive` or `retrace`
    pub(crate) tier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// When its package was not found there any more, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone_at: Option<i64>,
    /// True if it follows from a rule of its store.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) derived: bool,
}

/// An answer to a [`MetadataQuery`].
pub(crate) struct MetadataAnswer {
    /// From the index; those of the packages that came last first.
    pub(crate) records: Vec<Record>,
    /// From the index, too.
    pub(crate) claims: Vec<ClaimRecord>,
    /// The lives of the packages of both, by their ids.
    pub(crate) lives: HashMap<i64, Life>,
    /// From upstreams.
    pub(crate) entries: Vec<MetadataEntry>,
    pub(crate) complete: bool,
}

impl MetadataKey {
    /// The key that a client names.
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::File, Self::Glob, Self::BuildId].into_iter().find(|key| key.as_str() == text)
    }

    /// The word in URLs, metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Glob => "glob",
            Self::BuildId => "buildid",
        }
    }
}

impl Gateway {
    /// Returns the files that match.
    ///
    /// # Errors
    /// The index could not be asked, and no upstream had any.
    pub(crate) async fn metadata(&self, asked: &MetadataQuery, caller: &Caller) -> Result<MetadataAnswer, Unavailable> {
        let deadline = Deadline::after(after_hops(self.config.metadata.budget, caller.hops));
        let (local, upstreams) =
            futures::join!(self.metadata_of_index(asked, deadline), self.federation.metadata(asked, caller, deadline));
        let (mut entries, mut causes) = (upstreams.entries, upstreams.causes);
        // Before they are counted: several upstreams have the same files.
        without_doubles(&mut entries);
        let mut complete = causes.is_empty();
        let is_index_unavailable = local.is_err();
        let IndexMetadata { mut records, mut claims, lives, is_complete } = local.unwrap_or_else(|cause| {
            causes.push(cause);
            IndexMetadata::default()
        });
        complete &= is_complete;
        // Each type of a file is an entry.
        let mut room = self.config.metadata.max_results;
        let mut fits = |record: &Record| {
            let left = room.checked_sub(record.artifact.listed_types().len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let fitting = records.iter().map_while(|record| Some(record).filter(|record| fits(record))).count();
        complete &= fitting == records.len();
        records.truncate(fitting);
        complete &= claims.len() <= room;
        claims.truncate(room);
        room -= claims.len();
        complete &= entries.len() <= room;
        entries.truncate(room);
        let key = asked.key.as_str();
        let is_unavailable = is_index_unavailable && entries.is_empty();
        let answer = match (is_unavailable, complete) {
            (true, _) => "unavailable",
            (false, true) => "complete",
            (false, false) => "partial",
        };
        METRICS.metadata_answers.with_label_values(&[key, answer]).inc();
        if !causes.is_empty() {
            tracing::warn!(key, value = asked.value, causes = %Unavailable(causes.clone()), "metadata is not complete");
        }
        if is_unavailable {
            Err(Unavailable(causes))
        } else {
            Ok(MetadataAnswer { records, claims, lives, entries, complete })
        }
    }

    async fn metadata_of_index(&self, asked: &MetadataQuery, deadline: Deadline) -> Result<IndexMetadata, Cause> {
        let (sql::Records { records, claims }, is_complete) = self.files_of_index(asked, deadline).await?;
        let ids = records.iter().map(|record| record.package.id).chain(claims.iter().map(|claim| claim.package.id));
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let lives = async {
            match ids.is_empty() {
                true => Ok(HashMap::new()),
                false => self.lookup.query(|index| async move { index.lives(&ids).await }).await,
            }
        };
        let timed = tokio::time::timeout_at(deadline.end().into(), lives).await;
        let timeout = |_| Cause::index(CauseKind::Timeout, "index: expected memberships within the budget, found none");
        let lives = timed.map_err(timeout).flatten();
        if let Err(cause) = &lives {
            // The files are an answer all the same.
            self.lookup.log_unavailable(cause);
        }
        let is_complete = is_complete && lives.is_ok();
        Ok(IndexMetadata { records, claims, lives: lives.unwrap_or_default(), is_complete })
    }

    /// The files of the index, and whether these are all.
    async fn files_of_index(&self, asked: &MetadataQuery, deadline: Deadline) -> Result<(sql::Records, bool), Cause> {
        let paths = match asked.key {
            MetadataKey::File => PathQuery::Exact(asked.value.clone()),
            MetadataKey::Glob => PathQuery::Glob(asked.value.clone()),
            MetadataKey::BuildId => {
                // A value that is no build-id matches nothing, as with the reference server.
                let Ok(build_id) = asked.value.parse() else { return Ok((sql::Records::default(), true)) };
                let known = self.lookup.records(&build_id, deadline.end()).await?;
                let max = self.config.metadata.max_results;
                let mut present = known.value.iter().filter(|record| record.is_at_its_path());
                let records: Vec<Record> = present.by_ref().take(max).cloned().collect();
                let is_complete = known.unavailable.is_none() && present.next().is_none();
                return Ok((sql::Records { records, claims: known.value.claims.clone() }, is_complete));
            }
        };
        let PathMatches { records, complete } =
            self.lookup.records_at(paths, self.config.metadata.max_results, deadline).await?;
        Ok((sql::Records { records, claims: Vec::new() }, complete))
    }
}

/// What the index has for a question.
#[derive(Default)]
struct IndexMetadata {
    records: Vec<Record>,
    claims: Vec<ClaimRecord>,
    lives: HashMap<i64, Life>,
    is_complete: bool,
}

/// Removes entries that stand before with the same values.
pub(crate) fn without_doubles(entries: &mut Vec<MetadataEntry>) {
    let mut seen = HashSet::new();
    entries.retain(|entry| {
        let MetadataEntry { kind, buildid, file, archive, .. } = entry;
        seen.insert((kind.clone(), buildid.clone(), file.clone(), archive.clone()))
    });
}
