//! The client against servers that redirect.

use std::io::{Read, Write};
use std::time::Duration;

use compat_tests::fake_server::{self, FakeServer};
use compat_tests::static_server::StaticServer;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::*;

/// A server that redirects everything to `location`, a URL or a path.
fn redirecting(location: &str) -> FakeServer {
    let location = location.to_owned();
    FakeServer::start(move |head, stream| {
        read_body(head, stream);
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    })
}

/// The body of a request. Without it, the end of a connection would be a reset.
fn read_body(head: &str, stream: &mut impl Read) -> Vec<u8> {
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.lines().find_map(length).unwrap_or_default()];
    stream.read_exact(&mut body).unwrap();
    body
}

fn having() -> FakeServer {
    FakeServer::start(fake_server::serve_elf)
}

fn client(hosts: &[&str], allow_private: bool) -> Client {
    let mut headers = HeaderMap::new();
    headers.insert("x-token", HeaderValue::from_static("t0ken"));
    let redirect_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    let policy = ClientPolicy { redirect_hosts, allow_private, headers, ..ClientPolicy::default() };
    build(&policy, "tests/1").unwrap()
}

async fn get(client: &Client, url: &str) -> Result<Response, String> {
    let request =
        client.get(Url::parse(url).unwrap().join("/asked").unwrap()).header(reqwest::header::RANGE, "bytes=0-3");
    request.send().await.map_err(|error| reason(&error))
}

#[tokio::test]
async fn secrets_stay_with_the_origin_and_other_headers_travel() {
    let target = having();
    let server = redirecting(&format!("http://localhost:{}/x", target.port));
    let login = server.url().replace("//", "//me:geheim@");
    let response = get(&client(&["localhost"], false), &login).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let (asked, followed) = (&server.requests()[0], &target.requests()[0]);
    assert_eq!((asked.header("x-token"), followed.header("x-token")), (Some("t0ken"), None));
    assert!(asked.header("authorization").is_some() && followed.header("authorization").is_none(), "{followed:?}");
    for request in [asked, followed] {
        assert_eq!((request.header("user-agent"), request.header("range")), (Some("tests/1"), Some("bytes=0-3")));
    }
}

