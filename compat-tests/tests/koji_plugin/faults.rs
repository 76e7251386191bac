//! Indexers that are dead, slow, hang or refuse: the hub goes on, and every build is told when they are back.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use compat_tests::certificates::Certificates;
use compat_tests::fake_server::{FakeServer, fail, hang, redirect_elsewhere, serve_html};
use compat_tests::process::{Process, free_port};
use compat_tests::unshare::unshare;
use compat_tests::wait_within;

use crate::hub::{Hub, complete};
use crate::indexer::Indexer;
use crate::{Setup, builds};

/// Builds that each fault meets, one in each request, and as many in one request.
const COUNT: i64 = 5;

/// The hub completes builds while the indexer has a fault, and is ended once it has noticed; then the indexer is back,
/// and darkserver-koji-flush tells all builds.
#[track_caller]
fn survives(setup: &Setup, hub: Hub) {
    meet(setup, hub, |log| log.contains("stay in"));
}

/// As [`survives`], for a hub that still waits for its first answer when it ends.
#[track_caller]
fn survives_hanging(setup: &Setup, hub: Hub) {
    let is_telling = || setup.spooled().iter().any(|name| name.contains(".telling."));
    meet(setup, hub, |log| {
        assert!(!log.contains("stay in"), "expected that it still waits: {log}");
        is_telling()
    });
}

#[track_caller]
fn meet(setup: &Setup, mut hub: Hub, has_met: impl Fn(&str) -> bool) {
    for id in 1..=COUNT {
        hub.commit(&[complete(id)]);
    }
    hub.commit(&(COUNT + 1..=2 * COUNT).map(complete).collect::<Vec<_>>());
    wait_within(Duration::from_secs(10), "all builds in the spool", || setup.spooled().len() as i64 == 2 * COUNT);
    wait_within(Duration::from_secs(10), "an attempt", || has_met(&hub.log()));
    hub.kill();
    assert!(!hub.log().contains("Traceback"), "{}", hub.log());
    setup.age_claims();
    let indexer = Indexer::start();
    setup.flush_to(&indexer, "");
    assert_eq!(indexer.builds(), builds(1, 2 * COUNT));
}

#[track_caller]
fn survives_server(behaviour: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) {
    let server = FakeServer::start(behaviour);
    let setup = Setup::new(&server.url(), "");
    let hub = Hub::start(&setup);
    survives(&setup, hub);
}

fn answer(status: &'static str) -> impl Fn(&str, &mut TcpStream) + Send + Sync + 'static {
    move |_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    }
}

#[test]
fn nothing_listens() {
    let setup = Setup::new(&format!("http://127.0.0.1:{}", free_port()), "");
    let hub = Hub::start(&setup);
    survives(&setup, hub);
}

#[test]
fn connections_are_accepted_and_never_answered() {
    let server = FakeServer::start(hang);
    let setup = Setup::new(&server.url(), "");
    let hub = Hub::start(&setup);
    survives_hanging(&setup, hub);
}

#[test]
fn the_backlog_of_connections_is_full() {
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let port = TcpListener::from(listener.try_clone().unwrap()).local_addr().unwrap().port();
    // The kernel drops further attempts: they are neither accepted nor refused.
    let waiting: Vec<TcpStream> = (0..4)
        .filter_map(|_| {
            let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()
        })
        .collect();
    assert!(waiting.len() < 4, "expected that the last attempts hang");
    let setup = Setup::new(&format!("http://127.0.0.1:{port}"), "");
    let hub = Hub::start(&setup);
    survives_hanging(&setup, hub);
}

#[test]
fn connections_are_reset() {
    survives_server(|_, stream| {
        let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
    });
}

#[test]
fn the_answer_ends_in_its_first_line() {
    survives_server(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 2");
    });
}

#[test]
fn the_status_line_drips() {
    let server = FakeServer::start(|_, stream| {
        for byte in b"HTTP/1.1 202 Accepted\r\n\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let setup = Setup::new(&server.url(), "");
    let hub = Hub::start(&setup);
    survives_hanging(&setup, hub);
}

#[test]
fn the_status_line_never_ends() {
    survives_server(|_, stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
}

#[test]
fn the_body_never_ends() {
    survives_server(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
}

#[test]
fn the_answer_is_not_http() {
    survives_server(|_, stream| {
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
    });
}

#[test]
fn the_status_is_not_of_the_build() {
    survives_server(fail);
    survives_server(redirect_elsewhere);
    survives_server(serve_html);
    for status in ["503 Service Unavailable", "429 Too Many Requests", "403 Forbidden", "408 Request Timeout"] {
        survives_server(answer(status));
    }
}

#[test]
fn the_token_is_wrong() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    std::fs::write(setup.path("token"), "another").unwrap();
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(1)]);
    wait_within(Duration::from_secs(10), "a warning", || hub.log().contains("found 401"));
    assert_eq!(setup.spooled(), ["1.json".to_owned()].into());
    // The file is read each time: the next build tells both.
    std::fs::write(setup.path("token"), format!("# of the hub\n\n{}\n", crate::indexer::TOKEN)).unwrap();
    hub.commit(&[complete(2)]);
    setup.wait_until_told();
    assert_eq!(indexer.builds(), builds(1, 2));
}

#[test]
fn the_token_is_missing() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    std::fs::remove_file(setup.path("token")).unwrap();
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(1)]);
    wait_within(Duration::from_secs(10), "a warning", || hub.log().contains("token_file"));
    assert_eq!(indexer.requests(), 0);
    let (status, written) = setup.flush(&[]);
    assert_eq!(status, Some(2), "{written}");
    assert_eq!(setup.spooled().len(), 1);
}

