//! The source file of a build-id: in which package, or in which tree.

use std::sync::Arc;
use std::time::Instant;

use artifact::foreign::Catalog;
use artifact::{Format, Kind};
use sql::{Record, StoredPackage};

use super::{FIRST_BYTES_WITHIN, LEAST_PATIENCE, Need, Run, found, half_way_to};
use crate::answer::Found;
use crate::archives::{Failure, Inside, Wanted};
use crate::plain;

impl Run<'_> {
    /// The source file: out of the packages with debug sources among those built from one source package.
    pub(super) async fn source(&mut self, records: &[Record], path: &str) -> Option<Found> {
        let mut seen: Vec<&StoredPackage> = Vec::new();
        for record in records {
            let package = &record.package;
            if package.package.format == Format::File {
                if let Some(found) = self.source_of_plain(record, path).await {
                    return Some(found);
                }
                continue;
            }
            if seen.iter().any(|seen| seen.id == package.id || is_same_build(seen, package)) {
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

    /// The source file of a plain ELF file, in the folder of its own store.
    async fn source_of_plain(&mut self, record: &Record, path: &str) -> Option<Found> {
        let Record { package, artifact } = record;
        if artifact.kind != Kind::Debuginfo || artifact.dwarf != Some(true) {
            return None;
        }
        let wanted = Wanted::of(artifact);
        let entry = self.member(package, wanted, Some(&artifact.build_id), Need::Whole, None).await?;
        let sources = self.search.plain.sources(package.package.identity, &entry).await;
        let sources = sources.map_err(|failure| self.failed(failure)).ok()?;
        if !sources.has(path) {
            return None;
        }
        for location in package.present() {
            let (at, wanted, built_at) = (location.clone(), path.to_owned(), entry.mtime());
            let opened = tokio::task::spawn_blocking(move || plain::open(&at, &wanted, built_at)).await;
            match opened.unwrap_or_else(|error| Err(Failure::Unknown(error.to_string()))) {
                Ok(file) => return Some(found(Arc::new(file).content(), path, package)),
                Err(failure) => self.failed(failure),
            }
        }
        None
    }
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
