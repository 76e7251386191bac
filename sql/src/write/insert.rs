//! The transaction that inserts packages, artifacts and locations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use artifact::{Artifact, Format, Identity};
use sqlx::QueryBuilder;

use super::artifacts::{self, NewArtifact};
use super::candidates::{self, Selection};
use super::clock::now;
use super::locations::{self, PackagePlace};
use super::memberships::PackageAndRepository;
use super::packages::{self, BatchPackages, ExistingPackage, NewPackage};
use super::{changes, memberships, merge, modules, origins};
use crate::connect::db::{Transaction, both};
use crate::model::import::join_path;
use crate::model::rows::{MAX_LIST, decode_error, push_list};
use crate::{Import, Index, Inserted, PathHash, Result, hash_build_id};

impl Index {
    /// Inserts a batch in one transaction: all of it or nothing. The same batch again changes only `last_seen`. A
    /// conflict with another writer and a lost connection are retried: [`Index::with_retry_timeout`].
    ///
    /// - A new package is stored with its artifacts.
    /// - An open package that becomes complete gets exactly the new artifacts.
    /// - A complete package is not changed, nor is an open one that is still open.
    /// - Its location is present; another package at the same path of the store is gone from there.
    /// - A plain file under another name gets that name, too.
    /// - Compressed kernel modules of RPMs get the build-ids of their debug files, whichever package is inserted first.
    /// - Its membership of the repository that lists it begins, or goes on.
    /// - It gets the build of Koji that is stated, also where it has another one.
    /// - A claimed row that describes a new package becomes that package; further ones are merged into it.
    ///
    /// `writer` is the name of this importer in the table `writers`, whose sequence is incremented in the same
    /// transaction.
    ///
    /// # Errors
    /// If a value does not fit ([`Import::check`]), or the database refuses. Then nothing of the batch is in the index,
    /// unless the connection broke during the commit. Inserting the batch again is right in any case.
    pub async fn insert(&self, writer: &str, batch: &[Import]) -> Result<Inserted> {
        if batch.is_empty() {
            return Ok(Inserted::default());
        }
        batch.iter().try_for_each(Import::check)?;
        let batch = Batch::new(batch);
        self.retry_transaction("inserting", || async {
            let now = now();
            let mut transaction = self.begin().await?;
            let inserted = batch.insert(&mut transaction, writer, now).await?;
            transaction.commit().await?;
            Ok(inserted)
        })
        .await
    }
}

/// Returns the directories of include files. MySQL ignores trailing blanks in comparisons, so names with these are
/// skipped.
fn includes(import: &Import) -> impl Iterator<Item = &str> {
    import.includes.iter().map(String::as_str).filter(|place| !place.ends_with(' '))
}

/// A batch without duplicate packages and locations, in the order of their keys: all writers acquire locks in one
/// order.
struct Batch<'a> {
    packages: Vec<(Identity, NewPackage<'a>)>,
    locations: BTreeMap<(i64, PathHash), &'a Import>,
    /// Plain files, which can have several names.
    files: Vec<&'a Import>,
    /// Packages that a repository lists.
    listed: Vec<(Identity, i64)>,
}

impl<'a> Batch<'a> {
    fn new(imports: &'a [Import]) -> Self {
        let mut packages: BTreeMap<Identity, NewPackage<'a>> = BTreeMap::new();
        let mut locations = BTreeMap::new();
        for import in imports {
            let (distro, open, koji) = (import.distro.as_deref(), import.open, import.koji.as_ref());
            let package = packages.entry(import.package.identity).or_insert(NewPackage { import, distro, open, koji });
            if package.open && !open {
                (package.import, package.open) = (import, false);
            }
            package.distro = distro.or(package.distro);
            package.koji = koji.or(package.koji);
            locations.insert((import.location.store_id, PathHash::of_path(&import.location.path)), import);
        }
        let files = imports.iter().filter(|import| import.package.format == Format::File).collect();
        let listed =
            imports.iter().filter_map(|import| Some((import.package.identity, import.repository_id?))).collect();
        Self { packages: packages.into_iter().collect(), locations, files, listed }
    }

