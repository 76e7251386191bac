//! Refreshes of repositories: what a listing still has, what it lacks, and how a refresh ended.
//!
//! While a package is listed, it was last seen when its repository was refreshed last. An unchanged package therefore
//! needs no row of its own to be updated.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{FromRow, QueryBuilder};

use super::clock::now;
use super::locations::FOUND_GONE;
use super::memberships::{self, is_below};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{CompleteListing, Index, ListingEnd, PathHash, Result, Verified};

/// Maximum length of `repositories.error`, in characters.
const MAX_ERROR_CHARS: usize = 2048;
/// Maximum length of `repositories.revision`, in characters. Longer ones are truncated.
const MAX_REVISION_CHARS: usize = 255;

impl Index {
    /// Records that a refresh of a repository begins, and returns its time for [`CompleteListing::started_at`]: later
    /// than everything that was written for this repository so far, and not later than what is written from now on.
    /// That is at most a second ahead of the clock.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn begin_listing(&self, repository_id: i64) -> Result<i64> {
        self.retry_transaction("beginning a refresh", || async {
            let mut transaction = self.begin().await?;
            let began = both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query =
                    QueryBuilder::<Backend>::new("select refreshed_at, attempted_at from repositories where id = ");
                query.push_bind(repository_id).push(Backend::FOR_UPDATE);
                let (refreshed_at, attempted_at): (Option<i64>, Option<i64>) =
                    query.build_query_as().fetch_one(&mut **connection).await?;
                let began = 1 + now().max(refreshed_at.unwrap_or(0)).max(attempted_at.unwrap_or(0));
                sqlx::query::<Backend>("update repositories set attempted_at = ? where id = ?")
                    .bind(began)
                    .bind(repository_id)
                    .execute(&mut **connection)
                    .await?;
                began
            });
            transaction.commit().await?;
            Ok(began)
        })
        .await
    }

    /// Forgets which metadata of a repository was imported last, before anything of another one is written: an import
    /// that ends in its middle is not taken for the complete one before it.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn forget_metadata(&self, repository_id: i64) -> Result<()> {
        self.retry_transaction("forgetting the metadata of a repository", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>("update repositories set metadata_checksum = null where id = ?")
                    .bind(repository_id)
                    .execute(&mut **connection)
                    .await?;
            });
            transaction.commit().await
        })
        .await
    }

    /// Records that a repository lists these packages at these paths of its store, which the index has: memberships
    /// that are missing or ended begin. Present locations were seen at `at`, in seconds since 1970; a gone location of
    /// one of the packages is present again, unless another package is at its path or a check found it gone. Packages
    /// that are listed as before need not be given.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn mark_listed(&self, repository_id: i64, packages: &[i64], paths: &[PathHash], at: i64) -> Result<()> {
        let mut paths: Vec<String> = paths.iter().map(PathHash::to_string).collect();
        paths.sort_unstable();
        paths.dedup();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let listed: HashSet<i64> = packages.iter().copied().collect();
        self.retry_transaction("marking packages as listed", || async {
            let mut transaction = self.begin().await?;
            // Locked first, as in the end of a refresh.
            let store_id = read_listing_place(&mut transaction, repository_id).await?.store_id;
            let at = memberships::time(&mut transaction, std::iter::once(repository_id), at).await?;
            let rows = packages.iter().map(|package_id| (*package_id, repository_id)).collect();
            memberships::begin(&mut transaction, rows, at).await?;
            for paths in paths.chunks(MAX_LIST) {
                see_again(&mut transaction, store_id, paths, &listed, at).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Ends a refresh that read a complete listing, in one transaction:
    ///
    /// - Memberships of [`CompleteListing::ended`] end, and those of packages that have locations below the repository,
    ///   all of which are gone. Those that were written since the refresh began stay.
    /// - Locations at [`CompleteListing::gone`] are gone, unless they were seen since the refresh began, or another
    ///   repository above them in the same store lists their package.
    /// - The refresh is recorded, and a former error removed. If another refresh ended meanwhile, no checksum of the
    ///   metadata is stored, so that the next one reads everything.
    ///
    /// # Errors
    /// If the database refuses. Then nothing is changed.
    pub async fn complete_listing(&self, repository_id: i64, listing: &CompleteListing) -> Result<ListingEnd> {
        let cut = |text: &Option<String>, max| text.as_ref().map(|text| text.chars().take(max).collect::<String>());
        let (revision, refused) = (cut(&listing.revision, MAX_REVISION_CHARS), cut(&listing.refused, MAX_ERROR_CHARS));
        self.retry_transaction("completing a listing", || async {
            let mut transaction = self.begin().await?;
            let place = read_listing_place(&mut transaction, repository_id).await?;
            let now = now().max(listing.started_at);
            let gone = mark_gone(&mut transaction, repository_id, &place, listing, now).await?;
            let mut ended: Vec<i64> = listing.ended.clone();
            ended.extend(read_places_gone(&mut transaction, repository_id, &place).await?);
            ended.sort_unstable();
            ended.dedup();
            let ended = end_memberships(&mut transaction, repository_id, &place, &ended, listing, now).await?;
            begin_together(&mut transaction, repository_id, place.refreshed_at, listing.started_at).await?;
            let is_last = place.refreshed_at.is_none_or(|refreshed_at| refreshed_at <= listing.started_at);
            both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>(
                    "update repositories set revision = ?, metadata_checksum = ?, verified = ?, package_count = ?, \
                     refreshed_at = ?, attempted_at = ?, refused_count = ?, refused = ?, error = null where id = ?",
                )
                .bind(revision.as_deref())
                .bind(listing.metadata_checksum.as_deref().filter(|_| is_last))
                .bind(listing.verified.as_str())
                .bind(listing.package_count.cast_signed())
                .bind(now)
                .bind(now)
                .bind(listing.refused_count.cast_signed())
                .bind(refused.as_deref())
                .bind(repository_id)
                .execute(&mut **connection)
                .await?;
            });
            transaction.commit().await?;
            Ok(ListingEnd { ended, gone })
        })
        .await
    }

    /// Ends a refresh that found the metadata imported last, at `at`, in seconds since 1970.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn confirm_unchanged(&self, repository_id: i64, verified: Verified, at: i64) -> Result<()> {
        self.retry_transaction("recording a refresh", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>(
                    "update repositories set verified = ?, refreshed_at = ?, \
                     attempted_at = case when attempted_at > ? then attempted_at else ? end, error = null where id = ?",
                )
                .bind(verified.as_str())
                .bind(at)
                .bind(at)
                .bind(at)
                .bind(repository_id)
                .execute(&mut **connection)
                .await?;
            });
            transaction.commit().await
        })
        .await
    }

    /// Ends a refresh that failed at `at`, in seconds since 1970. `error` is the reason, without secrets.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn fail_listing(&self, repository_id: i64, error: &str, at: i64) -> Result<()> {
        let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
        self.retry_transaction("recording a failed refresh", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>(
                    "update repositories set error = ?, \
                     attempted_at = case when attempted_at > ? then attempted_at else ? end where id = ?",
                )
                .bind(error.as_str())
                .bind(at)
                .bind(at)
                .bind(repository_id)
                .execute(&mut **connection)
                .await?;
            });
            transaction.commit().await
        })
        .await
    }
}

