//! TLS, terminated by the gateway.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::process::{free_port, run};
use compat_tests::rpmbuild;
use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, UNKNOWN, curl, curl_says, nowhere, refusal, servers, text, wait_until};

/// A gateway that speaks TLS on one port and plain HTTP on another.
struct Secure {
    gateway: RunningGateway,
    certificates: Certificates,
    port: u16,
}

impl Secure {
    fn start(database: &str, configuration: &str, arguments: &[&str]) -> Self {
        let certificates = Certificates::make();
        let port = free_port();
        let listen = format!("tls:127.0.0.1:{port}");
        let (certificate, key) = (certificates.certificate(), certificates.key());
        let options = ["--listen", &listen, "--tls-certificate", text(&certificate), "--tls-key", text(&key)];
        let gateway = RunningGateway::start_with(database, configuration, &[&options[..], arguments].concat());
        Self { gateway, certificates, port }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// What every call of curl needs.
    fn trust(&self) -> [String; 2] {
        ["--cacert".to_owned(), text(&self.certificates.authority()).to_owned()]
    }

    fn says(&self, format: &str, path: &str, arguments: &[&str]) -> String {
        let [option, authority] = self.trust();
        curl_says(format, &[&[&option, &authority, self.url(path).as_str()], arguments].concat())
    }

    /// `debuginfod-find` in an environment that trusts the authority.
    fn find(&self, client: &DebuginfodClient, arguments: &[&str]) -> Output {
        let mut command = self.certificates.trusting("debuginfod-find");
        client.environment(&mut command);
        run(command.args(arguments), "debuginfod and util-linux")
    }

    /// The serial number of the certificate that is shown.
    fn serial(&self) -> String {
        let mut command = Command::new("sh");
        let script = "openssl s_client -connect 127.0.0.1:$1 < /dev/null 2> /dev/null | openssl x509 -noout -serial";
        let output = run(command.args(["-c", script, "sh", &self.port.to_string()]), "openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn files_are_served_through_tls_on_http_1_and_2_by_alpn() {
    let (sqlite, file, bytes) = servers();
    let secure = Secure::start(&sqlite.url(), "", &[]);
    for (offer, version) in [("--http2", "2"), ("--http1.1", "1.1"), ("--no-alpn", "1.1")] {
        assert_eq!(secure.says("%{http_version} %{http_code}", &file, &[offer]), format!("{version} 200"), "{offer}");
        let [option, authority] = secure.trust();
        let output = curl(&[&option, &authority, offer, &secure.url(&file)]);
        assert!(output.stdout == bytes, "{offer}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let arguments: Vec<&str> = version.split('=').collect();
        assert_eq!(secure.says("%{http_code}", "/healthz", &arguments), "200", "{version}");
    }
    // Nobody is served who speaks nothing newer than 1.1.
    let [option, authority] = secure.trust();
    let old =
        curl(&[&option, &authority, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &secure.url("/healthz")]);
    assert_eq!(old.status.code(), Some(35), "{}", String::from_utf8_lossy(&old.stderr));
    // Links say how the gateway was asked.
    let output = curl(&[&option, &authority, &secure.url("/package/server-1.1-5.fc99.x86_64")]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["url"].as_str().unwrap().starts_with(&secure.url("/archive/")), "{answer}");
    assert_eq!(secure.says("%{http_code}", &format!("/{}", "a".repeat(70_000)), &["--http1.1"]), "414");
    assert_eq!(secure.gateway.get("/healthz").status, 200, "plain HTTP beside it");
}

#[test]
fn thousands_of_requests_share_an_http2_connection_within_its_limits() {
    let sqlite = Sqlite::with_packages(&[]);
    let secure = Secure::start(&sqlite.url(), "", &[]);
    let [option, authority] = secure.trust();
    let arguments =
        ["--parallel", "--parallel-max", "300", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}\n"];
    let output = curl(&[&arguments[..], &[&option, &authority, &secure.url("/healthz?[1-3000]")]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.lines().filter(|line| *line == "200 2").count(),
        3000,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(secure.gateway.metric("gateway_connections_closed_total{reason=\"stream_limit\"}"), 0.0);
}

#[test]
fn debuginfod_find_works_through_tls_and_caches_no_unavailable_answer() {
    let (sqlite, file, bytes) = servers();
    let secure = Secure::start(&sqlite.url(), "", &["--upstream", &nowhere()]);
    let client = DebuginfodClient::new(&secure.url(""));
    let build_id = file.split('/').nth(2).unwrap();
    let output = secure.find(&client, &["executable", build_id]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(fs::read(found.trim()).unwrap() == bytes);

    // It speaks HTTP/2 here. A reset is an error of the connection to it, is tried again, and leaves nothing in its
    // cache.
    let output = secure.find(&client, &["-vv", "debuginfo", UNKNOWN]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Connection reset by peer"), "{said}");
    let left = fs::read_dir(client.cache().join(UNKNOWN)).map(|files| files.count()).unwrap_or_default();
    assert_eq!(left, 0, "a file that remembers the failure: {said}");
    let resets = secure.gateway.metric("gateway_unavailable_total{result=\"reset\"}");
    assert!(resets >= 1.0, "{resets} resets, {}", secure.gateway.log());
    assert_eq!(secure.gateway.metric("gateway_unavailable_total{result=\"status\"}"), 0.0);
    let versions = secure.says("%{http_version}", "/healthz", &["--http2"]);
    assert_eq!(versions, "2");
}

#[test]
fn a_response_that_cannot_be_finished_ends_in_a_reset() {
    let directory = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(directory.path(), "large", 16 << 20);
    let root = directory.path().to_owned();
    let store = FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&root, head);
        fake_server::begin(stream, bytes.len());
        let _ = stream.write_all(&bytes[..bytes.len() / 2]);
    });
    let index = Sqlite::empty();
    index.add_store("store", "mirror", directory.path(), &store.url());
    let socket = directory.path().join("gateway.sock");
    let secure = Secure::start(&index.url(), "", &["--listen", &format!("unix:{}", text(&socket))]);
    let path = format!("/buildid/{}/executable", made.build_id);
    let [option, authority] = secure.trust();
    for offer in ["--http1.1", "--http2"] {
        let output = curl(&[&option, &authority, offer, &secure.url(&path)]);
        assert!(was_reset(&output), "{offer}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    // Fewer bytes than were announced.
    let output = curl(&["--unix-socket", text(&socket), &format!("http://localhost{path}")]);
    assert_eq!(output.status.code(), Some(18), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Did curl fail to send to or to receive from the network (55, 56)? libdebuginfod takes both for a reset. An orderly
/// end, an HTTP error or the reset of a stream would be 18, 52, 92 or a success.
fn was_reset(output: &Output) -> bool {
    matches!(output.status.code(), Some(55 | 56))
}

#[test]
fn an_unavailable_answer_is_a_reset_unless_other_requests_are_affected() {
    let sqlite = Sqlite::with_packages(&[]);
    let secure = Secure::start(&sqlite.url(), "", &["--upstream", &nowhere()]);
    let [option, authority] = secure.trust();
    let question = |what: &str| secure.url(&format!("/buildid/{UNKNOWN}/{what}"));
    for offer in ["--http1.1", "--http2"] {
        let output = curl(&[&option, &authority, offer, &question("debuginfo")]);
        assert!(was_reset(&output), "{offer}: {}", String::from_utf8_lossy(&output.stderr));
    }

    // Another question on the same connection is still being looked for when the first is known to be undecided.
    let slow = FakeServer::start(|_, stream| {
        std::thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let secure = Secure::start(&sqlite.url(), "", &["--upstream", &nowhere(), "--upstream", &slow.url()]);
    let [option, authority] = secure.trust();
    let urls = ["a1", "a2", "a3"]
        .map(|end| secure.url(&format!("/buildid/00000000000000000000000000000000000000{end}/debuginfo")));
    let parallel = ["--http2", "--parallel", "--write-out", "%{http_version} %{http_code} %header{cache-control}\n"];
    let mut arguments = vec![option.as_str(), authority.as_str()];
    arguments.extend(parallel);
    // The first makes the connection that the others share.
    let warm = secure.url("/healthz");
    arguments.extend(["--output", "/dev/null", warm.as_str(), "--next", "--silent", "--cacert", authority.as_str()]);
    arguments.extend(parallel);
    for url in &urls {
        arguments.extend(["--output", "/dev/null", url.as_str()]);
    }
    let said = String::from_utf8(curl(&arguments).stdout).unwrap();
    assert_eq!(said.matches("2 503 no-store").count(), 3, "nobody is reset, found {said}");
}

#[test]
fn a_trusted_proxy_gets_a_status_through_tls() {
    let sqlite = Sqlite::with_packages(&[]);
    let secure = Secure::start(&sqlite.url(), "trusted_proxies = [\"127.0.0.0/8\"]\n", &["--upstream", &nowhere()]);
    for offer in ["--http1.1", "--http2"] {
        let path = format!("/buildid/{UNKNOWN}/debuginfo");
        assert_eq!(secure.says("%{http_code} %header{cache-control}", &path, &[offer]), "503 no-store", "{offer}");
    }
}

#[test]
fn the_certificate_is_reloaded_at_sighup_and_on_change() {
    let sqlite = Sqlite::with_packages(&[]);
    let mut secure = Secure::start(&sqlite.url(), "", &[]);
    let first = secure.serial();
    secure.certificates.renew();
    secure.gateway.process().signal(Signal::HUP);
    wait_until("SIGHUP", || secure.serial() != first);
    let second = secure.serial();
    // Nobody has to say so: the files are looked at every 10 s.
    secure.certificates.renew();
    wait_until("a change", || secure.serial() != second);
    let third = secure.serial();
    // A key that is another certificate's changes nothing, and is said.
    let other = Certificates::make();
    let own = fs::read(secure.certificates.key()).unwrap();
    fs::copy(other.key(), secure.certificates.key()).unwrap();
    secure.gateway.process().signal(Signal::HUP);
    wait_until("a complaint", || secure.gateway.log().contains("the TLS certificate stays what it was"));
    assert!(secure.gateway.log().contains("expected the key of the first certificate in"), "{}", secure.gateway.log());
    assert_eq!(secure.serial(), third);
    fs::write(secure.certificates.key(), own).unwrap();
    assert_eq!(secure.says("%{http_code}", "/healthz", &[]), "200");
}

#[test]
fn an_unusable_certificate_or_key_is_named() {
    let (certificates, other) = (Certificates::make(), Certificates::make());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (certificate, key) = (certificates.certificate(), certificates.key());
    let nothing = directory.path().join("nothing.pem");
    let empty = path("empty.pem", "not PEM at all\n");
    let broken = path("broken.pem", "-----BEGIN PRIVATE KEY-----\nsecret");
    for (certificate, key, named, expected) in [
        (&nothing, &key, &nothing, "No such file"),
        (&certificate, &nothing, &nothing, "No such file"),
        (&empty, &key, &empty, "expected a chain of certificates in PEM, found none"),
        (&certificate, &empty, &empty, "expected a private key in PEM, found none"),
        (&certificate, &broken, &broken, "expected a private key in PEM, found something broken"),
        (&certificate, &certificate, &certificate, "expected a private key in PEM, found none"),
        (&certificate, &other.key(), &other.key(), "expected the key of the first certificate in"),
    ] {
        let listen = ["--listen", "tls:127.0.0.1:0", "--tls-certificate", text(certificate), "--tls-key", text(key)];
        let said = refusal("", &listen);
        assert!(said.contains(text(named)) && said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let said = refusal("", &["--listen", "tls:127.0.0.1:0"]);
    assert!(said.contains("expected tls.certificate and tls.key"), "{said}");
    let said =
        refusal("", &["--listen", "127.0.0.1:0", "--tls-certificate", text(&certificate), "--tls-key", text(&key)]);
    assert!(said.contains("expected an address to listen on that begins with `tls:`"), "{said}");
    let said = refusal("", &["--listen", "tls:127.0.0.1:0", "--tls-certificate", text(&certificate)]);
    assert!(said.contains("expected tls.key"), "{said}");
}

#[test]
fn timeouts_apply_through_tls_and_plain_http_gets_an_alert() {
    let sqlite = Sqlite::with_packages(&[]);
    let short = "[connections]\nhead_timeout = \"2s\"\nidle_timeout = \"3s\"\n";
    let secure = Secure::start(&sqlite.url(), short, &[]);
    let lifetime = |says: &[u8]| {
        let started = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, secure.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(says).unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap();
        (started.elapsed(), came)
    };
    // Nothing, and the beginning of a handshake.
    for says in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let (lived, came) = lifetime(says);
        assert!(came.is_empty());
        assert!(lived >= Duration::from_secs(2) && lived < Duration::from_secs(12), "{says:?}: lived {lived:?}");
    }
    // An alert (RFC 8446, section 6), at once.
    let (lived, came) = lifetime(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(came.first(), Some(&21), "{came:?}");
    assert!(lived < Duration::from_secs(2), "lived {lived:?}");
    // After a handshake: silence is ended for the head of a request that does not come, half a request as well.
    for says in ["", "GET /heal"] {
        let started = Instant::now();
        let mut command = Command::new("sh");
        let script = "(printf '%s' \"$2\"; sleep 5) | openssl s_client -quiet -connect 127.0.0.1:$1 > /dev/null 2>&1";
        let mut child = command.args(["-c", script, "sh", &secure.port.to_string(), says]).spawn().unwrap();
        wait_until("the end", || {
            secure.gateway.metric("gateway_connections_closed_total{reason=\"head_timeout\"}")
                >= if says.is_empty() { 3.0 } else { 4.0 }
        });
        assert!(started.elapsed() >= Duration::from_secs(2), "{says}: {:?}", started.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(secure.gateway.metric("gateway_connections_closed_total{reason=\"tls_handshake\"}"), 1.0);
    assert_eq!(secure.says("%{http_code}", "/healthz", &[]), "200", "others are served");
    assert_eq!(http::get(secure.gateway.port, "/healthz").unwrap().status, 200);
}
