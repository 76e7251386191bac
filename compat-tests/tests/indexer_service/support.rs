//! Jobs and rows of an index that services share.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compat_tests::fixtures;
use compat_tests::indexer::RunningIndexer;
use compat_tests::mariadb::MariaDb;
use sql::{Access, Index, NewJob, NewStore, Store, Tier};
use tempfile::TempDir;

/// A small package.
pub(crate) const RPM: &str = "server/server-1.1-5.fc99.x86_64.rpm";

/// Runs work on the index of a database.
pub(crate) fn on_index<T, F: Future<Output = sql::Result<T>>>(database: &str, work: impl FnOnce(Index) -> F) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let index = Index::open(&database.parse().unwrap(), Access::ReadWrite).unwrap();
        work(index).await.unwrap()
    })
}

/// Makes a database of MariaDB with the index's tables.
pub(crate) fn database(server: &MariaDb, name: &str) -> String {
    server.create_database(name);
    let url = server.url(name);
    on_index(&url, |index| async move { index.migrate().await.map(drop) });
    url
}

/// The same in the server that tests share. It runs until the last of them drops it.
pub(crate) fn shared_database(name: &str) -> (Arc<MariaDb>, String) {
    let server = MariaDb::shared();
    let url = database(&server, name);
    (server, url)
}

/// A directory of copies of one package, `0.rpm` to `COUNT.rpm`.
pub(crate) fn copies(count: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("0.rpm");
    fs::copy(fixtures::rpm(RPM), &first).unwrap();
    for at in 1..count {
        fs::hard_link(&first, directory.path().join(format!("{at}.rpm"))).unwrap();
    }
    directory
}

/// Adds the store `site` at a URL.
pub(crate) fn add_store(database: &str, url: &str) {
    add_store_named(database, "site", url);
}

/// Adds a store at a URL.
pub(crate) fn add_store_named(database: &str, name: &str, url: &str) {
    let store = NewStore {
        name: name.into(),
        tier: Tier::Mirror,
        base_url: Some(url.to_owned()),
        root: None,
        priority: 0,
        pattern: None,
        distros: sql::Distros::default(),
        absent_statuses: sql::AbsentStatuses::default(),
        redirect_hosts: sql::RedirectHosts::default(),
        allow_private: true,
    };
    let _: Store = on_index(database, |index| async move { index.add_store(&store).await });
}

/// Requests the archive at a path of the store `site`.
pub(crate) fn archive_job(path: &str) -> NewJob {
    NewJob {
        kind: "archive",
        key: format!("archive site/{path}"),
        payload: format!(r#"{{"store":"site","path":"{path}","source":"test"}}"#),
        delay: Duration::ZERO,
    }
}

/// Writes jobs.
pub(crate) fn enqueue(database: &str, jobs: &[NewJob]) {
    on_index(database, |index| async move { index.enqueue(jobs).await });
}

/// The jobs in the database: due, waiting, running; and rows of poison.
pub(crate) fn jobs(database: &str) -> (u64, u64, u64, u64) {
    let found = on_index(database, |index| async move { index.workload().await });
    (found.due, found.waiting, found.running, found.poison)
}

/// The number of runs of archive jobs that ended so in a service.
pub(crate) fn archives(service: &RunningIndexer, result: &str) -> f64 {
    service.metric(&format!("indexer_jobs_total{{kind=\"archive\",result=\"{result}\"}}"))
}

/// A configuration with the store `site` at a URL, and a repository `tested` that is the whole of it.
pub(crate) fn with_repository(url: &str, refresh_interval: &str) -> String {
    format!(
        "[check]\nbudget = \"0s\"\n\n[service]\nrefresh_interval = \"{refresh_interval}\"\n\n\
         [[store]]\nname = \"site\"\ntier = \"mirror\"\nurl = \"{url}\"\n\n\
         [[repository]]\nname = \"tested\"\nstore = \"site\"\n"
    )
}

/// The configuration file in a directory, for a command beside a service.
pub(crate) fn file(directory: &Path, text: &str) -> String {
    let file = directory.join("indexer.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
