//! `/debuginfo` and `/executable`: the first candidate that is what is wanted.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Instant;

use artifact::{ArtifactType, BuildId};
use sql::Record;

use super::answer::FoundFile;
use super::deadline::FIRST_BYTES_TIMEOUT;
use super::member::Need;
use super::search::{Run, found};
use crate::cache::MemberKey;

impl Run<'_> {
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
        let mut poor = None;
        for record in all {
            match self.candidate(record, wanted, build_id).await {
                // Another one may hold DWARF.
                Some(found) if found.is_poor && certainty == Certainty::Unknown => poor = poor.or(Some(found)),
                Some(found) => return Some(found),
                None => {}
            }
        }
        poor
    }

    /// The file of a record, unless its contents show that it is not what is wanted.
    async fn candidate(&mut self, record: &Record, wanted: ArtifactType, build_id: &BuildId) -> Option<FoundFile> {
        let (artifact, key, cache) = (&record.artifact, key(record), self.search.cache.clone());
        let is_certain = artifact.serves(wanted).is_some();
        let known = if is_certain { None } else { cache.known_classification(key).await };
        if known.is_some_and(|known| !known.serves(wanted)) {
            return None;
        }
        let need = if is_certain || known.is_some() { Need::First } else { Need::Whole };
        let (began, causes) = (Instant::now(), self.causes.len());
        let entry = self.file(record, build_id, need).await?;
        let mut dwarf = artifact.dwarf;
        if !is_certain {
            match cache.classify(key, &entry).await {
                Ok(contents) if contents.serves(wanted) => dwarf = Some(contents.dwarf),
                Ok(_) => {
                    // It was had, wherever it was not.
                    self.causes.truncate(causes);
                    let took = began.elapsed().min(FIRST_BYTES_TIMEOUT.saturating_sub(self.examined));
                    self.deadline = self.deadline.extended_by(took);
                    self.examined += took;
                    return None;
                }
                Err(failure) => {
                    self.failed(failure);
                    return None;
                }
            }
        }
        let is_poor = wanted == ArtifactType::Debuginfo && dwarf != Some(true);
        Some(FoundFile { is_poor, ..found(entry.content(), &artifact.path, &record.package) })
    }
}

/// Which files are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Those that are what is wanted.
    Certain,
    /// Those of which only the contents can say.
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
