//! Queries for repositories, what the index has below them, and packages by the checksums of archives.

use std::collections::{HashMap, HashSet};

use artifact::Nevra;
use futures::TryStreamExt;
use sqlx::{FromRow, QueryBuilder};

use crate::connect::db::on_connection;
use crate::model::rows::{MAX_LIST, decode_error, push_list, to_checksum, to_format, to_header};
use crate::{
    Checksum, Index, KnownListed, KnownListing, KnownPackage, PackageState, PathHash, Repository, Result, Verified,
};

/// Selects the columns of [`RepositoryRow`].
pub(crate) const REPOSITORIES: &str = "select id, name, store_id, path, url, format, distro, revision, \
     metadata_checksum, verified, package_count, refreshed_at, attempted_at, error, refused_count, refused \
     from repositories";

/// Selects the columns of [`ListedRow`]: a row for each location of a store, with the package's membership of a
/// repository, if it lasts.
const LISTED: &str = "select l.path_hash, l.package_id, p.state, l.checksum, l.checksum_kind, l.last_seen, l.gone_at, \
     l.checked_at, l.check_result, m.repository_id from locations l join packages p on p.id = l.package_id \
     left join memberships m on m.package_id = l.package_id and m.ended_at is null and m.repository_id = ";

/// Selects the columns of [`KnownRow`].
const KNOWN: &str = "select l.checksum, l.checksum_kind, l.header_start, l.header_end, l.signing_key, p.id, p.name, \
     p.epoch, p.version, p.`release`, p.arch, p.state from locations l join packages p on p.id = l.package_id \
     where p.identity is not null and ";

impl Index {
    /// Returns all repositories, by name.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn repositories(&self) -> Result<Vec<Repository>> {
        let mut repositories = self
            .retry_query("reading repositories", || async {
                let rows: Vec<RepositoryRow> = on_connection!(&self.db, |connection, Backend| {
                    sqlx::query_as::<Backend, _>(REPOSITORIES).fetch_all(connection).await?
                });
                rows.into_iter().map(RepositoryRow::into_repository).collect::<sqlx::Result<Vec<Repository>>>()
            })
            .await?;
        repositories.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(repositories)
    }

    /// Returns all paths of a repository's store below the repository's path, including gone ones. A path that had
    /// several packages has the present one, else the one seen last. Places that only a check found are not among them.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn known_listing(&self, repository_id: i64) -> Result<KnownListing> {
        self.retry_query("reading the last listing", || async {
            let mut known: HashMap<PathHash, (Option<i64>, KnownListed)> = HashMap::new();
            on_connection!(&self.db, |connection, Backend| {
                let (store_id, path): (i64, String) =
                    sqlx::query_as::<Backend, _>("select store_id, path from repositories where id = ?")
                        .bind(repository_id)
                        .fetch_one(&mut *connection)
                        .await?;
                let mut query = QueryBuilder::<Backend>::new(LISTED);
                query.push_bind(repository_id).push(" where l.derived = 0 and l.store_id = ").push_bind(store_id);
                if !path.is_empty() {
                    let beginning = format!("{path}/");
                    let characters = beginning.chars().count() as i64;
                    query.push(" and substr(l.path, 1, ").push_bind(characters).push(") = ").push_bind(beginning);
                }
                let mut rows = query.build_query_as::<ListedRow>().fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    let (path, last_seen, listed) = row.into_listed()?;
                    let rank = |listed: &KnownListed, last_seen: Option<i64>| (!listed.is_gone, last_seen);
                    match known.get(&path) {
                        Some((other, held)) if rank(held, *other) >= rank(&listed, last_seen) => {}
                        _ => drop(known.insert(path, (last_seen, listed))),
                    }
                }
            });
            Ok(known.into_iter().map(|(path, (_, listed))| (path, listed)).collect())
        })
        .await
    }

    /// Returns the ids of all packages that a repository lists, wherever their locations are.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn listed_packages(&self, repository_id: i64) -> Result<HashSet<i64>> {
        self.retry_query("reading memberships", || async {
            let ids: Vec<i64> = on_connection!(&self.db, |connection, Backend| {
                sqlx::query_scalar::<Backend, _>(
                    "select package_id from memberships where repository_id = ? and ended_at is null",
                )
                .bind(repository_id)
                .fetch_all(&mut *connection)
                .await?
            });
            Ok(ids.into_iter().collect())
        })
        .await
    }

    /// Returns the packages whose header was read, of which an archive has or had one of these checksums. Of several
    /// packages with one checksum, any; of several archives, one whose header's place is known, if there is one.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn packages_by_checksum(&self, checksums: &[Checksum]) -> Result<HashMap<Checksum, KnownPackage>> {
        let mut digits: Vec<String> = checksums.iter().map(Checksum::digits).collect();
        digits.sort_unstable();
        digits.dedup();
        let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
        self.retry_query("reading packages by checksum", || async {
            let mut known: HashMap<Checksum, KnownPackage> = HashMap::new();
            on_connection!(&self.db, |connection, Backend| {
                for digits in digits.chunks(MAX_LIST) {
                    let mut query = QueryBuilder::<Backend>::new(KNOWN);
                    push_list(&mut query, "l.checksum", digits);
                    let rows: Vec<KnownRow> = query.build_query_as().fetch_all(&mut *connection).await?;
                    for row in rows {
                        let Some((checksum, package)) = row.into_package()? else { continue };
                        if known.get(&checksum).is_none_or(|held| held.header.is_none()) {
                            known.insert(checksum, package);
                        }
                    }
                }
            });
            let asked: HashSet<&Checksum> = checksums.iter().collect();
            known.retain(|checksum, _| asked.contains(checksum));
            Ok(known)
        })
        .await
    }
}