/// Where a repository is, and when it was refreshed.
#[derive(FromRow)]
struct ListingPlace {
    store_id: i64,
    path: String,
    refreshed_at: Option<i64>,
}

/// Reads a repository, locked until the end of the transaction: refreshes end one after the other.
async fn read_listing_place(transaction: &mut Transaction, repository_id: i64) -> sqlx::Result<ListingPlace> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query =
            QueryBuilder::<Backend>::new("select store_id, path, refreshed_at from repositories where id = ");
        query.push_bind(repository_id).push(Backend::FOR_UPDATE);
        query.build_query_as().fetch_one(&mut **connection).await
    })
}

/// A location at a path that is listed.
#[derive(FromRow)]
struct SightRow {
    path_hash: String,
    package_id: i64,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
    /// True if a check found it gone.
    is_found_gone: bool,
}

/// Updates `last_seen` of present locations at these paths, and restores gone ones of listed packages.
async fn see_again(
    transaction: &mut Transaction,
    store_id: i64,
    paths: &[&str],
    listed: &HashSet<i64>,
    at: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("select path_hash, package_id, last_seen, gone_at, ");
        query
            .push(FOUND_GONE)
            .push(" as is_found_gone from locations where store_id = ")
            .push_bind(store_id)
            .push(" and ");
        push_list(&mut query, "path_hash", paths);
        query.push(" order by path_hash, package_id").push(Backend::FOR_UPDATE);
        let rows: Vec<SightRow> = query.build_query_as().fetch_all(&mut **connection).await?;
        let present: HashSet<&str> =
            rows.iter().filter(|row| row.gone_at.is_none()).map(|row| row.path_hash.as_str()).collect();
        let mut restored: HashMap<&str, (Option<i64>, i64)> = HashMap::new();
        for row in &rows {
            let path = row.path_hash.as_str();
            if !row.is_found_gone && !present.contains(path) && listed.contains(&row.package_id) {
                let last = restored.entry(path).or_insert((row.last_seen, row.package_id));
                *last = (*last).max((row.last_seen, row.package_id));
            }
        }
        for (path, (_, package_id)) in restored {
            sqlx::query::<Backend>(
                "update locations set gone_at = null, derived = 0 where store_id = ? and path_hash = ? and package_id \
                 = ?",
            )
            .bind(store_id)
            .bind(path)
            .bind(package_id)
            .execute(&mut **connection)
            .await?;
        }
        let mut query = QueryBuilder::<Backend>::new("update locations set last_seen = ");
        query.push_bind(at).push(", first_seen = coalesce(first_seen, ").push_bind(at);
        query.push(") where gone_at is null and store_id = ").push_bind(store_id).push(" and ");
        push_list(&mut query, "path_hash", paths);
        query.build().execute(&mut **connection).await?;
    });
    Ok(())
}

