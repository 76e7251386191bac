//! Signed copies of packages, which a Koji can have beside the unsigned ones and can drop at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use sql::{Location, SignedCopy, Store};

use super::HeaderSource;
use super::importer::BuildImporter;
use super::packages::Wanted;
use crate::fetch::presence::{self, Finding, MAX_PER_HOST};
use crate::koji::build::HubBuild;
use crate::koji::paths;

/// What was found of the signed copies of a build.
#[derive(Default)]
pub(super) struct SignedCopies {
    /// Copies that are there.
    pub(super) copies: Vec<SignedCopy>,
    /// Why it is not known whether others are.
    pub(super) failure: Option<String>,
}

impl BuildImporter {
    /// Looks for signed copies of a build that the index does not have. Koji writes and drops those of one key
    /// together: if the first one is missing, the others are not looked for, unless the index has some. Then an earlier
    /// look came while Koji wrote them.
    pub(super) async fn look_for_signed(&self, build: &HubBuild, wanted: &[Wanted]) -> SignedCopies {
        let mut by_key: BTreeMap<&str, Vec<SignedCopy>> = BTreeMap::new();
        let mut begun: BTreeSet<&str> = BTreeSet::new();
        for wanted in wanted.iter().filter(|wanted| wanted.is_known) {
            for key in &wanted.keys {
                let Some(path) = paths::signed(build, &wanted.rpm, key) else { continue };
                if wanted.copies.contains(&path) {
                    begun.insert(key);
                } else {
                    by_key.entry(key).or_default().push(SignedCopy {
                        nvra: wanted.rpm.nevra.nvra(),
                        path,
                        key: key.clone(),
                        size: None,
                        is_present: true,
                    });
                }
            }
        }
        let mut found = SignedCopies::default();
        for (key, copies) in by_key {
            let mut copies = copies.into_iter();
            let Some(first) = copies.next() else { continue };
            let is_there = found.add(self.look_at(first).await);
            if is_there || begun.contains(key) {
                let mut looks = stream::iter(copies).map(|copy| self.look_at(copy)).buffer_unordered(MAX_PER_HOST);
                while let Some(looked) = looks.next().await {
                    found.add(looked);
                }
            }
        }
        if self.instance.headers == HeaderSource::Hub {
            // The topurl may be out of this machine's reach, which is why the hub gives the headers.
            found.failure = None;
        }
        found
    }

    /// Looks whether a signed copy is there.
    pub(super) async fn look_at(&self, copy: SignedCopy) -> (SignedCopy, Finding) {
        let location = location(&self.store, &copy.path);
        let finding = presence::look(&location, &self.network).await;
        (copy, finding)
    }
}

impl SignedCopies {
    /// Adds a copy that was looked for. True if it is there.
    fn add(&mut self, (copy, finding): (SignedCopy, Finding)) -> bool {
        match finding {
            Finding::Present { size } => {
                self.copies.push(SignedCopy { size, ..copy });
                true
            }
            Finding::Gone { .. } => false,
            Finding::Failed { reason, .. } => {
                self.failure.get_or_insert_with(|| format!("{}: {reason}", copy.path));
                false
            }
        }
    }
}

/// The location of an archive of which nothing but its path is known.
fn location(store: &Arc<Store>, path: &str) -> Location {
    Location {
        store: Arc::clone(store),
        path: path.to_owned(),
        size: None,
        mtime_ns: None,
        header: None,
        checksum: None,
        signing_key: None,
        first_seen: None,
        last_seen: None,
        gone_at: None,
        checked_at: None,
        check_result: None,
        derived: false,
    }
}
