//! Imports of single archives into a real index, from directories and a server of a loopback address.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use compat_tests::fixtures;
use compat_tests::static_server::{Fault, StaticServer};
use sql::{Access, Distros, NewStore, Tier};
use tempfile::TempDir;

use super::*;
use crate::fetch::network::NetworkLimits;
use crate::pipeline::stop::Stop;

const FAMILY: &str = "fedora-separate";

/// An index, and the directory of a store.
struct Bench {
    directory: TempDir,
    importer: ArchiveImporter,
}

impl Bench {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", directory.path().join("index.db").display());
        let index = Index::open(&database.parse().unwrap(), Access::ReadWrite).unwrap();
        index.migrate().await.unwrap();
        let limits = NetworkLimits {
            stall_timeout: Duration::from_millis(500),
            down_timeout: Duration::from_millis(500),
            first_timeout: Duration::from_millis(500),
            min_pause: Duration::from_millis(10),
            ..NetworkLimits::default()
        };
        let network = Network::new(None, limits, Stop::default());
        fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory, importer: ArchiveImporter::new(&index, &network) }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    async fn add_store(&self, base_url: Option<String>, root: Option<PathBuf>) {
        let store = NewStore {
            name: "s".into(),
            tier: if root.is_some() { Tier::Local } else { Tier::Mirror },
            base_url,
            root,
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: sql::AbsentStatuses::default(),
            redirect_hosts: sql::RedirectHosts::default(),
            allow_private: false,
        };
        self.importer.index.add_store(&store).await.unwrap();
    }

    async fn import(&self, path: &str) -> ArchiveOutcome {
        self.importer.import("s", path).await.unwrap()
    }
}

/// A package with build-ids: its path in the fixtures, its file name, and their number.
fn package() -> (PathBuf, String, u64) {
    let row = fixtures::truth(FAMILY).into_iter().next().unwrap();
    let rows = fixtures::truth(FAMILY).into_iter().filter(|other| other.rpm == row.rpm);
    let build_ids: BTreeSet<String> = rows.map(|row| row.build_id).collect();
    (fixtures::rpm(&row.rpm), format!("{}.rpm", row.nvra()), build_ids.len() as u64)
}

#[track_caller]
fn expect_imported(outcome: &ArchiveOutcome, is_new: bool) {
    let (_, name, build_ids) = package();
    let nvra = name.trim_end_matches(".rpm").to_owned();
    assert_eq!(*outcome, ArchiveOutcome::Imported(ImportedArchive { nvra, build_ids, is_new }));
}

#[track_caller]
fn expect_failed(outcome: &ArchiveOutcome, permanent: bool, text: &str) {
    let ArchiveOutcome::Failed { reason, is_permanent } = outcome else { panic!("{text}: {outcome:?}") };
    assert_eq!(*is_permanent, permanent, "{reason}");
    assert!(reason.contains(text), "{text}: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_directory_is_imported_until_it_is_gone() {
    let bench = Bench::new().await;
    bench.add_store(None, Some(bench.root())).await;
    let (file, name, _) = package();
    expect_failed(&bench.import(&name).await, false, "is it mounted?");
    fs::create_dir(bench.root().join("a")).unwrap();
    expect_failed(&bench.import(&name).await, true, "found no such file");
    fs::copy(&file, bench.root().join("a").join(&name)).unwrap();
    let path = format!("a/{name}");
    expect_imported(&bench.import(&path).await, true);
    expect_imported(&bench.import(&path).await, false);
    let bytes = fs::read(&file).unwrap();
    fs::write(bench.root().join("cut.rpm"), &bytes[..bytes.len() - 1]).unwrap();
    expect_failed(&bench.import("cut.rpm").await, true, "cut.rpm");
    fs::remove_file(bench.root().join(&path)).unwrap();
    assert!(matches!(bench.import(&path).await, ArchiveOutcome::Gone { .. }));
    expect_failed(&bench.import(&path).await, true, "found no such file");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_a_directory_is_read() {
    let bench = Bench::new().await;
    bench.add_store(None, Some(bench.root())).await;
    let (file, name, _) = package();
    let outside = bench.directory.path().join(&name);
    fs::copy(&file, &outside).unwrap();
    symlink(&outside, bench.root().join("link.rpm")).unwrap();
    symlink(bench.directory.path(), bench.root().join("up")).unwrap();
    for path in ["link.rpm", &format!("up/{name}")] {
        expect_failed(&bench.import(path).await, true, "leads out of it");
    }
    let absolute = outside.display().to_string();
    for path in [&format!("../{name}"), "", "a//b.rpm", "a/./b.rpm", &absolute, "a\n.rpm"] {
        expect_failed(&bench.import(path).await, true, "expected a path below the store");
    }
    for path in ["a.txt", "rpm"] {
        expect_failed(&bench.import(path).await, true, "expected the name of an RPM");
    }
    let other = bench.importer.import("t", &name).await.unwrap();
    expect_failed(&other, true, "expected a store of the index");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_server_is_imported_by_its_header() {
    let bench = Bench::new().await;
    let server = StaticServer::start(&bench.root());
    bench.add_store(Some(server.url()), None).await;
    let (file, name, _) = package();
    expect_failed(&bench.import(&name).await, true, "404");
    fs::copy(&file, bench.root().join(&name)).unwrap();
    server.set(&name, Fault::Status(503));
    expect_failed(&bench.import(&name).await, false, "503");
    server.repair();
    expect_imported(&bench.import(&name).await, true);
    server.set_times(&name, Fault::Status(404), 1);
    assert!(matches!(bench.import(&name).await, ArchiveOutcome::Gone { .. }));
    expect_imported(&bench.import(&name).await, false);
    server.set(&name, Fault::Bytes(b"no package".to_vec()));
    expect_failed(&bench.import(&name).await, true, &name);
    expect_failed(&bench.import("x.deb").await, true, "expected the name of an RPM");
}
