//! Inserts packages that are known from metadata or from the original's database, and whose header was not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use artifact::{BuildId, Kind};
use sqlx::QueryBuilder;

use super::candidates::{self, Candidate, Evidence, Selection};
use super::clock::now;
use super::locations::{self, PackagePlace, UnreadPlace, UnreadPlaces};
use super::{changes, chunks, claimed_packages, memberships, origins};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::{Claim, ClaimedPackage, Index, Origin, PackageState, PathHash, Result, hash_build_id};

impl Index {
    /// Inserts packages whose header was not read, in one transaction: each with its claimed build-ids, its location
    /// and its membership of a repository. Filters learn these build-ids like others.
    ///
    /// A package that the index has already, read or claimed, gets no second row: the same name-version-release.arch at
    /// the same path, with the same checksum or with a build-id in common is the same package. Claims of a complete
    /// package are dropped: its header answered them. It gets the build of Koji that is stated. Returns the number of
    /// new packages.
    ///
    /// Nothing was read at their locations. Another package stays at its place unless the place is below the repository
    /// and no other one lists it there; and what a check found gone stays gone. A location that an original's database
    /// states is used only where the index knows of no package, present or gone: it is years old, and nobody saw it.
    ///
    /// # Errors
    /// If a value does not fit ([`ClaimedPackage::check`]), or the database refuses. Then nothing of the batch is in
    /// the index.
    pub async fn insert_claimed(&self, writer: &str, batch: &[ClaimedPackage]) -> Result<u64> {
        if batch.is_empty() {
            return Ok(0);
        }
        batch.iter().try_for_each(ClaimedPackage::check)?;
        self.retry_transaction("inserting claims", || async {
            let mut transaction = self.begin().await?;
            let new = insert(&mut transaction, writer, batch, now()).await?;
            transaction.commit().await?;
            Ok(new)
        })
        .await
    }
}

/// A package of a batch: one that the index has, or a new one.
struct ListedPackage<'a> {
    /// Its id. `None` if it is new.
    id: Option<i64>,
    state: PackageState,
    evidence: Evidence,
    /// Build-ids that the index has for it, in hex digits.
    known: BTreeSet<String>,
    /// The first entry of the batch for it.
    first: &'a ClaimedPackage,
}

async fn insert(transaction: &mut Transaction, writer: &str, batch: &[ClaimedPackage], now: i64) -> sqlx::Result<u64> {
    candidates::lock_claims(transaction, Selection::All).await?;
    let now = memberships::time(transaction, batch.iter().filter_map(|claimed| claimed.repository_id), now).await?;
    let (packages, of_batch) = match_packages(transaction, batch).await?;
    let new: Vec<&ClaimedPackage> =
        packages.iter().filter(|package| package.id.is_none()).map(|package| package.first).collect();
    let existing = packages.iter().filter_map(|package| package.id).collect();
    let new_ids = claimed_packages::insert(transaction, &new, &existing, now).await?;
    let mut next = new_ids.iter().copied();
    let ids: Vec<i64> = packages.iter().filter_map(|package| package.id.or_else(|| next.next())).collect();

    let (mut claims, mut members, mut hashes) = (NewClaims::default(), Vec::new(), Vec::new());
    let (mut stated, mut stated_once) = (Vec::new(), Vec::new());
    // A path has one package.
    let mut places: BTreeMap<(i64, PathHash), UnreadPlace<'_>> = BTreeMap::new();
    let mut unseen: BTreeMap<(i64, PathHash), PackagePlace<'_>> = BTreeMap::new();
    for (claimed, at) in batch.iter().zip(of_batch) {
        let (Some(package), Some(package_id)) = (packages.get(at), ids.get(at).copied()) else {
            return Err(sqlx::Error::RowNotFound);
        };
        if !package.state.is_complete() {
            claims.add(package_id, &package.known, claimed);
        }
        members.extend(claimed.repository_id.map(|repository_id| (package_id, repository_id)));
        let of_source = if claimed.origin == Origin::Legacy { &mut stated_once } else { &mut stated };
        of_source.extend(claimed.koji.as_ref().map(|koji| (package_id, koji)));
        if let Some(location) = &claimed.location {
            let path_hash = PathHash::of_path(&location.path);
            let (place, repository_id) = (PackagePlace { package_id, path_hash, location }, claimed.repository_id);
            if claimed.origin == Origin::Legacy {
                unseen.insert((location.store_id, path_hash), place);
            } else {
                places.insert((location.store_id, path_hash), UnreadPlace { place, repository_id });
            }
        }
    }
    hashes.extend(claims.0.keys().map(|(build_id, _)| hash_build_id(build_id)));
    claims.insert(transaction).await?;
    origins::set(transaction, stated, origins::Source::Koji).await?;
    origins::set(transaction, stated_once, origins::Source::Legacy).await?;
    memberships::begin(transaction, members, now).await?;
    let places = places.into_values().collect();
    let UnreadPlaces { places, taken } = locations::sort_unread(transaction, places).await?;
    locations::mark_replaced(transaction, &places, now).await?;
    locations::insert(transaction, &places, now).await?;
    locations::insert_taken(transaction, &taken, now).await?;
    locations::insert_unseen(transaction, unseen.into_values().collect()).await?;
    changes::record(transaction, writer, hashes).await?;
    Ok(new_ids.len() as u64)
}

