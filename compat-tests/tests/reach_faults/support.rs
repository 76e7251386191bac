//! What the tests share: seeds, databases, and the contents of an index.

use std::path::Path;
use std::process::{Command, Output};

use compat_tests::darkserver::{Sqlite, import_in, import_ok};
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::run;
use compat_tests::upstreams::Random;

/// The numbers of a test. If it fails, the seed is printed.
pub(crate) struct Seed {
    number: u64,
    pub(crate) random: Random,
}

impl Seed {
    pub(crate) fn new() -> Self {
        let number = std::env::var("DARKSERVER_SEED").map_or(18, |seed| seed.parse().expect("a number as the seed"));
        Self { number, random: Random::new(number) }
    }

    /// Puts a list into another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.random.below(at + 1));
        }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("DARKSERVER_SEED={} failed", self.number);
        }
    }
}

/// The database of an index.
pub(crate) enum Database<'a> {
    Sqlite(Sqlite),
    MariaDb(&'a MariaDb, String),
}

impl Database<'_> {
    /// An empty index.
    pub(crate) fn sqlite() -> Self {
        let database = Self::Sqlite(Sqlite::empty());
        import_ok(&database.url(), &["migrate"]);
        database
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(index) => index.url(),
            Self::MariaDb(server, name) => server.url(name),
        }
    }

    /// The rows of a query that both databases understand, sorted; values are separated by tabs.
    pub(crate) fn rows(&self, query: &str) -> Vec<String> {
        let text = match self {
            Self::Sqlite(index) => {
                let mut sqlite3 = Command::new("sqlite3");
                sqlite3.args(["-batch", "-cmd", ".timeout 5000", "-cmd", ".separator \"\\t\"", "-cmd"]);
                let output = run(sqlite3.arg(".nullvalue NULL").arg(index.path()).arg(query), "sqlite3");
                assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Self::MariaDb(server, name) => server.sql(&format!("use `{name}`; {query}")),
        };
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort_unstable();
        rows
    }

    /// The number that a query returns.
    pub(crate) fn count(&self, query: &str) -> u64 {
        let rows = self.rows(query);
        rows[0].parse().unwrap_or_else(|_| panic!("{query}: expected a number, found {rows:?}"))
    }
}

/// A directory of configuration with `indexer.toml`.
pub(crate) fn etc(configuration: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("indexer.toml"), configuration).expect("write a configuration");
    directory
}

/// The instance `primary`. Neither its reconciler nor its sweep finds what a message did not tell: the builds of these
/// tests completed years ago.
pub(crate) fn instance(hub: &KojiHub) -> String {
    format!(
        "[[koji]]\nname = \"primary\"\nhub = \"{}\"\ntopurl = \"{}\"\nsweep_interval = \"3650d\"\n",
        hub.url(),
        hub.topurl()
    )
}

/// `darkserver-import koji` with these arguments.
#[track_caller]
pub(crate) fn koji_ok(database: &str, etc: &Path, arguments: &[&str]) -> Output {
    let output = import_in(&[("DARKSERVER_ETC", etc)], database, &[&["koji"], arguments].concat());
    assert!(output.status.success(), "koji {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What an index states of packages and places: all but numbers of rows and the times of imports and checks.
pub(crate) const CONTENTS: [(&str, &str); 5] = [
    (
        "packages",
        "select nvra, identity, identity_kind, format, name, epoch, version, `release`, arch, source_rpm, distro, \
         koji_instance, koji_build, koji_volume, built_at, state from packages where deleted_at is null",
    ),
    (
        "artifacts",
        "select p.nvra, a.ordinal, a.build_id, a.kind, a.has_dwarf, a.dir, a.file_name from artifacts a \
         join packages p on p.id = a.package_id where p.deleted_at is null",
    ),
    (
        "locations",
        "select s.name, l.path, p.nvra, l.size, l.header_start, l.header_end, l.signing_key, l.first_seen is null, \
         l.gone_at is null, l.derived from locations l join packages p on p.id = l.package_id \
         join stores s on s.id = l.store_id where p.deleted_at is null",
    ),
    ("claims", "select build_id, kind from claims"),
    (
        "builds",
        "select instance, build, nvr, name, version, `release`, epoch, state, volume, draft, completed_at, \
         imported_at is null from builds where state <> 'deleted'",
    ),
];

/// Expects that two indexes have the same contents.
#[track_caller]
pub(crate) fn expect_equal(found: &Database<'_>, expected: &Database<'_>) {
    for (what, query) in CONTENTS {
        let [found, expected] = [found.rows(query), expected.rows(query)];
        let lost: Vec<&String> = expected.iter().filter(|row| !found.contains(row)).collect();
        let new: Vec<&String> = found.iter().filter(|row| !expected.contains(row)).collect();
        let counts = (found.len(), expected.len());
        assert!(found == expected, "{what}: found {counts:?} rows; lost: {lost:#?}; not expected: {new:#?}");
    }
}
