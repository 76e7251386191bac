//! Include files of other packages, which code was compiled with: `/usr/include/c++/13/vector`. The line tables of
//! the file with the build-id have to name them; of the packages that have such a file, the one that was most likely
//! installed when it was built gives it.

use std::sync::Arc;

use artifact::sources::Sources;
use artifact::{ArtifactType, includes};
use sql::{Record, StoredPackage};

use super::answer::FoundFile;
use super::artifact::{Certainty, candidates, key};
use super::deadline::{self, FIRST_BYTES_TIMEOUT};
use super::member::Need;
use super::outcome::{CauseKind, Miss};
use super::search::Search;
use crate::cache::Readable;

/// Maximum of packages that are tried: the header of each is read.
const MAX_PACKAGES: usize = 8;

impl Search<'_> {
    /// The include file at `path`, if the DWARF of a file with the build-id names it.
    pub(super) async fn include(&mut self, records: &[Record], path: &str) -> Option<FoundFile> {
        let place = includes::include_dir(path)?;
        let mut all = candidates(records, ArtifactType::Debuginfo, Certainty::Certain);
        let certain = all.len();
        all.extend(candidates(records, ArtifactType::Debuginfo, Certainty::Unknown));
        for (at, record) in all.into_iter().enumerate() {
            let known = self.gateway.cache.known_classification(key(record)).await;
            if record.artifact.dwarf == Some(false) || known.is_some_and(|known| !known.dwarf) {
                continue;
            }
            let Some((entry, sources)) = self.line_tables(record).await else { continue };
            if at >= certain {
                // Remembered, so that a program without DWARF is extracted once. Where that fails it is extracted
                // again.
                let _ = self.gateway.cache.classify(key(record), &entry).await;
            }
            if !sources.has(path) {
                // One build-id, one DWARF: another copy would have the same. A program may have none.
                if at < certain {
                    return None;
                }
                continue;
            }
            for package in self.with_includes(place, &record.package).await {
                if let Some(found) = self.source_in(&package, path).await {
                    return Some(found);
                }
            }
            return None;
        }
        None
    }

    /// The debuginfo of a record, whole, and the sources that its line tables name.
    pub(super) async fn line_tables(&mut self, record: &Record) -> Option<(Readable, Arc<Sources>)> {
        let entry = self.file(record, &record.artifact.build_id, Need::First).await?;
        let key = key(record);
        let read = async {
            entry
                .while_it_flows(deadline::stall_timeout(self.gateway.config.request.budget), async {
                    entry.complete_file().await.map(drop)
                })
                .await?;
            self.gateway.line_tables.sources(key, &entry).await
        };
        let read = tokio::time::timeout(FIRST_BYTES_TIMEOUT, read).await.unwrap_or_else(|_| {
            let text = format!("expected the line tables of a member within {FIRST_BYTES_TIMEOUT:?}, found none");
            Err(Miss::gateway(CauseKind::Timeout, text))
        });
        match read {
            Ok(sources) => Some((entry, sources)),
            Err(failure) => {
                self.failed(failure);
                None
            }
        }
    }

    /// The packages that may have include files at `place`, the likeliest that `of` was built with first: of its arch
    /// or of none, of its distribution, and the last that was there before it.
    async fn with_includes(&mut self, place: &str, of: &StoredPackage) -> Vec<Arc<StoredPackage>> {
        let asked = place.to_owned();
        let found = self.gateway.lookup.query(|index| async move { index.packages_by_include_dir(&asked).await }).await;
        let mut packages = found.unwrap_or_else(|cause| {
            self.causes.push(cause);
            Vec::new()
        });
        packages.retain(|package| {
            [of.package.nevra.arch.as_str(), "noarch"].contains(&package.package.nevra.arch.as_str())
        });
        packages.sort_by_key(|package| {
            let (is_later, seconds_apart) = match (package.package.built_at, of.package.built_at) {
                (Some(built), Some(used)) => (built > used, built.abs_diff(used)),
                _ => (true, u64::MAX),
            };
            (package.distro != of.distro, is_later, seconds_apart)
        });
        packages.into_iter().take(MAX_PACKAGES).map(Arc::new).collect()
    }
}
