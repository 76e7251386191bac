//! Inserts packages that are known from metadata or from the original's database, and whose header was not read.

use std::collections::{BTreeMap, HashSet};

use sqlx::QueryBuilder;

use super::candidates::{self, Candidate, Evidence, Selection};
use super::insert::now;
use super::locations::{self, PackageLocation};
use super::{changes, chunks};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::{Claim, ClaimedPackage, Index, NewLocation, PathHash, Result, hash_build_id};

impl Index {
    /// Inserts packages whose header was not read, in one transaction: each with its claimed build-ids, its location
    /// and its membership of a repository. Filters learn these build-ids like others.
    ///
    /// A package that the index has already, read or claimed, gets no second row: the same name-version-release.arch at
    /// the same path, with the same checksum or with a build-id in common is the same package. Claims of a complete
    /// package are dropped: its header answered them. Returns the number of new packages.
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

async fn insert(transaction: &mut Transaction, writer: &str, batch: &[ClaimedPackage], now: i64) -> sqlx::Result<u64> {
    candidates::lock_claims(transaction, Selection::All).await?;
    let nvras = candidates::nvras(batch.iter().map(|claimed| &claimed.nevra));
    let mut known = candidates::read_candidates(transaction, &nvras, Selection::All).await?;
    let (mut new, mut hashes) = (0, Vec::new());
    // A path has one package.
    let mut places: BTreeMap<(i64, PathHash), (&NewLocation, i64)> = BTreeMap::new();
    for claimed in batch {
        let build_ids = || claimed.claims.iter().map(|claim| &claim.build_id);
        let mut evidence = Evidence::new(false);
        evidence.add(claimed.location.as_ref(), build_ids());
        let nvra = claimed.nevra.nvra();
        let same = known.iter_mut().find(|known| known.nvra == nvra && known.evidence.is_same_package(&evidence));
        let (id, state) = match same {
            Some(same) => {
                same.evidence.add(claimed.location.as_ref(), build_ids());
                (same.id, same.state)
            }
            None => {
                let (id, state) = (insert_package(transaction, claimed, now).await?, claimed.origin.state());
                known.push(Candidate { id, nvra, state, evidence });
                new += 1;
                (id, state)
            }
        };
        if !state.is_complete() {
            insert_claims(transaction, id, claimed).await?;
            hashes.extend(build_ids().map(hash_build_id));
        }
        if let Some(repository_id) = claimed.repository_id {
            insert_membership(transaction, id, repository_id, now).await?;
        }
        if let Some(location) = &claimed.location {
            places.insert((location.store_id, PathHash::of_path(&location.path)), (location, id));
        }
    }
    let places: Vec<PackageLocation<'_>> = places
        .into_iter()
        .map(|((_, path_hash), (location, package_id))| PackageLocation { package_id, path_hash, location })
        .collect();
    locations::mark_replaced(transaction, &places, now).await?;
    locations::insert(transaction, &places, now).await?;
    changes::record(transaction, writer, hashes).await?;
    Ok(new)
}

async fn insert_package(transaction: &mut Transaction, claimed: &ClaimedPackage, now: i64) -> sqlx::Result<i64> {
    let nevra = &claimed.nevra;
    both!(Transaction, transaction, |connection, Backend| {
        sqlx::query::<Backend>(
            "insert into packages (format, name, epoch, version, `release`, arch, nvra, source_rpm, distro, state, \
             indexed_at) \
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(claimed.format.as_str())
        .bind(nevra.name.as_str())
        .bind(nevra.epoch.map(i64::from))
        .bind(nevra.version.as_str())
        .bind(nevra.release.as_str())
        .bind(nevra.arch.as_str())
        .bind(nevra.nvra())
        .bind(claimed.source_rpm.as_deref())
        .bind(claimed.distro.as_str())
        .bind(claimed.origin.state().as_str())
        .bind(now)
        .execute(&mut **connection)
        .await?;
        sqlx::query_scalar::<Backend, i64>(Backend::LAST_ID).fetch_one(&mut **connection).await
    })
}

/// Inserts the claims that the package does not have, and that its artifacts do not answer.
async fn insert_claims(transaction: &mut Transaction, package_id: i64, claimed: &ClaimedPackage) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let known: Vec<String> = sqlx::query_scalar::<Backend, _>(
            "select build_id from claims where package_id = ? union select build_id from artifacts where package_id = \
             ?",
        )
        .bind(package_id)
        .bind(package_id)
        .fetch_all(&mut **connection)
        .await?;
        let mut known: HashSet<String> = known.into_iter().collect();
        let new: Vec<&Claim> = claimed.claims.iter().filter(|claim| known.insert(claim.build_id.to_string())).collect();
        let statement = |claims: &[&Claim]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("claims (build_id, package_id, kind, link_path) ");
            query.push_values(claims, |mut row, claim| {
                row.push_bind(claim.build_id.to_string())
                    .push_bind(package_id)
                    .push_bind(claim.kind.as_str())
                    .push_bind(claim.link_path.as_deref());
            });
            query
        };
        chunks::write(&mut **connection, &new, statement).await?;
    });
    Ok(())
}

async fn insert_membership(
    transaction: &mut Transaction,
    package_id: i64,
    repository_id: i64,
    now: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let seen =
            sqlx::query::<Backend>("update memberships set last_seen = ? where package_id = ? and repository_id = ?")
                .bind(now)
                .bind(package_id)
                .bind(repository_id);
        if seen.execute(&mut **connection).await?.rows_affected() == 0 {
            sqlx::query::<Backend>(
                "insert into memberships (package_id, repository_id, first_seen, last_seen) values (?, ?, ?, ?)",
            )
            .bind(package_id)
            .bind(repository_id)
            .bind(now)
            .bind(now)
            .execute(&mut **connection)
            .await?;
        }
    });
    Ok(())
}
