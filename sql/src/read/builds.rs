//! Builds of Koji, their packages and their tags.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{FromRow, QueryBuilder};

use crate::connect::db::on_connection;
use crate::model::rows::{MAX_LIST, push_list, to_unsigned};
use crate::{
    Build, BuildHistory, BuildPackage, BuildPlace, BuildState, BuildTag, Index, KojiOrigin, PackageState, Result,
    StoredBuild,
};

/// Selects the columns of [`BuildRow`].
pub(crate) const BUILDS: &str = "select instance, build, name, version, `release`, epoch, state, volume, draft, \
     completed_at, imported_at, checked_at, deleted_at, deleted_after from builds where instance = ";

/// A row of `builds`.
#[derive(FromRow)]
pub(crate) struct BuildRow {
    instance: String,
    build: i64,
    name: String,
    version: String,
    release: String,
    epoch: Option<i64>,
    state: String,
    volume: String,
    draft: bool,
    completed_at: Option<i64>,
    imported_at: Option<i64>,
    checked_at: i64,
    deleted_at: Option<i64>,
    deleted_after: Option<i64>,
}

impl BuildRow {
    pub(crate) fn into_build(self) -> sqlx::Result<StoredBuild> {
        Ok(StoredBuild {
            build: Build {
                instance: self.instance,
                build: self.build,
                name: self.name,
                version: self.version,
                release: self.release,
                epoch: self.epoch,
                state: BuildState::parse(&self.state)?,
                volume: self.volume,
                draft: self.draft,
                completed_at: self.completed_at,
            },
            imported_at: self.imported_at,
            checked_at: self.checked_at,
            deleted_at: self.deleted_at,
            deleted_after: self.deleted_after,
        })
    }
}

#[derive(FromRow)]
struct BuildPackageRow {
    id: i64,
    koji_build: i64,
    nvra: String,
    state: String,
    koji_volume: Option<String>,
}

#[derive(FromRow)]
struct BuildPlaceRow {
    package_id: i64,
    path: String,
    size: Option<i64>,
    signing_key: Option<String>,
    header_end: Option<i64>,
    gone_at: Option<i64>,
    checked_at: Option<i64>,
}

#[derive(FromRow)]
struct TagRow {
    build: i64,
    tag: String,
    tagged_at: Option<i64>,
    untagged_at: Option<i64>,
}

/// What is known of a package's build: what the package states, and the build's own row.
#[derive(Default)]
pub(crate) struct BuildFacts {
    pub(crate) origin: Option<KojiOrigin>,
    pub(crate) build: Option<BuildHistory>,
}

