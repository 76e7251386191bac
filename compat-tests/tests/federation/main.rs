//! Federation: what clients get while upstreams fail, hang, lie or break off.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

mod absence;
mod answers;
mod client;
mod cut_off;
mod elfutils;
mod faults;
mod founding_case;
mod hanging;
mod identity;
mod proof;
mod relaying;
mod resuming;
mod schedules;
mod too_large;

use std::sync::OnceLock;
use std::time::Duration;

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::upstreams::{Upstream, UpstreamFile, elf_with};

/// The budget of a decision in these tests.
const BUDGET: Duration = Duration::from_millis(500);
/// Longest time of a decision: twice the budget, and the rest for a busy machine.
const DECIDED_WITHIN: Duration = Duration::from_millis(2 * 500 + 2000);

/// Whether clients are redirected to an upstream or its files are relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Redirect,
    Relay,
}

impl Mode {
    const BOTH: [Self; 2] = [Self::Redirect, Self::Relay];

    /// As the configuration has it.
    fn word(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Relay => "relay",
        }
    }
}

/// The text of a configuration with [`BUDGET`], these lines of `[federation]` and these upstreams.
fn configuration(federation: &str, upstreams: &[(Mode, &str)]) -> String {
    let mut text = format!("[request]\nbudget = \"{}ms\"\n[federation]\n{federation}\n", BUDGET.as_millis());
    for (number, (mode, url)) in upstreams.iter().enumerate() {
        let mode = mode.word();
        text.push_str(&format!("[[upstream]]\nname = \"u{number}\"\nurl = \"{url}\"\nmode = \"{mode}\"\n"));
    }
    text
}

/// As [`configuration`], with a budget that is long enough for a busy machine: for tests in which nothing hangs.
fn patient(federation: &str, upstreams: &[(Mode, &str)]) -> String {
    let budget = format!("budget = \"{}ms\"", BUDGET.as_millis());
    configuration(federation, upstreams).replace(&budget, "budget = \"3s\"")
}

/// A gateway that knows nothing itself, with these upstreams of one mode.
fn federated(index: &Sqlite, mode: Mode, federation: &str, upstreams: &[&Upstream]) -> RunningGateway {
    let upstreams: Vec<_> = upstreams.iter().map(|upstream| (mode, upstream.url())).collect();
    RunningGateway::start_with(&index.url(), &configuration(federation, &upstreams), &[])
}

/// `/buildid/ID/debuginfo`
fn debuginfo(build_id: &str) -> String {
    format!("/buildid/{build_id}/debuginfo")
}

/// The debug file that all others are copies of.
fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::compile("federated", "/s/federated"))
}

/// A debug file with this build-id and so many bytes behind it.
fn debug_file(build_id: &str, tail: usize) -> Vec<u8> {
    elf_with(&program().debug(), &program().build_id, build_id, tail)
}

/// As [`debug_file`], with debuginfod's headers.
fn debug_file_with_headers(build_id: &str, tail: usize) -> UpstreamFile {
    UpstreamFile::new(debug_file(build_id, tail))
}
