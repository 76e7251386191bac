//! The order in which debuginfo is looked for: certain records, upstreams, programs that may have DWARF.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, Behaviour, FakeServer};
use compat_tests::headers::FileClassFormat;
use compat_tests::process::free_port;
use tempfile::{TempDir, tempdir};

use crate::{build, expect_absent, expect_file, expect_unavailable, index, linked, path};

/// Settings of gateways that decide within two seconds, by both orders of index and upstreams.
const ORDERS: [&str; 2] =
    ["[request]\nbudget = \"2s\"\n[federation]\n", "[request]\nbudget = \"2s\"\n[federation]\nprefer = \"redirect\"\n"];
/// The budget; the rest is for a busy machine.
const WITHIN: Duration = Duration::from_secs(6);

/// A program whose package has MIME types.
struct Fixture {
    directory: TempDir,
    program: Program,
    rpm: PathBuf,
}

impl Fixture {
    fn whole() -> Self {
        Self::make(Program::whole)
    }

    fn stripped() -> Self {
        Self::make(Program::stripped)
    }

    fn make(file: fn(&Program) -> PathBuf) -> Self {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let rpm = linked(directory.path(), &program, &file(&program), FileClassFormat::Mime);
        Self { directory, program, rpm }
    }

    fn index(&self) -> Sqlite {
        index(&[&self.rpm])
    }

    /// The package of its debug file, where a distribution has it.
    fn debuginfo(&self) -> PathBuf {
        let bytes = fs::read(self.program.debug()).unwrap();
        build(self.directory.path(), &[("foo-debuginfo", &[("/usr/lib/debug/usr/bin/foo.debug", &*bytes)])]).remove(0)
    }
}

fn federated(index: &Sqlite, configuration: &str, upstreams: &[&str]) -> RunningGateway {
    let arguments: Vec<&str> = upstreams.iter().flat_map(|url| ["--upstream", url]).collect();
    RunningGateway::start_with(&index.url(), configuration, &arguments)
}

#[test]
fn an_upstream_goes_before_a_program_that_may_have_dwarf() {
    let fixture = Fixture::whole();
    let theirs = index(&[&fixture.debuginfo()]);
    let (upstream, index, id) = (RunningGateway::start(&theirs.url()), fixture.index(), &fixture.program.build_id);
    assert!(upstream.get(&path(id, "debuginfo")).body == fs::read(fixture.program.debug()).unwrap(), "other bytes");
    let location = format!("{}{}", upstream.url(), path(id, "debuginfo"));
    for order in ORDERS {
        let gateway = federated(&index, order, &[&upstream.url()]);
        // The second time the program is in the cache.
        for _ in 0..2 {
            let answer = gateway.get(&path(id, "debuginfo"));
            assert_eq!((answer.status, answer.header("location")), (302, Some(&*location)), "{order}");
            expect_file(&gateway, id, "executable", &fixture.program.whole(), "/usr/bin/foo");
        }
    }
}

#[test]
fn a_debug_file_of_the_index_goes_before_upstreams() {
    let fixture = Fixture::whole();
    let (upstream, index) = (FakeServer::start(fake_server::serve_elf), index(&[&fixture.debuginfo(), &fixture.rpm]));
    let answer = federated(&index, ORDERS[0], &[&upstream.url()]).get(&path(&fixture.program.build_id, "debuginfo"));
    assert!(answer.status == 200 && answer.body == fs::read(fixture.program.debug()).unwrap(), "{}", answer.status);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn the_program_is_served_when_no_upstream_has_debuginfo_or_can_be_asked() {
    let fixture = Fixture::whole();
    let (index, id) = (fixture.index(), &fixture.program.build_id);
    for (name, behaviour) in [
        ("knows nothing", fake_server::answer_absent as Behaviour),
        ("fails", fake_server::fail),
        ("hangs", fake_server::hang),
    ] {
        for order in ORDERS {
            let upstream = FakeServer::start(behaviour);
            let gateway = federated(&index, order, &[&upstream.url()]);
            let started = Instant::now();
            expect_file(&gateway, id, "debuginfo", &fixture.program.whole(), "/usr/bin/foo");
            assert!(started.elapsed() < WITHIN, "{name}: {order}: took {:?}", started.elapsed());
            assert!(upstream.connections() > 0, "{name}: {order}: expected that the upstream was asked");
        }
    }
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    expect_file(&federated(&index, ORDERS[0], &[&nowhere]), id, "debuginfo", &fixture.program.whole(), "/usr/bin/foo");
}

#[test]
fn a_program_without_dwarf_is_absent_when_all_upstreams_answered() {
    let fixture = Fixture::stripped();
    let (index, id) = (fixture.index(), &fixture.program.build_id);
    let upstreams = [FakeServer::start(fake_server::answer_absent), FakeServer::start(fake_server::answer_absent)];
    for order in ORDERS {
        let gateway = federated(&index, order, &[&upstreams[0].url(), &upstreams[1].url()]);
        for _ in 0..2 {
            expect_absent(&gateway, id, "debuginfo");
        }
    }
}

#[test]
fn a_program_without_dwarf_is_unavailable_when_an_upstream_could_not_answer() {
    let fixture = Fixture::stripped();
    let (index, id) = (fixture.index(), &fixture.program.build_id);
    let nothing = FakeServer::start(fake_server::answer_absent);
    for (name, behaviour) in [("fails", fake_server::fail as Behaviour), ("hangs", fake_server::hang)] {
        let upstream = FakeServer::start(behaviour);
        for order in ORDERS {
            let gateway = federated(&index, order, &[&nothing.url(), &upstream.url()]);
            for _ in 0..2 {
                expect_unavailable(&gateway, id, "debuginfo");
            }
            let by_status =
                federated(&index, &format!("{order}unavailable = \"503\"\n"), &[&nothing.url(), &upstream.url()]);
            let answer = by_status.get(&path(id, "debuginfo"));
            assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")), "{name}: {order}");
            expect_file(&gateway, id, "executable", &fixture.program.stripped(), "/usr/bin/foo");
        }
    }
}
