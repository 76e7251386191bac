//! Packages that are named by metadata or an old database, and not read yet.

use artifact::BuildId;
use sqlx::QueryBuilder;

use super::candidates::{self, Candidate, Marks, Which};
use super::changes;
use super::insert::now;
use super::locations::{self, Place};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::State;
use crate::{Claimed, Index, PathHash, Result, hash};

impl Index {
    /// Brings packages into the index whose header was not read, in one transaction: each with the build-ids that it is stated to have,
    /// its location and its membership of a repository. Filters learn of these build-ids as of others.
    ///
    /// A package that the index holds already, read or claimed, gets no second row: the same name-version-release.arch at the same
    /// place, with the same checksum or with a build-id in common is the same package. Claims of a package that is complete are
    /// dropped: its header answered them. Returns how many packages are new.
    ///
    /// # Errors
    /// If a value does not fit ([`Claimed::check`]), or the database refuses. Nothing of the batch is in the index then.
    pub async fn insert_claimed(&self, writer: &str, batch: &[Claimed]) -> Result<u64> {
        batch.iter().try_for_each(Claimed::check)?;
        self.writing("inserting claims", || async {
            let mut transaction = self.begin().await?;
            let new = insert(&mut transaction, writer, batch, now()).await?;
            transaction.commit().await?;
            Ok(new)
        })
        .await
    }
}

async fn insert(transaction: &mut Transaction, writer: &str, batch: &[Claimed], now: i64) -> sqlx::Result<u64> {
    let nvras = candidates::nvras(batch.iter().map(|claimed| &claimed.nevra));
    let mut known = candidates::read(transaction, &nvras, Which::All).await?;
    let (mut new, mut hashes) = (0, Vec::new());
    let mut places = Vec::new();
    for claimed in batch {
        let build_ids = || claimed.claims.iter().map(|claim| &claim.build_id);
        let mut marks = Marks::default();
        marks.add(claimed.location.as_ref(), build_ids());
        let nvra = claimed.nevra.nvra();
        let same = known.iter_mut().find(|known| known.nvra == nvra && known.marks.are_of_one_package(&marks));
        let (id, state) = match same {
            Some(same) => {
                same.marks.add(claimed.location.as_ref(), build_ids());
                (same.id, same.state)
            }
            None => {
                let (id, state) = (insert_package(transaction, claimed, now).await?, claimed.origin.state());
                known.push(Candidate { id, nvra, state, marks });
                new += 1;
                (id, state)
            }
        };
        if state != State::Complete {
            insert_claims(transaction, id, claimed).await?;
            hashes.extend(build_ids().map(hash));
        }
        if let Some(repository_id) = claimed.repository_id {
            insert_membership(transaction, id, repository_id, now).await?;
        }
        places.extend(claimed.location.as_ref().map(|location| (location, id)));
    }
    let mut places: Vec<Place<'_>> = places
        .into_iter()
        .map(|(location, package_id)| Place { package_id, path_hash: PathHash::of(&location.path), location })
        .collect();
    places.sort_by_key(|place| (place.location.store_id, place.path_hash, place.package_id));
    places.dedup_by_key(|place| (place.location.store_id, place.path_hash, place.package_id));
    locations::mark_replaced(transaction, &places, now).await?;
    locations::insert(transaction, &places, now).await?;
    changes::note(transaction, writer, hashes).await?;
    Ok(new)
}

async fn insert_package(transaction: &mut Transaction, claimed: &Claimed, now: i64) -> sqlx::Result<i64> {
    let nevra = &claimed.nevra;
    both!(Transaction, transaction, |connection, Backend| {
        sqlx::query::<Backend>(
            "insert into packages (format, name, epoch, version, `release`, arch, nvra, source_rpm, distro, state, indexed_at) \
             values ('rpm', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
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

/// Adds the claims that the package does not have.
async fn insert_claims(transaction: &mut Transaction, package_id: i64, claimed: &Claimed) -> sqlx::Result<()> {
    for claim in &claimed.claims {
        let build_id = BuildId::to_string(&claim.build_id);
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select 1 from claims where build_id = ");
            query.push_bind(build_id.as_str()).push(" and package_id = ").push_bind(package_id);
            if query.build_query_scalar::<i64>().fetch_optional(&mut **connection).await?.is_none() {
                sqlx::query::<Backend>("insert into claims (build_id, package_id, kind, link_path) values (?, ?, ?, ?)")
                    .bind(build_id)
                    .bind(package_id)
                    .bind(claim.kind.as_str())
                    .bind(claim.link_path.as_deref())
                    .execute(&mut **connection)
                    .await?;
            }
        });
    }
    Ok(())
}

async fn insert_membership(transaction: &mut Transaction, package_id: i64, repository_id: i64, now: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let seen = sqlx::query::<Backend>("update memberships set last_seen = ? where package_id = ? and repository_id = ?")
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
