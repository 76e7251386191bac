//! Rows of packages.

use std::collections::{BTreeMap, HashMap};

use artifact::{Format, Identity};
use sqlx::{FromRow, QueryBuilder};

use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, decode_error, push_list};
use crate::{Import, KojiOrigin, PackageState};

/// A package of a batch.
pub(super) struct NewPackage<'a> {
    pub(super) import: &'a Import,
    pub(super) distro: Option<&'a str>,
    pub(super) open: bool,
    pub(super) koji: Option<&'a KojiOrigin>,
}

/// A package that the index has.
pub(super) struct ExistingPackage {
    pub(super) id: i64,
    pub(super) open: bool,
    pub(super) distro: String,
}

/// The packages of a batch.
pub(super) struct BatchPackages {
    /// The existing packages.
    pub(super) existing: HashMap<Identity, ExistingPackage>,
    /// The new packages, and their ids.
    pub(super) new: HashMap<Identity, i64>,
}

#[derive(FromRow)]
struct ExistingRow {
    id: i64,
    identity: String,
    state: String,
    distro: String,
}

/// The columns of the macro `push_columns`.
const COLUMNS: &str = "identity, identity_kind, format, name, epoch, version, `release`, arch, nvra, source_rpm, \
     distro, built_at, state, indexed_at, koji_instance, koji_build, koji_volume";

/// Pushes the columns of a package to a row of values.
macro_rules! push_columns {
    ($row:ident, $package:expr, $now:expr) => {
        let (identity, NewPackage { import, distro, open, koji }) = $package;
        let package = &import.package;
        let nevra = &package.nevra;
        $row.push_bind(identity.to_string())
            .push_bind(if package.format == Format::Rpm { "header" } else { "file" })
            .push_bind(package.format.as_str())
            .push_bind(nevra.name.as_str())
            .push_bind(nevra.epoch.map(i64::from))
            .push_bind(nevra.version.as_str())
            .push_bind(nevra.release.as_str())
            .push_bind(nevra.arch.as_str())
            .push_bind(nevra.nvra())
            .push_bind(package.source_rpm.as_deref())
            .push_bind(distro.unwrap_or_else(|| package.dist_tag()))
            .push_bind(package.built_at)
            .push_bind(if *open { PackageState::Open } else { PackageState::Complete }.as_str())
            .push_bind($now)
            .push_bind(koji.map(|koji| koji.instance.as_str()))
            .push_bind(koji.map(|koji| koji.build))
            .push_bind(koji.map(|koji| koji.volume.as_str()));
    };
}

