//! Queries for records and packages.

use artifact::{BuildId, Identity};
use sqlx::QueryBuilder;

use crate::connect::db::on_connection;
use crate::model::rows::{
    ArtifactRow, MAX_LIST, PackageRow, RecordRow, artifact_columns, package_columns, package_locations, push_list,
    to_packages, to_records,
};
use crate::{Index, Packages, Record, Records, Result, StoredPackage};

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
    ", ",
    package_columns!(),
    " from artifacts a join packages p on p.id = a.package_id",
    package_locations!(),
    " where "
);

/// A row for each artifact.
const ARTIFACTS: &str = concat!("select ", artifact_columns!(), " from artifacts a where ");

impl Index {
    /// Returns all artifacts with one of these build-ids, without duplicates, ordered by package id, ordinal and
    /// build-id. Of a plain file with several names, those that exist, or all if none does.
    ///
    /// # Errors
    /// If the query of the database fails: then neither presence nor absence is known.
    pub async fn records_by_build_id(&self, build_ids: &[BuildId]) -> Result<Records> {
        let mut digits: Vec<String> = build_ids.iter().map(BuildId::to_string).collect();
        digits.sort_unstable();
        digits.dedup();
        let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
        self.retry_query("reading records", || async {
            let (mut artifacts, mut packages) = (Vec::new(), Vec::new());
            // One connection for all, because each return to the pool costs a ping.
            on_connection!(&self.db, |connection, Backend| {
                for digits in digits.chunks(MAX_LIST) {
                    let mut query = QueryBuilder::<Backend>::new(RECORDS);
                    push_list(&mut query, "a.build_id", digits);
                    for RecordRow { artifact, package } in query.build_query_as().fetch_all(&mut *connection).await? {
                        artifacts.push(artifact.into_artifact()?);
                        packages.push(package);
                    }
                }
            });
            let mut records = to_records(artifacts, to_packages(packages)?)?;
            drop_former_names(&mut records);
            Ok(Records { records, claims: Vec::new() })
        })
        .await
    }

    /// Returns all artifacts of the packages with this name-version-release.arch, in the same order.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn records_by_nvra(&self, nvra: &str) -> Result<Records> {
        self.retry_query("reading records of a package", || async {
            let packages = self.select_packages_by_nvra(nvra).await?;
            let ids: Vec<i64> = packages.iter().map(|package| package.id).collect();
            let mut artifacts = Vec::new();
            for ids in ids.chunks(MAX_LIST) {
                let rows: Vec<ArtifactRow> = on_connection!(&self.db, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(ARTIFACTS);
                    push_list(&mut query, "a.package_id", ids);
                    query.build_query_as().fetch_all(connection).await?
                });
                for row in rows {
                    artifacts.push(row.into_artifact()?);
                }
            }
            let mut records = to_records(artifacts, packages)?;
            drop_former_names(&mut records);
            Ok(Records { records, claims: Vec::new() })
        })
        .await
    }

    /// Returns the packages with this name-version-release.arch, by id. Several if it was built more than once.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn packages_by_nvra(&self, nvra: &str) -> Result<Packages> {
        let read = self.retry_query("reading packages", || self.select_packages_by_nvra(nvra)).await?;
        Ok(Packages { read, unread: Vec::new() })
    }

    /// Returns the package with this identity.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn package_by_identity(&self, identity: &Identity) -> Result<Option<StoredPackage>> {
        let digits = identity.to_string();
        self.retry_query("reading a package", || async {
            let rows: Vec<PackageRow> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.identity = ").push_bind(digits.as_str());
                query.build_query_as().fetch_all(connection).await?
            });
            Ok(to_packages(rows)?.into_iter().next())
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
            let rows: Vec<PackageRow> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.source_rpm = ").push_bind(source_rpm).push(" and ");
                push_list(&mut query, "p.arch", arches);
                query.build_query_as().fetch_all(connection).await?
            });
            let mut packages = to_packages(rows)?;
            // MySQL ignores trailing blanks in comparisons.
            packages.retain(|stored| {
                let package = &stored.package;
                package.source_rpm.as_deref() == Some(source_rpm) && arches.contains(&package.nevra.arch.as_str())
            });
            Ok(packages)
        })
        .await
    }

    async fn select_packages_by_nvra(&self, nvra: &str) -> sqlx::Result<Vec<StoredPackage>> {
        let rows: Vec<PackageRow> = on_connection!(&self.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(PACKAGES);
            query.push("p.nvra = ").push_bind(nvra);
            query.build_query_as().fetch_all(connection).await?
        });
        let mut packages = to_packages(rows)?;
        // MySQL ignores trailing blanks in comparisons.
        packages.retain(|stored| stored.package.nevra.nvra() == nvra);
        Ok(packages)
    }

    pub(crate) async fn packages_by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<StoredPackage>> {
        let mut rows: Vec<PackageRow> = Vec::new();
        for ids in ids.chunks(MAX_LIST) {
            rows.extend(on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                push_list(&mut query, "p.id", ids);
                query.build_query_as::<PackageRow>().fetch_all(connection).await?
            }));
        }
        to_packages(rows)
    }
}

/// Removes former names of plain files, unless the file is at none of its names.
fn drop_former_names(records: &mut Vec<Record>) {
    let present: Vec<i64> =
        records.iter().filter(|record| record.is_at_its_path()).map(|record| record.package.id).collect();
    records.retain(|record| record.is_at_its_path() || present.binary_search(&record.package.id).is_err());
}
