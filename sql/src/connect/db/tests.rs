use super::*;

/// Returns `synchronous` of the connections of both pools.
async fn synchronous(index: &Index) -> Vec<i64> {
    let Db::Sqlite(pool) = &index.db else { unreachable!("the test opens a file") };
    let mut modes = Vec::new();
    for pool in [Some(pool), index.writer.as_ref()].into_iter().flatten() {
        // All connections at once: each has a mode of its own.
        let mut connections = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            connections.push(pool.acquire().await.unwrap());
        }
        for connection in &mut connections {
            modes.push(sqlx::query_scalar("pragma synchronous").fetch_one(&mut **connection).await.unwrap());
        }
    }
    modes
}

#[tokio::test]
async fn a_durable_index_waits_for_the_disk_on_every_connection() {
    // "pragma synchronous" of sqlite.org.
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    let directory = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::sqlite(directory.path().join("index.db"));
    let open = || Index::open(&url, Access::ReadWrite).unwrap();
    assert_eq!(synchronous(&open()).await, [NORMAL; 3]);
    let durable = open().durable();
    durable.migrate().await.unwrap();
    let name = (0..3).map(|at| format!("cursor {at}")).collect::<Vec<String>>();
    for name in &name {
        durable.set_cursor(name, "1").await.unwrap();
    }
    assert_eq!(synchronous(&durable).await, [FULL; 3]);
    assert_eq!(synchronous(&durable.clone()).await, [FULL; 3]);
    // A reader has no connection that writes.
    let reader = Index::open(&url, Access::ReadOnly).unwrap().durable();
    assert_eq!(reader.cursor("cursor 2").await.unwrap().unwrap().value, "1");
}
