//! A process of Koji's hub with the plugin: `compat-tests/python/koji_hub.py`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use compat_tests::python;
use serde_json::{Value, json};

use crate::{MARGIN, Setup, TIMEOUT};

/// The directory of the plugin.
pub(crate) fn plugins() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/koji-plugin")
}

/// The command `darkserver-koji-flush`, run by the environment's interpreter.
pub(crate) fn flush_command(configuration: &str) -> Command {
    let mut command = Command::new(python::interpreter());
    command.arg("-B").arg(plugins().join("darkserver-koji-flush"));
    command.arg("--plugin").arg(plugins().join("darkserver.py")).args(["--config", configuration]);
    command
}

/// A running process; dropping it ends it by its id.
pub(crate) struct Hub {
    child: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Hub {
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_through(setup, &[], &[])
    }

    /// Starts it by a command that ends in `exec "$@"`, with further arguments of the script.
    pub(crate) fn start_through(setup: &Setup, through: &[&str], arguments: &[&str]) -> Self {
        let script = python::script("python/koji_hub.py");
        let mut command = match through.split_first() {
            None => Command::new(script.get_program()),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(script.get_program());
                command
            }
        };
        command.args(script.get_args()).arg("--plugins").arg(plugins()).args(["--config", &setup.configuration()]);
        let log = tempfile::NamedTempFile::new_in(setup.directory.path()).unwrap().into_temp_path().keep().unwrap();
        command.args(arguments).env_remove("PYTHONPATH");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let (orders, results) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut hub = Self { child, orders, results, log };
        assert_eq!(hub.line(), "ready");
        hub
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A request with these callbacks, which is committed.
    pub(crate) fn commit(&mut self, callbacks: &[Value]) {
        self.run(callbacks, "commit");
    }

    /// A request with these callbacks that ends so: `commit`, `rollback` or `read`.
    pub(crate) fn run(&mut self, callbacks: &[Value], end: &str) {
        self.order(&json!({"callbacks": callbacks, "end": end}));
    }

    /// `threads` threads with `times` requests each, each with the completion of a build, numbered from `first` on.
    /// Returns the seconds of each.
    pub(crate) fn commit_many(&mut self, first: i64, threads: i64, times: i64) -> Vec<f64> {
        let mut callback = complete(0);
        callback[1]["info"]["id"] = json!("{n}");
        callback[1]["info"]["build_id"] = json!("{n}");
        self.order(&json!({
            "callbacks": [callback], "end": "commit", "first": first, "threads": threads, "times": times
        }))
    }

    /// Runs an order. No callback may raise, and none after the commit may take longer than the plugin's timeout.
    fn order(&mut self, order: &Value) -> Vec<f64> {
        writeln!(self.orders, "{order}").unwrap();
        let result: Value = serde_json::from_str(&self.line()).unwrap();
        assert_eq!(result["errors"], json!([]), "{}", self.log());
        let seconds: Vec<f64> =
            result["seconds"].as_array().unwrap().iter().map(|taken| taken.as_f64().unwrap()).collect();
        let limit = (TIMEOUT + MARGIN).as_secs_f64();
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        assert!(longest < limit, "the hub waited {longest} s:\n{}", self.log());
        seconds
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.results.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the process ended:\n{}", self.log());
        line.trim_end().to_owned()
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the hub ---\n{}", self.log());
        }
    }
}

/// A build as the hub gives it to callbacks.
pub(crate) fn build(id: i64, state: i64) -> Value {
    json!({
        "id": id, "build_id": id, "name": "hello", "package_name": "hello", "version": "2.12.1", "release": "5.fc44",
        "epoch": null, "nvr": "hello-2.12.1-5.fc44", "state": state, "volume_id": 0, "volume_name": "DEFAULT",
        "task_id": 140_000_001, "owner_name": "somebody", "draft": false,
    })
}

/// The callback of a build that completes.
pub(crate) fn complete(id: i64) -> Value {
    changed(id, "state", json!(0), 1, 1)
}

/// The callback of a change from `old` to `new`.
pub(crate) fn changed(id: i64, attribute: &str, old: Value, new: i64, state: i64) -> Value {
    json!(["postBuildStateChange", {"attribute": attribute, "old": old, "new": new, "info": build(id, state)}])
}
