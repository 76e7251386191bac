//! Claims: build-ids that metadata names for packages whose header was not read. A claim proves nothing. When the
//! file that it names is asked for, the package itself is read, and its contents are records like those of the index.
//!
//! A claim that the package does not confirm is as if there were none. If no place of the package could be asked, or
//! the budget ended before, the answer is unavailable.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{ArtifactType, BuildId, Format, Kind};
use futures::future::join_all;
use sql::{ClaimRecord, Record, StoredPackage, UnreadPackage};
use tokio::time::{timeout, timeout_at};

use super::deadline::{self, FIRST_BYTES_TIMEOUT};
use super::outcome::{CauseKind, Miss, Outcome};
use super::question::Resource;
use super::search::Search;
use crate::providers::archives::{ReadPackage, WholeReads};

/// Claimed packages that are read at once for one request.
const PACKAGES_AT_ONCE: usize = 16;
/// With less time left no more packages are read.
const MIN_TIME: Duration = Duration::from_millis(50);

/// True if a claim of this kind may be about what is asked for: a file is of a kind, a section or source of any.
fn is_about(kind: Kind, asked: &Resource) -> bool {
    let Resource::Artifact(wanted) = asked else { return true };
    match kind {
        Kind::Both | Kind::Unknown => true,
        Kind::Executable => *wanted == ArtifactType::Executable,
        Kind::Debuginfo => *wanted == ArtifactType::Debuginfo,
    }
}

/// The packages that claim what is asked for, each once.
pub(super) fn claiming<'c>(claims: &'c [ClaimRecord], asked: &Resource) -> Vec<&'c Arc<UnreadPackage>> {
    let mut seen = HashSet::new();
    let claiming = claims.iter().filter(|claim| is_about(claim.claim.kind, asked)).map(|claim| &claim.package);
    claiming.filter(|package| seen.insert(package.id)).collect()
}

impl Search<'_> {
    /// The records of a build-id in the first of the packages that claim it, as these packages say themselves. The
    /// packages that were read are removed from `claiming`. `None` if there are none left, or no time for them: that is
    /// recorded.
    pub(super) async fn confirm(
        &mut self,
        claiming: &mut Vec<&Arc<UnreadPackage>>,
        build_id: &BuildId,
    ) -> Option<Vec<Record>> {
        if claiming.is_empty() {
            return None;
        }
        if self.deadline.remaining() < MIN_TIME {
            let number = claiming.len();
            let text =
                format!("expected to read all packages that claim {build_id} within the budget, {number} are left");
            self.failed(Miss::gateway(CauseKind::Timeout, text));
            return None;
        }
        let packages = claiming.drain(..claiming.len().min(PACKAGES_AT_ONCE)).collect();
        let mut records = Vec::new();
        for (package, read) in self.read_packages(packages).await {
            let of_build_id = read.artifacts.iter().filter(|artifact| artifact.build_id == *build_id);
            records.extend(of_build_id.map(|artifact| Record { package: package.clone(), artifact: artifact.clone() }));
        }
        Some(records)
    }

    /// Those of some packages that a location has, as they are. The failures of others are recorded.
    pub(super) async fn read_packages(
        &mut self,
        packages: Vec<&Arc<UnreadPackage>>,
    ) -> Vec<(Arc<StoredPackage>, Arc<ReadPackage>)> {
        let began = Instant::now();
        let has_whole = packages.iter().any(|package| package.format != Format::Rpm);
        let outcomes = join_all(packages.iter().map(|package| self.read_claimed(package))).await;
        if has_whole {
            // As with an extraction, the time in which bytes came is not that of the budget.
            let took = began.elapsed().min(FIRST_BYTES_TIMEOUT.saturating_sub(self.examined));
            self.deadline = self.deadline.extended_by(took);
            self.examined += took;
        }
        let mut read = Vec::new();
        for (unread, outcome) in packages.into_iter().zip(outcomes) {
            match outcome {
                Ok(Some(package)) => read.push((Arc::new(package.stored(unread)), package)),
                Ok(None) => {}
                Err(miss) => self.failed(miss),
            }
        }
        read
    }

    async fn read_claimed(&self, unread: &Arc<UnreadPackage>) -> Outcome<Option<Arc<ReadPackage>>> {
        let config = &self.gateway.config;
        let whole = WholeReads {
            permits: self.gateway.extraction_permits.clone(),
            client: self.client,
            max_bytes: config.claims.max_bytes.as_u64(),
            stall_timeout: deadline::stall_timeout(config.request.budget),
        };
        // The other half is for the bytes of the file.
        let deadline = self.deadline.half();
        let read = self.gateway.archives.read_package(unread, &whole, deadline);
        // What was read before counts: clients wait once.
        let of_whole = FIRST_BYTES_TIMEOUT.saturating_sub(self.examined);
        let (read, limit) = match unread.format {
            Format::Rpm => (timeout_at(deadline.end().into(), read).await, "the budget".to_owned()),
            _ => (timeout(of_whole, read).await, format!("{of_whole:?}")),
        };
        read.unwrap_or_else(|_| {
            let text = format!("{}: expected the package within {limit}, found a part of it", unread.nevra);
            Err(Miss::gateway(CauseKind::Timeout, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_about_files_of_its_kind_and_all_that_is_in_them() {
        use ArtifactType::{Debuginfo, Executable};
        for (kind, executable, debuginfo) in [
            (Kind::Executable, true, false),
            (Kind::Debuginfo, false, true),
            (Kind::Both, true, true),
            (Kind::Unknown, true, true),
        ] {
            assert_eq!(is_about(kind, &Resource::Artifact(Executable)), executable, "{kind:?}");
            assert_eq!(is_about(kind, &Resource::Artifact(Debuginfo)), debuginfo, "{kind:?}");
            assert!(is_about(kind, &Resource::Section(".text".into())), "{kind:?}");
            assert!(is_about(kind, &Resource::Source("/a.c".into())), "{kind:?}");
        }
    }
}