#[test]
fn the_handshake_of_tls_hangs() {
    let server = FakeServer::start(hang);
    let setup = Setup::new(&server.url().replace("http:", "https:"), "");
    let hub = Hub::start(&setup);
    survives_hanging(&setup, hub);
}

/// An nginx with a private certificate that passes requests on to `indexer`.
fn proxy(indexer: &Indexer, certificates: &Certificates, directory: &Path) -> (Process, String) {
    let (port, path) = (free_port(), |name: &str| directory.join(name).display().to_string());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {};\n", path(name)))
        .collect();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
         location /indexer/ {{ proxy_pass {}/; proxy_http_version 1.1; proxy_set_header Connection close; }}\n}}\n}}\n",
        path("pid"),
        certificates.certificate().display(),
        certificates.key().display(),
        indexer.url(),
    );
    std::fs::write(path("nginx.conf"), configuration).unwrap();
    let nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut nginx = Command::new(nginx.expect("nginx (install nginx)"));
    nginx.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
    let mut process = Process::start(&mut nginx, &directory.join("log"));
    process.wait_for_port(port);
    (process, format!("https://localhost:{port}/indexer/"))
}

#[test]
fn the_certificate_is_unknown() {
    let (indexer, certificates, directory) = (Indexer::start(), Certificates::make(), tempfile::tempdir().unwrap());
    let (_proxy, url) = proxy(&indexer, &certificates, directory.path());
    let setup = Setup::new(&url, "");
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(1)]);
    wait_within(Duration::from_secs(10), "a warning", || hub.log().contains("CERTIFICATE_VERIFY_FAILED"));
    assert_eq!(setup.spooled(), ["1.json".to_owned()].into());

    // By its authority, or without a look at it.
    for (id, more) in [(2, format!("ca = {}", certificates.authority().display())), (3, "verify = false".to_owned())] {
        setup.configure(&url, &more);
        let mut hub = Hub::start(&setup);
        hub.commit(&[complete(id)]);
        setup.wait_until_told();
        assert_eq!(indexer.builds(), builds(1, id));
    }
}

#[test]
fn the_address_is_wrong() {
    let indexer = Indexer::start();
    let setup = Setup::new(&format!("{}/elsewhere", indexer.url()), "");
    let hub = Hub::start(&setup);
    survives(&setup, hub);
}

#[test]
fn the_resolver_never_answers() {
    let setup = Setup::new("http://indexer.example.org:8003", "");
    let resolver = setup.path("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\n").unwrap();
    let script = "mount --bind \"$1\" \"$(readlink -f /etc/resolv.conf)\" && ip link set lo up && shift && exec \"$@\"";
    let mut through = unshare("--mount");
    through.extend(["unshare", "--net", "sh", "-c", script, "sh", &resolver]);
    let hub = Hub::start_through(&setup, &through, &["--silent-resolver"]);
    survives_hanging(&setup, hub);
}

#[test]
fn an_indexer_that_returns_gets_the_builds_with_the_next_one() {
    let port = free_port();
    let setup = Setup::new(&format!("http://127.0.0.1:{port}"), "");
    let mut hub = Hub::start(&setup);
    for id in 1..=COUNT {
        hub.commit(&[complete(id)]);
    }
    wait_within(Duration::from_secs(10), "a warning", || hub.log().contains("stay in"));
    hub.kill();
    setup.age_claims();
    let indexer = Indexer::start_on(port, |_| 202);
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(COUNT + 1)]);
    setup.wait_until_told();
    assert_eq!(indexer.builds(), builds(1, COUNT + 1));
    // The newest is first: it is not kept waiting by what was left.
    assert_eq!(indexer.messages()[0]["build"], COUNT + 1);
}

#[test]
fn a_refused_build_is_moved_aside_and_does_not_hold_up_others() {
    let port = free_port();
    let refusing = Indexer::start_on(port, |message| if message["build"] == 2 { 400 } else { 202 });
    let setup = Setup::new(&refusing.url(), "");
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(1), complete(2), complete(3)]);
    setup.wait_until_told();
    assert_eq!(refusing.builds(), [1, 3].into());
    let log = hub.log();
    assert!(log.contains("darkserver refused build 2") && log.contains("found 400 no"), "{log}");
    let refused = std::path::Path::new(&setup.path("spool")).join("refused/2.json");
    assert!(refused.is_file());

    drop(refusing);
    let indexer = Indexer::start_on(port, |_| 202);
    let (status, written) = setup.flush(&["--retry-refused"]);
    assert_eq!(status, Some(0), "{written}");
    assert_eq!(indexer.builds(), [2].into());
    assert!(!refused.exists());
}
