//! What a service reads often: jobs, what is kept as poison, positions of feeders, and who has a lease. Every query
//! reads small tables alone.

use std::time::Duration;

use sqlx::{AssertSqlSafe, FromRow};

use crate::connect::db::on_connection;
use crate::connect::dialect::Dialect;
use crate::model::rows::to_unsigned;
use crate::model::status::{Age, HeldLease, Workload};
use crate::{Index, Result};

/// The counts of jobs. Times are by the database's clock.
#[derive(FromRow)]
struct JobCounts {
    jobs: i64,
    running: i64,
    due: i64,
    oldest_due: Option<i64>,
}

impl Index {
    /// Returns the work that waits, and how far feeders are behind. It reads the rows of jobs, cursors and
    /// repositories.
    ///
    /// # Errors
    /// If a query of the database fails.
    pub async fn workload(&self) -> Result<Workload> {
        self.retry_query("reading the jobs", || async {
            let (jobs, poison, cursors, repositories) = on_connection!(&self.db, |connection, Backend| {
                let now = Backend::NOW;
                let is_running = format!("claimed_by is not null and claimed_until > {now}");
                let is_due = format!("next_try_at <= {now} and (claimed_by is null or claimed_until <= {now})");
                // One that waits after a failure is late as well.
                let is_late = format!("{is_due} or last_error is not null");
                let jobs = format!(
                    "select count(*) as jobs, count(case when {is_running} then 1 end) as running, \
                     count(case when {is_due} then 1 end) as due, \
                     {now} - min(case when {is_late} then queued_at end) as oldest_due from jobs"
                );
                let cursors = format!("select name, {now} - updated_at from cursors order by name");
                let repositories = format!("select name, {now} - refreshed_at from repositories order by name");
                let jobs: JobCounts =
                    sqlx::query_as::<Backend, _>(AssertSqlSafe(jobs)).fetch_one(&mut *connection).await?;
                let poison: i64 =
                    sqlx::query_scalar::<Backend, _>("select count(*) from poison").fetch_one(&mut *connection).await?;
                let cursors: Vec<(String, i64)> =
                    sqlx::query_as::<Backend, _>(AssertSqlSafe(cursors)).fetch_all(&mut *connection).await?;
                let repositories: Vec<(String, Option<i64>)> =
                    sqlx::query_as::<Backend, _>(AssertSqlSafe(repositories)).fetch_all(&mut *connection).await?;
                (jobs, poison, cursors, repositories)
            });
            let (running, due) = (to_unsigned(jobs.running)?, to_unsigned(jobs.due)?);
            Ok(Workload {
                due,
                running,
                waiting: to_unsigned(jobs.jobs)?.saturating_sub(running + due),
                oldest_due: jobs.oldest_due.map(seconds),
                poison: to_unsigned(poison)?,
                cursors: cursors.into_iter().map(|(name, age)| Age { name, age: seconds(age) }).collect(),
                repositories: repositories
                    .into_iter()
                    .filter_map(|(name, age)| Some(Age { name, age: seconds(age?) }))
                    .collect(),
            })
        })
        .await
    }

    /// Returns the time since the builds of each Koji were compared with their hub, of the build where it is longest.
    /// It reads all rows of builds.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn oldest_checks(&self) -> Result<Vec<Age>> {
        let ages = self.retry_query("reading the checks of builds", || async {
            on_connection!(&self.db, |connection, Backend| {
                let statement = format!(
                    "select instance, {} - min(checked_at) from builds where state = 'complete' group by instance",
                    Backend::NOW
                );
                sqlx::query_as::<Backend, (String, i64)>(AssertSqlSafe(statement)).fetch_all(connection).await
            })
        });
        Ok(ages.await?.into_iter().map(|(name, age)| Age { name, age: seconds(age) }).collect())
    }

    /// Returns who has a lease; `None` if it is free.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn lease(&self, name: &str) -> Result<Option<HeldLease>> {
        let held = self.retry_query("reading a lease", || async {
            on_connection!(&self.db, |connection, Backend| {
                let statement = format!(
                    "select holder, until - {now} from leases where name = ? and until > {now}",
                    now = Backend::NOW
                );
                sqlx::query_as::<Backend, (String, i64)>(AssertSqlSafe(statement))
                    .bind(name)
                    .fetch_optional(connection)
                    .await
            })
        });
        Ok(held.await?.map(|(holder, left)| HeldLease { holder, expires_in: seconds(left) }))
    }

    /// Returns the names of all that have claimed jobs.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn job_holders(&self) -> Result<Vec<String>> {
        const HOLDERS: &str = "select distinct claimed_by from jobs where claimed_by is not null order by claimed_by";
        self.retry_query("reading who has claimed jobs", || async {
            on_connection!(&self.db, |connection, Backend| {
                sqlx::query_scalar::<Backend, String>(HOLDERS).fetch_all(connection).await
            })
        })
        .await
    }
}

/// A difference of two times. Those of another machine can be in the future.
fn seconds(difference: i64) -> Duration {
    Duration::from_secs(u64::try_from(difference).unwrap_or_default())
}
