//! Jobs: requested, claimed, and done, by the clock of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{FromRow, QueryBuilder};

use super::clock::whole_seconds;
use super::{chunks, poison};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::import::{check_length, truncate};
use crate::model::rows::{MAX_LIST, decode_error, push_list};
use crate::{Index, Job, NewJob, Result};

/// Maximum length of a stored error, in bytes. The rest is cut off.
const MAX_ERROR: usize = 4 << 10;

/// Ends a claim.
const UNCLAIM: &str = "claimed_by = null, claimed_until = null";

/// The condition of jobs that no one works on: before and behind the time of the database.
const UNCLAIMED: [&str; 2] = [" and (claimed_until is null or claimed_until <= ", ")"];

/// What is done to a job that exists.
#[derive(Clone, Copy)]
enum IfExists {
    RequestAgain,
    Leave,
}

#[derive(FromRow)]
struct JobRow {
    id: i64,
    kind: String,
    key: String,
    payload: String,
    attempts: i64,
    requests: i64,
    queued_at: i64,
}

impl JobRow {
    fn into_job(self) -> sqlx::Result<Job> {
        let Self { id, kind, key, payload, attempts, requests, queued_at } = self;
        Ok(Job { id, kind, key, payload, attempts: attempts.try_into().map_err(decode_error)?, requests, queued_at })
    }
}

impl Index {
    /// Requests work, in one transaction. A job with the same key is requested once more: it gets this payload, is due
    /// at the earlier of both times, and its failures are forgotten. If it is under way, it is done again. It is done
    /// at the latest time that was requested, too: a delay is the time until there is something to find. Of several
    /// requests of one key in the list the last counts, and the last with a delay.
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses. Then nothing is requested.
    pub async fn enqueue(&self, jobs: &[NewJob]) -> Result<()> {
        self.insert_jobs(jobs, IfExists::RequestAgain).await
    }

    /// Requests work for which there is no job. A job that exists stays as it is: it will be done, and a pause after a
    /// failure lasts as long as it would.
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses. Then nothing is requested.
    pub async fn enqueue_missing(&self, jobs: &[NewJob]) -> Result<()> {
        self.insert_jobs(jobs, IfExists::Leave).await
    }

