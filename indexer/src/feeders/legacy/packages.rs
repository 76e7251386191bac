//! Joins the rows of a package.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use artifact::{BuildId, Format, Kind, Nevra};
use sql::legacy::{StagedNames, StagedRow};
use sql::{Claim, ClaimedPackage, KojiOrigin, Origin};

use super::place::{UrlStores, main_packages};
use super::skipped::{SkipReason, SkippedRows};

/// Maximum number of build-ids of a package. A kernel with its modules has some thousands.
const MAX_CLAIMS: usize = 100_000;
/// The directory of links, which the original followed.
const LINKS: &str = "/usr/lib/.build-id/";

/// A package whose rows are being read.
pub(crate) struct PackageRows {
    nvra: String,
    nevra: Nevra,
    distro: String,
    koji: Option<(String, i64)>,
    rpm_urls: Vec<String>,
    claims: Vec<Claim>,
    /// The number in `claims` of each build-id.
    at: HashMap<BuildId, usize>,
    /// The rows so far.
    seen: HashSet<(BuildId, String)>,
}

/// How many URLs became places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlaceCounts {
    /// Places of a store.
    pub(crate) found: u64,
    /// URLs in the directory of a package that is none of Koji's.
    pub(crate) wrong: u64,
    /// Other URLs: below no store.
    pub(crate) elsewhere: u64,
}

impl PackageRows {
    /// Begins a package with its first row.
    pub(crate) fn begin(row: StagedRow, skipped: &mut SkippedRows) -> Result<Self> {
        let nevra = row.nvra.parse().with_context(|| format!("the name of a package: {}", row.nvra))?;
        let mut package = Self {
            nvra: row.nvra.clone(),
            nevra,
            distro: String::new(),
            koji: None,
            rpm_urls: Vec::new(),
            claims: Vec::new(),
            at: HashMap::new(),
            seen: HashSet::new(),
        };
        package.add(row, skipped);
        Ok(package)
    }

    /// True if the row is one of this package.
    pub(crate) fn has(&self, row: &StagedRow) -> bool {
        self.nvra == row.nvra
    }

    /// Number of build-ids so far.
    pub(crate) fn claim_count(&self) -> usize {
        self.claims.len()
    }

    /// Adds a row. The first of different values wins; of the paths of a build-id, the first that is no link.
    pub(crate) fn add(&mut self, row: StagedRow, skipped: &mut SkippedRows) {
        let StagedRow { build_id, kind, path, distro, koji, rpm_url, .. } = row;
        if self.distro.is_empty() {
            self.distro = distro;
        }
        self.koji = self.koji.take().or(koji);
        const MAX_URLS: usize = 8;
        if let Some(url) = rpm_url.filter(|url| self.rpm_urls.len() < MAX_URLS && !self.rpm_urls.contains(url)) {
            self.rpm_urls.push(url);
        }
        let of = || self.nvra.clone();
        if self.seen.len() >= MAX_CLAIMS {
            skipped.add(SkipReason::TooMany, &path, of);
            return;
        }
        if !self.seen.insert((build_id.clone(), path.clone())) {
            skipped.add(SkipReason::Duplicate, &path, of);
            return;
        }
        let Some(known) = self.at.get(&build_id).and_then(|at| self.claims.get_mut(*at)) else {
            self.at.insert(build_id.clone(), self.claims.len());
            self.claims.push(Claim { build_id, kind, link_path: Some(path) });
            return;
        };
        skipped.add(SkipReason::OtherPath, &path, of);
        if known.kind != kind {
            known.kind = Kind::Both;
        }
        if known.link_path.as_ref().is_some_and(|known| known.starts_with(LINKS)) && !path.starts_with(LINKS) {
            known.link_path = Some(path);
        }
    }

    /// Ends the package: its claims, and the first of its URLs that is a place of a store.
    pub(crate) async fn finish(
        self,
        stores: &UrlStores,
        names: &mut StagedNames<'_>,
        counts: &mut PlaceCounts,
    ) -> Result<ClaimedPackage> {
        let mut location = None;
        for url in &self.rpm_urls {
            match stores.find(&self.nevra, url) {
                None => counts.elsewhere += 1,
                Some(place) if place.is_own_directory && is_sub_package(&self.nevra, names).await? => counts.wrong += 1,
                Some(place) => {
                    counts.found += 1;
                    location = Some(place.location);
                    break;
                }
            }
        }
        Ok(ClaimedPackage {
            origin: Origin::Legacy,
            format: Format::Rpm,
            nevra: self.nevra,
            source_rpm: None,
            distro: self.distro,
            claims: self.claims,
            location,
            repository_id: None,
            // The original stored no volume.
            koji: self.koji.map(|(instance, build)| KojiOrigin { instance, build, volume: String::new() }),
        })
    }
}

/// True if the package is none whose name Koji's directory has.
async fn is_sub_package(nevra: &Nevra, names: &mut StagedNames<'_>) -> Result<bool> {
    let Some(others) = main_packages(nevra) else { return Ok(true) };
    for other in others {
        if names.contains(&other).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(build_id: &str, path: &str) -> StagedRow {
        StagedRow {
            nvra: "a-1-1.x86_64".to_owned(),
            build_id: build_id.parse().unwrap(),
            kind: if path.ends_with(".debug") { Kind::Debuginfo } else { Kind::Executable },
            path: path.to_owned(),
            distro: String::new(),
            koji: None,
            rpm_url: None,
        }
    }

    #[test]
    fn one_claim_is_made_of_all_paths_of_a_build_id() {
        let mut skipped = SkippedRows::default();
        let mut package = PackageRows::begin(row("aa", "/usr/lib/.build-id/aa/x"), &mut skipped).unwrap();
        for (build_id, path) in [
            ("bb", "/b"),
            ("aa", "/usr/lib64/libx.so.1.2"),
            ("aa", "/usr/lib64/libx.so.1"),
            ("bb", "/b"),
            ("bb", "/b.debug"),
        ] {
            package.add(row(build_id, path), &mut skipped);
        }
        let claims: Vec<(String, Kind, &str)> = package
            .claims
            .iter()
            .map(|claim| (claim.build_id.to_string(), claim.kind, claim.link_path.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            claims,
            [("aa".to_owned(), Kind::Executable, "/usr/lib64/libx.so.1.2"), ("bb".to_owned(), Kind::Both, "/b"),]
        );
        let counts: Vec<(SkipReason, u64)> = skipped.counts.into_iter().collect();
        assert_eq!(counts, [(SkipReason::Duplicate, 1), (SkipReason::OtherPath, 3)]);
    }
}
