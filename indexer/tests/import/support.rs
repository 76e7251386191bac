//! A directory of packages with an index beside it, and runs of the program on them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use artifact::{BuildId, Format, Kind};
use compat_tests::fixtures;
use compat_tests::mariadb::MariaDb;
use serde_json::Value;
use sha1::{Digest, Sha1};
use sql::{Access, Checksum, Claim, ClaimedPackage, DatabaseUrl, Index, NewLocation, Origin};
use tempfile::TempDir;

/// The program, with an environment that names no database and no configuration.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkserver-import"));
    command.env_remove("DARKSERVER_DATABASE").env("DARKSERVER_ETC", "/nonexistent/etc");
    command
}

/// A temporary directory with a directory `packages` and an index.
pub(crate) struct ImportFixture {
    pub(crate) directory: TempDir,
    pub(crate) database: String,
}

/// Exit status and output of a run with `--json`.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) code: Option<i32>,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl RunOutput {
    pub(crate) fn count(&self, what: &str) -> u64 {
        self.json[what].as_u64().unwrap_or_else(|| panic!("{what}: {self:?}"))
    }

    pub(crate) fn counts(&self, expected: &[(&str, u64)]) {
        for (what, count) in expected {
            assert_eq!(self.count(what), *count, "{what}: {self:?}");
        }
    }
}

impl ImportFixture {
    /// Creates the directory; the index does not exist yet.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", directory.path().join("index.db").display());
        fs::create_dir(directory.path().join("packages")).unwrap();
        Self { directory, database }
    }

    /// A directory with copies of all families, each in a directory of its name.
    pub(crate) fn with_fixtures() -> Self {
        let fixture = Self::new();
        for family in fixtures::families() {
            fixture.copy_family(&family);
        }
        fixture
    }

    /// Returns the URL of another index for the same packages.
    pub(crate) fn other_database(&self, name: &str) -> String {
        format!("sqlite:{}", self.directory.path().join(name).display())
    }

    /// Makes all places due, as they are eight days later.
    pub(crate) fn make_places_due(&self) {
        let statement = "update locations set checked_at = checked_at - 691200";
        if let Some(path) = self.database.strip_prefix("sqlite:") {
            let output = Command::new("sqlite3").args([path, statement]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        } else {
            let name = self.database.rsplit('/').next().unwrap();
            let name = name.split('?').next().unwrap();
            MariaDb::shared().sql(&format!("use `{name}`; {statement};"));
        }
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.directory.path().join("packages")
    }

    pub(crate) fn copy_family(&self, family: &str) {
        let directory = self.packages().join(family);
        fs::create_dir_all(&directory).unwrap();
        for rpm in fixtures::rpms(family) {
            fs::copy(&rpm, directory.join(rpm.file_name().unwrap())).unwrap();
        }
    }

    /// Returns a command that runs the program on this index.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.env("DARKSERVER_DATABASE", &self.database).args(args);
        command
    }

    /// Runs the program with `--json`.
    pub(crate) fn run(&self, args: &[&str]) -> RunOutput {
        run_output(&self.command(args).arg("--json").output().unwrap())
    }

    /// Runs `dir` over all packages.
    pub(crate) fn import(&self, args: &[&str]) -> RunOutput {
        self.run(&[&["dir", self.packages().to_str().unwrap()], args].concat())
    }

    pub(crate) async fn index(&self) -> Index {
        open(&self.database).await
    }

    /// Opens the index to write it.
    pub(crate) async fn writer(&self) -> Index {
        Index::open(&self.database.parse::<DatabaseUrl>().unwrap(), Access::ReadWrite).unwrap()
    }

    pub(crate) async fn dump(&self) -> String {
        dump(&self.index().await, &nvras(&self.packages())).await
    }
}

/// Reads the output of a finished run.
pub(crate) fn run_output(output: &Output) -> RunOutput {
    let stdout = String::from_utf8_lossy(&output.stdout);
    RunOutput {
        code: output.status.code(),
        json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) async fn open(database: &str) -> Index {
    Index::open(&database.parse::<DatabaseUrl>().unwrap(), Access::ReadOnly).unwrap()
}

/// Returns the names of all packages below a directory, from their file names.
pub(crate) fn nvras(directory: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(nvras(&path));
        } else if let Some(nvra) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".rpm") {
            names.insert(nvra.to_owned());
        }
    }
    names
}