    async fn insert_jobs(&self, jobs: &[NewJob], if_exists: IfExists) -> Result<()> {
        jobs.iter().try_for_each(NewJob::check)?;
        let by_key = jobs.iter().map(|job| ((job.key.as_str(), !job.delay.is_zero()), job));
        let by_key: BTreeMap<(&str, bool), &NewJob> = by_key.collect();
        if by_key.is_empty() {
            return Ok(());
        }
        let jobs: Vec<&NewJob> = by_key.into_values().collect();
        self.retry_transaction("requesting work", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                let statement = |jobs: &[&NewJob]| {
                    let mut query = QueryBuilder::<Backend>::new(
                        "insert into jobs (kind, `key`, payload, queued_at, next_try_at) ",
                    );
                    query.push_values(jobs, |mut row, job| {
                        row.push_bind(job.kind).push_bind(job.key.as_str()).push_bind(job.payload.as_str());
                        row.push(Backend::NOW);
                        row.push(Backend::NOW).push_unseparated(" + ").push_bind_unseparated(whole_seconds(job.delay));
                    });
                    query.push(match if_exists {
                        IfExists::RequestAgain => Backend::REQUEST_AGAIN,
                        IfExists::Leave => Backend::LEAVE_JOB,
                    });
                    query
                };
                chunks::write(&mut **connection, &jobs, statement).await?;
            });
            transaction.commit().await
        })
        .await
    }

    /// Claims up to `limit` jobs for `ttl`: those that are due, and that no one has claimed or whose claim has expired,
    /// in the order in which they became due. Those whose keys begin with one of `except` are left out. `holder` names
    /// the process, and the claims of its workers are one another's: `ttl` is longer than the time in which a worker
    /// renews its claims.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn claim_jobs(&self, holder: &str, limit: usize, ttl: Duration, except: &[String]) -> Result<Vec<Job>> {
        check_length(&truncate(holder), "holder of a job", 255, holder.len())?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.retry_transaction("claiming jobs", || async {
            let mut transaction = self.begin().await?;
            let rows: Vec<JobRow> = both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(
                    "select id, kind, `key`, payload, attempts, requests, queued_at from jobs where next_try_at <= ",
                );
                query.push(Backend::NOW).push(UNCLAIMED[0]).push(Backend::NOW).push(UNCLAIMED[1]);
                for prefix in except {
                    let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
                    query.push(" and substr(`key`, 1, ").push_bind(length).push(") <> ").push_bind(prefix.as_str());
                }
                query.push(" order by next_try_at, id limit ").push_bind(limit).push(Backend::FOR_UPDATE);
                query.build_query_as().fetch_all(&mut **connection).await?
            });
            let mut ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            for ids in ids.chunks(MAX_LIST) {
                both!(Transaction, &mut transaction, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new("update jobs set claimed_by = ");
                    query.push_bind(holder).push(", claimed_until = ").push(Backend::NOW).push(" + ");
                    query.push_bind(whole_seconds(ttl));
                    // This run is not before that time.
                    query
                        .push(", again_at = case when again_at > ")
                        .push(Backend::NOW)
                        .push(" then again_at end where ");
                    push_list(&mut query, "id", ids);
                    query.build().execute(&mut **connection).await?;
                });
            }
            transaction.commit().await?;
            rows.into_iter().map(JobRow::into_job).collect()
        })
        .await
    }

    /// Extends one's own claims to `ttl` from now. Returns the number of jobs that are still one's own.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn renew_jobs(&self, holder: &str, ids: &[i64], ttl: Duration) -> Result<u64> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(0);
        }
        self.retry_transaction("renewing jobs", || async {
            let mut transaction = self.begin().await?;
            let mut renewed = 0;
            for ids in ids.chunks(MAX_LIST) {
                both!(Transaction, &mut transaction, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new("update jobs set claimed_until = ");
                    query.push(Backend::NOW).push(" + ").push_bind(whole_seconds(ttl));
                    query.push(" where claimed_by = ").push_bind(holder).push(" and ");
                    push_list(&mut query, "id", ids);
                    renewed += query.build().execute(&mut **connection).await?.rows_affected();
                });
            }
            transaction.commit().await?;
            Ok(renewed)
        })
        .await
    }

    /// Removes jobs that are done, as far as they are one's own. Those that were requested again since they were
    /// claimed are due at once instead, or at the time of a delayed request.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn finish_jobs(&self, holder: &str, jobs: &[Job]) -> Result<()> {
        let mut by_requests: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for job in jobs {
            by_requests.entry(job.requests).or_default().push(job.id);
        }
        by_requests.values_mut().for_each(|ids| ids.sort_unstable());
        if by_requests.is_empty() {
            return Ok(());
        }
        self.retry_transaction("ending jobs", || async {
            let mut transaction = self.begin().await?;
            for (requests, ids) in &by_requests {
                for ids in ids.chunks(MAX_LIST) {
                    both!(Transaction, &mut transaction, |connection, Backend| {
                        let mut query = QueryBuilder::<Backend>::new("delete from jobs where claimed_by = ");
                        query.push_bind(holder).push(" and requests = ").push_bind(*requests);
                        query.push(" and again_at is null and ");
                        push_list(&mut query, "id", ids);
                        query.build().execute(&mut **connection).await?;
                    });
                    request_again(&mut transaction, holder, *requests, ids).await?;
                }
            }
            transaction.commit().await
        })
        .await
    }

    /// Gives back one's own job after a failed try: it is due after `pause`, with one more attempt. With an empty
    /// `error` nothing failed, and the work merely has to wait. One that was requested again since it was claimed is
    /// due at once, with no attempt.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn retry_job(&self, holder: &str, job: &Job, pause: Duration, error: &str) -> Result<()> {
        let error = Some(poison::cut(error, MAX_ERROR)).filter(|error| !error.is_empty());
        let pause = whole_seconds(pause);
        self.retry_transaction("giving back a job", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("update jobs set attempts = attempts + 1, last_error = ");
                query.push_bind(error).push(", next_try_at = case when again_at < ").push(Backend::NOW).push(" + ");
                query.push_bind(pause).push(" then again_at else ").push(Backend::NOW).push(" + ");
                query.push_bind(pause).push(" end, ").push(UNCLAIM).push(" where id = ").push_bind(job.id);
                query.push(" and claimed_by = ").push_bind(holder).push(" and requests = ").push_bind(job.requests);
                query.build().execute(&mut **connection).await?;
            });
            request_again(&mut transaction, holder, job.requests, &[job.id]).await?;
            transaction.commit().await
        })
        .await
    }

    /// Moves one's own job to the table of what cannot be processed, in one transaction. One that was requested again
    /// since it was claimed is due at once instead, or at the time of a delayed request.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn poison_job(&self, holder: &str, job: &Job, reason: &str) -> Result<()> {
        self.retry_transaction("giving up a job", || async {
            let mut transaction = self.begin().await?;
            let removed = both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>(
                    "delete from jobs where id = ? and claimed_by = ? and requests = ? and again_at is null",
                )
                .bind(job.id)
                .bind(holder)
                .bind(job.requests)
                .execute(&mut **connection)
                .await?
                .rows_affected()
            });
            if removed > 0 {
                poison::insert(&mut transaction, &format!("job {}", job.kind), &job.payload, reason).await?;
            } else {
                request_again(&mut transaction, holder, job.requests, &[job.id]).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Gives back all of one's own jobs, which are due at once: the process ends.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn release_jobs(&self, holder: &str) -> Result<()> {
        self.retry_transaction("giving back jobs", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                let ids: Vec<i64> =
                    sqlx::query_scalar::<Backend, _>("select id from jobs where claimed_by = ? order by id")
                        .bind(holder)
                        .fetch_all(&mut **connection)
                        .await?;
                for ids in ids.chunks(MAX_LIST) {
                    let mut query = QueryBuilder::<Backend>::new("update jobs set ");
                    query.push(UNCLAIM).push(" where claimed_by = ").push_bind(holder).push(" and ");
                    push_list(&mut query, "id", ids);
                    query.build().execute(&mut **connection).await?;
                }
            });
            transaction.commit().await
        })
        .await
    }
}

/// Makes those of one's own jobs due that are still claimed: they were requested again. Where `requests` is the number
/// of all requests, only delayed ones came, and the job waits for their time. The waiting work is that of the later
/// requests.
async fn request_again(transaction: &mut Transaction, holder: &str, requests: i64, ids: &[i64]) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("update jobs set queued_at = ");
        query.push(Backend::NOW).push(", next_try_at = case when requests = ").push_bind(requests);
        query.push(" then coalesce(again_at, ").push(Backend::NOW).push(") else ").push(Backend::NOW).push(" end, ");
        query.push(UNCLAIM);
        query.push(" where claimed_by = ").push_bind(holder).push(" and ");
        push_list(&mut query, "id", ids);
        query.build().execute(&mut **connection).await?;
    });
    Ok(())
}
