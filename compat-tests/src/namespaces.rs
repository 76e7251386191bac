//! Two network namespaces with a link between them that can go down: a gateway in the one, upstreams in the other. They
//! end with their processes.
//!
//! Needs the right to make network namespaces: root's, or that to make a user namespace.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::darkserver::RunningGateway;
use crate::process::{Process, run};
use crate::unshare::{command, nsenter, unshare};

/// The address of upstreams.
const THERE: &str = "198.18.0.2";
/// The address of the gateway.
const HERE: &str = "198.18.0.1";

/// Two namespaces, linked by a veth pair.
pub struct Namespaces {
    /// Of the gateway.
    near: Process,
    /// Of the upstreams.
    far: Process,
    servers: Vec<Process>,
    directory: TempDir,
}

impl Namespaces {
    /// Makes both and the link.
    ///
    /// # Panics
    /// If that is not allowed: a test that could not run has not passed.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A process that does nothing holds a namespace open. Two namespaces of one user namespace can be linked.
        let script = "ip link set lo up && echo up && exec sleep 3600";
        let log = directory.path().join("near.log");
        let mut near = Process::start(command(&unshare("--net")).args(["sh", "-c", script]), &log);
        wait_for_lo(&mut near);
        let mut command = enter(&near, &[]);
        let log = directory.path().join("far.log");
        let mut far = Process::start(command.args(["unshare", "--net", "sh", "-c", script]), &log);
        wait_for_lo(&mut far);
        let namespaces = Self { near, far, servers: Vec::new(), directory };
        let there = namespaces.far.id().to_string();
        namespaces.near(&["ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", &there]);
        namespaces.near(&["ip", "address", "add", &format!("{HERE}/24"), "dev", "near0"]);
        namespaces.far(&["ip", "address", "add", &format!("{THERE}/24"), "dev", "far0"]);
        namespaces.far(&["ip", "link", "set", "far0", "up"]);
        namespaces.near(&["ip", "link", "set", "near0", "up"]);
        namespaces
    }

    /// Serves a directory over HTTP in the namespace of upstreams. Returns its URL.
    pub fn serve(&mut self, directory: &Path) -> String {
        let port = 8000 + self.servers.len();
        let log = self.directory.path().join(format!("{port}.log"));
        let mut command = enter(&self.far, &["python3", "-u", "-m", "http.server", "--bind", THERE]);
        command.args([&port.to_string(), "--directory"]).arg(directory);
        let mut server = Process::start(&mut command, &log);
        let url = format!("http://{THERE}:{port}");
        server.wait_until("a file server", || {
            let mut curl = enter(&self.near, &["curl", "--silent", "--max-time", "5", "--output", "/dev/null", &url]);
            run(&mut curl, "curl").status.success()
        });
        self.servers.push(server);
        url
    }

    /// Starts a gateway in its namespace; its socket is one of this process's namespace.
    pub fn gateway(&self, database: &str, configuration: &str) -> RunningGateway {
        let (database, near) = (format!("--setenv=DARKSERVER_DATABASE={database}"), self.near.id().to_string());
        let mut through =
            vec!["systemd-socket-activate", "--listen=127.0.0.1:{port}", "--setenv=RUST_LOG=info,gateway=debug"];
        through.push(&database);
        through.extend(nsenter(&near, "--net"));
        RunningGateway::start_through(&through, &[], configuration, &[])
    }

    /// Takes the link down at its far end (`down`), or up again.
    pub fn link(&self, state: &str) {
        self.far(&["ip", "link", "set", "far0", state]);
    }

    /// Adds a route of the gateway to the upstreams, `blackhole` or `unreachable`.
    pub fn add_route(&self, kind: &str) {
        self.near(&["ip", "route", "add", kind, &format!("{THERE}/32")]);
    }

    /// Undoes [`Namespaces::add_route`].
    pub fn remove_route(&self, kind: &str) {
        self.near(&["ip", "route", "del", kind, &format!("{THERE}/32")]);
    }

    /// Runs a command in the gateway's namespace. Returns false if it fails.
    pub fn try_near(&self, command: &[&str]) -> bool {
        run(&mut enter(&self.near, command), "iproute2").status.success()
    }

    fn near(&self, command: &[&str]) {
        succeed(&self.near, command);
    }

    fn far(&self, command: &[&str]) {
        succeed(&self.far, command);
    }
}

fn wait_for_lo(holder: &mut Process) {
    let log = holder.log().to_owned();
    holder
        .wait_until("a network namespace", || std::fs::read_to_string(&log).is_ok_and(|output| output.contains("up")));
}

/// A command in the network namespace of a process.
fn enter(holder: &Process, words: &[&str]) -> Command {
    let mut command = command(&nsenter(&holder.id().to_string(), "--net"));
    command.args(words);
    command
}

fn succeed(holder: &Process, command: &[&str]) {
    let output = run(&mut enter(holder, command), "util-linux and iproute2");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
