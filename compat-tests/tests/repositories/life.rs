//! The life of a package, as darkserver was founded for: released, replaced, dropped by the mirrors, deleted by Koji,
//! kept by a retrace store, and nowhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compat_tests::crash::{Crash, expect_crash, gdb};
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fixtures;
use compat_tests::ima::Signer;
use compat_tests::repository::{Repository, SigningKey};
use compat_tests::static_server::StaticServer;
use compat_tests::wait_within;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{rows, run_import, server, servers};

const PATTERN: &str = "{volume}packages/{name}/{version}/{release}/{arch}/{nvra}.rpm";
const NVRA: &str = "server-1.1-6.fc99.x86_64";

/// A mirror with two repositories, Koji and a retrace store, each a server of its own.
struct World {
    mirror: TempDir,
    koji: TempDir,
    retrace: TempDir,
    servers: [StaticServer; 3],
    index: Sqlite,
    /// Signs files and packages, as Fedora does: headers of signed copies begin elsewhere.
    signer: Signer,
    key: SigningKey,
    crash: Crash,
}

impl World {
    fn make() -> Self {
        let directory = || tempfile::tempdir().unwrap();
        let (mirror, koji, retrace) = (directory(), directory(), directory());
        let servers = [&mirror, &koji, &retrace].map(|directory| StaticServer::start(directory.path()));
        let index = Sqlite::empty();
        for (name, tier, server, more) in [
            ("mirror", "mirror", &servers[0], &[][..]),
            ("koji", "koji", &servers[1], &["--pattern", PATTERN, "--distros", "fc*"]),
            ("retrace", "retrace", &servers[2], &["--pattern", "{nvra}.rpm", "--distros", "fc99"]),
        ] {
            let add = ["store", "add", name, "--tier", tier, "--url", &server.url()];
            run_import(&index, &[&add[..], more].concat()).expect(0);
        }
        let (signer, key, crash) = (Signer::make("ec"), SigningKey::make(), Crash::run_server(6));
        for release in 5..=7 {
            let into = koji.path().join(format!("packages/server/1.1/{release}.fc99/x86_64"));
            fixtures::copy(&server(release), &into);
            fixtures::copy(&server(release), retrace.path());
        }
        Self { mirror, koji, retrace, servers, index, signer, key, crash }
    }

    /// Publishes releases in a repository of the mirror, signed, and refreshes it.
    fn publish(&self, repository: &str, path: &str, releases: &[u32]) {
        let directory = self.mirror.path().join(path);
        let _ = std::fs::remove_dir_all(&directory);
        for rpm in servers(releases) {
            self.key.sign_rpm(&self.signer.sign(&rpm, &directory));
        }
        Repository::at(&directory);
        let url = format!("{}/{path}", self.servers[0].url());
        run_import(&self.index, &["repo", &url, "--name", repository, "--store", "mirror"]).expect(0);
    }

    /// Looks at all places, as a run does that comes eight days after the last one.
    fn check_places(&self) {
        rows(&self.index, "update locations set checked_at = checked_at - 691200");
        run_import(&self.index, &["store", "check", "--locations", "--for", "30s"]).expect(0);
    }

    fn show(&self, of: &str) -> Value {
        let shown = run_import(&self.index, &["show", of]).expect(0).json();
        let packages = shown["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["nvra"] == NVRA);
        package.unwrap_or_else(|| panic!("{NVRA} in {shown}")).clone()
    }

    /// Expects what clients get now: the right package from this URL, and a backtrace with sources if there is one.
    #[track_caller]
    fn expect_place(&self, url: &str) -> RunningGateway {
        let gateway = RunningGateway::start(&self.index.url());
        let id = self.id();
        let rows: Value = serde_json::from_str(&gateway.get(&format!("/buildids/{id}")).text()).unwrap();
        let rows = rows.as_array().unwrap();
        let mut found: Vec<(&str, &str)> =
            rows.iter().map(|row| (row["rpm"].as_str().unwrap(), row["url"].as_str().unwrap())).collect();
        found.sort_unstable();
        let names = [NVRA.to_owned(), NVRA.replace("server-", "server-debuginfo-")];
        let urls = names.clone().map(|nvra| if url.is_empty() { String::new() } else { format!("{url}/{nvra}.rpm") });
        let expected = [(&*names[0], &*urls[0]), (&*names[1], &*urls[1])];
        assert_eq!(found, expected);
        let package: Value = serde_json::from_str(&gateway.get(&format!("/package/{NVRA}")).text()).unwrap();
        assert_eq!(package["url"].as_str().unwrap_or_default(), urls[0], "{package}");
        gateway
    }

    /// Expects that GDB shows the crash with its sources, and that this server sent the packages.
    #[track_caller]
    fn expect_backtrace(&self, gateway: &RunningGateway, from: &StaticServer) {
        let files = [self.crash.program(), self.crash.core()];
        let said = gdb(&DebuginfodClient::new(&gateway.url()), &["bt", "frame 0", "list"], &[&files[0], &files[1]]);
        expect_crash(&said, 6);
        for name in ["server-debuginfo", "server-debugsource"] {
            let sent = from.sent_for(&format!("{name}-1.1-6"));
            assert!(sent.iter().any(|sent| matches!(sent.status, 200 | 206)), "{name}: {:?}", from.sent());
        }
    }

    fn id(&self) -> String {
        fixtures::build_id(&format!("server/{NVRA}.rpm"), "/usr/bin/server")
    }

    /// Waits until the clock shows another second: times in the index are seconds.
    fn next_second(&self) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let then = now();
        wait_within(Duration::from_secs(3), "the next second", || now() > then);
    }
}

fn rpms(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "rpm")).collect()
}