/// Returns the packages of the batch, and for each of its entries the number of its package.
async fn match_packages<'a>(
    transaction: &mut Transaction,
    batch: &'a [ClaimedPackage],
) -> sqlx::Result<(Vec<ListedPackage<'a>>, Vec<usize>)> {
    let nvras = candidates::nvras(batch.iter().map(|claimed| &claimed.nevra));
    let mut known: HashMap<String, Vec<Candidate>> = HashMap::new();
    for candidate in candidates::read_candidates(transaction, &nvras, Selection::All).await? {
        known.entry(candidate.nvra.clone()).or_default().push(candidate);
    }
    let mut packages: Vec<ListedPackage<'a>> = Vec::new();
    let mut by_nvra: HashMap<String, Vec<usize>> = HashMap::new();
    let mut of_batch = Vec::with_capacity(batch.len());
    for claimed in batch {
        let nvra = claimed.nevra.nvra();
        if let Some(candidates) = known.remove(&nvra) {
            for Candidate { id, state, evidence, .. } in candidates {
                by_nvra.entry(nvra.clone()).or_default().push(packages.len());
                let known = evidence.build_ids().clone();
                packages.push(ListedPackage { id: Some(id), state, evidence, known, first: claimed });
            }
        }
        let mut evidence = Evidence::new(claimed.origin.state());
        evidence.add(claimed.location.as_ref(), claimed.claims.iter().map(|claim| &claim.build_id));
        let of_name = by_nvra.entry(nvra).or_default();
        let is_same = |at: &usize| packages.get(*at).is_some_and(|package| package.evidence.is_same_package(&evidence));
        let at = match of_name.iter().copied().find(|at| is_same(at)) {
            Some(at) => {
                if let Some(package) = packages.get_mut(at) {
                    package.evidence.extend(evidence);
                }
                at
            }
            None => {
                of_name.push(packages.len());
                let (state, known) = (claimed.origin.state(), BTreeSet::new());
                packages.push(ListedPackage { id: None, state, evidence, known, first: claimed });
                packages.len() - 1
            }
        };
        of_batch.push(at);
    }
    Ok((packages, of_batch))
}

/// Claims that the index does not have, in the order of their key.
#[derive(Default)]
struct NewClaims<'a>(BTreeMap<(&'a BuildId, i64), KindAndPath<'a>>);

/// The kind of a claim, and the path of its link.
type KindAndPath<'a> = (Kind, Option<&'a str>);

impl<'a> NewClaims<'a> {
    /// Adds what is claimed for a package, without build-ids that the index has for it. A build-id that is claimed as a
    /// program and as its DWARF is both.
    fn add(&mut self, package_id: i64, known: &BTreeSet<String>, claimed: &'a ClaimedPackage) {
        for Claim { build_id, kind, link_path } in &claimed.claims {
            if !known.is_empty() && known.contains(&build_id.to_string()) {
                continue;
            }
            let new = (*kind, link_path.as_deref());
            let (held, path) = self.0.entry((build_id, package_id)).or_insert(new);
            *path = path.or(new.1);
            *held = match (*held, *kind) {
                (held, kind) if held == kind => held,
                (Kind::Unknown, known) | (known, Kind::Unknown) => known,
                _ => Kind::Both,
            };
        }
    }

    async fn insert(self, transaction: &mut Transaction) -> sqlx::Result<()> {
        let rows: Vec<_> = self.0.into_iter().collect();
        both!(Transaction, transaction, |connection, Backend| {
            let statement = |rows: &[((&BuildId, i64), KindAndPath<'_>)]| {
                let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
                query.push("claims (build_id, package_id, kind, link_path) ");
                query.push_values(rows, |mut row, ((build_id, package_id), (kind, link_path))| {
                    row.push_bind(build_id.to_string())
                        .push_bind(*package_id)
                        .push_bind(kind.as_str())
                        .push_bind(*link_path);
                });
                query
            };
            chunks::write(&mut **connection, &rows, statement).await?;
        });
        Ok(())
    }
}
