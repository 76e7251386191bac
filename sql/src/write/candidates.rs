//! Finds rows of `packages` that describe one package, before its header was read.
//!
//! Packages of one name-version-release.arch are the same if they have an archive in common (the same checksum, or the
//! same path of a store), or if the build-ids of one are among those of the other. The name alone does not tell: it can
//! be built twice. Of rows of an original's database one build-id in common is enough: the original followed symbolic
//! links, also to files of other packages, so that some of its build-ids belong to none of the package's files.
//!
//! Two transactions that do not see each other would each find nothing. Those that insert claims therefore exclude all
//! others ([`lock_claims`]). On Galera the lock holds on one node: writers prefer one, and the next header that is read
//! merges duplicates.

use std::collections::{BTreeMap, BTreeSet};

use artifact::{BuildId, Nevra};
use sqlx::{FromRow, QueryBuilder};

use crate::PackageState;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{NewLocation, PathHash};

/// Evidence that rows of one name-version-release.arch are one package.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Stores and hashes of present paths of its archive.
    locations: BTreeSet<(i64, String)>,
    /// Kinds and hex digits of checksums of its archives, also of gone ones.
    checksums: BTreeSet<(String, String)>,
    /// Build-ids in hex digits.
    build_ids: BTreeSet<String>,
    /// True if it has no other build-ids.
    is_complete: bool,
    /// True if the database of an original states its build-ids.
    is_legacy: bool,
}

/// A row of `packages`.
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) nvra: String,
    pub(super) state: PackageState,
    pub(super) evidence: Evidence,
}

#[derive(FromRow)]
struct EvidenceRow {
    package_id: i64,
    store_id: i64,
    path_hash: String,
    checksum_kind: Option<String>,
    checksum: Option<String>,
    gone_at: Option<i64>,
}

/// The rows of `packages` to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// Rows whose header was not read.
    Claimed,
    /// All.
    All,
}

impl Evidence {
    /// Returns no evidence of a package in this state.
    pub(super) fn new(state: PackageState) -> Self {
        Self { is_complete: state.is_complete(), is_legacy: state == PackageState::Legacy, ..Self::default() }
    }

    pub(super) fn add<'b>(&mut self, location: Option<&NewLocation>, build_ids: impl Iterator<Item = &'b BuildId>) {
        if let Some(location) = location {
            self.locations.insert((location.store_id, PathHash::of_path(&location.path).to_string()));
            let checksum = location.checksum.as_ref();
            self.checksums.extend(checksum.map(|checksum| (checksum.kind.clone(), checksum.digits())));
        }
        self.build_ids.extend(build_ids.map(BuildId::to_string));
    }

    /// Adds the evidence of the same package.
    pub(super) fn extend(&mut self, other: Self) {
        self.locations.extend(other.locations);
        self.checksums.extend(other.checksums);
        self.build_ids.extend(other.build_ids);
    }

    /// Its build-ids, in hex digits.
    pub(super) fn build_ids(&self) -> &BTreeSet<String> {
        &self.build_ids
    }

    /// True if both describe one package, given the same name-version-release.arch. Empty evidence matches any.
    pub(super) fn is_same_package(&self, other: &Self) -> bool {
        let is_same_archive = !self.checksums.is_disjoint(&other.checksums);
        let is_same_place = !self.locations.is_disjoint(&other.locations) && !self.have_other_checksums(other);
        is_same_archive || is_same_place || self.share_build_ids(other) || self.is_empty() || other.is_empty()
    }

    /// True if the archives differ: a path can have had one after the other.
    fn have_other_checksums(&self, other: &Self) -> bool {
        let differs = |(kind, _): &(String, String)| other.checksums.iter().any(|(other_kind, _)| kind == other_kind);
        self.checksums.is_disjoint(&other.checksums) && self.checksums.iter().any(differs)
    }

    /// True if one has all build-ids of the other; for a complete package, all that the other claims. With those of an
    /// original's database, one in common is enough.
    fn share_build_ids(&self, other: &Self) -> bool {
        if self.is_legacy || other.is_legacy {
            return !self.build_ids.is_disjoint(&other.build_ids);
        }
        let has_all = |all: &Self, some: &Self| !some.build_ids.is_empty() && some.build_ids.is_subset(&all.build_ids);
        match (self.is_complete, other.is_complete) {
            (true, false) => has_all(self, other),
            (false, true) => has_all(other, self),
            _ => has_all(self, other) || has_all(other, self),
        }
    }

    fn is_empty(&self) -> bool {
        self.locations.is_empty() && self.checksums.is_empty() && self.build_ids.is_empty()
    }
}