/// Marks locations as gone that a complete listing lacks. Returns their number.
async fn mark_gone(
    transaction: &mut Transaction,
    repository_id: i64,
    place: &ListingPlace,
    listing: &CompleteListing,
    now: i64,
) -> sqlx::Result<u64> {
    let mut paths: Vec<String> = listing.gone.iter().map(PathHash::to_string).collect();
    paths.sort_unstable();
    paths.dedup();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut marked = 0;
    both!(Transaction, transaction, |connection, Backend| {
        for paths in paths.chunks(MAX_LIST) {
            // A path has one present package.
            let mut query = QueryBuilder::<Backend>::new(
                "select path_hash, package_id, path from locations where gone_at is null and derived = 0 and last_seen \
                 < ",
            );
            query.push_bind(listing.started_at).push(" and store_id = ").push_bind(place.store_id).push(" and ");
            push_list(&mut query, "path_hash", paths);
            query.push(" order by path_hash, package_id").push(Backend::FOR_UPDATE);
            let mut present: Vec<(String, i64, String)> = query.build_query_as().fetch_all(&mut **connection).await?;
            present.retain(|(_, _, path)| is_below(path, &place.path));
            if present.is_empty() {
                continue;
            }
            let packages: Vec<i64> = present.iter().map(|(_, package_id, _)| *package_id).collect();
            let mut query = QueryBuilder::<Backend>::new(
                "select m.package_id, r.path from memberships m join repositories r on r.id = m.repository_id where \
                 m.ended_at is null and r.store_id = ",
            );
            query.push_bind(place.store_id).push(" and r.id <> ").push_bind(repository_id).push(" and ");
            push_list(&mut query, "m.package_id", &packages);
            let listed: Vec<(i64, String)> = query.build_query_as().fetch_all(&mut **connection).await?;
            let mut elsewhere: HashMap<i64, Vec<String>> = HashMap::new();
            for (package_id, path) in listed {
                elsewhere.entry(package_id).or_default().push(path);
            }
            present.retain(|(_, package_id, path)| {
                elsewhere.get(package_id).is_none_or(|above| !above.iter().any(|above| is_below(path, above)))
            });
            let gone: Vec<&str> = present.iter().map(|(path_hash, ..)| path_hash.as_str()).collect();
            if gone.is_empty() {
                continue;
            }
            let mut query = QueryBuilder::<Backend>::new("update locations set gone_at = ");
            query.push_bind(now).push(" where gone_at is null and store_id = ").push_bind(place.store_id);
            query.push(" and ");
            push_list(&mut query, "path_hash", &gone);
            marked += query.build().execute(&mut **connection).await?.rows_affected();
        }
    });
    Ok(marked)
}