fn place<'p>(package: &'p Value, store: &str) -> &'p Value {
    let places = package["places"].as_array().unwrap();
    places.iter().find(|place| place["store"] == store).unwrap_or_else(|| panic!("{store} in {package}"))
}

fn membership<'p>(package: &'p Value, repository: &str) -> &'p Value {
    let memberships = package["memberships"].as_array().unwrap();
    memberships.iter().find(|one| one["repository"] == repository).unwrap_or_else(|| panic!("{repository}: {package}"))
}

#[test]
fn a_package_is_found_at_every_stage_of_its_life() {
    let world = World::make();
    let [mirror, koji, retrace] = &world.servers;
    world.publish("ga", "releases/99/os", &[5]);
    world.publish("updates", "updates/99", &[6]);

    // Released: at the mirror. Koji and the retrace store may have it, too.
    let gateway = world.expect_place(&format!("{}/updates/99", mirror.url()));
    world.expect_backtrace(&gateway, mirror);
    drop(gateway);
    let package = world.show(&world.id());
    assert_eq!((&package["source_rpm"], &package["distro"]), (&"server-1.1-6.fc99.src.rpm".into(), &"fc99".into()));
    let mirrored = place(&package, "mirror");
    assert_eq!((&mirrored["derived"], &mirrored["gone_at"]), (&false.into(), &Value::Null), "{package}");
    assert_eq!(mirrored["signing_key"].as_str().map(str::to_ascii_lowercase), Some(world.key.id()), "{package}");
    assert!(mirrored["checksum"].is_string() || mirrored["checksum"].is_object(), "{package}");
    let possible = place(&package, "koji");
    assert_eq!((&possible["derived"], &possible["tier"]), (&true.into(), &"koji".into()), "{package}");
    assert_eq!(possible["checked_at"], Value::Null, "{package}");
    assert_eq!(membership(&package, "updates")["ended_at"], Value::Null, "{package}");
    assert_eq!(package["successors"], Value::Array(Vec::new()), "{package}");

    // Obsoleted by 1.1-7, which begins later; 1.1-5 is no successor.
    world.next_second();
    world.publish("updates", "updates/99", &[6, 7]);
    let package = world.show(NVRA);
    let successors = package["successors"].as_array().unwrap();
    assert_eq!(successors.len(), 1, "{package}");
    assert_eq!(successors[0]["nvra"], "server-1.1-7.fc99.x86_64", "{package}");
    assert_eq!(successors[0]["repository"], "updates", "{package}");

    // Dropped by the mirror: Koji's copy, which was never checked, is the best place.
    world.next_second();
    world.publish("updates", "updates/99", &[7]);
    let at_koji = format!("{}/packages/server/1.1/6.fc99/x86_64", koji.url());
    let gateway = world.expect_place(&at_koji);
    world.expect_backtrace(&gateway, koji);
    drop(gateway);
    let package = world.show(&world.id());
    let ended = membership(&package, "updates");
    assert!(ended["ended_at"].as_i64() > ended["last_seen"].as_i64(), "{package}");
    assert!(ended["last_seen"].as_i64() >= ended["first_seen"].as_i64(), "{package}");
    assert!(place(&package, "mirror")["gone_at"].is_i64(), "{package}");
    world.check_places();
    let checked = world.show(&world.id());
    let checked = place(&checked, "koji");
    assert!(checked["checked_at"].is_i64() && checked["check_result"] == "present", "{checked}");
    drop(world.expect_place(&at_koji));
    let metadata = metadata_of(&world);
    assert!(metadata.contains("\"obsoleted_by\"") && metadata.contains("server-1.1-7.fc99.x86_64"), "{metadata}");
    assert!(metadata.contains("\"memberships\"") && metadata.contains("updates"), "{metadata}");

    // Deleted by Koji: gateways go on to the retrace store by themselves, and a check tells it to all.
    std::fs::remove_dir_all(world.koji.path().join("packages/server/1.1/6.fc99")).unwrap();
    let gateway = RunningGateway::start(&world.index.url());
    world.expect_backtrace(&gateway, retrace);
    drop(gateway);
    world.check_places();
    let package = world.show(&world.id());
    assert!(place(&package, "koji")["gone_at"].is_i64(), "{package}");
    assert_eq!(place(&package, "koji")["check_result"], "gone", "{package}");
    retrace.forget();
    let gateway = world.expect_place(&retrace.url());
    world.expect_backtrace(&gateway, retrace);
    drop(gateway);

    // Nowhere: still the right package, and since when it is gone.
    for rpm in rpms(world.retrace.path()) {
        std::fs::remove_file(rpm).unwrap();
    }
    world.check_places();
    let gateway = world.expect_place("");
    let answer = compat_tests::http::get(gateway.port, &format!("/buildid/{}/debuginfo", world.id()));
    assert!(!answer.is_ok_and(|answer| answer.status == 200));
    let package = world.show(&world.id());
    for store in ["mirror", "koji", "retrace"] {
        assert!(place(&package, store)["gone_at"].is_i64(), "{store}: {package}");
    }
    let text = compat_tests::darkserver::import_ok(&world.index.url(), &["show", &world.id()]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for expected in [NVRA, "updates", "server-1.1-7.fc99.x86_64", "gone"] {
        assert!(text.contains(expected), "expected {expected:?} in:\n{text}");
    }
    // The others are where they were.
    let id = fixtures::build_id("server/server-1.1-7.fc99.x86_64.rpm", "/usr/bin/server");
    assert_eq!(gateway.get(&format!("/buildid/{id}/debuginfo")).status, 200);
}

/// What `/metadata` tells about the program.
fn metadata_of(world: &World) -> String {
    let gateway = RunningGateway::start(&world.index.url());
    gateway.get(&format!("/metadata?key=buildid&value={}", world.id())).text()
}
