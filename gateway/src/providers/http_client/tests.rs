//! The client against servers that redirect.

use std::io::Write;
use std::sync::{Arc, Mutex};

use compat_tests::fake_server::{self, FakeServer};
use reqwest::StatusCode;

use super::*;

/// A server that keeps the heads of its requests, and redirects to `location`; `{own}` stands for its own URL.
fn redirecting(location: &str) -> (FakeServer, Arc<Mutex<Vec<String>>>) {
    let (heads, location) = (Arc::new(Mutex::new(Vec::new())), location.to_owned());
    let kept = heads.clone();
    let server = FakeServer::start(move |head, stream| {
        kept.lock().unwrap().push(head.to_ascii_lowercase());
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    });
    (server, heads)
}

/// A server that has everything, and keeps the heads of its requests.
fn having() -> (FakeServer, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    let server = FakeServer::start(move |head, stream| {
        kept.lock().unwrap().push(head.to_ascii_lowercase());
        fake_server::serve_elf(head, stream);
    });
    (server, heads)
}

fn client(hosts: &[&str], allow_private: bool) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    headers.insert("x-token", HeaderValue::from_static("t0ken"));
    let redirect_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    let policy = ClientPolicy { redirect_hosts, allow_private, headers, ..ClientPolicy::default() };
    build(&policy, "tests/1").unwrap()
}

async fn get(client: &Client, url: &str) -> Result<Response, String> {
    let request = client.get(Url::parse(url).unwrap()).header(reqwest::header::RANGE, "bytes=0-3");
    request.send().await.map_err(|error| reason(&error))
}

#[tokio::test]
async fn secrets_stay_with_the_origin_and_other_headers_travel() {
    let (target, target_heads) = having();
    let (server, heads) = redirecting(&target.url().replace("127.0.0.1", "localhost"));
    let login = server.url().replace("//", "//me:geheim@");
    let response = get(&client(&["localhost"], false), &login).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let (heads, target_heads) = (heads.lock().unwrap(), target_heads.lock().unwrap());
    assert!(heads[0].contains("x-token: t0ken") && heads[0].contains("authorization: basic"), "{heads:?}");
    assert!(!target_heads[0].contains("token") && !target_heads[0].contains("authorization"), "{target_heads:?}");
    for head in [&heads[0], &target_heads[0]] {
        assert!(head.contains("user-agent: tests/1\r\n") && head.contains("range: bytes=0-3\r\n"), "{head}");
    }
}

#[tokio::test]
async fn another_port_of_the_same_host_is_another_origin() {
    let (target, target_heads) = having();
    let (server, _) = redirecting(&target.url());
    assert_eq!(get(&client(&["127.0.0.1"], false), &server.url()).await.unwrap().status(), StatusCode::OK);
    assert!(!target_heads.lock().unwrap()[0].contains("token"));
}

#[tokio::test]
async fn a_private_target_has_to_be_named_or_private_ones_allowed() {
    let (target, heads) = having();
    let ways = [("127.0.0.1", "localhost"), ("localhost", "127.0.0.1")];
    for (own, private) in ways {
        let (server, _) = redirecting(&target.url().replace("127.0.0.1", private));
        let url = server.url().replace("127.0.0.1", own);
        let refused = match get(&client(&["*"], false), &url).await {
            Ok(response) => refused_redirect(&response),
            Err(error) => error,
        };
        let expected = format!("expected a public address of {private}, found 127.0.0.1; name the host");
        assert!(refused.contains(&expected), "{refused}");
        let refused = refused_redirect(&get(&client(&[], true), &url).await.unwrap());
        assert_eq!(refused, format!("redirects to a host that redirect_hosts does not allow: {private}"));
        assert_eq!(heads.lock().unwrap().len(), 0, "a private target was asked");
        for client in [client(&[private], false), client(&["*", private], false), client(&["*"], true)] {
            assert_eq!(get(&client, &url).await.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(std::mem::take(&mut *heads.lock().unwrap()).len(), 3);
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends_after_the_third() {
    let (server, heads) = redirecting("/again");
    let response = get(&client(&["*"], true), &server.url()).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(refused_redirect(&response), "redirects more than 3 times");
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 4);
    assert!(heads.iter().all(|head| head.contains("x-token: t0ken")), "{heads:?}");
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
    let _ = rustls::crypto::ring::default_provider().install_default();
    let [own, other] = [(); 2].map(|()| compat_tests::certificates::Certificates::make());
    let tls = UpstreamTls { ca: None, certificate: Some(own.certificate()), key: Some(other.key()) };
    let error = build(&ClientPolicy { tls, ..ClientPolicy::default() }, "tests/1").err().unwrap();
    let files = format!("HTTP client with {}, {}", own.certificate().display(), other.key().display());
    assert!(error.to_string().starts_with(&files), "{error:#}");
}
