//! An import into a database server, with the expected index.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use compat_tests::mariadb::MariaDb;

use crate::import_process::run_ok;
use crate::locked_index::{Kind, dump, name};
use crate::proxy::Proxy;
use crate::support::{ImportFixture, RunOutput, many_packages};

const PACKAGES: usize = 300;

/// A directory, an undisturbed import of it, and an empty index for a disturbed one.
pub(crate) struct Imported {
    kind: Kind,
    directories: Vec<String>,
    /// The index of the undisturbed import.
    pub(crate) expected: Vec<String>,
    /// The empty index.
    pub(crate) database: String,
    fixture: ImportFixture,
}

impl Imported {
    pub(crate) async fn into_mariadb(server: &Arc<MariaDb>) -> Self {
        Self::into(Kind::MariaDb(server.clone())).await
    }

    pub(crate) async fn into(kind: Kind) -> Self {
        let fixture = ImportFixture::new();
        let packages = fixture.packages();
        many_packages(&packages, PACKAGES);
        let directories = (0..20).map(|number| packages.join(format!("{number:02}")).display().to_string()).collect();
        let [alone, database] = [(); 2].map(|()| kind.empty());
        for database in [&alone, &database] {
            kind.setup_commands().iter().for_each(|args| drop(run_ok(database, args)));
        }
        let mut imported = Self { kind, directories, expected: Vec::new(), database, fixture };
        run_ok(&alone, &imported.dir());
        imported.expected = dump(&alone).await;
        imported
    }

    /// The arguments of the import: every directory is a store, so that it is a long row of transactions.
    pub(crate) fn dir(&self) -> Vec<&str> {
        ["dir"].into_iter().chain(self.directories.iter().map(String::as_str)).collect()
    }

    /// The directory of all packages.
    pub(crate) fn packages(&self) -> PathBuf {
        self.fixture.packages()
    }

    /// The empty index behind a proxy.
    pub(crate) fn behind_proxy(&self) -> (String, Proxy) {
        let proxy = Proxy::to(self.server().port());
        (proxy.url(&self.database), proxy)
    }

    /// Waits until some of the packages are in the index.
    pub(crate) fn wait_for_its_middle(&self, database: &str) {
        let started = Instant::now();
        let count = format!("select count(*) from {}.packages", name(database));
        while self.server().sql(&count).trim().parse::<usize>().unwrap() < PACKAGES / 5 {
            assert!(started.elapsed() < Duration::from_secs(60), "no package within 60 s");
            thread::sleep(Duration::from_millis(3));
        }
    }

    fn server(&self) -> &MariaDb {
        match &self.kind {
            Kind::MariaDb(server) => server,
            Kind::Sqlite(_) => panic!("not on a server"),
        }
    }
}

/// Asserts that the output names the database, and that it does not contain the password.
pub(crate) fn assert_names_database(output: &RunOutput, url: &str) {
    let (front, address) = url.rsplit_once('@').unwrap();
    let user = front.strip_prefix("mysql://").unwrap().split(':').next().unwrap();
    assert!(output.stderr.contains(&format!("mysql://{user}:***@{address}")), "{url}: {output:?}");
    assert!(!output.stderr.contains("p@ss") && !output.stderr.contains("%70"), "{output:?}");
}
