//! A real deadlock between two writers.

use std::time::Duration;

use sql::{Inserted, Tier};
use sqlx::{Connection, MySqlConnection};

use crate::builders::{build_id, simple, store};
use crate::{on_mariadb, sequences};

#[test]
fn a_writer_that_loses_a_deadlock_retries() {
    on_mariadb(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let known = simple(&mirror, "known-1-1.x86_64");
        index.insert("test", std::slice::from_ref(&known)).await.unwrap();
        let status = || {
            let text =
                fresh.server().sql("select count from information_schema.innodb_metrics where name = 'lock_deadlocks'");
            text.trim().parse::<u64>().unwrap()
        };
        let before = status();

        // The other writer locks first the row that ours locks last, in `writers`. It has changed more rows: the
        // database rolls back ours.
        let mut other = MySqlConnection::connect(&fresh.server().url(&fresh.database)).await.unwrap();
        for statement in [
            "set session innodb_lock_wait_timeout = 5",
            "begin",
            "insert into cursors (name, value, updated_at) with recursive n as (select 1 as i union all select i + 1 \
             from n where i < 1000) \
             select concat(a.i, ' ', b.i), 'x', 0 from n a join n b on b.i <= 5",
            "update writers set sequence = sequence + 100 where writer = 'test'",
        ] {
            sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
        }
        let inserting = tokio::spawn({
            let (index, batch) = (index.clone(), [known, simple(&mirror, "new-1-1.x86_64")]);
            async move { index.insert("test", &batch).await }
        });
        let waits = format!(
            "select count(*) from information_schema.innodb_trx t join information_schema.processlist p \
             on p.id = t.trx_mysql_thread_id where t.trx_state = 'LOCK WAIT' and p.db = '{}'",
            fresh.database
        );
        let mut is_waiting = false;
        while !is_waiting {
            assert!(!inserting.is_finished(), "expected a writer that waits for the other one");
            // The server updates this table only if it was not queried for 100 ms.
            tokio::time::sleep(Duration::from_millis(150)).await;
            is_waiting = fresh.server().sql(&waits).trim() == "1";
        }
        // The other writer waits for rows that ours has locked. Without a deadlock this fails after its lock timeout.
        sqlx::raw_sql("update packages set distro = 'theirs' where name = 'known'").execute(&mut other).await.unwrap();
        assert!(status() > before, "there was no deadlock");
        sqlx::raw_sql("commit").execute(&mut other).await.unwrap();

        let inserted = inserting.await.unwrap().unwrap();
        assert_eq!(inserted, Inserted { packages_new: 1, packages_completed: 0, artifacts: 1, locations: 2 });
        assert_eq!(sequences(&index).await["test"], 102);
        for nvra in ["known-1-1.x86_64", "new-1-1.x86_64"] {
            assert_eq!(index.records_by_build_id(&[build_id(nvra)]).await.unwrap().records.len(), 1);
        }
        assert_eq!(index.packages_by_nvra("known-1-1.x86_64").await.unwrap().read[0].distro, "theirs");
        assert_eq!(fresh.rows("select id from packages").await.len(), 2);
    });
}
