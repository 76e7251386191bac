//! Runs of `darkserver-import koji` on either database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use compat_tests::darkserver::{Sqlite, import_in, import_ok};
use compat_tests::fixtures;
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::run;
use serde_json::Value;
use tempfile::TempDir;

/// An empty index on one of the databases.
pub(crate) enum Database {
    Sqlite(Sqlite),
    MariaDb(Arc<MariaDb>, String),
}

impl Database {
    /// One on each.
    pub(crate) fn both() -> [Self; 2] {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = MariaDb::shared();
        let name = format!("koji_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name);
        let databases = [Self::Sqlite(Sqlite::empty()), Self::MariaDb(server, name)];
        for database in &databases {
            import_ok(&database.url(), &["migrate"]);
        }
        databases
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(sqlite) => sqlite.url(),
            Self::MariaDb(server, name) => server.url(name),
        }
    }

    /// The number that a statement gives.
    #[track_caller]
    pub(crate) fn number(&self, statement: &str) -> u64 {
        let text = match self {
            Self::Sqlite(sqlite) => {
                let output = run(Command::new("sqlite3").arg(sqlite.path()).arg(statement), "sqlite3");
                assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).unwrap()
            }
            Self::MariaDb(server, name) => server.sql(&format!("use `{name}`; {statement}")),
        };
        let line = text.trim().lines().last().unwrap_or_default();
        line.parse().unwrap_or_else(|error| panic!("{statement}: {error}: {text}"))
    }
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) stdout: String,
}

impl Run {
    /// The object that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects this exit status.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stderr, self.stdout);
        self
    }
}

/// A directory of configuration files that name the Koji as the instance `primary`.
pub(crate) fn configured(hub: &KojiHub) -> TempDir {
    let etc = tempfile::tempdir().unwrap();
    let text = format!("[[koji]]\nname = \"primary\"\nhub = \"{}\"\ntopurl = \"{}\"\n", hub.url(), hub.topurl());
    std::fs::write(etc.path().join("indexer.toml"), text).unwrap();
    etc
}

/// Runs the program with these arguments and configuration files.
pub(crate) fn import(database: &Database, etc: &Path, arguments: &[&str]) -> Run {
    let output = import_in(&[("DARKSERVER_ETC", etc)], &database.url(), arguments);
    Run {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// The RPMs of `server-1.1-RELEASE`.
pub(crate) fn server(release: u32) -> Vec<PathBuf> {
    let of_release = |rpm: &PathBuf| rpm.to_string_lossy().contains(&format!("-1.1-{release}.fc99"));
    fixtures::rpms("server").into_iter().filter(of_release).collect()
}
