//! Several listeners at once.

use std::io::Read;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::http;
use compat_tests::process::free_port;

use super::{PATIENCE, curl_says, refusal, text, wait_until};

#[test]
fn every_configured_address_is_listened_on() {
    let sqlite = Sqlite::with_packages(&[]);
    let second = free_port();
    let third = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let addresses = [format!("127.0.0.1:{second}"), format!("[::1]:{third}")];
    let gateway =
        RunningGateway::start_with(&sqlite.url(), "", &["--listen", &addresses[0], "--listen", &addresses[1]]);
    assert_eq!(gateway.get("/healthz").status, 200);
    assert_eq!(http::get(second, "/healthz").unwrap().status, 200);
    assert_eq!(curl_says("%{http_code}", &[&format!("http://[::1]:{third}/healthz")]), "200");
    for address in &addresses {
        assert!(gateway.log().contains(&format!("address={address}")), "{}", gateway.log());
    }
}

#[test]
fn a_name_is_all_its_addresses_and_a_star_is_all_of_the_machine() {
    let sqlite = Sqlite::with_packages(&[]);
    let (named, any) = (free_port(), free_port());
    let addresses = [format!("localhost:{named}"), format!("*:{any}")];
    let gateway =
        RunningGateway::start_with(&sqlite.url(), "", &["--listen", &addresses[0], "--listen", &addresses[1]]);
    for port in [named, any] {
        assert_eq!(http::get(port, "/healthz").unwrap().status, 200, "{}", gateway.log());
    }
    // IPv4 that comes through a socket of IPv6 is logged as IPv4.
    http::get(any, "/buildids/aa11").unwrap();
    wait_until("the line", || gateway.log().contains("path=\"/buildids/aa11\""));
    assert!(gateway.log().contains("peer=\"127.0.0.1\"") && !gateway.log().contains("::ffff:"), "{}", gateway.log());
    // IPv6 where this machine has it.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert_eq!(curl_says("%{http_code}", &[&format!("http://[::1]:{any}/healthz")]), "200");
    }
    let said = refusal("listen = [\"nowhere.invalid:8002\"]\n", &[]);
    assert!(said.contains("listen on nowhere.invalid:8002: expected a name with an address"), "{said}");
}

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(&format!("listen = [\"127.0.0.1:0\", \"{address}\"]\n"), &[]);
    assert!(said.contains(&format!("listen on {address}")) && said.contains("in use"), "{said}");
    let said = refusal("listen = \"localhost\"\n", &[]);
    assert!(said.contains("expected ADDRESS:PORT") && said.contains("found `localhost`"), "{said}");
}

#[test]
fn connections_of_all_listeners_are_counted_together() {
    let sqlite = Sqlite::with_packages(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let limits = "[connections]\nmax_count = 1\nhead_timeout = \"10m\"\nidle_timeout = \"10m\"\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), limits, &["--listen", &format!("unix:{}", text(&path))]);
    let workers = std::thread::available_parallelism().unwrap().get();
    let mut first: Vec<UnixStream> = (0..4 * workers).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let later: Vec<TcpStream> =
        (0..4 * workers).map(|_| TcpStream::connect(("127.0.0.1", gateway.port)).unwrap()).collect();
    // A place each; who asks for the metrics needs one, too, at every worker in turn.
    let all = (8 * workers) as f64;
    wait_until("the idle ones make room", || {
        gateway.metric("gateway_connections_closed_total{reason=\"evicted\"}") >= all
    });
    for stream in &mut first {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "a unix socket that made room");
    }
    assert!(gateway.metric("gateway_connections") <= workers as f64);
    drop(later);
}
