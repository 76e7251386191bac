//! `/debuginfo` and `/executable`: the first candidate that is what is wanted.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Instant;

use artifact::{ArtifactType, BuildId};
use sql::Record;

use super::answer::FoundFile;
use super::deadline::FIRST_BYTES_TIMEOUT;
use super::member::Need;
use super::search::{Search, found};
use crate::cache::MemberKey;

impl Search<'_> {
    /// The first candidate that can be had and is what is wanted.
    pub(super) async fn artifact(
        &mut self,
        records: &[Record],
        wanted: ArtifactType,
        certainty: Certainty,
        build_id: &BuildId,
    ) -> Option<FoundFile> {
        let mut all = candidates(records, wanted, certainty);
        if (wanted, certainty) == (ArtifactType::Executable, Certainty::Certain) {
            all.extend(candidates(records, wanted, Certainty::Unknown));
        }
        let cache = &self.gateway.cache;
        let mut poor = None;
        for record in all {
            let (artifact, key) = (&record.artifact, key(record));
            let is_certain = artifact.serves(wanted).is_some();
            let known = if is_certain { None } else { cache.known_classification(key).await };
            if known.is_some_and(|known| !known.serves(wanted)) {
                continue;
            }
            let need = if is_certain || known.is_some() { Need::First } else { Need::Whole };
            let (began, causes) = (Instant::now(), self.causes.len());
            let Some(file) = self.file(record, build_id, need).await else { continue };
            let mut dwarf = artifact.dwarf;
            if !is_certain {
                match cache.classify(key, &file).await {
                    Ok(contents) if contents.serves(wanted) => dwarf = Some(contents.dwarf),
                    Ok(_) => {
                        // It could be had after all: no location of it makes the answer unavailable.
                        self.causes.truncate(causes);
                        let took = began.elapsed().min(FIRST_BYTES_TIMEOUT.saturating_sub(self.examined));
                        self.deadline = self.deadline.extended_by(took);
                        self.examined += took;
                        continue;
                    }
                    Err(miss) => {
                        self.failed(miss);
                        continue;
                    }
                }
            }
            let is_poor = wanted == ArtifactType::Debuginfo && dwarf != Some(true);
            let found = FoundFile { is_poor, ..found(file.content(), &artifact.path, &record.package) };
            if !is_poor || certainty == Certainty::Certain {
                return Some(found);
            }
            // Another one may hold DWARF.
            poor = poor.or(Some(found));
        }
        poor
    }
}

/// The files that are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Files that are what is wanted.
    Certain,
    /// Files of which only the contents can tell.
    Unknown,
}

/// The records that can answer for `wanted`, best first: files with DWARF before files that may have some and files
/// that have none, then the newest build. Of files of one package with the same contents (hard links, copies) the
/// first.
pub(super) fn candidates(records: &[Record], wanted: ArtifactType, certainty: Certainty) -> Vec<&Record> {
    let serves = (certainty == Certainty::Certain).then_some(true);
    let mut seen = HashSet::new();
    let is_first = |record: &&Record| {
        record.artifact.contents.is_none_or(|contents| seen.insert((record.package.id, contents.sha256)))
    };
    let serving = records.iter().filter(|record| record.artifact.serves(wanted) == serves);
    let mut candidates: Vec<&Record> = serving.filter(is_first).collect();
    let dwarf_rank = |record: &Record| match record.artifact.dwarf {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    candidates.sort_by_key(|record| {
        let dwarf = if wanted == ArtifactType::Debuginfo { dwarf_rank(record) } else { 0 };
        (dwarf, Reverse(record.package.package.built_at), Reverse(record.package.id), record.artifact.ordinal)
    });
    candidates
}

/// The member of a record.
pub(super) fn key(record: &Record) -> MemberKey {
    MemberKey { identity: record.package.package.identity, ordinal: record.artifact.ordinal }
}
