//! Archives in stores over HTTP, and archives that are broken, replaced, lying or slow: an answer is the right bytes or
//! none.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod absence;
mod damaged;
mod elsewhere;
mod growing;
mod hanging;
mod lying;
mod names;
mod permits;
mod prefetch;
mod sections;
mod unreachable;
mod xz_blocks;
mod xz_blocks_of_tars;

use std::io::Write;
use std::path::{Path, PathBuf};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::rpmbuild::{self, Made};
use tempfile::TempDir;

/// Enough that a few responses do not fit into the buffers of a connection.
const LARGE: usize = 16 << 20;

/// A directory with copies of a family, which a test may change.
fn copy_of(family: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fixtures::copy(&fixtures::rpms(family), directory.path());
    directory
}

/// An index of a directory, that gateways get from `url`.
fn index_of(directory: &Path, tier: &str, url: &str) -> Sqlite {
    let index = Sqlite::empty();
    index.add_store("store", tier, directory, url);
    index
}

/// A directory with one large package.
fn large() -> (TempDir, Made) {
    let directory = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(directory.path(), "large", LARGE);
    (directory, made)
}

/// A store that sends half of an archive, and the rest when the gate is open.
fn sends_half_before(gate: &Gate, directory: &Path) -> FakeServer {
    let (directory, gate) = (directory.to_owned(), gate.clone());
    FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&directory, head);
        fake_server::begin(stream, bytes.len());
        let _ = stream.write_all(&bytes[..bytes.len() / 2]);
        gate.pass();
        let _ = stream.write_all(&bytes[bytes.len() / 2..]);
    })
}

fn path_of(made: &Made) -> String {
    format!("/buildid/{}/executable", made.build_id)
}

/// `server` 1.1-6: what a directory with the family `server` is asked for.
fn server() -> (String, Vec<u8>) {
    const RPM: &str = "server/server-1.1-6.fc99.x86_64.rpm";
    let path = format!("/buildid/{}/executable", fixtures::build_id(RPM, "/usr/bin/server"));
    (path, fixtures::member(&fixtures::rpm(RPM), "/usr/bin/server"))
}

/// Names in a directory.
fn names(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect()
}

/// Names in the cache directory, when the disk has what clients have.
fn cached(gateway: &RunningGateway) -> Vec<PathBuf> {
    gateway.wait_until_synced();
    names(&gateway.cache())
}

fn extractions(gateway: &RunningGateway, result: &str) -> f64 {
    gateway.metric(&format!("gateway_extractions_total{{result=\"{result}\"}}"))
}

#[test]
fn members_come_out_of_archives_in_a_store_and_only_they_are_kept() {
    for family in ["fedora-compat", "old-noclasses", "payloads", "v3", "v6", "largefile"] {
        let files = FileServer::start(&fixtures::family(family));
        let index = index_of(&fixtures::family(family), "mirror", &files.url());
        let gateway = RunningGateway::start_with(&index.url(), "[prefetch]\nmax_bytes = \"0B\"\n", &[]);
        let truth = fixtures::truth_with_bytes(family);
        for (row, _) in &truth {
            for word in ["executable", "debuginfo"] {
                let answer = gateway.get(&format!("/buildid/{}/{word}", row.build_id));
                if answer.status == 404 {
                    continue;
                }
                let (file, archive) = (answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"));
                let named = truth
                    .iter()
                    .find(|(row, _)| file == Some(&*row.path) && archive == Some(&*format!("{}.rpm", row.nvra())));
                assert!(
                    named.unwrap_or_else(|| panic!("{file:?} in {archive:?}")).1 == answer.body,
                    "{family}: {file:?}"
                );
            }
        }
        let whole = extractions(&gateway, "complete");
        assert!(whole > 0.0, "{family}");
        assert_eq!(
            gateway.metric("gateway_store_requests_total{outcome=\"found\",tier=\"mirror\"}"),
            whole,
            "{family}"
        );
        assert_eq!(cached(&gateway).len() as f64, whole, "{family}");
        let members: Vec<u64> = truth.iter().map(|(_, bytes)| bytes.len() as u64).collect();
        for file in cached(&gateway) {
            assert!(members.contains(&file.metadata().unwrap().len()), "{family}: {} is no member", file.display());
        }
    }
}

#[test]
fn sources_come_out_of_the_debugsource_package_in_a_store() {
    let files = FileServer::start(&fixtures::family("server"));
    let index = index_of(&fixtures::family("server"), "koji", &files.url());
    let gateway = RunningGateway::start(&index.url());
    for release in 5..=7 {
        let nvra = format!("server-1.1-{release}.fc99.x86_64");
        let rpm = format!("server-debugsource-1.1-{release}.fc99.x86_64");
        let path = format!("/usr/src/debug/{nvra}/worker/crash.c");
        let id = fixtures::build_id(&format!("server/{nvra}.rpm"), "/usr/bin/server");
        let answer = gateway.get(&format!("/buildid/{id}/source{path}"));
        assert!(answer.body == fixtures::member(&fixtures::package("server", &rpm), &path), "{release}: other bytes");
        assert_eq!(answer.header("x-debuginfod-archive"), Some(&*format!("{rpm}.rpm")));
    }
}
