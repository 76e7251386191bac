//! Builds of Koji: what the hub says of them, and what follows for their packages.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;

use super::build_places::{self, CheckTimes, CheckedBuild};
use super::candidates::{self, Selection};
use super::{changes, chunks, clock};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::read::builds::{BUILDS, BuildRow};
use crate::{BuildState, BuildUpdate, Index, Result, StoredBuild};

impl Index {
    /// Records what the hub said of builds at `checked_at`, in seconds since 1970, in one transaction. Of several
    /// updates of one build in the list, the last counts.
    ///
    /// - An older check than the stored one changes nothing. A deleted build stays deleted, unless it completed again
    ///   later. A stored check in the future is of a clock that was wrong, and counts as older.
    /// - Packages of the build get its volume.
    /// - Signed copies become locations with their key: present ones are seen, absent ones were found gone. Those of
    ///   packages that the index does not have are left out.
    /// - Present places of its packages outside of its directory become gone.
    /// - If it is not complete any more, or completed at another time, it is not imported. In the first case its places
    ///   in the store are gone: what is built again has new files of the same names.
    /// - If it is deleted, its packages are, and their places in the store are gone, unless a check found them after
    ///   this one. Without an exact time it was deleted between the check before this one and this one. An exact time
    ///   is never before its completion nor after this check, whatever a message states.
    ///
    /// Returns the builds, by instance and number, whose stored check is newer: nothing was recorded of them.
    /// `checked_at` is by the clock of the database, see [`Index::now`]. `writer` is the name of this importer in the
    /// table `writers`, as of [`Index::insert`].
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses. Then nothing is recorded.
    pub async fn record_builds(
        &self,
        writer: &str,
        updates: &[BuildUpdate],
        checked_at: i64,
    ) -> Result<Vec<(String, i64)>> {
        updates.iter().try_for_each(BuildUpdate::check)?;
        let mut by_instance: BTreeMap<&str, BTreeMap<i64, &BuildUpdate>> = BTreeMap::new();
        for update in updates {
            by_instance.entry(&update.build.instance).or_default().insert(update.build.build, update);
        }
        if by_instance.is_empty() {
            return Ok(Vec::new());
        }
        self.retry_transaction("recording builds", || async {
            let mut transaction = self.begin().await?;
            candidates::lock_claims(&mut transaction, Selection::Claimed).await?;
            let times = CheckTimes { checked_at, now: clock::database_now(&mut transaction).await? };
            let (mut has_changed, mut overtaken) = (false, Vec::new());
            for (instance, updates) in &by_instance {
                let checked = record(&mut transaction, instance, updates, times).await?;
                has_changed |= build_places::record(&mut transaction, instance, &checked, times).await?;
                let recorded = ids(&checked);
                let others = updates.keys().filter(|build| recorded.binary_search(build).is_err());
                overtaken.extend(others.map(|build| ((*instance).to_owned(), *build)));
            }
            if has_changed {
                changes::record(&mut transaction, writer, Vec::new()).await?;
            }
            transaction.commit().await?;
            Ok(overtaken)
        })
        .await
    }
}

/// Writes the rows of builds of one instance. Returns the builds whose stored check is not newer.
async fn record<'a>(
    transaction: &mut Transaction,
    instance: &str,
    updates: &BTreeMap<i64, &'a BuildUpdate>,
    times: CheckTimes,
) -> sqlx::Result<Vec<CheckedBuild<'a>>> {
    let stored = read(transaction, instance, updates.keys().copied().collect()).await?;
    let mut checked = Vec::new();
    for (build, update) in updates {
        let stored = stored.get(build);
        if stored.is_none_or(|stored| !times.are_before(stored.checked_at)) {
            checked.push(CheckedBuild { update, now: merge(stored, update, times.checked_at) });
        }
    }
    let (known, new): (Vec<&StoredBuild>, Vec<&StoredBuild>) =
        checked.iter().map(|checked| &checked.now).partition(|now| stored.contains_key(&now.build.build));
    // If another writer inserts one of the new rows now, the key refuses ours, and the transaction is retried.
    write(transaction, &new, false).await?;
    write(transaction, &known, true).await?;
    Ok(checked)
}

