//! The state of the whole index, for an operator.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::FromRow;

use crate::connect::db::on_connection;
use crate::model::rows::{StoreRow, to_unsigned};
use crate::read::jobs::{self, FailedRow, JobRow, PoisonRow};
use crate::read::repositories::{REPOSITORIES, RepositoryRow};
use crate::read::stores::STORES;
use crate::{BuildStatus, Cursor, Index, PackageState, RepositoryStatus, Result, Status, StoreStatus};

/// Selects the columns of [`PlaceCounts`]. A derived place that was only looked for in vain is neither present nor
/// gone.
const PLACES: &str = "select store_id, \
     count(case when gone_at is null and (first_seen is not null or check_result = 'present') then 1 end) as present, \
     count(case when gone_at is not null and first_seen is not null then 1 end) as gone, \
     count(case when gone_at is not null and first_seen is null then 1 end) as absent, \
     count(*) as places, count(checked_at) as checked, max(checked_at) as checked_at, \
     count(case when check_result like 'failed: %' then 1 end) as failed, \
     max(case when check_result like 'failed: %' then check_result end) as failure \
     from locations group by store_id";

/// Selects the columns of [`MembershipCounts`].
const MEMBERSHIPS: &str = "select repository_id, count(*) as memberships, count(ended_at) as ended \
     from memberships group by repository_id";

/// Selects the columns of [`BuildCounts`], from the key `builds_state` alone.
const BUILDS: &str = "select instance, \
     count(case when state = 'complete' then 1 end) as complete, \
     count(case when state = 'complete' and imported_at is null then 1 end) as not_imported, \
     count(case when state = 'deleted' then 1 end) as deleted, \
     min(case when state = 'complete' then checked_at end) as oldest_check \
     from builds group by instance order by instance";

impl Index {
    /// Returns counts of the index, and what is under way or failed. It reads all rows of packages, locations,
    /// memberships and jobs, and keys of artifacts and builds.
    ///
    /// # Errors
    /// If a query of the database fails.
    pub async fn status(&self) -> Result<Status> {
        self.retry_query("reading the state of the index", || async {
            let rows = on_connection!(&self.db, |connection, Backend| {
                macro_rules! all {
                    ($statement:expr) => {
                        sqlx::query_as::<Backend, _>($statement).fetch_all(&mut *connection).await?
                    };
                }
                macro_rules! count {
                    ($statement:expr) => {
                        sqlx::query_scalar::<Backend, i64>($statement).fetch_one(&mut *connection).await?
                    };
                }
                let jobs = jobs::counts::<Backend>().build_query_as().fetch_all(&mut *connection).await?;
                StatusRows {
                    states: all!("select state, count(*) from packages group by state"),
                    deleted: count!("select count(*) from packages where deleted_at is not null"),
                    artifacts: count!("select count(*) from artifacts"),
                    claims: count!("select count(*) from claims"),
                    stores: all!(STORES),
                    places: all!(PLACES),
                    repositories: all!(REPOSITORIES),
                    memberships: all!(MEMBERSHIPS),
                    cursors: all!("select name, value, updated_at from cursors order by name"),
                    builds: all!(BUILDS),
                    jobs,
                    failed_jobs: all!(jobs::FAILED),
                    poison: count!("select count(*) from poison"),
                    last_poison: all!(jobs::LAST_POISON),
                }
            });
            rows.into_status()
        })
        .await
    }
}

/// The rows of all queries.
struct StatusRows {
    states: Vec<(String, i64)>,
    deleted: i64,
    artifacts: i64,
    claims: i64,
    stores: Vec<StoreRow>,
    places: Vec<PlaceCounts>,
    repositories: Vec<RepositoryRow>,
    memberships: Vec<MembershipCounts>,
    cursors: Vec<(String, String, i64)>,
    builds: Vec<BuildCounts>,
    jobs: Vec<JobRow>,
    failed_jobs: Vec<FailedRow>,
    poison: i64,
    last_poison: Vec<PoisonRow>,
}

