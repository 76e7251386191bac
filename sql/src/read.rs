//! The queries for records and packages.

use std::collections::BTreeSet;

use artifact::{Artifact, BuildId, Identity};
use sqlx::QueryBuilder;

use crate::db::asking;
use crate::rows::{LIST, ListRow, PackageRow, RecordRow, push_list, to_packages, to_records};
use crate::{Index, Record, Result, StoredPackage, members, short};

const LISTS_OF_PACKAGES: &str = "select package_id, list from members where ";

/// What [`PackageRow`] is made of.
macro_rules! package_columns {
    () => {
        "p.id, p.format, p.identity, p.name, p.epoch, p.version, p.`release`, p.arch, p.source, p.distro, p.built_at, p.state, l.path, \
         l.size, l.mtime_ns, l.header_start, l.header_end, l.signing_key, l.first_seen, l.last_seen, l.gone_at, s.id as store_id, \
         s.name as store_name, s.tier, s.base_url, s.root, s.priority"
    };
}

/// Where packages `p` are, for the same.
macro_rules! places {
    () => {
        " left join locations l on l.package_id = p.id left join stores s on s.id = l.store_id"
    };
}

/// A row for each location of a package.
const PACKAGES: &str = concat!("select ", package_columns!(), " from packages p", places!(), " where ");

/// The lists with the artifacts of build-ids that begin like some, and their packages: a row for each list and each location. Between the
/// two parts is which build-ids. A list may have a hundred artifacts with one of them, and shall come once.
const RECORDS: [&str; 2] = [
    concat!(
        "select m.list, ",
        package_columns!(),
        " from (select distinct package_id, ordinal >> 7 as part from artifacts where "
    ),
    concat!(
        ") a join members m on m.package_id = a.package_id and m.part = a.part join packages p on p.id = a.package_id",
        places!()
    ),
];

impl Index {
    /// Every artifact with one of these build-ids, ordered by package id, ordinal, build-id, kind. Each once, however often its
    /// build-id is asked for.
    ///
    /// # Errors
    /// If the database cannot be asked: then nothing is known, neither presence nor absence.
    pub async fn records(&self, build_ids: &[BuildId]) -> Result<Vec<Record>> {
        let mut keys: Vec<&[u8]> = build_ids.iter().map(BuildId::as_bytes).collect();
        keys.sort_unstable();
        keys.dedup();
        let begin: Vec<_> = keys.iter().map(|key| short::key(key)).collect();
        let begin: Vec<&[u8]> = begin.iter().map(<[u8; _]>::as_slice).collect();
        self.reading("reading records", || async {
            let mut rows = Vec::new();
            // A connection that goes back to its pool is asked whether it lives: one is enough.
            asking!(&self.db, |connection, Backend| {
                for keys in begin.chunks(LIST) {
                    let [before, behind] = RECORDS;
                    let mut query = QueryBuilder::<Backend>::new(before);
                    push_list(&mut query, "build_id", keys);
                    query.push(behind);
                    rows.extend(query.build_query_as::<RecordRow>().fetch_all(&mut *connection).await?);
                }
            });
            let (lists, packages): (BTreeSet<ListRow>, Vec<PackageRow>) = rows.into_iter().map(RecordRow::split).unzip();
            to_records(artifacts(&lists, &keys)?, to_packages(packages)?)
        })
        .await
    }

    /// Every artifact of the packages with this name-version-release.arch, in the same order.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn records_of_package(&self, nvra: &str) -> Result<Vec<Record>> {
        self.reading("reading records of a package", || async {
            let packages = self.packages_of(nvra).await?;
            let ids: Vec<i64> = packages.iter().map(|package| package.id).collect();
            let mut artifacts = Vec::new();
            for ids in ids.chunks(LIST) {
                let lists = asking!(&self.db, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(LISTS_OF_PACKAGES);
                    push_list(&mut query, "package_id", ids);
                    query.build_query_as::<ListRow>().fetch_all(connection).await?
                });
                for ListRow { package_id, list } in lists {
                    artifacts.extend(members::read(&list)?.into_iter().map(|artifact| (package_id, artifact)));
                }
            }
            to_records(artifacts, packages)
        })
        .await
    }

    /// The packages with this name-version-release.arch, by id. Several if it was built more than once.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn packages(&self, nvra: &str) -> Result<Vec<StoredPackage>> {
        self.reading("reading packages", || self.packages_of(nvra)).await
    }

    /// The package with this identity.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn package(&self, identity: &Identity) -> Result<Option<StoredPackage>> {
        self.reading("reading a package", || async {
            let rows = asking!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.identity = ").push_bind(identity.as_bytes().as_slice());
                query.build_query_as::<PackageRow>().fetch_all(connection).await?
            });
            Ok(to_packages(rows)?.into_iter().next())
        })
        .await
    }

    /// The packages of one arch that were built from one source package (`bash-4.2.10-5.fc16.src.rpm`), by id.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn siblings(&self, source_rpm: &str, arch: &str) -> Result<Vec<StoredPackage>> {
        self.reading("reading sibling packages", || async {
            let rows = asking!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.source_crc = ").push_bind(short::crc(source_rpm)).push(" and p.arch = ").push_bind(arch);
                query.build_query_as::<PackageRow>().fetch_all(connection).await?
            });
            let mut packages = to_packages(rows)?;
            // Others have the same checksum, and MySQL compares without blanks at the end.
            packages
                .retain(|stored| stored.package.source_rpm.as_deref() == Some(source_rpm) && stored.package.nevra.arch == arch);
            Ok(packages)
        })
        .await
    }

    async fn packages_of(&self, nvra: &str) -> sqlx::Result<Vec<StoredPackage>> {
        let rows = asking!(&self.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(PACKAGES);
            query.push("p.nvra_crc = ").push_bind(short::crc(nvra));
            query.build_query_as::<PackageRow>().fetch_all(connection).await?
        });
        let mut packages = to_packages(rows)?;
        // Others have the same checksum.
        packages.retain(|stored| stored.package.nevra.nvra() == nvra);
        Ok(packages)
    }

    pub(crate) async fn packages_by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<StoredPackage>> {
        let mut rows = Vec::new();
        for ids in ids.chunks(LIST) {
            rows.extend(asking!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                push_list(&mut query, "p.id", ids);
                query.build_query_as::<PackageRow>().fetch_all(connection).await?
            }));
        }
        to_packages(rows)
    }
}

/// The artifacts in `lists` with one of the build-ids `keys`, which are sorted.
fn artifacts(lists: &BTreeSet<ListRow>, keys: &[&[u8]]) -> sqlx::Result<Vec<(i64, Artifact)>> {
    let mut artifacts = Vec::new();
    for ListRow { package_id, list } in lists {
        let of_list = members::read(list)?.into_iter().map(|artifact| (*package_id, artifact));
        artifacts.extend(of_list.filter(|(_, artifact)| keys.binary_search(&artifact.build_id.as_bytes()).is_ok()));
    }
    Ok(artifacts)
}