    async fn insert(&self, transaction: &mut Transaction, writer: &str, now: i64) -> sqlx::Result<Inserted> {
        candidates::lock_claims(transaction, Selection::Claimed).await?;
        if self.packages.iter().any(|(_, package)| modules::source_and_arch(package.import).is_some()) {
            modules::lock_modules(transaction).await?;
        }
        let now = memberships::time(transaction, self.listed.iter().map(|(_, repository)| *repository), now).await?;
        let claimed = self.find_claimed(transaction).await?;
        let packages = packages::insert(transaction, &self.packages, &claimed, now).await?;
        let completed = self.complete_open_packages(transaction, &packages.existing, now).await?;
        self.change_distros(transaction, &packages.existing).await?;
        self.change_origins(transaction, &packages.existing).await?;

        let mut inserted_imports: Vec<(i64, &'a Import)> = Vec::new();
        for (identity, NewPackage { import, .. }) in &self.packages {
            if packages.new.contains_key(identity) || completed.contains(identity) {
                inserted_imports.push((packages.id(identity)?, import));
            }
        }
        let rows = inserted_imports.iter().flat_map(|(package_id, import)| {
            let row =
                |artifact: &'a Artifact| NewArtifact { package_id: *package_id, ordinal: artifact.ordinal, artifact };
            import.artifacts.iter().map(row)
        });
        let mut rows: Vec<NewArtifact<'_>> = rows.collect();
        self.add_names(transaction, &packages, &mut rows).await?;
        let mut hashes: Vec<u64> = rows.iter().map(|row| hash_build_id(&row.artifact.build_id)).collect();
        let mut artifacts = artifacts::insert(transaction, rows).await?;
        let listed = inserted_imports.iter().flat_map(|(id, import)| import.modules.iter().map(|module| (*id, module)));
        modules::insert(transaction, listed.collect()).await?;
        let builds = inserted_imports.iter().filter_map(|(_, import)| modules::source_and_arch(import)).collect();
        let paired = modules::pair(transaction, builds).await?;
        artifacts += paired.len() as u64;
        hashes.extend(paired);
        // Include directories come from the header, so a package that became complete has them.
        let new = inserted_imports.iter().filter(|(_, import)| packages.new.contains_key(&import.package.identity));
        let includes = new.flat_map(|(id, import)| includes(import).map(|place| (place, *id))).collect();
        artifacts::insert_includes(transaction, includes).await?;

        let place = |((_, path_hash), import): (&(i64, PathHash), &&'a Import)| {
            Ok(PackagePlace {
                package_id: packages.id(&import.package.identity)?,
                path_hash: *path_hash,
                location: &import.location,
            })
        };
        let locations = self.locations.iter().map(place).collect::<sqlx::Result<Vec<PackagePlace<'_>>>>()?;
        hashes.extend(self.merge_claimed(transaction, &packages, &claimed).await?);
        let listed = |(identity, repository_id): &(Identity, i64)| Ok((packages.id(identity)?, *repository_id));
        let listed = self.listed.iter().map(listed).collect::<sqlx::Result<Vec<PackageAndRepository>>>()?;
        memberships::begin(transaction, listed, now).await?;
        locations::mark_replaced(transaction, &locations, now).await?;
        locations::insert(transaction, &locations, now).await?;
        changes::record(transaction, writer, hashes).await?;

        Ok(Inserted {
            packages_new: packages.new.len() as u64,
            packages_completed: completed.len() as u64,
            artifacts,
            locations: locations.len() as u64,
        })
    }

    /// Makes open packages complete that are complete in the batch, and removes their artifacts.
    async fn complete_open_packages(
        &self,
        transaction: &mut Transaction,
        existing: &HashMap<Identity, ExistingPackage>,
        now: i64,
    ) -> sqlx::Result<BTreeSet<Identity>> {
        let is_completed = |(identity, package): &&(Identity, NewPackage<'_>)| {
            !package.open && existing.get(identity).is_some_and(|existing| existing.open)
        };
        let completed: BTreeSet<Identity> =
            self.packages.iter().filter(is_completed).map(|(identity, _)| *identity).collect();
        let mut ids: Vec<i64> =
            completed.iter().filter_map(|identity| existing.get(identity)).map(|existing| existing.id).collect();
        ids.sort_unstable();
        packages::make_complete(transaction, &ids, now).await?;
        Ok(completed)
    }

    /// Updates distributions that the operator gave.
    async fn change_distros(
        &self,
        transaction: &mut Transaction,
        existing: &HashMap<Identity, ExistingPackage>,
    ) -> sqlx::Result<()> {
        for (identity, package) in &self.packages {
            if let (Some(distro), Some(existing)) = (package.distro, existing.get(identity))
                && existing.distro != distro
            {
                packages::set_distro(transaction, existing.id, distro).await?;
            }
        }
        Ok(())
    }

    /// Updates the builds that packages come from.
    async fn change_origins(
        &self,
        transaction: &mut Transaction,
        existing: &HashMap<Identity, ExistingPackage>,
    ) -> sqlx::Result<()> {
        let stated = self.packages.iter().filter_map(|(identity, package)| {
            let existing = existing.get(identity)?;
            Some((existing.id, package.koji?))
        });
        origins::set(transaction, stated.collect(), origins::Source::Koji).await
    }

    /// Adds rows for new names of plain files: a copy of a file is the same package. Each name has an ordinal of its
    /// own.
    async fn add_names(
        &self,
        transaction: &mut Transaction,
        packages: &BatchPackages,
        rows: &mut Vec<NewArtifact<'a>>,
    ) -> sqlx::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let mut names: HashMap<i64, PlainFileNames> = HashMap::new();
        for row in rows.iter() {
            names.entry(row.package_id).or_default().add(
                row.ordinal,
                &row.artifact.path,
                &row.artifact.build_id.to_string(),
            );
        }
        let existing = self.files.iter().filter_map(|import| packages.existing.get(&import.package.identity));
        let existing: BTreeSet<i64> = existing.map(|existing| existing.id).collect();
        for ids in existing.into_iter().collect::<Vec<i64>>().chunks(MAX_LIST) {
            let stored: Vec<(i64, i64, String, String, String)> =
                both!(Transaction, transaction, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(
                        "select package_id, ordinal, dir, file_name, build_id from artifacts where ",
                    );
                    push_list(&mut query, "package_id", ids);
                    query.build_query_as().fetch_all(&mut **connection).await?
                });
            for (package_id, ordinal, dir, file_name, build_id) in stored {
                let ordinal = u32::try_from(ordinal).map_err(decode_error)?;
                names.entry(package_id).or_default().add(ordinal, &join_path(dir, &file_name), &build_id);
            }
        }
        for import in &self.files {
            let package_id = packages.id(&import.package.identity)?;
            let names = names.entry(package_id).or_default();
            for artifact in &import.artifacts {
                let (path, build_id) = (artifact.path.as_str(), artifact.build_id.to_string());
                if !names.has(path, &build_id) {
                    let ordinal = names.ordinal(path);
                    names.add(ordinal, path, &build_id);
                    rows.push(NewArtifact { package_id, ordinal, artifact });
                }
            }
        }
        Ok(())
    }

    /// Returns for each package of the batch the claimed rows that describe it.
    async fn find_claimed(&self, transaction: &mut Transaction) -> sqlx::Result<BTreeMap<Identity, Vec<i64>>> {
        if !candidates::has_claimed(transaction).await? {
            return Ok(BTreeMap::new());
        }
        let mut read: BTreeMap<Identity, merge::ReadPackage<'_>> = BTreeMap::new();
        for import in self.locations.values() {
            let package = &import.package;
            let read =
                read.entry(package.identity).or_insert_with(|| merge::ReadPackage::new(&package.nevra, !import.open));
            read.add(&import.location, import.artifacts.iter().map(|artifact| &artifact.build_id));
        }
        merge::find_claimed(transaction, &read).await
    }

    /// Answers the claims of packages whose row was a claimed one, and merges further claimed rows into the packages
    /// that they describe. Returns the hashes of build-ids whose claims were answered.
    async fn merge_claimed(
        &self,
        transaction: &mut Transaction,
        packages: &BatchPackages,
        claimed: &BTreeMap<Identity, Vec<i64>>,
    ) -> sqlx::Result<Vec<u64>> {
        let (mut complete, mut open) = (Vec::new(), Vec::new());
        for (identity, package) in &self.packages {
            let Some(claimed) = claimed.get(identity) else { continue };
            let id = packages.id(identity)?;
            if claimed.contains(&id) {
                if package.open { &mut open } else { &mut complete }.push(id);
            }
            for from in claimed.iter().filter(|from| **from != id) {
                merge::merge(transaction, *from, id).await?;
            }
        }
        merge::answer_claims(transaction, &complete, &open).await
    }
}

/// The names of a plain file: an ordinal for each, and its build-ids.
#[derive(Default)]
struct PlainFileNames {
    by_path: HashMap<String, (u32, BTreeSet<String>)>,
    next: u32,
}

impl PlainFileNames {
    fn add(&mut self, ordinal: u32, path: &str, build_id: &str) {
        self.next = self.next.max(ordinal + 1);
        self.by_path.entry(path.to_owned()).or_insert((ordinal, BTreeSet::new())).1.insert(build_id.to_owned());
    }

    fn has(&self, path: &str, build_id: &str) -> bool {
        self.by_path.get(path).is_some_and(|(_, build_ids)| build_ids.contains(build_id))
    }

    /// Returns the ordinal of a name, a new one for a new name.
    fn ordinal(&self, path: &str) -> u32 {
        self.by_path.get(path).map_or(self.next, |(ordinal, _)| *ordinal)
    }
}

impl BatchPackages {
    /// Returns the id of a package of the batch.
    fn id(&self, identity: &Identity) -> sqlx::Result<i64> {
        let existing = || self.existing.get(identity).map(|existing| existing.id);
        self.new.get(identity).copied().or_else(existing).ok_or(sqlx::Error::RowNotFound)
    }
}