/// Returns the listed packages that have locations below the repository, all of which are gone: another package is at
/// the path of each, or it was marked before.
async fn read_places_gone(
    transaction: &mut Transaction,
    repository_id: i64,
    place: &ListingPlace,
) -> sqlx::Result<BTreeSet<i64>> {
    both!(Transaction, transaction, |connection, Backend| {
        let rows: Vec<(i64, String)> = sqlx::query_as::<Backend, _>(
            "select m.package_id, l.path from memberships m join locations l on l.package_id = m.package_id \
             where m.repository_id = ? and m.ended_at is null and l.store_id = ? and l.gone_at is not null",
        )
        .bind(repository_id)
        .bind(place.store_id)
        .fetch_all(&mut **connection)
        .await?;
        let below = rows.into_iter().filter(|(_, path)| is_below(path, &place.path));
        let mut gone: BTreeSet<i64> = below.map(|(package_id, _)| package_id).collect();
        for packages in gone.iter().copied().collect::<Vec<i64>>().chunks(MAX_LIST) {
            let mut query = QueryBuilder::<Backend>::new(
                "select package_id, path from locations where gone_at is null and store_id = ",
            );
            query.push_bind(place.store_id).push(" and ");
            push_list(&mut query, "package_id", packages);
            let present: Vec<(i64, String)> = query.build_query_as().fetch_all(&mut **connection).await?;
            for (package_id, _) in present.iter().filter(|(_, path)| is_below(path, &place.path)) {
                gone.remove(package_id);
            }
        }
        Ok(gone)
    })
}

/// Makes memberships that began since the last refresh begin with this one, which lists them together: an interrupted
/// or failed refresh can have begun some of them.
async fn begin_together(
    transaction: &mut Transaction,
    repository_id: i64,
    refreshed_at: Option<i64>,
    started_at: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        sqlx::query::<Backend>(
            "update memberships set first_seen = ? where repository_id = ? and ended_at is null and first_seen > ? and \
             first_seen <> ?",
        )
        .bind(started_at)
        .bind(repository_id)
        .bind(refreshed_at.unwrap_or(i64::MIN))
        .bind(started_at)
        .execute(&mut **connection)
        .await?;
    });
    Ok(())
}

/// Ends memberships that were not seen since the refresh began. Returns their number.
async fn end_memberships(
    transaction: &mut Transaction,
    repository_id: i64,
    place: &ListingPlace,
    packages: &[i64],
    listing: &CompleteListing,
    now: i64,
) -> sqlx::Result<u64> {
    let mut ended = 0;
    both!(Transaction, transaction, |connection, Backend| {
        for packages in packages.chunks(MAX_LIST) {
            let mut query = QueryBuilder::<Backend>::new("update memberships set ended_at = ");
            query.push_bind(now);
            if let Some(refreshed_at) = place.refreshed_at {
                query.push(", last_seen = case when last_seen < ").push_bind(refreshed_at).push(" then ");
                query.push_bind(refreshed_at).push(" else last_seen end");
            }
            query.push(" where ended_at is null and last_seen < ").push_bind(listing.started_at);
            query.push(" and repository_id = ").push_bind(repository_id).push(" and ");
            push_list(&mut query, "package_id", packages);
            ended += query.build().execute(&mut **connection).await?.rows_affected();
        }
    });
    Ok(ended)
}
