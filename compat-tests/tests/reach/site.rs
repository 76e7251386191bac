//! A Koji, an index, an indexer and a gateway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::indexer::{ANSWER_WITHIN, RunningIndexer};
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::{fixtures, http, wait_within};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A token that the indexer knows.
pub(crate) const TOKEN: &str = "a-token-of-a-test-0123456789";

/// An index of one test.
pub(crate) enum Database {
    Sqlite(Sqlite),
    MariaDb(Arc<MariaDb>, String),
}

impl Database {
    /// A SQLite file.
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Sqlite::empty())
    }

    /// A database of the server that the tests share.
    pub(crate) fn mariadb() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (server, name) = (MariaDb::shared(), format!("reach{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        server.create_database(&name);
        Self::MariaDb(server, name)
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(sqlite) => sqlite.url(),
            Self::MariaDb(server, name) => server.url(name),
        }
    }
}

/// A Koji, an index, an indexer and a gateway.
pub(crate) struct Site {
    pub(crate) gateway: RunningGateway,
    pub(crate) indexer: RunningIndexer,
    pub(crate) koji: KojiHub,
    pub(crate) database: Database,
    /// The directory of uploads is `uploads`.
    pub(crate) directory: TempDir,
}

impl Site {
    /// Starts everything, with these keys of `[[koji]]` and these tables. The hub was listed before it returns.
    pub(crate) fn start(database: Database, keys: &str, tables: &str) -> Self {
        Self::start_with(database, KojiHub::start(), keys, tables)
    }

