//! Sockets that the system manager opened, and what it is told.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::RunningGateway;
use compat_tests::http;
use compat_tests::process::{Process, free_port, run};
use compat_tests::programs::program;
use rustix::process::Signal;

use super::{PATIENCE, curl_says, servers, text};

#[test]
fn sockets_of_systemd_are_used_and_one_named_tls_uses_tls() {
    let (sqlite, file, bytes) = servers();
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make();
    let (plain, secure, socket) = (free_port(), free_port(), directory.path().join("gateway.sock"));
    let mut command = Command::new("systemd-socket-activate");
    command
        .args([
            &format!("--listen=127.0.0.1:{plain}"),
            &format!("--listen=127.0.0.1:{secure}"),
            &format!("--listen={}", socket.display()),
        ])
        .args([
            "--fdname=http:tls:local",
            &format!("--setenv=DARKSERVER_DATABASE={}", sqlite.url()),
            "--setenv=RUST_LOG=info",
        ])
        .arg(format!("--setenv=DARKSERVER_ETC={}", directory.path().display()))
        .arg(program("darkserver"))
        .arg("--cache-dir")
        .arg(directory.path().join("cache"))
        .arg("--tls-certificate")
        .arg(certificates.certificate())
        .arg("--tls-key")
        .arg(certificates.key());
    let mut process = Process::start(&mut command, &directory.path().join("log"));
    // The connection that starts it is answered by it. Nothing else is listened on: the usual address is for who has no
    // other.
    process.wait_until("the gateway", || http::get(plain, "/healthz").is_ok_and(|answer| answer.status == 200));
    assert!(http::get(plain, &file).unwrap().body == bytes);
    let trust = ["--cacert", text(&certificates.authority()).to_owned().leak() as &str];
    let url = format!("https://localhost:{secure}{file}");
    assert_eq!(curl_says("%{http_version} %{http_code}", &[&trust[..], &["--http2", &url]].concat()), "2 200");
    let url = format!("http://localhost{file}");
    assert_eq!(curl_says("%{http_code}", &["--unix-socket", text(&socket), &url]), "200");
    let log = process.output();
    assert_eq!(log.matches("listening address=").count(), 3, "{log}");
}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // The shell's process becomes the gateway's: its id is the one that is meant.
    let script = "exec 3< /dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(program("darkserver")).env("DARKSERVER_ETC", directory.path());
    let output = run(command.arg("--cache-dir").arg(directory.path()), "a POSIX shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("socket 0 of LISTEN_FDS: expected a listening stream socket"),
        "{said}"
    );
}

#[test]
fn the_system_manager_is_notified_of_ready_and_stopping() {
    let (sqlite, ..) = servers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let environment = [("DARKSERVER_DATABASE", sqlite.url()), ("NOTIFY_SOCKET", text(&path).to_owned())];
    let mut gateway =
        RunningGateway::start_in(&environment.each_ref().map(|(name, value)| (*name, value.as_str())), "", &[]);
    let hear = || {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    assert_eq!(hear(), "READY=1\n");
    gateway.process().signal(Signal::TERM);
    assert_eq!(hear(), "STOPPING=1\n");
    assert!(gateway.process().wait().success());
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(manager.recv(&mut [0]).is_err(), "nothing more is said");
}
