//! A database that stops answering during queries, and one that answers again while old connections stay dead.

use std::sync::Arc;
use std::time::Duration;

use artifact::BuildId;
use compat_tests::mariadb::MariaDb;
use futures::future::join_all;
use sql::{Access, DatabaseUrl, Index, Tier};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::builders::{build_id, simple, store};
use crate::run;

/// Number of packages and of parallel queries: more than a reader has connections.
const MANY: usize = 40;
/// Time that callers wait for a query.
const LIMIT: Duration = Duration::from_millis(300);
/// Time for all queries: less than a reader waits for a connection, so that none can have waited for a dead one.
const ALL_QUERIES_LIMIT: Duration = Duration::from_secs(1);

/// Fills an index on a server, and returns the names of its packages.
async fn packages(server: &MariaDb) -> Vec<String> {
    server.create_database("index1");
    let writer = Index::open(&server.url("index1").parse().unwrap(), Access::ReadWrite).unwrap();
    writer.migrate().await.unwrap();
    let mirror = store(&writer, "m", Tier::Mirror, 0).await;
    let names: Vec<String> = (0..MANY).map(|number| format!("p{number}-1-1.x86_64")).collect();
    let batch: Vec<_> = names.iter().map(|name| simple(&mirror, name)).collect();
    writer.insert("test", &batch).await.unwrap();
    names
}

/// Opens every connection of the pool.
async fn fill_pool(reader: &Index) {
    join_all((0..MANY).map(|_| reader.check_schema())).await.into_iter().collect::<sql::Result<()>>().unwrap();
}

/// Queries every package at once, and asserts that no query ends within the limit.
async fn assert_all_time_out(reader: &Index, names: &[String]) {
    let ids: Vec<[BuildId; 1]> = names.iter().map(|name| [build_id(name)]).collect();
    let answers = join_all(ids.iter().map(|id| tokio::time::timeout(LIMIT, reader.records_by_build_id(id)))).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

/// Queries every package at once, and asserts that each query returns its package in time.
async fn assert_all_succeed(reader: &Index, names: &[String]) {
    let queries = join_all(names.iter().map(async |name| {
        let records = reader.records_by_build_id(&[build_id(name)]).await.unwrap().records;
        let found: Vec<String> = records.iter().map(|record| record.package.package.nevra.nvra()).collect();
        assert_eq!(found, [name.as_str()]);
    }));
    tokio::time::timeout(ALL_QUERIES_LIMIT, queries).await.unwrap();
}

#[test]
fn queries_aborted_while_the_database_hangs_do_not_affect_later_ones() {
    run(async {
        let server = MariaDb::start();
        let names = packages(&server).await;
        let reader = Index::open(&server.url("index1").parse().unwrap(), Access::ReadOnly).unwrap();
        fill_pool(&reader).await;
        for _ in 0..3 {
            server.pause();
            assert_all_time_out(&reader, &names).await;
            server.resume();
            assert_all_succeed(&reader, &names).await;
        }
    });
}

#[test]
fn connections_to_a_host_that_vanished_do_not_fill_the_pool() {
    let (plain, tls) = (MariaDb::start(), MariaDb::start_with_tls());
    host_vanishes(&plain);
    host_vanishes(&tls);
    let accepted = tls.sql("show global status like 'ssl_finished_accepts'");
    assert!(!accepted.trim().ends_with("\t0"), "no connection used TLS: {accepted}");
}

fn host_vanishes(server: &MariaDb) {
    run(async {
        let names = packages(server).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = server
            .url("index1")
            .replace(&format!(":{}/", server.port()), &format!(":{}/", listener.local_addr().unwrap().port()));
        let vanish = Arc::new(Notify::new());
        tokio::spawn(relay(listener, server.port(), vanish.clone()));
        let reader = Index::open(&url.parse::<DatabaseUrl>().unwrap(), Access::ReadOnly).unwrap();
        fill_pool(&reader).await;
        vanish.notify_waiters();
        assert_all_time_out(&reader, &names[..16]).await;
        assert_all_succeed(&reader, &names).await;
    });
}

/// Relays connections to a server. `vanish` makes the present ones dead: they are neither closed nor read; later ones
/// are relayed.
async fn relay(listener: TcpListener, port: u16, vanish: Arc<Notify>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let vanish = vanish.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                () = vanish.notified() => std::future::pending().await,
            }
        });
    }
}