/// The counts of one store's locations.
#[derive(Default, FromRow)]
struct PlaceCounts {
    store_id: i64,
    present: i64,
    gone: i64,
    absent: i64,
    places: i64,
    checked: i64,
    checked_at: Option<i64>,
    failed: i64,
    failure: Option<String>,
}

/// The counts of one repository's memberships.
#[derive(Default, FromRow)]
struct MembershipCounts {
    repository_id: i64,
    memberships: i64,
    ended: i64,
}

/// The counts of one Koji's builds.
#[derive(FromRow)]
struct BuildCounts {
    instance: String,
    complete: i64,
    not_imported: i64,
    deleted: i64,
    oldest_check: Option<i64>,
}

impl BuildCounts {
    fn into_status(self) -> sqlx::Result<BuildStatus> {
        Ok(BuildStatus {
            instance: self.instance,
            complete: to_unsigned(self.complete)?,
            not_imported: to_unsigned(self.not_imported)?,
            deleted: to_unsigned(self.deleted)?,
            oldest_check: self.oldest_check,
        })
    }
}

impl StatusRows {
    fn into_status(self) -> sqlx::Result<Status> {
        let mut packages = PackageState::ALL.map(|state| (state, 0)).to_vec();
        for (word, found) in self.states {
            let state = PackageState::parse(&word)?;
            if let Some((_, count)) = packages.iter_mut().find(|(known, _)| *known == state) {
                *count = to_unsigned(found)?;
            }
        }
        let mut places: HashMap<i64, PlaceCounts> =
            self.places.into_iter().map(|counts| (counts.store_id, counts)).collect();
        let mut stores = Vec::new();
        for store in self.stores {
            let Some(store) = store.into_store()? else { continue };
            let counts = places.remove(&store.id).unwrap_or_default();
            stores.push(StoreStatus {
                store: Arc::new(store),
                present: to_unsigned(counts.present)?,
                gone: to_unsigned(counts.gone)?,
                absent: to_unsigned(counts.absent)?,
                unchecked: to_unsigned(counts.places - counts.checked)?,
                checked_at: counts.checked_at,
                failed: to_unsigned(counts.failed)?,
                failure: counts.failure.map(|text| text.trim_start_matches("failed: ").to_owned()),
            });
        }
        stores.sort_by(|a, b| a.store.name.cmp(&b.store.name));
        let mut memberships: HashMap<i64, MembershipCounts> =
            self.memberships.into_iter().map(|counts| (counts.repository_id, counts)).collect();
        let mut repositories = Vec::new();
        for repository in self.repositories {
            let repository = repository.into_repository()?;
            let counts = memberships.remove(&repository.id).unwrap_or_default();
            let listed = to_unsigned(counts.memberships - counts.ended)?;
            repositories.push(RepositoryStatus { repository, listed, ended: to_unsigned(counts.ended)? });
        }
        repositories.sort_by(|a, b| a.repository.name.cmp(&b.repository.name));
        let cursors = self.cursors.into_iter().map(|(name, value, updated_at)| Cursor { name, value, updated_at });
        Ok(Status {
            packages,
            deleted_packages: to_unsigned(self.deleted)?,
            artifacts: to_unsigned(self.artifacts)?,
            claims: to_unsigned(self.claims)?,
            stores,
            repositories,
            cursors: cursors.collect(),
            builds: self.builds.into_iter().map(BuildCounts::into_status).collect::<sqlx::Result<_>>()?,
            jobs: self.jobs.into_iter().map(JobRow::into_status).collect::<sqlx::Result<_>>()?,
            failed_jobs: self.failed_jobs.into_iter().map(FailedRow::into_job).collect::<sqlx::Result<_>>()?,
            poison: to_unsigned(self.poison)?,
            last_poison: self.last_poison.into_iter().map(PoisonRow::into_poison).collect(),
        })
    }
}
