//! What is known of files by path, pattern or build-id: from the index and from all upstreams, put together.
//!
//! Clients keep an answer for an hour, whatever it says, and take every error for "nothing, and not all of it"
//! (docs/adr/0014). So an answer is called complete only if everybody was asked and had the time to say everything.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sql::{PathMatches, PathQuery, Record};

use crate::metrics::METRICS;
use crate::resolve::Gateway;
use crate::resolve::deadline::{Deadline, after_hops};
use crate::resolve::outcome::{Cause, Unavailable};
use crate::resolve::question::Caller;
use crate::resolve::search::of_index;

/// What is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataKey {
    File,
    Glob,
    BuildId,
}

/// A question.
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
    /// The package's file: `NVRA.rpm`; of an upstream, as it calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) archive: Option<String>,
    /// With the epoch where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nevra: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_rpm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distro: Option<String>,
    /// Where the package is or was, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) locations: Vec<MetadataLocation>,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// Where a package is or was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct MetadataLocation {
    /// `local`, `mirror`, `koji`, `archive` or `retrace`
    pub(crate) tier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Since when it is not there any more, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone_at: Option<i64>,
}

/// An answer.
pub(crate) struct MetadataAnswer {
    /// From the index; those of the packages that came last first.
    pub(crate) records: Vec<Record>,
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
    /// Answers what is known of files.
    ///
    /// # Errors
    /// The index could not be asked, and nobody else had anything.
    pub(crate) async fn metadata(&self, asked: &MetadataQuery, caller: &Caller) -> Result<MetadataAnswer, Unavailable> {
        let deadline = Deadline::after(after_hops(self.config.metadata.budget, caller.hops));
        let (local, upstreams) =
            futures::join!(self.metadata_of_index(asked, deadline), self.federation.metadata(asked, caller, deadline));
        let (mut entries, mut causes) = (upstreams.entries, upstreams.causes);
        let mut complete = causes.is_empty();
        let is_away = local.is_err();
        let mut records = match local {
            Ok(found) => {
                complete &= found.complete;
                found.records
            }
            Err(cause) => {
                complete = false;
                causes.push(cause);
                Vec::new()
            }
        };
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
        complete &= entries.len() <= room;
        entries.truncate(room);
        let key = asked.key.as_str();
        let is_unavailable = is_away && entries.is_empty();
        let answer = match (is_unavailable, complete) {
            (true, _) => "unavailable",
            (false, true) => "complete",
            (false, false) => "partial",
        };
        METRICS.metadata_answers.with_label_values(&[key, answer]).inc();
        if !causes.is_empty() {
            tracing::warn!(key, value = asked.value, causes = %Unavailable(causes.clone()), "metadata is not complete");
        }
        if is_unavailable { Err(Unavailable(causes)) } else { Ok(MetadataAnswer { records, entries, complete }) }
    }

    async fn metadata_of_index(&self, asked: &MetadataQuery, until: Deadline) -> Result<PathMatches, Cause> {
        let paths = match asked.key {
            MetadataKey::File => PathQuery::Exact(asked.value.clone()),
            MetadataKey::Glob => PathQuery::Glob(asked.value.clone()),
            MetadataKey::BuildId => {
                // What is none matches nothing, as the reference server has it.
                let Ok(build_id) = asked.value.parse() else {
                    return Ok(PathMatches { records: Vec::new(), complete: true });
                };
                let known = self.lookup.records(&build_id, until.end()).await.map_err(of_index)?;
                let most = self.config.metadata.max_results;
                let mut present = known.value.iter().filter(|record| record.is_at_its_path());
                let records: Vec<Record> = present.by_ref().take(most).cloned().collect();
                return Ok(PathMatches { complete: known.unavailable.is_none() && present.next().is_none(), records });
            }
        };
        self.lookup.records_at(paths, self.config.metadata.max_results, until.end()).await.map_err(of_index)
    }
}

/// Entries, each once; what comes first stays.
pub(crate) fn without_doubles(entries: &mut Vec<MetadataEntry>) {
    let mut seen = HashSet::new();
    entries.retain(|entry| {
        let MetadataEntry { kind, buildid, file, archive, .. } = entry;
        seen.insert((kind.clone(), buildid.clone(), file.clone(), archive.clone()))
    });
}
