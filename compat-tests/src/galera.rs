//! A Galera cluster of two MariaDB servers on this machine.
//!
//! A node that joins gets the transactions that it missed from the other node's memory (IST). Scripts that copy whole
//! data directories (SST) are not needed: both nodes begin with the same data, and a fake script reports that.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::mariadb::MariaDb;
use crate::process::free_port;

/// Galera calls this script to copy data. The joiner reports its position, the donor that no copy is needed. Galera
/// passes `--bypass` to the donor in that case.
const FAKE_SST: &str = r#"#!/bin/sh
for word in "$@"; do
  case $before in
    --role) role=$word ;;
    --gtid) position=$word ;;
    --address) address=$word ;;
    --datadir) data=$word ;;
  esac
  [ "$word" = --bypass ] && bypass=yes
  before=$word
done
case $role$bypass in
  joiner) echo "ready $address"; cat "$data/position" ;;
  donoryes) echo "done $position" ;;
  *) echo "expected nodes with one history" >&2; exit 22 ;;
esac
"#;

/// Two nodes with one content. Both end when this is dropped.
pub struct Galera {
    /// The nodes. A statement on one of them is replicated to the other.
    pub nodes: [MariaDb; 2],
    _programs: TempDir,
}

impl Galera {
    /// Makes an empty cluster and waits until both nodes answer.
    ///
    /// # Panics
    /// If MariaDB or its library for Galera is not installed, or a node does not start.
    pub fn start() -> Self {
        let programs = tempfile::tempdir().expect("a directory");
        let script = programs.path().join("wsrep_sst_fake");
        fs::write(&script, FAKE_SST).expect("write a script");
        for path in [programs.path(), &script] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("let others run it");
        }
        // A port; the next one is for incremental state transfers.
        let ports = [free_port(), free_port()];
        let begins = options(ports[0], None);
        let mut first = MariaDb::start_with(&begins.iter().map(String::as_str).collect::<Vec<_>>());
        first.stop();
        let second = MariaDb::copy_of(&first);
        for left in ["galera.cache", "gvwstate.dat"] {
            // It may be missing.
            let _ = fs::remove_file(second.data().join(left));
        }
        let mut this = Self { nodes: [first, second], _programs: programs };
        for (number, peer) in [(0, None), (1, Some(ports[0]))] {
            let node = &mut this.nodes[number];
            let options = options(ports[number], peer);
            node.set_options(&options.iter().map(String::as_str).collect::<Vec<_>>());
            node.set_programs(this._programs.path());
        }
        this.restart(0);
        this.restart(1);
        this
    }

    /// Starts a node, after it was ended if it runs. Waits until it is synchronised.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.stop();
        fs::write(node.data().join("position"), position(&node.data())).expect("write a position");
        node.restart();
    }
}

fn options(port: u16, peer: Option<u16>) -> Vec<String> {
    let mut options = vec![
        "--binlog-format=ROW".into(),
        "--innodb-autoinc-lock-mode=2".into(),
        "--wsrep-on=ON".into(),
        format!("--wsrep-provider={}", library().display()),
        "--wsrep-cluster-name=darkserver-test".into(),
        "--wsrep-node-address=127.0.0.1".into(),
        format!("--wsrep-node-name=node-{port}"),
        "--wsrep-sst-method=fake".into(),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{port};base_port={port};\
             ist.recv_addr=127.0.0.1:{};gcache.size=32M",
            port.checked_add(1).unwrap_or(port - 1)
        ),
    ];
    match peer {
        Some(peer) => options.push(format!("--wsrep-cluster-address=gcomm://127.0.0.1:{peer}")),
        None => options.extend(["--wsrep-cluster-address=gcomm://".into(), "--wsrep-new-cluster".into()]),
    }
    options
}

/// The position of a stopped node: `UUID:NUMBER`.
fn position(data: &Path) -> String {
    let state = fs::read_to_string(data.join("grastate.dat")).expect("the state of a stopped node");
    let value =
        |name: &str| state.lines().find_map(|line| line.strip_prefix(name)).expect("a value of grastate.dat").trim();
    format!("{}:{}\n", value("uuid:"), value("seqno:"))
}

fn library() -> PathBuf {
    let found = ["/usr/lib/galera", "/usr/lib64/galera", "/usr/lib/galera-4", "/usr/lib64/galera-4"]
        .map(|directory| Path::new(directory).join("libgalera_smm.so"))
        .into_iter()
        .find(|file| file.is_file());
    found.expect("libgalera_smm.so: install Galera (Debian: galera-4, Fedora: galera)")
}
