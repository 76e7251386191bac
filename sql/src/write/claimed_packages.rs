//! Rows of packages whose header was not read.

use std::collections::{BTreeSet, HashMap};

use sqlx::{FromRow, QueryBuilder};

use super::chunks;
use crate::ClaimedPackage;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};

/// What tells the rows of one batch apart. Rows with the same values can stand for each other.
#[derive(FromRow, PartialEq, Eq, Hash)]
struct Columns {
    nvra: String,
    name: String,
    version: String,
    epoch: Option<i64>,
    format: String,
    source_rpm: Option<String>,
    distro: String,
    state: String,
    koji_instance: Option<String>,
    koji_build: Option<i64>,
    koji_volume: Option<String>,
}

#[derive(FromRow)]
struct InsertedRow {
    id: i64,
    #[sqlx(flatten)]
    columns: Columns,
}

impl Columns {
    fn of(claimed: &ClaimedPackage) -> Self {
        Self {
            nvra: claimed.nevra.nvra(),
            name: claimed.nevra.name.clone(),
            version: claimed.nevra.version.clone(),
            epoch: claimed.nevra.epoch.map(i64::from),
            format: claimed.format.as_str().to_owned(),
            source_rpm: claimed.source_rpm.clone(),
            distro: claimed.distro.clone(),
            state: claimed.origin.state().as_str().to_owned(),
            koji_instance: claimed.koji.as_ref().map(|koji| koji.instance.clone()),
            koji_build: claimed.koji.as_ref().map(|koji| koji.build),
            koji_volume: volume(claimed).map(str::to_owned),
        }
    }
}

/// Returns the volume of its build. The database of an original has none.
fn volume(claimed: &ClaimedPackage) -> Option<&str> {
    claimed.koji.as_ref().map(|koji| koji.volume.as_str()).filter(|volume| !volume.is_empty())
}

/// Inserts packages, while this transaction excludes all others that insert such rows. `existing` are the ids of rows
/// with the same names. Returns the new ids, in the order of the list.
pub(super) async fn insert(
    transaction: &mut Transaction,
    packages: &[&ClaimedPackage],
    existing: &BTreeSet<i64>,
    now: i64,
) -> sqlx::Result<Vec<i64>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    if let Transaction::Sqlite(connection) = transaction {
        // No other writer can interfere until the end of the transaction: ids can be chosen here.
        let first: i64 =
            sqlx::query_scalar("select coalesce(max(id), 0) + 1 from packages").fetch_one(&mut **connection).await?;
        write(transaction, packages, now, Some(first)).await?;
        return Ok((first..).take(packages.len()).collect());
    }
    // Ids that a server assigns are not in order on every server, so they are read.
    let nvras: BTreeSet<String> = packages.iter().map(|claimed| claimed.nevra.nvra()).collect();
    let nvras: Vec<String> = nvras.into_iter().collect();
    write(transaction, packages, now, None).await?;
    let mut inserted: HashMap<Columns, Vec<i64>> = HashMap::new();
    for InsertedRow { id, columns } in read(transaction, &nvras).await? {
        if !existing.contains(&id) {
            inserted.entry(columns).or_default().push(id);
        }
    }
    let id = |claimed: &&ClaimedPackage| inserted.get_mut(&Columns::of(claimed))?.pop();
    let ids: Vec<i64> = packages.iter().filter_map(id).collect();
    if ids.len() == packages.len() { Ok(ids) } else { Err(sqlx::Error::RowNotFound) }
}

/// Inserts rows, with ids from `first` on.
async fn write(
    transaction: &mut Transaction,
    packages: &[&ClaimedPackage],
    now: i64,
    first: Option<i64>,
) -> sqlx::Result<()> {
    let mut next = first;
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |packages: &[&ClaimedPackage]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(
                "packages (format, name, epoch, version, `release`, arch, nvra, source_rpm, distro, state, indexed_at, \
                 koji_instance, koji_build, koji_volume",
            );
            query.push(if first.is_some() { ", id) " } else { ") " });
            query.push_values(packages, |mut row, claimed| {
                let (nevra, koji) = (&claimed.nevra, claimed.koji.as_ref());
                row.push_bind(claimed.format.as_str())
                    .push_bind(nevra.name.as_str())
                    .push_bind(nevra.epoch.map(i64::from))
                    .push_bind(nevra.version.as_str())
                    .push_bind(nevra.release.as_str())
                    .push_bind(nevra.arch.as_str())
                    .push_bind(nevra.nvra())
                    .push_bind(claimed.source_rpm.as_deref())
                    .push_bind(claimed.distro.as_str())
                    .push_bind(claimed.origin.state().as_str())
                    .push_bind(now)
                    .push_bind(koji.map(|koji| koji.instance.as_str()))
                    .push_bind(koji.map(|koji| koji.build))
                    .push_bind(volume(claimed));
                if let Some(id) = &mut next {
                    row.push_bind(*id);
                    *id += 1;
                }
            });
            query
        };
        chunks::write(&mut **connection, packages, statement).await?;
    });
    Ok(())
}

/// Returns the rows with these names.
async fn read(transaction: &mut Transaction, nvras: &[String]) -> sqlx::Result<Vec<InsertedRow>> {
    let mut rows = Vec::new();
    for nvras in nvras.chunks(MAX_LIST) {
        let nvras: Vec<&str> = nvras.iter().map(String::as_str).collect();
        rows.extend(both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select id, nvra, name, version, epoch, format, source_rpm, distro, state, koji_instance, koji_build, \
                 koji_volume from packages where identity is null and ",
            );
            push_list(&mut query, "nvra", &nvras);
            query.build_query_as::<InsertedRow>().fetch_all(&mut **connection).await?
        }));
    }
    Ok(rows)
}