impl Index {
    /// Returns those of these builds that the index has, by id.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn builds(&self, instance: &str, builds: &[i64]) -> Result<Vec<StoredBuild>> {
        self.retry_query("reading builds", || self.select_builds(instance, builds)).await
    }

    /// Returns complete builds with an id below this one, newest first.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn builds_below(&self, instance: &str, below: Option<i64>, limit: usize) -> Result<Vec<StoredBuild>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.retry_query("reading builds", || async {
            let rows: Vec<BuildRow> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(BUILDS);
                query.push_bind(instance).push(" and state = ").push_bind(BuildState::Complete.as_str());
                query.push(" and build < ").push_bind(below.unwrap_or(i64::MAX));
                query.push(" order by build desc limit ").push_bind(limit);
                query.build_query_as().fetch_all(connection).await?
            });
            rows.into_iter().map(BuildRow::into_build).collect()
        })
        .await
    }

    /// Returns the number of complete builds.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn build_count(&self, instance: &str) -> Result<u64> {
        const COUNT: &str = "select count(*) from builds where instance = ? and state = ?";
        self.retry_query("counting builds", || async {
            let count = on_connection!(&self.db, |connection, Backend| {
                sqlx::query_scalar::<Backend, i64>(COUNT)
                    .bind(instance)
                    .bind(BuildState::Complete.as_str())
                    .fetch_one(connection)
                    .await?
            });
            to_unsigned(count)
        })
        .await
    }

    /// Returns the packages of these builds, by build and package id, with their places in one store.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn build_packages(&self, instance: &str, builds: &[i64], store_id: i64) -> Result<Vec<BuildPackage>> {
        self.retry_query("reading packages of builds", || async {
            let (mut packages, mut places) = (Vec::new(), Vec::new());
            let read: sqlx::Result<()> = on_connection!(&self.db, |connection, Backend| {
                for builds in builds.chunks(MAX_LIST) {
                    let mut query = QueryBuilder::<Backend>::new(
                        "select id, koji_build, nvra, state, koji_volume from packages where koji_instance = ",
                    );
                    query.push_bind(instance).push(" and ");
                    push_list(&mut query, "koji_build", builds);
                    packages.extend(query.build_query_as::<BuildPackageRow>().fetch_all(&mut *connection).await?);
                }
                let ids: Vec<i64> = packages.iter().map(|row| row.id).collect();
                for ids in ids.chunks(MAX_LIST) {
                    let mut query = QueryBuilder::<Backend>::new(
                        "select package_id, path, size, signing_key, header_end, gone_at, checked_at from locations \
                         where ",
                    );
                    push_list(&mut query, "package_id", ids);
                    query.push(" and store_id = ").push_bind(store_id);
                    places.extend(query.build_query_as::<BuildPlaceRow>().fetch_all(&mut *connection).await?);
                }
                Ok(())
            });
            read?;
            to_packages(packages, places)
        })
        .await
    }

    pub(crate) async fn select_builds(&self, instance: &str, builds: &[i64]) -> sqlx::Result<Vec<StoredBuild>> {
        let builds: Vec<i64> = builds.iter().copied().collect::<BTreeSet<i64>>().into_iter().collect();
        let mut found = Vec::new();
        let read: sqlx::Result<()> = on_connection!(&self.db, |connection, Backend| {
            for builds in builds.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(BUILDS);
                query.push_bind(instance).push(" and ");
                push_list(&mut query, "build", builds);
                for row in query.build_query_as::<BuildRow>().fetch_all(&mut *connection).await? {
                    found.push(row.into_build()?);
                }
            }
            Ok(())
        });
        read?;
        found.sort_by_key(|stored| stored.build.build);
        Ok(found)
    }

    /// Returns what is known of the builds of these packages, by the ids of the packages.
    pub(crate) async fn select_build_facts(&self, packages: &[i64]) -> sqlx::Result<HashMap<i64, BuildFacts>> {
        type OriginRow = (i64, Option<String>, Option<i64>, Option<String>);
        let mut rows: Vec<OriginRow> = Vec::new();
        let read: sqlx::Result<()> = on_connection!(&self.db, |connection, Backend| {
            for packages in packages.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(
                    "select id, koji_instance, koji_build, koji_volume from packages where ",
                );
                push_list(&mut query, "id", packages);
                rows.extend(query.build_query_as::<OriginRow>().fetch_all(&mut *connection).await?);
            }
            Ok(())
        });
        read?;
        let mut by_instance: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (_, instance, build, _) in &rows {
            if let (Some(instance), Some(build)) = (instance, build) {
                by_instance.entry(instance.clone()).or_default().push(*build);
            }
        }
        let mut histories: HashMap<(String, i64), BuildHistory> = HashMap::new();
        for (instance, builds) in by_instance {
            let mut tags = self.select_tags(&instance, &builds).await?;
            for build in self.select_builds(&instance, &builds).await? {
                let tags = tags.remove(&build.build.build).unwrap_or_default();
                histories.insert((instance.clone(), build.build.build), BuildHistory { build, tags });
            }
        }
        let facts = |(id, instance, build, volume): OriginRow| {
            let (instance, build) = (instance?, build?);
            let history = histories.get(&(instance.clone(), build)).cloned();
            let origin = KojiOrigin { instance, build, volume: volume.unwrap_or_default() };
            Some((id, BuildFacts { origin: Some(origin), build: history }))
        };
        Ok(rows.into_iter().filter_map(facts).collect())
    }

    /// Returns the tags of these builds, by build, each list by name.
    async fn select_tags(&self, instance: &str, builds: &[i64]) -> sqlx::Result<HashMap<i64, Vec<BuildTag>>> {
        let mut tags: HashMap<i64, Vec<BuildTag>> = HashMap::new();
        let builds: Vec<i64> = builds.iter().copied().collect::<BTreeSet<i64>>().into_iter().collect();
        let read: sqlx::Result<()> = on_connection!(&self.db, |connection, Backend| {
            for builds in builds.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(
                    "select build, tag, tagged_at, untagged_at from build_tags where instance = ",
                );
                query.push_bind(instance).push(" and ");
                push_list(&mut query, "build", builds);
                for row in query.build_query_as::<TagRow>().fetch_all(&mut *connection).await? {
                    let TagRow { build, tag, tagged_at, untagged_at } = row;
                    tags.entry(build).or_default().push(BuildTag { tag, tagged_at, untagged_at });
                }
            }
            Ok(())
        });
        read?;
        tags.values_mut().for_each(|tags| tags.sort_by(|a, b| a.tag.cmp(&b.tag)));
        Ok(tags)
    }
}

fn to_packages(packages: Vec<BuildPackageRow>, places: Vec<BuildPlaceRow>) -> sqlx::Result<Vec<BuildPackage>> {
    let mut by_package: HashMap<i64, Vec<BuildPlace>> = HashMap::new();
    for row in places {
        let place = BuildPlace {
            path: row.path,
            size: row.size.map(to_unsigned).transpose()?.filter(|size| *size > 0),
            signing_key: row.signing_key,
            has_header: row.header_end.is_some(),
            gone_at: row.gone_at,
            checked_at: row.checked_at,
        };
        by_package.entry(row.package_id).or_default().push(place);
    }
    let mut found = Vec::new();
    for row in packages {
        let mut places = by_package.remove(&row.id).unwrap_or_default();
        places.sort_by(|a, b| a.path.cmp(&b.path));
        found.push(BuildPackage {
            build: row.koji_build,
            package_id: row.id,
            nvra: row.nvra,
            state: PackageState::parse(&row.state)?,
            volume: row.koji_volume,
            places,
        });
    }
    found.sort_by_key(|package| (package.build, package.package_id));
    found.dedup_by_key(|package| package.package_id);
    Ok(found)
}