    /// The same with a Koji that runs.
    pub(crate) fn start_with(database: Database, koji: KojiHub, keys: &str, tables: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("uploads")).unwrap();
        std::fs::write(path("tokens"), format!("{TOKEN}\n")).unwrap();
        import_ok(&database.url(), &["migrate"]);
        import_ok(&database.url(), &["store", "add", "uploads", "--tier", "local", "--path", &path("uploads")]);
        let configuration = format!(
            "[[koji]]\nname = \"primary\"\nhub = \"{}\"\ntopurl = \"{}\"\n{keys}\n\
             [hooks]\ntoken_file = \"{}\"\nupload_stores = [\"uploads\"]\nmin_free = 0\n{tables}\n",
            koji.url(),
            koji.topurl(),
            path("tokens"),
        );
        let indexer = RunningIndexer::start(&database.url(), &configuration);
        let gateway = RunningGateway::start(&database.url());
        let site = Self { gateway, indexer, koji, database, directory };
        let round = "indexer_rounds_total{result=\"done\",task=\"reconcile/primary\"}";
        wait_within(ANSWER_WITHIN, "the first listing", || site.indexer.metric(round) >= 1.0);
        site
    }

    /// Waits until the queue is consumed.
    pub(crate) fn wait_until_consumed(&self, queue: &str) {
        let metric = format!("indexer_broker_connected{{queue=\"{queue}\"}}");
        wait_within(ANSWER_WITHIN, "a consumer", || self.indexer.metric(&metric) == 1.0);
    }

    /// The answer of a hook to a body, with a valid token.
    pub(crate) fn post(&self, hook: &str, body: &Value) -> http::Response {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
        let path = format!("/hooks/{hook}");
        http::request_with(self.indexer.port, "POST", &path, &headers, body.to_string().as_bytes()).unwrap()
    }

    /// The gateway's answer for a build-id.
    pub(crate) fn answer(&self, build_id: &str) -> Value {
        serde_json::from_str(&self.gateway.get(&format!("/buildids/{build_id}")).text()).unwrap()
    }

    /// Waits until the gateway answers right for each build-id of `server-1.1-RELEASE`; `url` gives the URL of a
    /// package's archive by its name-version-release.arch. Then the real client gets program, debuginfo and source.
    #[track_caller]
    pub(crate) fn expect_server(&self, release: u32, url: impl Fn(&str) -> String) {
        let expected = |build_id: &str| {
            let rows = fixtures::truth("server").into_iter().filter(|row| row.build_id == build_id);
            let rows = rows.map(|row| {
                json!({"buildid": row.build_id, "elf": row.path, "rpm": row.nvra(), "distro": "fc99",
                    "url": url(row.nvra())})
            });
            sorted(rows.collect())
        };
        let build_id = server_id(release);
        let mut found = Value::Null;
        let started = Instant::now();
        while started.elapsed() < ANSWER_WITHIN && found != expected(&build_id) {
            found = sorted(self.answer(&build_id).as_array().unwrap().clone());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(found, expected(&build_id), "{}", self.indexer.log());
        let client = DebuginfodClient::new(&self.gateway.url());
        let of = |package: &str| format!("{package}-1.1-{release}.fc99.x86_64");
        let member = |package: &str, path: &str| fixtures::member(&fixtures::package("server", &of(package)), path);
        assert!(client.found(&["executable", &build_id]) == member("server", "/usr/bin/server"));
        let debug = format!("/usr/lib/debug/usr/bin/server-1.1-{release}.fc99.x86_64.debug");
        assert!(client.found(&["debuginfo", &build_id]) == member("server-debuginfo", &debug));
        let source = format!("/usr/src/debug/{}/worker/crash.c", of("server"));
        assert!(client.found(&["source", &build_id, &source]) == member("server-debugsource", &source));
    }

    /// What `show --json` tells of a package. `None` while the index does not have it.
    pub(crate) fn known(&self, nvra: &str) -> Option<Value> {
        let output = import(&self.database.url(), &["show", "--json", nvra]);
        let known: Value = serde_json::from_slice(&output.stdout).ok()?;
        let packages = known["packages"].as_array().unwrap();
        assert_eq!(packages.len(), 1, "{known}");
        Some(packages[0].clone())
    }

    /// Waits until `show --json` of a package tells what `is_so` asks for. Returns it.
    #[track_caller]
    pub(crate) fn shown(&self, nvra: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let known = self.known(nvra);
            if let Some(known) = known.as_ref().filter(|known| is_so(known)) {
                return known.clone();
            }
            if started.elapsed() > ANSWER_WITHIN {
                panic!("{what}: expected within {ANSWER_WITHIN:?}, found {known:?}\n{}", self.indexer.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The text that `show` prints of a package.
    pub(crate) fn page(&self, nvra: &str) -> String {
        String::from_utf8(import_ok(&self.database.url(), &["show", nvra]).stdout).unwrap()
    }
}

fn sorted(mut rows: Vec<Value>) -> Value {
    rows.sort_by_key(Value::to_string);
    Value::Array(rows)
}

/// The packages of `server-1.1-RELEASE`.
pub(crate) fn server(release: u32) -> Vec<PathBuf> {
    let of_release = |rpm: &PathBuf| rpm.to_string_lossy().contains(&format!("-1.1-{release}.fc99"));
    fixtures::rpms("server").into_iter().filter(of_release).collect()
}

/// Name-version-release.arch of the program's package.
pub(crate) fn server_nvra(release: u32) -> String {
    format!("server-1.1-{release}.fc99.x86_64")
}

/// The build-id of the program.
pub(crate) fn server_id(release: u32) -> String {
    fixtures::build_id(&format!("server/{}.rpm", server_nvra(release)), "/usr/bin/server")
}

/// URL and signing key of a place.
pub(crate) type Place = (String, Option<String>);

/// The places that `show --json` tells of a package: those that are present, or those that are gone.
pub(crate) fn places(known: &Value, is_present: bool) -> BTreeSet<Place> {
    let places = known["places"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let wanted = places.filter(|place| place["gone_at"].is_null() == is_present && place["derived"] == false);
    wanted.map(|place| (text(&place["url"]).unwrap(), text(&place["signing_key"]))).collect()
}
