//! Queries for records and packages.

use artifact::{BuildId, Identity};
use sqlx::{FromRow, QueryBuilder};

use super::stores::with_derived;
use crate::connect::db::on_connection;
use crate::model::facts::{Found, PackageFacts, to_both, to_stored};
use crate::model::rows::{
    ArtifactRow, MAX_LIST, PackageRow, RecordRow, artifact_columns, decode_error, package_columns, package_locations,
    push_list, to_kind,
};
use crate::{Claim, Index, Packages, Record, Records, Result, StoredPackage};

/// A row for each location of a package.
const ALL_PACKAGES: &str = concat!("select ", package_columns!(), " from packages p", package_locations!(), " where ");

/// A row for each location of a package whose header was read.
const PACKAGES: &str = concat!(
    "select ",
    package_columns!(),
    " from packages p",
    package_locations!(),
    " where p.identity is not null and "
);

/// A row for each artifact and each location of its package.
const RECORDS: &str = concat!(
    "select ",
    artifact_columns!(),
    ", 0 as is_claim, null as link_path, ",
    package_columns!(),
    " from artifacts a join packages p on p.id = a.package_id",
    package_locations!(),
    " where "
);

/// The same for claims, in the same statement: an absent build-id costs one query.
const AND_CLAIMS: &str = concat!(
    " union all select c.package_id, 0, c.build_id, c.kind, null, '', '', null, null, null, null, 1, c.link_path, ",
    package_columns!(),
    " from claims c join packages p on p.id = c.package_id",
    package_locations!(),
    " where "
);

/// A row for each artifact.
const ARTIFACTS: &str = concat!("select ", artifact_columns!(), " from artifacts a where ");

/// A row for each claim.
const CLAIMS: &str = "select package_id, build_id, kind, link_path from claims where ";

#[derive(FromRow)]
struct ClaimRow {
    package_id: i64,
    build_id: String,
    kind: String,
    link_path: Option<String>,
}

impl ClaimRow {
    fn into_claim(self) -> sqlx::Result<(i64, Claim)> {
        let (build_id, kind) = (self.build_id.parse().map_err(decode_error)?, to_kind(&self.kind)?);
        Ok((self.package_id, Claim { build_id, kind, link_path: self.link_path }))
    }
}

impl Index {
    /// Returns all artifacts with one of these build-ids, without duplicates, ordered by package id, ordinal and
    /// build-id, and the claims. Of a plain file with several names, those that exist, or all if none does.
    ///
    /// # Errors
    /// If the query of the database fails: then neither presence nor absence is known.
    pub async fn records_by_build_id(&self, build_ids: &[BuildId]) -> Result<Records> {
        self.retry_query("reading records", || async {
            let mut found = self.select_by_build_id(build_ids).await?.into_records()?;
            drop_former_names(&mut found.records);
            Ok(found)
        })
        .await
    }

