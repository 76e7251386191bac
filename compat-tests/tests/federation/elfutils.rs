//! elfutils' debuginfod as the upstream of an upstream, with elfutils' client and GDB as clients.

use std::process::Command;

use compat_tests::crash::Crash;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::{Debuginfod, DebuginfodClient};
use compat_tests::fixtures;
use compat_tests::process::run;

use crate::Mode;

const SERVER: &str = "server/server-1.1-6.fc99.x86_64.rpm";
const DEBUGINFO: &str = "server/server-debuginfo-1.1-6.fc99.x86_64.rpm";
const SOURCES: &str = "server/server-debugsource-1.1-6.fc99.x86_64.rpm";
const DEBUG_FILE: &str = "/usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug";
const SOURCE: &str = "/usr/src/debug/server-1.1-6.fc99.x86_64/main.c";
const UNKNOWN: &str = "00000000000000000000000000000000000000cc";

/// A gateway that knows nothing itself, with one upstream. Its budget is long enough for elfutils to unpack a package.
fn gateway(index: &Sqlite, mode: Mode, upstream: &str) -> RunningGateway {
    let text = format!(
        "[request]\nbudget = \"4s\"\n[[upstream]]\nname = \"elfutils\"\nurl = \"{upstream}\"\nmode = \"{}\"\n",
        mode.word()
    );
    RunningGateway::start_with(&index.url(), &text, &[])
}

/// Expects that elfutils' client gets each kind of file, and GDB a stack with source lines.
fn expect_all(what: &str, gateway: &RunningGateway) {
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    let client = DebuginfodClient::new(&gateway.url());
    assert!(
        client.found(&["executable", &id]) == fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server"),
        "{what}"
    );
    assert!(client.found(&["debuginfo", &id]) == fixtures::member(&fixtures::rpm(DEBUGINFO), DEBUG_FILE), "{what}");
    assert!(client.found(&["source", &id, SOURCE]) == fixtures::member(&fixtures::rpm(SOURCES), SOURCE), "{what}");
    assert!(!client.found(&["section", &id, ".debug_info"]).is_empty(), "{what}");
    assert!(!client.find(&["debuginfo", UNKNOWN]).status.success(), "{what}");
    assert_eq!(gateway.get(&format!("/buildid/{UNKNOWN}/debuginfo")).status, 404, "{what}");

    let crash = Crash::run_server(6);
    let client = DebuginfodClient::new(&gateway.url());
    let mut gdb = Command::new("gdb");
    client.environment(&mut gdb);
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled on", "-iex", "set width 0", "-ex", "bt"]);
    let output = run(gdb.arg(crash.program()).arg(crash.core()), "gdb");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in ["crash_in_1_1_6 (request=", "worker/crash.c:13", "serve_1_1_6 ("] {
        assert!(said.contains(expected), "{what}: expected {expected:?} in:\n{said}");
    }
    assert!(!said.contains("Download failed"), "{what}: {said}");
}

#[test]
fn clients_get_what_the_upstream_of_a_debuginfod_has() {
    let having = Debuginfod::start(&fixtures::family("server"));
    // It is ready once it has scanned something.
    let federating = Debuginfod::start_federated(&having.url(), &fixtures::family("old-classes"));
    let index = Sqlite::with_packages(&[]);
    for mode in Mode::BOTH {
        let gateway = gateway(&index, mode, &federating.url());
        expect_all(&format!("{mode:?} to elfutils to elfutils"), &gateway);
    }
}

#[test]
fn clients_get_what_the_debuginfod_behind_two_gateways_has() {
    let having = Debuginfod::start(&fixtures::family("server"));
    let index = Sqlite::with_packages(&[]);
    for inner_mode in Mode::BOTH {
        let inner = gateway(&index, inner_mode, &having.url());
        for outer_mode in Mode::BOTH {
            // The inner one redirects to a port that the outer one does not know.
            let text = format!(
                "[request]\nbudget = \"4s\"\n[[upstream]]\nname = \"inner\"\nurl = \"{}\"\nmode = \"{}\"\n\
                 redirect_hosts = [\"127.0.0.1\"]\n",
                inner.url(),
                outer_mode.word()
            );
            let outer = RunningGateway::start_with(&index.url(), &text, &[]);
            expect_all(&format!("{outer_mode:?} to {inner_mode:?} to elfutils"), &outer);
        }
    }
}
