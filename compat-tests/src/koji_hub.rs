//! A Koji: a hub that speaks Koji's XML-RPC, and the files of its builds over HTTP in the layout of a topurl.
//!
//! Builds are made of real RPMs. `sign` signs with a real key, `move_volume`, `promote` and `delete` do to the files
//! what Koji does. `compat-tests/tests/koji_client` checks the hub's answers with Koji's own client.

mod arguments;
mod changes;
mod generated;
mod listing;
mod methods;
mod rpm_file;
mod server;
mod state;
mod tree;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;

use crate::static_server::StaticServer;
use server::{HubServer, Shared};
use state::State;

/// What is wrong with the answers of the hub.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Answers after this time.
    Slow(Duration),
    /// This status, with a page of HTML.
    Status(u16),
    /// 200 with these bytes.
    Garbage(Vec<u8>),
    /// The fault `ServerOffline`.
    Offline,
    /// The result of `multiCall` lacks its last element.
    Fewer,
    /// The connection ends after this number of bytes of the answer.
    BreaksOff(usize),
}

/// A running Koji on loopback.
pub struct KojiHub {
    directory: TempDir,
    shared: Arc<Shared>,
    server: HubServer,
    /// The server of the topurl: it counts requests, and can have faults.
    pub files: StaticServer,
}

impl KojiHub {
    /// Starts one without builds.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("packages")).expect("make a directory");
        let shared = Arc::new(Shared::new(State::new(directory.path())));
        let server = HubServer::start(&shared);
        let files = StaticServer::start(directory.path());
        Self { directory, shared, server, files }
    }

    /// The URL of the hub.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/kojihub", self.server.port())
    }

    /// The topurl: `packages/` and `vol/` are below it.
    pub fn topurl(&self) -> String {
        self.files.url()
    }

    /// The directory of the topurl.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The paths of a build's plain RPMs below the topurl, sorted: those that exist.
    pub fn paths(&self, build: i64) -> Vec<String> {
        let state = self.state();
        let build = state.build(build);
        let mut paths: Vec<String> = build.rpms.iter().map(|rpm| tree::plain(build, state.rpm(*rpm))).collect();
        paths.retain(|path| self.directory().join(path).is_file());
        paths.sort_unstable();
        paths
    }

    /// The directory of a build's files below the topurl.
    pub fn build_directory(&self, build: i64) -> String {
        tree::directory(self.state().build(build))
    }

    /// Name-version-release of a build.
    pub fn nvr(&self, build: i64) -> String {
        self.state().build(build).nvr()
    }

    /// When a build completed, in seconds since 1970.
    pub fn completion_time(&self, build: i64) -> Option<f64> {
        self.state().build(build).completed_at
    }

    /// Ids and name-version-release.arch of a build's RPMs.
    pub fn rpms(&self, build: i64) -> BTreeMap<i64, String> {
        let state = self.state();
        state.build(build).rpms.iter().map(|rpm| (*rpm, state.rpm(*rpm).nvra())).collect()
    }

    /// The number of HTTP requests to the hub since the start or [`KojiHub::forget`].
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The number of calls of each method in the same time, those of `multiCall` and those inside of it.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// The number of calls of one method.
    pub fn calls_of(&self, method: &str) -> u64 {
        self.calls().get(method).copied().unwrap_or_default()
    }

    /// Forgets the calls and requests so far, to the hub and for files.
    pub fn forget(&self) {
        self.shared.calls.lock().unwrap().clear();
        self.shared.requests.store(0, Ordering::SeqCst);
        self.files.forget();
    }

    /// From now on the hub's answers have this fault, or none.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        self.shared.set_trouble(trouble, usize::MAX);
    }

    /// The next `times` answers have this fault.
    pub fn set_trouble_times(&self, trouble: Trouble, times: usize) {
        self.shared.set_trouble(Some(trouble), times);
    }

    /// Ends the hub's connections and refuses others, or serves again.
    pub fn set_down(&self, is_down: bool) {
        self.server.set_down(is_down);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    fn file(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }
}
