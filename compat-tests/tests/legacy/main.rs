//! Databases of an original darkserver: real ones on MariaDB, and genuine dumps of MariaDB and PostgreSQL, become
//! answers of the gateway.
//!
//! `dumps/` has what `pg_dump` 15.18 wrote of one database of release 2.0: as it is by default, with `--inserts`, and
//! with `--column-inserts --rows-per-insert=3 --quote-all-identifiers`.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod dumps;
mod import;
mod mysql;

use std::path::PathBuf;
use std::process::Output;

use compat_tests::darkserver::{RunningGateway, import};
use serde_json::{Value, json};

const APR: &str = "868357887701f51d867eacd0da6e5af6d8c70ce2";
const BASH: &str = "0daa18d6291a5d0d174556c8c46f1345eba61a65";

/// Runs `legacy --json`; returns its summary and its messages.
fn legacy(index: &str, from: &str, code: i32) -> (Value, String) {
    let output: Output = import(index, &["legacy", "--from", from, "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), stderr)
}

fn dump(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/legacy/dumps").join(name)
}

fn get(gateway: &RunningGateway, path: &str) -> Value {
    serde_json::from_str(&gateway.get(path).text()).unwrap()
}

/// The rows of the reference: two packages with one build-id, and a third.
fn expect_answers(index: &str, distro: &str) {
    let gateway = RunningGateway::start(index);
    let row =
        |id: &str, elf: &str, rpm: &str| json!({ "buildid": id, "elf": elf, "rpm": rpm, "distro": distro, "url": "" });
    let bash = row(BASH, "/bin/bash", "bash-4.2.10-5.fc16.x86_64");
    let apr = [
        row(APR, "/usr/lib64/libapr-1.so.0.4.5", "apr-1.4.5-1.fc16.x86_64"),
        row(APR, "/usr/lib/debug/usr/lib64/libapr-1.so.0.4.5.debug", "apr-debuginfo-1.4.5-1.fc16.x86_64"),
    ];
    assert_eq!(get(&gateway, &format!("/buildids/{APR}")), json!(apr));
    // Grouped by build-id, as the original on MySQL.
    assert_eq!(get(&gateway, &format!("/buildids/{APR},{BASH}")), json!([bash, &apr[0], &apr[1]]));
    assert_eq!(get(&gateway, "/rpm2buildids/bash-4.2.10-5.fc16.x86_64.rpm"), json!([bash]));
    assert_eq!(get(&gateway, "/rpm2buildids/bash"), json!([]));
    assert_eq!(get(&gateway, "/buildids/deadbeef"), json!([]));
}
