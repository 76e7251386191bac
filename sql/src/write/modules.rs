//! Build-ids of compressed kernel modules in RPMs: those of the debug files of the same build (docs/adr/0026).
//!
//! A module and its debug file are in packages of one source package and arch, and their paths reduce to one
//! ([`modules::module_path_of_installed`], [`modules::module_path_of_debug_file`]). Whichever package comes second, its
//! transaction writes the artifacts of the modules.

use std::collections::{BTreeSet, HashMap, HashSet};

use artifact::modules::{self, Module};
use artifact::{Artifact, BuildId, Format, Kind};
use sqlx::QueryBuilder;

use super::artifacts::{self, NewArtifact};
use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::import::{join_path, split_path};
use crate::model::rows::decode_error;
use crate::{Import, hash_build_id};

/// Maximum number of build-ids of one module: one for each build under the name of its source package. Only hostile
/// packages have more.
const MAX_BUILD_IDS: usize = 16;

/// A source package and an arch: the key of a build.
pub(super) type SourceAndArch<'a> = (&'a str, &'a str);

/// Returns the build of a package that has compressed modules without a build-id, or debug files of modules.
pub(super) fn source_and_arch(import: &Import) -> Option<SourceAndArch<'_>> {
    let package = &import.package;
    let has_debug_files =
        || import.artifacts.iter().any(|artifact| modules::module_path_of_debug_file(&artifact.path).is_some());
    let is_paired = package.format == Format::Rpm && (!import.modules.is_empty() || has_debug_files());
    is_paired.then_some((package.source_rpm.as_deref()?, package.nevra.arch.as_str()))
}

/// Excludes other transactions that pair modules, until the end of this one: two that do not see each other would each
/// miss the other's packages. To be called before anything is read. On Galera the row makes one of them fail at its
/// commit, and it is retried.
pub(super) async fn lock_modules(transaction: &mut Transaction) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        if !Backend::LOCK_MODULES.is_empty() {
            sqlx::query::<Backend>(Backend::LOCK_MODULES).execute(&mut **connection).await?;
        }
    });
    Ok(())
}

/// Inserts modules that have no build-id yet: package and module.
pub(super) async fn insert(transaction: &mut Transaction, mut rows: Vec<(i64, &Module)>) -> sqlx::Result<()> {
    rows.sort_unstable();
    rows.dedup();
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |rows: &[(i64, &Module)]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("modules (package_id, ordinal, dir, file_name) ");
            query.push_values(rows, |mut values, (package_id, module)| {
                let (dir, file_name) = split_path(&module.path);
                values.push_bind(*package_id).push_bind(i64::from(module.ordinal)).push_bind(dir).push_bind(file_name);
            });
            query
        };
        chunks::write(&mut **connection, &rows, statement).await?;
    });
    Ok(())
}

/// Inserts the artifacts of all modules of these builds whose debug files are in the index, without those that exist.
/// Returns the hashes of their build-ids.
pub(super) async fn pair(transaction: &mut Transaction, builds: BTreeSet<SourceAndArch<'_>>) -> sqlx::Result<Vec<u64>> {
    let mut paired: Vec<(i64, Artifact)> = Vec::new();
    for build in builds {
        let listed = read_modules(transaction, build).await?;
        if listed.is_empty() {
            continue;
        }
        let debug_files = read_debug_files(transaction, build).await?;
        let written = read_written(transaction, build).await?;
        for (package_id, ordinal, path) in listed {
            let build_ids = modules::module_path_of_installed(&path).and_then(|module| debug_files.get(module));
            for build_id in build_ids.into_iter().flatten() {
                if !written.contains(&(package_id, ordinal, build_id.to_string())) {
                    let ordinal = u32::try_from(ordinal).map_err(decode_error)?;
                    let (build_id, path) = (build_id.clone(), path.clone());
                    let artifact =
                        Artifact { ordinal, build_id, kind: Kind::Executable, dwarf: None, path, contents: None };
                    paired.push((package_id, artifact));
                }
            }
        }
    }
    let rows = paired.iter().map(|(package_id, artifact)| NewArtifact {
        package_id: *package_id,
        ordinal: artifact.ordinal,
        artifact,
    });
    artifacts::insert(transaction, rows.collect()).await?;
    Ok(paired.iter().map(|(_, artifact)| hash_build_id(&artifact.build_id)).collect())
}

/// Returns the modules of a build: package, ordinal and path.
async fn read_modules(
    transaction: &mut Transaction,
    build: SourceAndArch<'_>,
) -> sqlx::Result<Vec<(i64, i64, String)>> {
    let rows: Vec<(i64, i64, String, String)> = both!(Transaction, transaction, |connection, Backend| {
        sqlx::query_as::<Backend, _>(
            "select m.package_id, m.ordinal, m.dir, m.file_name from packages p join modules m on m.package_id = p.id \
             where p.source_rpm = ? and p.arch = ?",
        )
        .bind(build.0)
        .bind(build.1)
        .fetch_all(&mut **connection)
        .await?
    });
    let path = |(package_id, ordinal, dir, name): (_, _, _, String)| (package_id, ordinal, join_path(dir, &name));
    Ok(rows.into_iter().map(path).collect())
}

/// Returns the build-ids of a build's debug files, by the modules that they describe.
async fn read_debug_files(
    transaction: &mut Transaction,
    build: SourceAndArch<'_>,
) -> sqlx::Result<HashMap<String, BTreeSet<BuildId>>> {
    let rows: Vec<(String, String, String)> = both!(Transaction, transaction, |connection, Backend| {
        sqlx::query_as::<Backend, _>(
            "select a.build_id, a.dir, a.file_name from packages p join artifacts a on a.package_id = p.id \
             where p.source_rpm = ? and p.arch = ? and p.format = 'rpm' and a.dir like '/usr/lib/debug/%'",
        )
        .bind(build.0)
        .bind(build.1)
        .fetch_all(&mut **connection)
        .await?
    });
    let mut build_ids: HashMap<String, BTreeSet<BuildId>> = HashMap::new();
    for (build_id, dir, file_name) in rows {
        if let Some(module) = modules::module_path_of_debug_file(&join_path(dir, &file_name)) {
            let build_ids = build_ids.entry(module.to_owned()).or_default();
            if build_ids.len() < MAX_BUILD_IDS {
                build_ids.insert(build_id.parse().map_err(decode_error)?);
            }
        }
    }
    Ok(build_ids)
}

/// Returns the existing artifacts of a build's modules: package, ordinal and build-id.
async fn read_written(
    transaction: &mut Transaction,
    build: SourceAndArch<'_>,
) -> sqlx::Result<HashSet<(i64, i64, String)>> {
    let rows: Vec<(i64, i64, String)> = both!(Transaction, transaction, |connection, Backend| {
        sqlx::query_as::<Backend, _>(
            "select a.package_id, a.ordinal, a.build_id from packages p join modules m on m.package_id = p.id \
             join artifacts a on a.package_id = m.package_id and a.ordinal = m.ordinal where p.source_rpm = ? and \
             p.arch = ?",
        )
        .bind(build.0)
        .bind(build.1)
        .fetch_all(&mut **connection)
        .await?
    });
    Ok(rows.into_iter().collect())
}