/// Returns these packages as the index has them, without row ids and times: equal for equal indexes.
pub(crate) async fn dump(index: &Index, nvras: &BTreeSet<String>) -> String {
    let mut blocks = Vec::new();
    for nvra in nvras {
        let records = index.records_by_nvra(nvra).await.unwrap().records;
        for stored in index.packages_by_nvra(nvra).await.unwrap().read {
            let mut block = format!("{nvra} {:?} {:?} open {}\n", stored.package, stored.distro, stored.open);
            for record in records.iter().filter(|record| record.package.id == stored.id) {
                writeln!(block, "  {:?}", record.artifact).unwrap();
            }
            let mut locations: Vec<String> = stored
                .locations
                .iter()
                .map(|at| {
                    format!(
                        "{} {} {:?} {:?} gone {}",
                        at.store.name,
                        at.path,
                        at.size,
                        at.mtime_ns,
                        at.gone_at.is_some()
                    )
                })
                .collect();
            locations.sort();
            writeln!(block, "  {}", locations.join("\n  ")).unwrap();
            blocks.push(block);
        }
    }
    blocks.sort();
    blocks.concat()
}

/// Writes packages, each with an identity of its own: `oldtool` (complete by its classes and, every fourth, open) under
/// other names. Its headers carry no SHA-256; their SHA-1 is computed again, so that a package with a changed name is
/// valid.
pub(crate) fn many_packages(directory: &Path, count: usize) {
    let complete = fs::read(fixtures::family("old-classes").join("oldtool-1.0-3.el7.x86_64.rpm")).unwrap();
    let open = fs::read(fixtures::family("old-noclasses").join("oldtool-1.0-3.el6.x86_64.rpm")).unwrap();
    for number in 0..count {
        let (bytes, release) = if number % 4 == 3 { (&open, "3.el6") } else { (&complete, "3.el7") };
        let name = format!("o{number:06}");
        let mut bytes = bytes.clone();
        let at = bytes.windows(9).position(|window| window == b"\0oldtool\0").expect("a name") + 1;
        let recorded = sha1_of_header(&bytes);
        bytes[at..at + 7].copy_from_slice(name.as_bytes());
        if let Some(at) = bytes.windows(40).position(|window| window == recorded.as_bytes()) {
            let changed = sha1_of_header(&bytes);
            bytes[at..at + 40].copy_from_slice(changed.as_bytes());
        }
        let below = directory.join(format!("{:02}", number % 20));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("{name}-1.0-{release}.x86_64.rpm")), bytes).unwrap();
    }
}

/// Returns the SHA-1 of an RPM's main header, as its signature header states it.
fn sha1_of_header(rpm: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes(rpm[at..at + 4].try_into().unwrap()) as usize;
    let end = |start: usize| start + 16 + 16 * number(start + 8) + number(start + 12);
    // After the lead; the main header begins at a multiple of 8 bytes.
    let main = end(96).next_multiple_of(8);
    faster_hex::hex_string(&Sha1::digest(&rpm[main..end(main)]))
}

/// Runs a test on SQLite, and on a new database of MariaDB.
pub(crate) async fn on_both(name: &str, test: impl AsyncFn(ImportFixture)) {
    let fixture = ImportFixture::new();
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    test(fixture).await;
    let server = MariaDb::shared();
    server.create_database(name);
    let fixture = ImportFixture { database: server.url(name), ..ImportFixture::new() };
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    test(fixture).await;
}

/// The build-id that [`claimed`] claims for a package.
pub(crate) fn build_id(nvra: &str) -> BuildId {
    BuildId::from_bytes(&Sha1::digest(nvra)).unwrap()
}

/// Inserts a package as a repository lists it: at `NVRA.rpm` in the store, with one build-id. Returns its id.
pub(crate) async fn claimed(
    fixture: &ImportFixture,
    store: &str,
    nvra: &str,
    size: u64,
    repository_id: Option<i64>,
) -> i64 {
    let index = fixture.writer().await;
    let store = index.stores().await.unwrap().into_iter().find(|known| known.name == store).unwrap();
    let location = NewLocation {
        store_id: store.id,
        path: format!("{nvra}.rpm"),
        size: Some(size),
        mtime_ns: None,
        header: None,
        checksum: Some(Checksum { kind: "sha256".into(), bytes: vec![7; 32] }),
        signing_key: None,
    };
    let link_path = Some("/usr/lib/.build-id/x".to_owned());
    let claim = Claim { build_id: build_id(nvra), kind: Kind::Executable, link_path };
    let package = ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Rpm,
        nevra: nvra.parse().unwrap(),
        source_rpm: None,
        distro: String::new(),
        claims: vec![claim],
        location: Some(location),
        repository_id,
        koji: None,
    };
    index.insert_claimed("test", &[package]).await.unwrap();
    index.packages_by_nvra(nvra).await.unwrap().unread[0].id
}