/// Inserts the new packages; returns these and the existing ones. The first of the `claimed` rows that describe a new
/// package becomes its row.
pub(super) async fn insert(
    transaction: &mut Transaction,
    packages: &[(Identity, NewPackage<'_>)],
    claimed: &BTreeMap<Identity, Vec<i64>>,
    now: i64,
) -> sqlx::Result<BatchPackages> {
    let described: Vec<Identity> = claimed.keys().copied().collect();
    let existing = read_existing(transaction, &described).await?;
    let (mut adopted, mut others) = (Vec::new(), Vec::new());
    for package in packages {
        let row = claimed.get(&package.0).filter(|_| !existing.contains_key(&package.0)).and_then(|ids| ids.first());
        match row {
            Some(id) => adopted.push((*id, package)),
            None => others.push(package),
        }
    }
    adopted.sort_unstable_by_key(|(id, _)| *id);
    adopt(transaction, &adopted, now).await?;
    let mut all = insert_others(transaction, &others, now).await?;
    all.new.extend(adopted.into_iter().map(|(id, (identity, _))| (*identity, id)));
    Ok(all)
}

async fn insert_others(
    transaction: &mut Transaction,
    packages: &[&(Identity, NewPackage<'_>)],
    now: i64,
) -> sqlx::Result<BatchPackages> {
    let identities: Vec<Identity> = packages.iter().map(|(identity, _)| *identity).collect();
    if let Transaction::Sqlite(connection) = transaction {
        // No other writer can interfere until the end of the transaction: ids can be chosen here.
        let first: i64 =
            sqlx::query_scalar("select coalesce(max(id), 0) + 1 from packages").fetch_one(&mut **connection).await?;
        if write_packages(transaction, packages, now, Some(first)).await? == packages.len() as u64 {
            return Ok(BatchPackages { existing: HashMap::new(), new: identities.into_iter().zip(first..).collect() });
        }
        let (new, existing): (HashMap<_, _>, HashMap<_, _>) =
            read_existing(transaction, &identities).await?.into_iter().partition(|(_, existing)| existing.id >= first);
        return Ok(BatchPackages {
            existing,
            new: new.into_iter().map(|(identity, existing)| (identity, existing.id)).collect(),
        });
    }
    let existing = read_existing(transaction, &identities).await?;
    // If another writer inserts one of these at the same time, the unique key refuses ours, and the transaction is
    // retried.
    let new: Vec<_> = packages.iter().copied().filter(|(identity, _)| !existing.contains_key(identity)).collect();
    write_packages(transaction, &new, now, None).await?;
    let new: Vec<Identity> = new.iter().map(|(identity, _)| *identity).collect();
    let ids = read_existing(transaction, &new).await?;
    Ok(BatchPackages { existing, new: ids.into_iter().map(|(identity, existing)| (identity, existing.id)).collect() })
}

/// Makes claimed rows the rows of packages whose header was read.
async fn adopt(
    transaction: &mut Transaction,
    packages: &[(i64, &(Identity, NewPackage<'_>))],
    now: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |packages: &[(i64, &(Identity, NewPackage<'_>))]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(format_args!("packages ({COLUMNS}, id) "));
            query.push_values(packages, |mut row, (id, package)| {
                push_columns!(row, package, now);
                row.push_bind(*id);
            });
            query.push(Backend::UPDATE_CLAIMED);
            query
        };
        chunks::write(&mut **connection, packages, statement).await?;
    });
    Ok(())
}

/// Inserts packages. With a `first` id existing ones are skipped. Returns the number of rows inserted.
async fn write_packages(
    transaction: &mut Transaction,
    packages: &[&(Identity, NewPackage<'_>)],
    now: i64,
    first: Option<i64>,
) -> sqlx::Result<u64> {
    let mut next = first;
    let written = both!(Transaction, transaction, |connection, Backend| {
        let statement = |packages: &[&(Identity, NewPackage<'_>)]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(format_args!("packages ({COLUMNS}"));
            query.push(if first.is_some() { ", id) " } else { ") " });
            query.push_values(packages, |mut row, package| {
                push_columns!(row, package, now);
                if let Some(id) = &mut next {
                    row.push_bind(*id);
                    *id += 1;
                }
            });
            if first.is_some() {
                query.push(" on conflict (identity) do nothing");
            }
            query
        };
        chunks::write(&mut **connection, packages, statement).await?.rows_affected()
    });
    Ok(written)
}

/// Returns which of these packages exist; locked until the end of the transaction.
async fn read_existing(
    transaction: &mut Transaction,
    identities: &[Identity],
) -> sqlx::Result<HashMap<Identity, ExistingPackage>> {
    let mut existing = HashMap::with_capacity(identities.len());
    for identities in identities.chunks(MAX_LIST) {
        let identities: Vec<String> = identities.iter().map(Identity::to_string).collect();
        let identities: Vec<&str> = identities.iter().map(String::as_str).collect();
        let rows = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select id, identity, state, distro from packages where ");
            push_list(&mut query, "identity", &identities);
            query.push(Backend::FOR_UPDATE);
            query.build_query_as::<ExistingRow>().fetch_all(&mut **connection).await?
        });
        for ExistingRow { id, identity, state, distro } in rows {
            let open = PackageState::parse(&state)?.is_open();
            existing.insert(identity.parse().map_err(decode_error)?, ExistingPackage { id, open, distro });
        }
    }
    Ok(existing)
}

/// Makes open packages complete: their artifacts and modules are removed, to be inserted again, and so are their
/// claims, which their contents answered.
pub(super) async fn make_complete(transaction: &mut Transaction, ids: &[i64], now: i64) -> sqlx::Result<()> {
    for ids in ids.chunks(MAX_LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            for delete in ["delete from artifacts where ", "delete from modules where ", "delete from claims where "] {
                let mut query = QueryBuilder::<Backend>::new(delete);
                push_list(&mut query, "package_id", ids);
                query.build().execute(&mut **connection).await?;
            }
            let mut query = QueryBuilder::<Backend>::new("update packages set state = ");
            query.push_bind(PackageState::Complete.as_str()).push(", indexed_at = ").push_bind(now).push(" where ");
            push_list(&mut query, "id", ids);
            query.build().execute(&mut **connection).await?;
        });
    }
    Ok(())
}

/// Changes the distribution of a package.
pub(super) async fn set_distro(transaction: &mut Transaction, id: i64, distro: &str) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        sqlx::query::<Backend>("update packages set distro = ? where id = ?")
            .bind(distro)
            .bind(id)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}