#[tokio::test]
async fn another_port_of_the_same_host_is_another_origin() {
    let target = having();
    let server = redirecting(&format!("{}/x", target.url()));
    assert_eq!(get(&client(&["127.0.0.1"], false), &server.url()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(target.requests()[0].header("x-token"), None);
}

#[tokio::test]
async fn a_private_target_has_to_be_named_or_private_ones_allowed() {
    for (own, private) in [("127.0.0.1", "localhost"), ("localhost", "127.0.0.1")] {
        let target = having();
        let server = redirecting(&format!("http://{private}:{}/x", target.port));
        let url = server.url().replace("127.0.0.1", own);
        let refused = match get(&client(&["*"], false), &url).await {
            Ok(response) => refused_redirect(&response),
            Err(error) => error,
        };
        let expected = format!("expected a public address of {private}, found 127.0.0.1; name the host");
        assert!(refused.contains(&expected), "{refused}");
        let refused = refused_redirect(&get(&client(&[], true), &url).await.unwrap());
        assert_eq!(refused, format!("redirects to a host that redirect_hosts does not allow: {private}"));
        assert_eq!(target.connections(), 0, "a private target was asked");
        for client in [client(&[private], false), client(&["*", private], false), client(&["*"], true)] {
            assert_eq!(get(&client, &url).await.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(target.connections(), 3);
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends_after_the_third() {
    let server = redirecting("/again");
    let response = get(&client(&["*"], true), &server.url()).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(refused_redirect(&response), "redirects more than 3 times");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.header("x-token") == Some("t0ken")), "{requests:?}");
}

#[tokio::test]
async fn the_time_of_a_request_is_that_of_all_its_redirects() {
    let server = FakeServer::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(400));
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nConnection: close\r\n\r\n");
    });
    let request = client(&[], false).get(Url::parse(&server.url()).unwrap()).timeout(Duration::from_millis(900));
    let started = Instant::now();
    assert!(request.send().await.unwrap_err().is_timeout());
    assert!(started.elapsed() < Duration::from_millis(1300), "{:?}", started.elapsed());
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_with_the_files() {
    let [own, other] = [(); 2].map(|()| compat_tests::certificates::Certificates::make());
    let tls = TlsFiles { ca: None, certificate: Some(own.certificate()), key: Some(other.key()) };
    let error = build(&ClientPolicy { tls, ..ClientPolicy::default() }, "tests/1").err().unwrap();
    let files = format!("HTTP client with {}, {}", own.certificate().display(), other.key().display());
    assert!(error.to_string().starts_with(&files), "{error:#}");
}

#[tokio::test]
async fn a_host_that_another_party_chose_is_asked_at_public_addresses() {
    let server = having();
    for host in ["127.0.0.1", "localhost"] {
        let url = Url::parse(&server.url().replace("127.0.0.1", host)).unwrap();
        let refused = match client(&[], false).get(url.clone()).public_only() {
            Ok(request) => {
                let error = request.send().await.unwrap_err();
                assert!(is_permanent(&error), "{error:?}");
                reason(&error)
            }
            Err(error) => error.to_string(),
        };
        assert!(
            refused.contains(&format!("expected a public address of {host}, found 127.0.0.1; name the host")),
            "{refused}"
        );
        assert_eq!(server.connections(), 0, "a private address was asked");
    }
    for (hosts, allow_private) in [(&["127.0.0.1"][..], false), (&[], true)] {
        let request = client(hosts, allow_private).get(Url::parse(&server.url()).unwrap()).public_only().unwrap();
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }
    assert!(server.requests().iter().all(|request| request.header("x-token").is_none()), "{:?}", server.requests());
}

#[tokio::test]
async fn a_head_request_stays_one_over_redirects() {
    let target = having();
    let server = redirecting(&format!("{}/x", target.url()));
    let url = Url::parse(&server.url()).unwrap().join("/asked").unwrap();
    assert_eq!(client(&["127.0.0.1"], false).head(url).send().await.unwrap().status(), StatusCode::OK);
    for request in [&server, &target].map(|server| server.requests().remove(0)) {
        assert!(request.head.starts_with("HEAD /"), "{request:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_stays_so_and_a_closed_port_may_open() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = compat_tests::certificates::Certificates::make();
    let server = StaticServer::start_tls(directory.path(), &certificates);
    let error = client(&[], false).get(Url::parse(&server.url()).unwrap()).send().await.unwrap_err();
    assert!(is_permanent(&error), "{error:?}");
    let closed = format!("http://127.0.0.1:{}/", compat_tests::process::free_port());
    let error = client(&[], false).get(Url::parse(&closed).unwrap()).send().await.unwrap_err();
    assert!(!is_permanent(&error), "{error:?}");
    assert_eq!(FailureKind::of(&error), FailureKind::Refused);
}

#[tokio::test]
async fn a_posted_body_arrives_whole_with_our_headers() {
    let body: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let (sender, received) = std::sync::mpsc::channel();
    let server = FakeServer::start(move |head, stream| {
        let body = read_body(head, stream);
        let _ = sender.send(body);
        fake_server::serve_elf(head, stream);
    });
    let url = Url::parse(&server.url()).unwrap().join("/rpc").unwrap();
    let request = client(&[], false).post(url, body.clone()).header(reqwest::header::CONTENT_TYPE, "text/xml");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(received.recv_timeout(Duration::from_secs(10)).unwrap(), body);
    let request = server.requests().remove(0);
    assert!(request.head.starts_with("POST /rpc "), "{request:?}");
    let headers = ["user-agent", "x-token", "content-type"].map(|name| request.header(name));
    assert_eq!(headers, [Some("tests/1"), Some("t0ken"), Some("text/xml")]);
}

#[tokio::test]
async fn a_post_request_is_never_redirected() {
    let target = having();
    for location in [format!("{}/x", target.url()), "/again".to_owned()] {
        let server = redirecting(&location);
        let url = Url::parse(&server.url()).unwrap().join("/rpc").unwrap();
        let response = client(&["*", "127.0.0.1"], true).post(url, "body").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND);
        assert_eq!(refused_redirect(&response), "redirects a POST request");
        assert!(!is_refused_host(&response), "naming the host does not help");
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_post_request_keeps_to_public_addresses() {
    let server = having();
    let url = Url::parse(&server.url().replace("127.0.0.1", "localhost")).unwrap();
    let request = client(&[], false).post(url, "body").public_only().unwrap();
    let error = request.send().await.unwrap_err();
    assert!(is_permanent(&error) && reason(&error).contains("expected a public address of localhost"), "{error:?}");
    assert_eq!(server.connections(), 0);
}
