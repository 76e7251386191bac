//! The one transaction that brings packages, artifacts and locations into the index.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use artifact::{Format, Identity};
use sqlx::{FromRow, QueryBuilder};

use crate::db::{Transaction, both};
use crate::dialect::Dialect;
use crate::locations::{self, Place};
use crate::members;
use crate::rows::{COMPLETE, LIST, ListRow, OPEN, push_list, to_identity};
use crate::short::{self, KEY_BYTES};
use crate::{Import, Index, Inserted, Packed, Packer, PathHash, Result, changes, file_names, pieces};

impl Index {
    /// Brings a batch into the index, in one transaction: all of it or nothing. The same batch again changes nothing but
    /// `last_seen`. What loses against another writer, or its connection, is tried again: [`Index::waiting`].
    ///
    /// - A package that the index does not know is stored with its artifacts.
    /// - One that was open and comes complete is refined: its artifacts become exactly the new ones.
    /// - One that is complete stays as it is, also if it comes open; so does one that is open and comes open.
    /// - Its location is there now; another package that was at the same path of the store is gone from there.
    ///
    /// `writer` names this importer in the table `writers`, whose sequence is counted up in the same transaction.
    ///
    /// # Errors
    /// If a value does not fit ([`Import::check`]), or the database refuses. Nothing of the batch is in the index then, unless
    /// the connection broke off in the very moment of the commit; inserting the batch again is right in any case.
    pub async fn insert(&self, writer: &str, batch: &[Import]) -> Result<Inserted> {
        let mut packer = Packer::new(self);
        let batch = batch.iter().map(|import| packer.pack(import.clone())).collect::<Result<Vec<Packed>>>()?;
        self.insert_packed(writer, &batch).await
    }

    /// [`Index::insert`] of imports that were made ready elsewhere.
    ///
    /// # Errors
    /// If the database refuses, as in [`Index::insert`].
    pub async fn insert_packed(&self, writer: &str, batch: &[Packed]) -> Result<Inserted> {
        if batch.is_empty() {
            return Ok(Inserted::default());
        }
        let batch = Batch::new(batch);
        self.writing("inserting", || async {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
            let mut transaction = self.begin().await?;
            let inserted = batch.insert(&mut transaction, writer, now).await?;
            transaction.commit().await?;
            Ok(inserted)
        })
        .await
    }
}

/// A batch with each package and each location once, in the order of their keys: writers that meet take locks in one order.
struct Batch<'a> {
    packages: BTreeMap<Identity, Found<'a>>,
    locations: BTreeMap<(i64, PathHash), &'a Packed>,
}

/// A package of a batch, which may come in several imports.
struct Found<'a> {
    /// The one that has its artifacts.
    import: &'a Packed,
    distro: Option<&'a str>,
    open: bool,
}

/// The packages of a batch.
struct Packages {
    /// What the index held of them.
    held: HashMap<Identity, Held>,
    /// Those that it did not know, and the numbers that they have now.
    new: HashMap<Identity, i64>,
}

/// A package that the index holds.
struct Held {
    id: i64,
    open: bool,
    distro: String,
}

#[derive(FromRow)]
struct HeldRow {
    id: i64,
    identity: Vec<u8>,
    state: i64,
    distro: String,
}

impl<'a> Batch<'a> {
    fn new(imports: &'a [Packed]) -> Self {
        let mut packages: BTreeMap<Identity, Found<'a>> = BTreeMap::new();
        let mut locations = BTreeMap::new();
        for import in imports {
            let (distro, open) = (import.distro.as_deref(), import.open);
            let found = packages.entry(import.package.identity).or_insert(Found { import, distro, open });
            if found.open && !open {
                (found.import, found.open) = (import, false);
            }
            found.distro = distro.or(found.distro);
            locations.insert((import.location.store_id, import.path), import);
        }
        Self { packages, locations }
    }