/// Returns what is stored of builds, locked until the end of the transaction.
async fn read(
    transaction: &mut Transaction,
    instance: &str,
    builds: Vec<i64>,
) -> sqlx::Result<BTreeMap<i64, StoredBuild>> {
    let mut stored = BTreeMap::new();
    for builds in builds.chunks(MAX_LIST) {
        let rows: Vec<BuildRow> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(BUILDS);
            query.push_bind(instance).push(" and ");
            push_list(&mut query, "build", builds);
            query.push(Backend::FOR_UPDATE);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        for row in rows {
            let build = row.into_build()?;
            stored.insert(build.build.build, build);
        }
    }
    Ok(stored)
}

/// Returns the row of a build after a check that is not older than the stored one.
fn merge(stored: Option<&StoredBuild>, update: &BuildUpdate, checked_at: i64) -> StoredBuild {
    let deleted = stored.filter(|stored| stored.stays_deleted(&update.build));
    if let Some(deleted) = deleted
        && update.build.state != BuildState::Deleted
    {
        return StoredBuild { checked_at, ..deleted.clone() };
    }
    let is_complete = update.build.state == BuildState::Complete;
    let of_same = stored.filter(|stored| stored.build.is_same_run(&update.build)).and_then(|stored| stored.imported_at);
    let imported_at = of_same.or(update.is_imported.then_some(checked_at)).filter(|_| is_complete);
    let exact = update.deleted_at.map(|at| at.max(update.build.completed_at.unwrap_or(0)).min(checked_at));
    let (deleted_at, deleted_after) = match (update.build.state, exact, deleted) {
        (BuildState::Deleted, Some(exact), None) => (Some(exact), None),
        (BuildState::Deleted, Some(exact), Some(deleted)) if deleted.deleted_after.is_some() => (Some(exact), None),
        (BuildState::Deleted, _, Some(deleted)) => (deleted.deleted_at, deleted.deleted_after),
        (BuildState::Deleted, None, None) => {
            let existed_at = stored.map(|stored| stored.checked_at).or(update.build.completed_at);
            (Some(checked_at), Some(existed_at.unwrap_or(0).min(checked_at)))
        }
        _ => (None, None),
    };
    StoredBuild { build: update.build.clone(), imported_at, checked_at, deleted_at, deleted_after }
}

/// Writes rows, in the order of their key.
async fn write(transaction: &mut Transaction, builds: &[&StoredBuild], exist: bool) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |builds: &[&StoredBuild]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(
                "builds (instance, build, nvr, name, version, `release`, epoch, state, volume, draft, completed_at, \
                 imported_at, checked_at, deleted_at, deleted_after) ",
            );
            query.push_values(builds, |mut row, stored| {
                let build = &stored.build;
                row.push_bind(build.instance.as_str())
                    .push_bind(build.build)
                    .push_bind(build.nvr())
                    .push_bind(build.name.as_str())
                    .push_bind(build.version.as_str())
                    .push_bind(build.release.as_str())
                    .push_bind(build.epoch)
                    .push_bind(build.state.as_str())
                    .push_bind(build.volume.as_str())
                    .push_bind(build.draft)
                    .push_bind(build.completed_at)
                    .push_bind(stored.imported_at)
                    .push_bind(stored.checked_at)
                    .push_bind(stored.deleted_at)
                    .push_bind(stored.deleted_after);
            });
            if exist {
                query.push(Backend::UPDATE_BUILD);
            }
            query
        };
        chunks::write(&mut **connection, builds, statement).await?;
    });
    Ok(())
}

/// Returns the ids of all builds, without duplicates.
pub(super) fn ids(builds: &[CheckedBuild<'_>]) -> Vec<i64> {
    builds.iter().map(|checked| checked.now.build.build).collect::<BTreeSet<i64>>().into_iter().collect()
}
