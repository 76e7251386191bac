//! `/source/PATH`: out of the packages that were built together with the asked file's.

use std::sync::Arc;

use sql::{Record, StoredPackage};

use super::{Need, Run, found, half_way_to};
use crate::answer::Found;

impl Run<'_> {
    /// The source file: out of the packages with debug sources among those built from one source package.
    pub(super) async fn source(&mut self, records: &[Record], path: &str) -> Option<Found> {
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
    /// -debuginfo-common, and the -debuginfo packages of older releases. Of several builds of one source package those that are
    /// nearest in distribution and time.
    async fn source_packages(&mut self, of: &StoredPackage) -> Vec<Arc<StoredPackage>> {
        let Some(source_rpm) = &of.package.source_rpm else { return Vec::new() };
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
        let mut opened = None;
        let header = match self.search.archives.known_header(package).await {
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
}

/// Packages that come from one run of one source package, as far as the index can tell.
fn is_same_build(a: &StoredPackage, b: &StoredPackage) -> bool {
    let build = |stored: &StoredPackage| {
        let package = &stored.package;
        (package.source_rpm.clone(), package.nevra.arch.clone(), stored.distro.clone(), package.built_at)
    };
    build(a) == build(b)
}

/// How likely a package holds debug sources, 0 the likeliest; `None` where it cannot.
fn source_rank(package: &StoredPackage) -> Option<u8> {
    let name = &package.package.nevra.name;
    match name {
        name if name.ends_with("-debugsource") => Some(0),
        name if name.contains("-debuginfo-common") => Some(1),
        name if name.ends_with("-debuginfo") => Some(2),
        _ => None,
    }
}