    async fn insert(&self, transaction: &mut Transaction, writer: &str, now: i64) -> sqlx::Result<Inserted> {
        let Packages { held, new } = self.insert_packages(transaction, now).await?;
        let refined = self.refine(transaction, &held, now).await?;
        self.change_distros(transaction, &held).await?;

        let id = |identity: &Identity| {
            new.get(identity).copied().or_else(|| held.get(identity).map(|held| held.id)).ok_or(sqlx::Error::RowNotFound)
        };
        let (mut rows, mut lists, mut hashes, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let has_names = file_names::are_wanted(transaction).await?;
        for identity in new.keys().chain(&refined) {
            let (import, id) = (self.packages[identity].import, id(identity)?);
            rows.extend(import.keys.iter().map(|(key, ordinal)| (*key, id, *ordinal)));
            lists.extend(import.lists.iter().map(|(part, list)| (id, *part, list.as_slice())));
            if has_names {
                names.extend(import.names.iter().map(|name| (*name, id)));
            }
            hashes.extend(&import.hashes);
        }
        let artifacts = rows.len() as u64;
        insert_artifacts(transaction, rows).await?;
        lists.sort_unstable_by_key(|(id, part, _)| (*id, *part));
        insert_members(transaction, &lists).await?;
        file_names::insert(transaction, names).await?;

        let places = self.locations.values().map(|import| Ok(Place { package_id: id(&import.package.identity)?, import }));
        let mut locations = places.collect::<sqlx::Result<Vec<Place<'_>>>>()?;
        locations::mark_replaced(transaction, &locations, now).await?;
        locations.sort_unstable_by_key(|Place { package_id, import }| (*package_id, import.location.store_id, import.path));
        locations::insert(transaction, &locations, now).await?;
        changes::note(transaction, writer, hashes).await?;

        Ok(Inserted {
            packages_new: new.len() as u64,
            packages_refined: refined.len() as u64,
            artifacts,
            locations: locations.len() as u64,
        })
    }

    /// Inserts the packages that the index does not know, and tells which these are and what it knows of the others.
    async fn insert_packages(&self, transaction: &mut Transaction, now: i64) -> sqlx::Result<Packages> {
        let identities: Vec<Identity> = self.packages.keys().copied().collect();
        if let Transaction::Sqlite(connection) = transaction {
            // Nobody else writes until the end of the transaction: numbers can be chosen here, and need not be asked for.
            let first: i64 =
                sqlx::query_scalar("select coalesce(max(id), 0) + 1 from packages").fetch_one(&mut **connection).await?;
            let inserted = self.push_packages(transaction, &identities, now, Some(first)).await?;
            if inserted == identities.len() as u64 {
                return Ok(Packages { held: HashMap::new(), new: identities.into_iter().zip(first..).collect() });
            }
            let (new, held): (HashMap<_, _>, HashMap<_, _>) =
                read_held(transaction, &identities).await?.into_iter().partition(|(_, held)| held.id >= first);
            return Ok(Packages { held, new: new.into_iter().map(|(identity, held)| (identity, held.id)).collect() });
        }
        let held = read_held(transaction, &identities).await?;
        // Another writer may add one of these in this moment: then the unique key refuses ours, and the transaction is run again.
        let new: Vec<Identity> = identities.into_iter().filter(|identity| !held.contains_key(identity)).collect();
        self.push_packages(transaction, &new, now, None).await?;
        let ids = read_held(transaction, &new).await?;
        Ok(Packages { held, new: ids.into_iter().map(|(identity, held)| (identity, held.id)).collect() })
    }

    /// Writes packages; with a first number those that are there already are left alone. How many were written.
    async fn push_packages(
        &self,
        transaction: &mut Transaction,
        identities: &[Identity],
        now: i64,
        first: Option<i64>,
    ) -> sqlx::Result<u64> {
        let mut next = first;
        let written = both!(Transaction, transaction, |connection, Backend| {
            let statement = |identities: &[Identity]| {
                let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
                query.push(
                    "packages (identity, name, epoch, version, `release`, arch, source, distro, built_at, state, \
                     indexed_at, nvra_crc, source_crc, format, identity_kind",
                );
                query.push(if first.is_some() { ", id) " } else { ") " });
                query.push_values(identities, |mut row, identity| {
                    let Found { import, distro, open } = &self.packages[identity];
                    let package = &import.package;
                    let (nevra, source) = (&package.nevra, package.source_rpm.as_deref());
                    row.push_bind(identity.as_bytes().as_slice())
                        .push_bind(nevra.name.as_str())
                        .push_bind(nevra.epoch.map(i64::from))
                        .push_bind(nevra.version.as_str())
                        .push_bind(nevra.release.as_str())
                        .push_bind(nevra.arch.as_str())
                        .push_bind(source.map(|source| short::source(source, nevra)))
                        .push_bind(distro.unwrap_or_else(|| package.dist_tag()))
                        .push_bind(package.built_at)
                        .push_bind(if *open { OPEN } else { COMPLETE })
                        .push_bind(now)
                        .push_bind(short::crc(&nevra.nvra()))
                        .push_bind(source.map(short::crc))
                        .push_bind(package.format.as_str())
                        .push_bind(i64::from(package.format != Format::Rpm));
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
            pieces::write(&mut **connection, identities, statement).await?.rows_affected()
        });
        Ok(written)
    }

    /// Makes room for the artifacts of packages that were open and come complete.
    async fn refine(
        &self,
        transaction: &mut Transaction,
        held: &HashMap<Identity, Held>,
        now: i64,
    ) -> sqlx::Result<Vec<Identity>> {
        let refined: Vec<Identity> = self
            .packages
            .iter()
            .filter(|(identity, found)| !found.open && held.get(identity).is_some_and(|held| held.open))
            .map(|(identity, _)| *identity)
            .collect();
        let mut ids: Vec<i64> = refined.iter().filter_map(|identity| held.get(identity)).map(|held| held.id).collect();
        ids.sort_unstable();
        for ids in ids.chunks(LIST) {
            both!(Transaction, transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select package_id, list from members where ");
                push_list(&mut query, "package_id", ids);
                let lists = query.build_query_as::<ListRow>().fetch_all(&mut **connection).await?;
                for ListRow { package_id, list } in lists {
                    let artifacts = members::read(&list)?;
                    let keys: Vec<_> = artifacts.iter().map(|artifact| short::key(artifact.build_id.as_bytes())).collect();
                    let keys: Vec<&[u8]> = keys.iter().map(<[u8; _]>::as_slice).collect();
                    for build_ids in keys.chunks(LIST) {
                        let mut query = QueryBuilder::<Backend>::new("delete from artifacts where package_id = ");
                        query.push_bind(package_id).push(" and ");
                        push_list(&mut query, "build_id", build_ids);
                        query.build().execute(&mut **connection).await?;
                    }
                }
                let mut query = QueryBuilder::<Backend>::new("delete from members where ");
                push_list(&mut query, "package_id", ids);
                query.build().execute(&mut **connection).await?;
                let mut query = QueryBuilder::<Backend>::new("update packages set state = ");
                query.push_bind(COMPLETE).push(", indexed_at = ").push_bind(now).push(" where ");
                push_list(&mut query, "id", ids);
                query.build().execute(&mut **connection).await?;
            });
        }
        Ok(refined)
    }

    /// A distribution that the importer was told wins over the one that is stored.
    async fn change_distros(&self, transaction: &mut Transaction, held: &HashMap<Identity, Held>) -> sqlx::Result<()> {
        for (identity, found) in &self.packages {
            let (Some(distro), Some(held)) = (found.distro, held.get(identity)) else { continue };
            if held.distro != distro {
                both!(Transaction, transaction, |connection, Backend| {
                    sqlx::query::<Backend>("update packages set distro = ? where id = ?")
                        .bind(distro)
                        .bind(held.id)
                        .execute(&mut **connection)
                        .await?;
                });
            }
        }
        Ok(())
    }
}

/// What the index holds of these packages; locked until the end of the transaction.
async fn read_held(transaction: &mut Transaction, identities: &[Identity]) -> sqlx::Result<HashMap<Identity, Held>> {
    let mut held = HashMap::with_capacity(identities.len());
    for identities in identities.chunks(LIST) {
        let identities: Vec<&[u8]> = identities.iter().map(|identity| identity.as_bytes().as_slice()).collect();
        let rows = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select id, identity, state, distro from packages where ");
            push_list(&mut query, "identity", &identities);
            query.push(Backend::FOR_UPDATE);
            query.build_query_as::<HeldRow>().fetch_all(&mut **connection).await?
        });
        for HeldRow { id, identity, state, distro } in rows {
            held.insert(to_identity(&identity)?, Held { id, open: state == OPEN, distro });
        }
    }
    Ok(held)
}

async fn insert_artifacts(transaction: &mut Transaction, mut rows: Vec<([u8; KEY_BYTES], i64, u32)>) -> sqlx::Result<()> {
    rows.sort_unstable();
    // A file that is both executable and debuginfo has one row.
    rows.dedup();
    if matches!(transaction, Transaction::MySql(_)) {
        // In another order that all writers agree on: rows that come in the order of the key, or two neighbours at once, make InnoDB
        // believe that all the others are going to come behind them, and it leaves pages half empty.
        rows.sort_by_cached_key(scattered);
    }
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |rows: &[([u8; KEY_BYTES], i64, u32)]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("artifacts (build_id, package_id, ordinal) ");
            query.push_values(rows, |mut row, (key, package_id, ordinal)| {
                row.push_bind(key.as_slice()).push_bind(*package_id).push_bind(i64::from(*ordinal));
            });
            query
        };
        pieces::write(&mut **connection, &rows, statement).await?;
    });
    Ok(())
}

/// A number that has nothing to do with where the row's key stands among others.
fn scattered((key, package_id, ordinal): &([u8; KEY_BYTES], i64, u32)) -> u64 {
    let mut number = package_id.cast_unsigned() << 24 | u64::from(*ordinal);
    for byte in key {
        number = (number ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
    number
}

async fn insert_members(transaction: &mut Transaction, lists: &[(i64, u32, &[u8])]) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |lists: &[(i64, u32, &[u8])]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("members (package_id, part, list) ");
            query.push_values(lists, |mut row, (package_id, part, list)| {
                row.push_bind(*package_id).push_bind(i64::from(*part)).push_bind(*list);
            });
            query
        };
        pieces::write(&mut **connection, lists, statement).await?;
    });
    Ok(())
}