#[derive(FromRow)]
pub(crate) struct RepositoryRow {
    id: i64,
    name: String,
    store_id: i64,
    path: String,
    url: Option<String>,
    format: String,
    distro: Option<String>,
    revision: Option<String>,
    metadata_checksum: Option<String>,
    verified: String,
    package_count: Option<i64>,
    refreshed_at: Option<i64>,
    attempted_at: Option<i64>,
    error: Option<String>,
    refused_count: i64,
    refused: Option<String>,
}

impl RepositoryRow {
    pub(crate) fn into_repository(self) -> sqlx::Result<Repository> {
        Ok(Repository {
            id: self.id,
            name: self.name,
            store_id: self.store_id,
            path: self.path,
            url: self.url,
            format: to_format(&self.format)?,
            distro: self.distro,
            revision: self.revision,
            metadata_checksum: self.metadata_checksum,
            verified: self.verified.parse::<Verified>().map_err(decode_error)?,
            package_count: self.package_count.map(u64::try_from).transpose().map_err(decode_error)?,
            refreshed_at: self.refreshed_at,
            attempted_at: self.attempted_at,
            error: self.error,
            refused_count: u64::try_from(self.refused_count).map_err(decode_error)?,
            refused: self.refused,
        })
    }
}

#[derive(FromRow)]
struct ListedRow {
    path_hash: String,
    package_id: i64,
    state: String,
    checksum: Option<String>,
    checksum_kind: Option<String>,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
    checked_at: Option<i64>,
    check_result: Option<String>,
    repository_id: Option<i64>,
}

impl ListedRow {
    fn into_listed(self) -> sqlx::Result<(PathHash, Option<i64>, KnownListed)> {
        let state = PackageState::parse(&self.state)?;
        let is_checked = self.gone_at.is_some_and(|gone_at| self.checked_at >= Some(gone_at));
        let is_found_gone = is_checked && self.check_result.as_deref() == Some("gone");
        let listed = KnownListed {
            package_id: self.package_id,
            checksum: to_checksum(self.checksum_kind, self.checksum)?,
            is_read: state.is_read(),
            is_open: state.is_open(),
            is_gone: self.gone_at.is_some(),
            is_found_gone,
            is_listed: self.repository_id.is_some(),
        };
        Ok((self.path_hash.parse()?, self.last_seen, listed))
    }
}

#[derive(FromRow)]
struct KnownRow {
    checksum: Option<String>,
    checksum_kind: Option<String>,
    header_start: Option<i64>,
    header_end: Option<i64>,
    signing_key: Option<String>,
    id: i64,
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    arch: String,
    state: String,
}

impl KnownRow {
    fn into_package(self) -> sqlx::Result<Option<(Checksum, KnownPackage)>> {
        let Some(checksum) = to_checksum(self.checksum_kind, self.checksum)? else { return Ok(None) };
        let epoch = self.epoch.map(u32::try_from).transpose().map_err(decode_error)?;
        let package = KnownPackage {
            package_id: self.id,
            nevra: Nevra { name: self.name, epoch, version: self.version, release: self.release, arch: self.arch },
            header: to_header(self.header_start, self.header_end)?,
            signing_key: self.signing_key,
            is_open: PackageState::parse(&self.state)?.is_open(),
        };
        Ok(Some((checksum, package)))
    }
}