    /// Returns all artifacts and claims of the packages with this name-version-release.arch, in the same order.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn records_by_nvra(&self, nvra: &str) -> Result<Records> {
        self.retry_query("reading records of a package", || async {
            let mut found = self.select_by_nvra(nvra).await?.into_records()?;
            drop_former_names(&mut found.records);
            Ok(found)
        })
        .await
    }

    /// Returns the packages with this name-version-release.arch, by id. Several if it was built more than once.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn packages_by_nvra(&self, nvra: &str) -> Result<Packages> {
        self.retry_query("reading packages", || async { Ok(to_both(self.select_packages_by_nvra(nvra).await?)) }).await
    }

    pub(crate) async fn select_by_build_id(&self, build_ids: &[BuildId]) -> sqlx::Result<Found> {
        let mut digits: Vec<String> = build_ids.iter().map(BuildId::to_string).collect();
        digits.sort_unstable();
        digits.dedup();
        let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
        let (mut found, mut packages) = (Found::default(), Vec::new());
        // One connection for all, because each return to the pool costs a ping.
        let packages: sqlx::Result<Vec<PackageFacts>> = on_connection!(&self.db, |connection, Backend| {
            for digits in digits.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(RECORDS);
                push_list(&mut query, "a.build_id", digits);
                query.push(AND_CLAIMS);
                push_list(&mut query, "c.build_id", digits);
                let rows: Vec<RecordRow> = query.build_query_as().fetch_all(&mut *connection).await?;
                for RecordRow { artifact, is_claim, link_path, package } in rows {
                    match is_claim {
                        0 => found.artifacts.push(artifact.into_artifact()?),
                        _ => found.claims.push(artifact.into_claim(link_path)?),
                    }
                    packages.push(package);
                }
            }
            Ok(with_derived!(connection, Backend, packages))
        });
        found.packages = packages?;
        Ok(found)
    }

    pub(crate) async fn select_by_nvra(&self, nvra: &str) -> sqlx::Result<Found> {
        let packages = self.select_packages_by_nvra(nvra).await?;
        let ids: Vec<i64> = packages.iter().map(|package| package.id).collect();
        let mut found = Found { packages, ..Found::default() };
        for ids in ids.chunks(MAX_LIST) {
            let (artifacts, claims): (Vec<ArtifactRow>, Vec<ClaimRow>) =
                on_connection!(&self.db, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(ARTIFACTS);
                    push_list(&mut query, "a.package_id", ids);
                    let artifacts = query.build_query_as().fetch_all(&mut *connection).await?;
                    let mut query = QueryBuilder::<Backend>::new(CLAIMS);
                    push_list(&mut query, "package_id", ids);
                    (artifacts, query.build_query_as().fetch_all(&mut *connection).await?)
                });
            for row in artifacts {
                found.artifacts.push(row.into_artifact()?);
            }
            for row in claims {
                found.claims.push(row.into_claim()?);
            }
        }
        Ok(found)
    }

    /// Returns the package with this identity.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn package_by_identity(&self, identity: &Identity) -> Result<Option<StoredPackage>> {
        let digits = identity.to_string();
        self.retry_query("reading a package", || async {
            let packages: sqlx::Result<Vec<PackageFacts>> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.identity = ").push_bind(digits.as_str());
                Ok(with_derived!(connection, Backend, query.build_query_as().fetch_all(&mut *connection).await?))
            });
            Ok(to_stored(packages?).into_iter().next())
        })
        .await
    }

    /// Returns the packages of some arches that were built from one source package (`bash-4.2.10-5.fc16.src.rpm`), by
    /// id.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn packages_by_source(&self, source_rpm: &str, arches: &[&str]) -> Result<Vec<StoredPackage>> {
        if arches.is_empty() {
            return Ok(Vec::new());
        }
        self.retry_query("reading sibling packages", || async {
            let packages: sqlx::Result<Vec<PackageFacts>> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.source_rpm = ").push_bind(source_rpm).push(" and ");
                push_list(&mut query, "p.arch", arches);
                Ok(with_derived!(connection, Backend, query.build_query_as().fetch_all(&mut *connection).await?))
            });
            let mut packages = to_stored(packages?);
            // MySQL ignores trailing blanks in comparisons.
            packages.retain(|stored| {
                let package = &stored.package;
                package.source_rpm.as_deref() == Some(source_rpm) && arches.contains(&package.nevra.arch.as_str())
            });
            Ok(packages)
        })
        .await
    }

    async fn select_packages_by_nvra(&self, nvra: &str) -> sqlx::Result<Vec<PackageFacts>> {
        let packages: sqlx::Result<Vec<PackageFacts>> = on_connection!(&self.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(ALL_PACKAGES);
            query.push("p.nvra = ").push_bind(nvra);
            Ok(with_derived!(connection, Backend, query.build_query_as().fetch_all(&mut *connection).await?))
        });
        let mut packages = packages?;
        // MySQL ignores trailing blanks in comparisons.
        packages.retain(|package| package.nevra.nvra() == nvra);
        Ok(packages)
    }

    /// Returns packages whose header was read.
    pub(crate) async fn packages_by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<StoredPackage>> {
        Ok(to_stored(self.select_by_id(ids).await?))
    }

    pub(crate) async fn select_by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<PackageFacts>> {
        on_connection!(&self.db, |connection, Backend| {
            let mut rows: Vec<PackageRow> = Vec::new();
            for ids in ids.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(ALL_PACKAGES);
                push_list(&mut query, "p.id", ids);
                rows.extend(query.build_query_as::<PackageRow>().fetch_all(&mut *connection).await?);
            }
            Ok(with_derived!(connection, Backend, rows))
        })
    }
}

/// Removes former names of plain files, unless the file is at none of its names.
fn drop_former_names(records: &mut Vec<Record>) {
    let present: Vec<i64> =
        records.iter().filter(|record| record.is_at_its_path()).map(|record| record.package.id).collect();
    records.retain(|record| record.is_at_its_path() || present.binary_search(&record.package.id).is_err());
}
