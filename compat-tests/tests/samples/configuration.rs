//! The example in docs/configuration.md starts a gateway on the sockets of `packaging/systemd`.

use std::process::Command;

use compat_tests::darkserver::Sqlite;
use compat_tests::process::{Process, free_port, run};
use compat_tests::programs::program;
use compat_tests::{fixtures, http};

use super::{block, document, server, text, with};

#[test]
fn the_example_works_with_the_sockets_of_systemd() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let directory = tempfile::tempdir().unwrap();
    let (port, path) = (free_port(), text(directory.path()));
    // Addresses of this test, in the unit and in the example.
    let local = |text: &str| text.replace(":8002", &format!(":{port}")).replace("/run/darkserver", path);
    let example = with(
        &block(&document("docs/configuration.md"), "toml", "/etc/darkserver/gateway.toml"),
        &[
            ("mysql://darkserver_reader:secret@db.example.org/darkserver", &sqlite.url()),
            ("/var/cache/darkserver", &format!("{path}/cache")),
            ("https://debuginfod.fedoraproject.org", "http://127.0.0.1:9"),
        ],
    );
    std::fs::write(directory.path().join("gateway.toml"), local(&example)).unwrap();
    let unit = local(&document("packaging/systemd/darkserver.socket"));
    let addresses: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    assert_eq!(addresses.len(), 2, "{unit}");
    let mut command = Command::new("systemd-socket-activate");
    command.args(addresses.iter().map(|address| format!("--listen={address}")));
    command.arg(format!("--setenv=DARKSERVER_ETC={path}")).arg(program("darkserver"));
    let mut gateway = Process::start(&mut command, &directory.path().join("log"));
    // The first connection starts it.
    gateway.wait_until("answer", || http::get(port, "/healthz").is_ok_and(|answer| answer.status == 200));
    let (file, bytes) = server();
    assert!(http::get(port, &file).unwrap().body == bytes, "expected the program");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--unix-socket", addresses[0], &format!("http://localhost{file}")]);
    assert!(run(&mut curl, "curl").stdout == bytes, "expected the program: {}", gateway.output());
}
