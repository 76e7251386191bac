//! Rows of the state of jobs, and of what could not be processed.

use sqlx::{Database, FromRow, QueryBuilder};

use crate::connect::dialect::Dialect;
use crate::model::rows::{decode_error, to_unsigned};
use crate::{FailedJob, JobStatus, Poison};

/// Selects the columns of [`PoisonRow`], the last 5, latest first.
pub(super) const LAST_POISON: &str = "select id, source, reason, received_at, substr(payload, 1, 120) as payload \
     from poison order by received_at desc, id desc limit 5";

/// Selects the columns of [`FailedRow`], of up to 10 jobs.
pub(super) const FAILED: &str = "select kind, `key` as job_key, attempts, last_error, next_try_at from jobs \
     where last_error is not null order by attempts desc, id limit 10";

/// The counts of one kind of jobs.
#[derive(FromRow)]
pub(super) struct JobRow {
    kind: String,
    jobs: i64,
    due: i64,
    running: i64,
    queued_at: Option<i64>,
    asked_at: i64,
    failed: i64,
    last_error: Option<String>,
}

/// Returns the query of [`JobRow`]s, by kind. Times are by the database's clock.
pub(super) fn counts<DB: Database + Dialect>() -> QueryBuilder<DB> {
    let mut query = QueryBuilder::new("select kind, count(*) as jobs, count(case when next_try_at <= ");
    query.push(DB::NOW).push(" and (claimed_until is null or claimed_until <= ").push(DB::NOW);
    query.push(") then 1 end) as due, count(case when claimed_until > ").push(DB::NOW);
    query.push(" then 1 end) as running, min(case when next_try_at <= ").push(DB::NOW);
    query
        .push(" or claimed_until > ")
        .push(DB::NOW)
        .push(" or last_error is not null then queued_at end) as queued_at");
    query.push(", max(").push(DB::NOW);
    query.push(") as asked_at, count(last_error) as failed, max(last_error) as last_error from jobs group by kind ");
    query.push("order by kind");
    query
}

impl JobRow {
    pub(super) fn into_status(self) -> sqlx::Result<JobStatus> {
        Ok(JobStatus {
            kind: self.kind,
            count: to_unsigned(self.jobs)?,
            due: to_unsigned(self.due)?,
            waiting: to_unsigned(self.jobs - self.due - self.running)?,
            running: to_unsigned(self.running)?,
            due_age: self.queued_at.map(|queued_at| to_unsigned((self.asked_at - queued_at).max(0))).transpose()?,
            failed: to_unsigned(self.failed)?,
            last_error: self.last_error,
        })
    }
}

#[derive(FromRow)]
pub(super) struct FailedRow {
    kind: String,
    job_key: String,
    attempts: i64,
    last_error: String,
    next_try_at: i64,
}

impl FailedRow {
    pub(super) fn into_job(self) -> sqlx::Result<FailedJob> {
        Ok(FailedJob {
            kind: self.kind,
            key: self.job_key,
            attempts: self.attempts.try_into().map_err(decode_error)?,
            error: self.last_error,
            next_try_at: self.next_try_at,
        })
    }
}

#[derive(FromRow)]
pub(super) struct PoisonRow {
    id: i64,
    source: String,
    reason: String,
    received_at: i64,
    payload: String,
}

impl PoisonRow {
    pub(super) fn into_poison(self) -> Poison {
        let Self { id, source, reason, received_at, payload } = self;
        Poison { id, source, reason, received_at, payload }
    }
}
