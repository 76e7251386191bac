//! Faults while the gateway serves: of its database, of its cache directory, of the archives, and its own sudden end.
//! Whatever happens, an answer is right, or it is none: nothing wrong is ever delivered whole, nothing is called absent
//! that could not be looked up, and afterwards it goes on without a restart.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here is a failed test, and shows where")]

mod archives;
mod cache_directory;
mod database;
mod media;
mod sqlite;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use compat_tests::darkserver::RunningGateway;
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::rpmbuild::{self, Made};
use compat_tests::wait_within;

/// Maximum time of a request, twice the budget of 4 s.
const BUDGET: Duration = Duration::from_secs(8);
/// How long a gateway may need to notice that something is back: a probe's time, a second, and that much again for a
/// busy machine.
const RECOVERY: Duration = Duration::from_secs(20);

/// A path of the gateway with the right bytes.
#[derive(Clone)]
struct ExpectedFile {
    path: String,
    bytes: Vec<u8>,
}

impl ExpectedFile {
    /// `/usr/bin/server` of a release of the family `server`.
    fn server(release: u8) -> Self {
        let rpm = format!("server/server-1.1-{release}.fc99.x86_64.rpm");
        let path = format!("/buildid/{}/executable", fixtures::build_id(&rpm, "/usr/bin/server"));
        Self { path, bytes: fixtures::member(&fixtures::rpm(&rpm), "/usr/bin/server") }
    }

    fn made(made: Made) -> Self {
        Self { path: format!("/buildid/{}/executable", made.build_id), bytes: made.bytes }
    }

    fn build_id(&self) -> &str {
        self.path.split('/').nth(2).unwrap()
    }

    /// The right bytes, or a reset.
    #[track_caller]
    fn ask(&self, gateway: u16) -> Option<Response> {
        let answer = answer_or_reset(gateway, &self.path)?;
        assert_eq!(answer.status, 200, "{}: {}", self.path, answer.text());
        assert!(answer.body == self.bytes, "{}: other bytes", self.path);
        Some(answer)
    }

    /// Asks until it is answered.
    #[track_caller]
    fn recovers(&self, gateway: &RunningGateway) -> Response {
        let mut answer = None;
        wait_within(RECOVERY, &self.path, || {
            answer = self.ask(gateway.port);
            answer.is_some()
        });
        answer.unwrap()
    }
}

/// The answer within the budget; `None` for a reset.
#[track_caller]
fn answer_or_reset(port: u16, path: &str) -> Option<Response> {
    let started = Instant::now();
    let answer = http::get(port, path);
    assert!(started.elapsed() < BUDGET, "{path}: took {:?}", started.elapsed());
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{path}: {error}");
            None
        }
    }
}

/// So many packages of `bytes` each, in `directory`.
fn packages(directory: &Path, number: u16, bytes: usize) -> Vec<ExpectedFile> {
    (0..number)
        .map(|number| ExpectedFile::made(rpmbuild::numbered(directory, &format!("made{number}"), bytes, number)))
        .collect()
}

/// Names in a directory; none where it is not there.
fn names(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
}

/// Random numbers, the same every time (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