/// Returns the packages with these names and their evidence, by id, locked until the end of the transaction.
pub(super) async fn read_candidates(
    transaction: &mut Transaction,
    nvras: &[String],
    selection: Selection,
) -> sqlx::Result<Vec<Candidate>> {
    let mut candidates: BTreeMap<i64, Candidate> = BTreeMap::new();
    for nvras in nvras.chunks(MAX_LIST) {
        let nvras: Vec<&str> = nvras.iter().map(String::as_str).collect();
        let rows: Vec<(i64, String, String)> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select id, nvra, state from packages where ");
            push_list(&mut query, "nvra", &nvras);
            if selection == Selection::Claimed {
                query.push(" and identity is null");
            }
            query.push(Backend::FOR_UPDATE);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        for (id, nvra, state) in rows {
            let state = PackageState::parse(&state)?;
            candidates.insert(id, Candidate { id, nvra, state, evidence: Evidence::new(state) });
        }
    }
    let ids: Vec<i64> = candidates.keys().copied().collect();
    for ids in ids.chunks(MAX_LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select package_id, store_id, path_hash, checksum_kind, checksum, gone_at from locations where ",
            );
            push_list(&mut query, "package_id", ids);
            for row in query.build_query_as::<EvidenceRow>().fetch_all(&mut **connection).await? {
                if let Some(candidate) = candidates.get_mut(&row.package_id) {
                    if row.gone_at.is_none() {
                        candidate.evidence.locations.insert((row.store_id, row.path_hash));
                    }
                    candidate.evidence.checksums.extend(row.checksum_kind.zip(row.checksum));
                }
            }
            for select in
                ["select package_id, build_id from claims where ", "select package_id, build_id from artifacts where "]
            {
                let mut query = QueryBuilder::<Backend>::new(select);
                push_list(&mut query, "package_id", ids);
                let rows: Vec<(i64, String)> = query.build_query_as().fetch_all(&mut **connection).await?;
                for (id, build_id) in rows {
                    if let Some(candidate) = candidates.get_mut(&id) {
                        candidate.evidence.build_ids.insert(build_id);
                    }
                }
            }
        });
    }
    Ok(candidates.into_values().collect())
}

/// Locks packages against transactions that insert claims, or for one that does. To be called before anything is read.
pub(super) async fn lock_claims(transaction: &mut Transaction, selection: Selection) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = match selection {
            Selection::Claimed => Backend::LOCK_CLAIMS_SHARED,
            Selection::All => Backend::LOCK_CLAIMS,
        };
        if !statement.is_empty() {
            sqlx::query::<Backend>(statement).execute(&mut **connection).await?;
        }
    });
    Ok(())
}

/// True if there are packages whose header was not read. There are usually none, which saves the search.
pub(super) async fn has_claimed(transaction: &mut Transaction) -> sqlx::Result<bool> {
    both!(Transaction, transaction, |connection, Backend| {
        let first: Option<i64> =
            sqlx::query_scalar::<Backend, i64>("select id from packages where identity is null limit 1")
                .fetch_optional(&mut **connection)
                .await?;
        Ok(first.is_some())
    })
}

/// Returns the names of packages without duplicates.
pub(super) fn nvras<'n>(nevras: impl Iterator<Item = &'n Nevra>) -> Vec<String> {
    nevras.map(Nevra::nvra).collect::<BTreeSet<String>>().into_iter().collect()
}
