//! Adds, changes and removes repositories.

use artifact::Format;
use sqlx::QueryBuilder;

use crate::connect::db::both;
use crate::model::import::check_length;
use crate::read::repositories::{REPOSITORIES, RepositoryRow};
use crate::{Error, Index, NewRepository, Repository, Result};

/// Gives a distribution to all packages that a repository lists.
const MEMBERS_DISTRO: &str = "update packages set distro = ? where distro <> ? and id in (select package_id from \
     memberships where repository_id = ? and ended_at is null)";

impl Index {
    /// Adds a repository, or changes the one with that name. If anything but the name changes, its metadata counts as
    /// never imported: the next refresh reads everything. Packages that it lists get a new distribution at once.
    ///
    /// # Errors
    /// If a value does not fit, the store does not exist, or the database refuses.
    pub async fn add_repository(&self, repository: &NewRepository) -> Result<Repository> {
        let path = repository.path.trim_matches('/');
        self.check_repository(repository, path).await?;
        let NewRepository { name, store_id, url, format, distro, .. } = repository;
        let written = self.retry_transaction("adding a repository", || async {
            let mut transaction = self.begin().await?;
            let row = both!(Transaction, &mut transaction, |connection, Backend| {
                let select = |mut query: QueryBuilder<Backend>| {
                    query.push(" where name = ").push_bind(name.as_str());
                    query
                };
                let before: Option<RepositoryRow> = select(QueryBuilder::<Backend>::new(REPOSITORIES))
                    .build_query_as()
                    .fetch_optional(&mut **connection)
                    .await?;
                match before.map(RepositoryRow::into_repository).transpose()? {
                    Some(before) => {
                        let is_same = before.store_id == *store_id
                            && before.path == path
                            && before.url == *url
                            && before.format == *format
                            && before.distro == *distro;
                        let mut query = QueryBuilder::<Backend>::new("update repositories set store_id = ");
                        query.push_bind(*store_id).push(", path = ").push_bind(path);
                        query.push(", url = ").push_bind(url.as_deref());
                        query.push(", format = ").push_bind(format.as_str());
                        query.push(", distro = ").push_bind(distro.as_deref());
                        if !is_same {
                            query.push(", metadata_checksum = null");
                        }
                        query.push(" where id = ").push_bind(before.id);
                        query.build().execute(&mut **connection).await?;
                        if let Some(distro) = distro
                            && before.distro.as_ref() != Some(distro)
                        {
                            sqlx::query::<Backend>(MEMBERS_DISTRO)
                                .bind(distro.as_str())
                                .bind(distro.as_str())
                                .bind(before.id)
                                .execute(&mut **connection)
                                .await?;
                        }
                    }
                    None => {
                        let mut query = QueryBuilder::<Backend>::new(
                            "insert into repositories (name, store_id, path, url, format, distro) ",
                        );
                        query.push_values([repository], |mut row, repository| {
                            row.push_bind(repository.name.as_str())
                                .push_bind(repository.store_id)
                                .push_bind(path)
                                .push_bind(repository.url.as_deref())
                                .push_bind(repository.format.as_str())
                                .push_bind(repository.distro.as_deref());
                        });
                        query.build().execute(&mut **connection).await?;
                    }
                }
                select(QueryBuilder::<Backend>::new(REPOSITORIES))
                    .build_query_as::<RepositoryRow>()
                    .fetch_one(&mut **connection)
                    .await?
            });
            transaction.commit().await?;
            row.into_repository()
        });
        written.await
    }

    async fn check_repository(&self, repository: &NewRepository, path: &str) -> Result<()> {
        let NewRepository { name, store_id, url, format, distro, .. } = repository;
        let refused = |what, expected, found: &str| Err(Error::Value { what, expected, found: found.to_owned() });
        // MySQL ignores trailing blanks in comparisons.
        if name.is_empty() || name.ends_with(' ') {
            return refused("name of a repository", "a name without a blank at its end", name);
        }
        if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.ends_with(' ') {
            return refused("path of a repository", "a path below its store", path);
        }
        if !matches!(format, Format::Rpm | Format::Deb | Format::Arch) {
            return refused("format of a repository", "rpm, deb or arch", format.as_str());
        }
        let subject = format!("repository {name}");
        for (what, limit, value) in [
            ("name", 255, name.as_str()),
            ("path", 4096, path),
            ("url", 2048, url.as_deref().unwrap_or_default()),
            ("distro", 255, distro.as_deref().unwrap_or_default()),
        ] {
            check_length(&subject, what, limit, value.len())?;
        }
        if self.stores().await?.iter().any(|store| store.id == *store_id) {
            Ok(())
        } else {
            refused("store of a repository", "the id of a store", &store_id.to_string())
        }
    }

    /// Removes a repository and its memberships; the packages and their locations stay. Returns `false` if no
    /// repository has that name.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn remove_repository(&self, name: &str) -> Result<bool> {
        self.retry_transaction("removing a repository", || async {
            let mut transaction = self.begin().await?;
            let removed = both!(Transaction, &mut transaction, |connection, Backend| {
                let id: Option<i64> = sqlx::query_scalar::<Backend, i64>("select id from repositories where name = ?")
                    .bind(name)
                    .fetch_optional(&mut **connection)
                    .await?;
                if let Some(id) = id {
                    for statement in
                        ["delete from memberships where repository_id = ?", "delete from repositories where id = ?"]
                    {
                        sqlx::query::<Backend>(statement).bind(id).execute(&mut **connection).await?;
                    }
                }
                id.is_some()
            });
            transaction.commit().await?;
            Ok(removed)
        })
        .await
    }
}
