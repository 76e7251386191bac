//! Fetches from real servers on loopback addresses, which have faults.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compat_tests::fake_server::FakeServer;
use compat_tests::fixtures;
use compat_tests::static_server::{Fault, StaticServer};
use sql::{Distros, Store, Tier};
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::fetch::attempts::MAX_PASSING;
use crate::fetch::network::{Network, NetworkLimits};
use crate::pipeline::stop::Stop;
use tokio::runtime::Handle;

const NAME: &str = "bidtest-1.2~rc1-4.fc99.x86_64.rpm";

/// Limits that make tests short.
fn limits() -> NetworkLimits {
    NetworkLimits {
        stall_timeout: Duration::from_millis(500),
        slow_timeout: Duration::from_secs(60),
        down_timeout: Duration::from_millis(500),
        min_pause: Duration::from_millis(10),
        max_pause: Duration::from_secs(1),
        ..NetworkLimits::default()
    }
}

fn network(limits: NetworkLimits) -> Arc<Network> {
    Network::new(Some("mailto:me@example.org"), limits, Stop::default())
}

fn store(allow_private: bool) -> Store {
    Store {
        id: 1,
        name: "mirror".into(),
        tier: Tier::Mirror,
        base_url: None,
        root: None,
        priority: 0,
        pattern: None,
        distros: Distros::default(),
        absent_statuses: sql::AbsentStatuses::default(),
        redirect_hosts: sql::RedirectHosts::default(),
        allow_private,
    }
}

fn fetcher(server: &StaticServer, limits: NetworkLimits) -> Fetcher {
    Fetcher::new(Mirrors::of_base(&network(limits), &store(false), &server.url()).unwrap())
}

fn listed(servers: &[&StaticServer], allow_private: bool) -> Fetcher {
    let urls: Vec<Url> = servers.iter().map(|server| server.url().parse().unwrap()).collect();
    Fetcher::new(Mirrors::listed(&network(limits()), &store(allow_private), &urls).unwrap())
}

/// An RPM in a directory that is served.
struct Archive {
    directory: TempDir,
    bytes: Vec<u8>,
    end: usize,
}

impl Archive {
    fn of(bytes: Vec<u8>) -> Self {
        let end = Extent::from_prefix(&bytes).unwrap().unwrap().end;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), &bytes).unwrap();
        Self { directory, bytes, end }
    }

    fn fixture() -> Self {
        Self::of(std::fs::read(fixtures::package("fedora-separate", "bidtest-1.2~rc1-4.fc99.x86_64")).unwrap())
    }

    /// Headers of this many bytes of data, as far as their lengths go, and a payload of zeros.
    fn of_lengths(signature: u32, main: u32, payload: usize) -> Self {
        let mut bytes = vec![0xed, 0xab, 0xee, 0xdb];
        bytes.resize(96, 0);
        for (data, pad) in [(signature, true), (main, false)] {
            bytes.extend([0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
            bytes.extend(data.to_be_bytes());
            bytes.resize(bytes.len() + 16 + data as usize, 7);
            if pad {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        bytes.resize(bytes.len() + payload, 0);
        Self::of(bytes)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn hint(&self) -> HeaderHint {
        HeaderHint { end: Some(self.end as u64), size: Some(self.bytes.len() as u64) }
    }

    fn header(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

#[tokio::test]
async fn a_hint_makes_it_one_request_for_exactly_the_header() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    let fetched = fetcher(&server, limits()).header(NAME, archive.hint()).await.unwrap();
    assert_eq!(fetched.bytes, archive.header());
    assert_eq!(fetched.size, Some(archive.bytes.len() as u64));
    assert_eq!((fetched.cost.requests(), fetched.cost.bytes()), (1, archive.end as u64));
    let sent = server.sent();
    assert_eq!((sent.len(), server.bytes()), (1, archive.end as u64));
    assert_eq!(sent[0].range.as_deref(), Some(&*format!("0-{}", archive.end - 1)));
    let agent = format!("darkserver-import/{} (+mailto:me@example.org)", env!("CARGO_PKG_VERSION"));
    assert_eq!(sent[0].header("user-agent"), Some(&*agent));
}

#[tokio::test]
async fn without_a_hint_a_prefix_grows_as_the_lengths_say() {
    let archive = Archive::of_lengths(20_000, 100_000, 1_000_000);
    let server = StaticServer::start(archive.path());
    let fetched = fetcher(&server, limits()).header(NAME, HeaderHint::default()).await.unwrap();
    assert_eq!(fetched.bytes, archive.header());
    assert_eq!((fetched.cost.requests(), fetched.cost.bytes()), (3, archive.end as u64));
    // A hint that is too small, or too large, costs a request, or bytes.
    for (end, requests, bytes) in [(archive.end - 1, 2, archive.end), (archive.end + 9, 1, archive.end + 9)] {
        let hint = HeaderHint { end: Some(end as u64), size: None };
        let fetched = fetcher(&server, limits()).header(NAME, hint).await.unwrap();
        assert_eq!(fetched.bytes, archive.header());
        assert_eq!((fetched.cost.requests(), fetched.cost.bytes()), (requests, bytes as u64));
    }
    // An archive that is smaller than the first request.
    let archive = Archive::of_lengths(10, 10, 3);
    let server = StaticServer::start(archive.path());
    let fetched = fetcher(&server, limits()).header(NAME, HeaderHint::default()).await.unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.cost.requests()), (archive.header(), 1));
}

#[tokio::test]
async fn a_server_that_ignores_range_is_cut_off_after_the_header() {
    let archive = Archive::of_lengths(20_000, 100_000, 64 << 20);
    let server = StaticServer::start(archive.path());
    server.set(NAME, Fault::IgnoresRange);
    for hint in [archive.hint(), HeaderHint::default()] {
        let fetched = fetcher(&server, limits()).header(NAME, hint).await.unwrap();
        assert_eq!((fetched.bytes.as_slice(), fetched.cost.requests()), (archive.header(), 1));
        let bytes = fetched.cost.bytes();
        assert!(bytes < archive.end as u64 + (1 << 20), "{bytes} bytes were read");
    }
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_are_refused() {
    let (archive, other) = (Archive::fixture(), Archive::of_lengths(20_000, 30_000, 17));
    let size = archive.bytes.len();
    let server = StaticServer::start(archive.path());
    let elsewhere = StaticServer::start_at(Ipv4Addr::new(127, 0, 0, 2), archive.path());
    let cut = archive.bytes[..archive.end - 10].to_vec();
    for (fault, kind, text) in [
        (Fault::ShiftsRange(1), FetchErrorKind::Wrong, "found 206 with Content-Range \"bytes 1-".to_owned()),
        (Fault::StatesSize(4), FetchErrorKind::Wrong, "found 206 with Content-Range \"bytes 0-".to_owned()),
        (
            Fault::StatesSize(size as u64 + 1),
            FetchErrorKind::Wrong,
            format!("expected an archive of {size} bytes, found {}", size + 1),
        ),
        (
            Fault::OtherFile(other.path().join(NAME)),
            FetchErrorKind::Wrong,
            format!("expected an archive of {size} bytes, found {}", other.bytes.len()),
        ),
        (Fault::Bytes(cut), FetchErrorKind::Wrong, format!("expected an archive of {size} bytes, found ")),
        (Fault::Bytes(Vec::new()), FetchErrorKind::Wrong, "found 416".to_owned()),
        (Fault::Page, FetchErrorKind::Wrong, "expected a file, found a page of HTML".to_owned()),
        (Fault::Status(404), FetchErrorKind::Absent, "expected 206 or 200, found 404".to_owned()),
        (Fault::Status(401), FetchErrorKind::Refused, "expected 206 or 200, found 401".to_owned()),
        (
            Fault::Redirects(format!("{}{{path}}", elsewhere.url())),
            FetchErrorKind::Refused,
            "redirects to a host that redirect_hosts does not allow: 127.0.0.2".to_owned(),
        ),
    ] {
        server.repair();
        server.set(NAME, fault.clone());
        let error = fetcher(&server, limits()).header(NAME, archive.hint()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert!(error.text.contains(&text) && error.text.contains(NAME), "{fault:?}: {error}");
    }
    assert_eq!(elsewhere.sent().len(), 0);
    // Without a size in the listing the lengths of the header count.
    let cut = archive.bytes[..archive.end - 10].to_vec();
    let mut long = archive.bytes.clone();
    long[104..112].copy_from_slice(&[0, 0, 0, 1, 0xff, 0, 0, 0]);
    let junk = vec![b'x'; 20_000];
    for (bytes, text) in [
        (cut, format!("expected {} bytes of header, found an archive of {}", archive.end, archive.end - 10)),
        (long, "signature header: expected at most 67108864 bytes of data, found 4278190080".to_owned()),
        (junk, "lead: expected magic edabeedb, found 78787878".to_owned()),
    ] {
        server.repair();
        server.set(NAME, Fault::Bytes(bytes));
        let error = fetcher(&server, limits()).header(NAME, HeaderHint::default()).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Wrong, "{error}");
        assert!(error.text.contains(&text), "{error}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_does_not_pass_is_given_up() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    for fault in [
        Fault::EndsAfter(100),
        Fault::ResetsAfter(100),
        Fault::StallsAfter(100),
        Fault::Status(503),
        Fault::Status(500),
        Fault::Late(Duration::from_millis(700)),
    ] {
        server.repair();
        server.set_times(NAME, fault.clone(), 2);
        let limits = NetworkLimits { down_timeout: Duration::from_secs(60), ..limits() };
        let fetched = fetcher(&server, limits).header(NAME, archive.hint()).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(fetched.bytes, archive.header(), "{fault:?}");
        assert_eq!(fetched.cost.requests(), 3, "{fault:?}");
    }
    for (fault, text) in [
        (Fault::Status(502), "expected 206 or 200, found 502"),
        (Fault::EndsAfter(100), "expected more bytes, found the end after 100: "),
        (Fault::StallsAfter(100), "expected more bytes within 500ms, found none after 100"),
    ] {
        server.repair();
        server.set(NAME, fault);
        let fetcher = fetcher(&server, limits());
        let error = fetcher.header(NAME, archive.hint()).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Unavailable, "{error}");
        assert!(error.text.contains(text), "{error}");
        let requests = if text.contains("within") { MAX_PASSING / 2 } else { MAX_PASSING };
        assert_eq!(fetcher.mirrors().network.traffic().requests(), u64::from(requests));
    }
}

/// The server works, and hangs for one file: that file is given up, and not the server.
#[tokio::test]
async fn a_file_for_which_a_server_hangs_is_given_up_alone() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.set("hanging", Fault::Late(Duration::from_secs(30)));
    let fetcher = fetcher(&server, NetworkLimits { down_timeout: Duration::from_secs(60), ..limits() });
    fetcher.header(NAME, archive.hint()).await.unwrap();
    let error = fetcher.header("hanging.rpm", archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unavailable, "{error}");
    assert!(error.text.contains("expected an answer within 500ms, found none"), "{error}");
    assert!(fetcher.header(NAME, archive.hint()).await.is_ok());
}

/// A wrong address ends a refresh soon, and the operator learns of it before.
#[tokio::test]
async fn a_server_that_never_answered_is_given_up_early_with_a_notice() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.set("", Fault::Late(Duration::from_secs(30)));
    let limits = NetworkLimits {
        stall_timeout: Duration::from_secs(30),
        down_timeout: Duration::from_secs(60),
        first_timeout: Duration::from_millis(500),
        notice_time: Duration::from_millis(100),
        ..limits()
    };
    let network = network(limits);
    let notices = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let told = Arc::clone(&notices);
    network.set_notice(Some(Box::new(move |server, text| told.lock().unwrap().push(format!("{server}: {text}")))));
    let mirrors = || Mirrors::of_base(&network, &store(false), &server.url()).unwrap();
    let began = Instant::now();
    let error = Fetcher::new(mirrors()).small_file(NAME, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Down, "{error}");
    assert!(error.text.contains("expected an answer of any mirror within 500ms, found none"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let notice = "127.0.0.1: does not answer yet; it is asked again for up to 500ms";
    assert_eq!(*notices.lock().unwrap(), [notice]);
    let fetcher = Fetcher::new(mirrors().patient());
    let patient = tokio::time::timeout(Duration::from_secs(1), fetcher.small_file(NAME, 1 << 20)).await;
    assert!(patient.is_err(), "in the middle of an import it is waited for: {patient:?}");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.set_times(NAME, Fault::Slow(200), 1);
    let limits = NetworkLimits { slow_timeout: Duration::from_secs(1), ..limits() };
    let fetched = fetcher(&server, limits).header(NAME, archive.hint()).await.unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.cost.requests()), (archive.header(), 2));
}

#[tokio::test]
async fn a_file_gets_the_time_that_its_size_allows() {
    let archive = Archive::of_lengths(100, 1000, 2 << 20);
    let (slow, good) = (StaticServer::start(archive.path()), StaticServer::start(archive.path()));
    // Far above a rate that only ends what drips, and far below one with which a refresh ends.
    slow.set(NAME, Fault::Slow(20_000));
    let limits = NetworkLimits { slow_timeout: Duration::from_millis(300), ..limits() };
    let (max_bytes, mut file) = (4 << 20, tempfile::tempfile().unwrap());
    let began = Instant::now();
    let error = fetcher(&slow, limits).download(NAME, max_bytes, &mut file).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unavailable, "{error}");
    assert!(error.text.contains("expected 51200 bytes per second"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());

    let urls: Vec<Url> = [&slow, &good].map(|server| server.url().parse().unwrap()).to_vec();
    let mirrors = Mirrors::listed(&network(limits), &store(true), &urls).unwrap();
    let (received, _) = Fetcher::new(mirrors).download(NAME, max_bytes, &mut file).await.unwrap();
    assert_eq!(received, archive.bytes.len() as u64);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_the_longest_pause() {
    let archive = Archive::fixture();
    let (requests, bytes) = (AtomicUsize::new(0), archive.bytes.clone());
    let server = FakeServer::start(move |_, stream| {
        let answer = match requests.fetch_add(1, Ordering::SeqCst) {
            0 => {
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        };
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&bytes));
    });
    let mirrors = Mirrors::of_base(&network(limits()), &store(false), &server.url()).unwrap();
    let began = Instant::now();
    let fetched = Fetcher::new(mirrors).header(NAME, HeaderHint::default()).await.unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.cost.requests()), (archive.header(), 2));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn other_mirrors_take_over_and_healthy_ones_share_the_requests() {
    let archive = Archive::fixture();
    let servers = [1, 2, 3].map(|last| StaticServer::start_at(Ipv4Addr::new(127, 0, 0, last), archive.path()));
    let [failing, stale, healthy] = &servers;
    failing.set("", Fault::Status(503));
    stale.set("", Fault::Status(404));
    let fetcher = listed(&[failing, stale, healthy], true);
    for _ in 0..20 {
        let fetched = fetcher.header(NAME, archive.hint()).await.unwrap();
        assert_eq!((fetched.bytes.as_slice(), fetched.mirror), (archive.header(), MirrorId(2)));
    }
    assert!(failing.sent().len() < 10 && stale.sent().len() < 10, "{} {}", failing.sent().len(), stale.sent().len());
    servers.iter().for_each(|server| {
        server.repair();
        server.set("", Fault::Late(Duration::from_millis(50)));
        server.forget();
    });
    let fetcher = listed(&[failing, stale, healthy], true);
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (fetcher, hint) = (fetcher.clone(), archive.hint());
        fetches.spawn(async move { fetcher.header(NAME, hint).await.unwrap().mirror });
    }
    fetches.join_all().await;
    assert!(servers.iter().all(|server| server.sent().len() >= 4), "{:?}", servers.each_ref().map(|s| s.sent().len()));
}

#[tokio::test]
async fn a_file_that_no_mirror_has_is_absent_and_a_wrong_one_is_no_proof() {
    let archive = Archive::fixture();
    let servers = [1, 2].map(|last| StaticServer::start_at(Ipv4Addr::new(127, 0, 0, last), archive.path()));
    let [first, second] = &servers;
    let fetcher = listed(&[first, second], true);
    assert_eq!(fetcher.header("none.rpm", HeaderHint::default()).await.unwrap_err().kind, FetchErrorKind::Absent);
    assert_eq!((first.sent().len(), second.sent().len()), (1, 1));
    first.set("none.rpm", Fault::Page);
    assert_eq!(fetcher.header("none.rpm", HeaderHint::default()).await.unwrap_err().kind, FetchErrorKind::Wrong);
}

#[tokio::test]
async fn a_list_names_hosts_with_public_addresses_alone() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    let error = listed(&[&server], false).header(NAME, archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Refused, "{error}");
    assert!(error.text.contains("expected a public address of 127.0.0.1, found 127.0.0.1"), "{error}");
    let named: Url = server.url().replace("127.0.0.1", "localhost").parse().unwrap();
    let mirrors = Mirrors::listed(&network(limits()), &store(false), &[named]).unwrap();
    let error = Fetcher::new(mirrors).header(NAME, archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Refused, "{error}");
    assert!(error.text.contains("expected a public address of localhost, found "), "{error}");
    assert_eq!(server.sent().len(), 0);
    // The store's own host, and those that it may redirect to, were written down by the operator.
    let own = Store { base_url: Some(server.url()), ..store(false) };
    let redirected = Store { redirect_hosts: "127.0.0.1".parse().unwrap(), ..store(false) };
    for store in [own, redirected] {
        let mirrors = Mirrors::listed(&network(limits()), &store, &[server.url().parse().unwrap()]).unwrap();
        assert!(Fetcher::new(mirrors).header(NAME, archive.hint()).await.is_ok());
    }
    let others = ["ftp://m.example/".parse().unwrap()];
    assert!(Mirrors::listed(&network(limits()), &store(false), &others).is_err());
}

#[tokio::test]
async fn a_server_that_is_started_again_costs_time_and_one_that_stays_away_ends_the_fetch() {
    let archive = Archive::fixture();
    let port = compat_tests::process::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mirrors = |limits| Mirrors::of_base(&network(limits), &store(false), &url).unwrap();
    let fetcher = Fetcher::new(mirrors(limits()));
    let began = Instant::now();
    let error = fetcher.header(NAME, archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Down, "{error}");
    assert!(error.text.contains("expected an answer of any mirror within 500ms"), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(500));
    let error = fetcher.header("other.rpm", archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Down, "{error}");
    let (bytes, later) = (archive.bytes.clone(), Duration::from_millis(250));
    let starting = std::thread::spawn(move || {
        std::thread::sleep(later);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        FakeServer::start_at(listener, move |_, stream| {
            compat_tests::fake_server::begin(stream, bytes.len());
            let _ = stream.write_all(&bytes);
        })
    });
    let patient = NetworkLimits { down_timeout: Duration::from_secs(60), ..limits() };
    let fetched = Fetcher::new(mirrors(patient)).header(NAME, archive.hint()).await.unwrap();
    assert_eq!(fetched.bytes, archive.header());
    drop(starting.join().unwrap());
}

#[tokio::test]
async fn a_payload_goes_on_where_a_transfer_broke_off() {
    let archive = Archive::of_lengths(100, 1000, 300_000);
    let mut bytes = archive.bytes.clone();
    (0_u32..).zip(bytes[archive.end..].iter_mut()).for_each(|(at, byte)| *byte = (at / 7) as u8);
    std::fs::write(archive.path().join(NAME), &bytes).unwrap();
    let server = StaticServer::start(archive.path());
    let (end, size) = (archive.end as u64, bytes.len() as u64);
    for (faults, max_requests) in [
        (&[][..], 1),
        (&[Fault::EndsAfter(50_000), Fault::ResetsAfter(50_000), Fault::StallsAfter(70_000)], 4),
        // It ignores Range, and breaks off after the header.
        (&[Fault::IgnoresRange, Fault::EndsAfter(100_000)], 2),
    ] {
        for known in [Some(size), None] {
            server.repair();
            server.forget();
            faults.iter().for_each(|fault| server.set_times(NAME, fault.clone(), 1));
            let file = fetcher(&server, limits()).open(NAME, end, known);
            let mut reader = file.into_reader(Handle::current());
            let (read, requests, counted) = tokio::task::spawn_blocking(move || {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                (read, reader.cost().requests(), reader.cost().bytes())
            })
            .await
            .unwrap();
            assert!(read == bytes[archive.end..], "{faults:?} {known:?}: {} bytes", read.len());
            assert!(requests <= max_requests, "{faults:?}: {requests} requests");
            assert!(counted >= read.len() as u64, "{faults:?}: {counted}");
        }
    }
    let error = fetcher(&server, limits()).open(NAME, end, Some(size + 1)).chunk().await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Wrong, "{error}");
    assert!(error.text.contains(&format!("expected a file of {} bytes, found {size}", size + 1)), "{error}");
}

#[tokio::test]
async fn metadata_is_fetched_as_a_whole_and_bounded() {
    let archive = Archive::of_lengths(100, 1000, 300_000);
    let server = StaticServer::start(archive.path());
    let size = archive.bytes.len() as u64;
    let fetcher = fetcher(&server, limits());
    server.set_times(NAME, Fault::EndsAfter(200_000), 1);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"older").unwrap();
    assert_eq!(fetcher.download(NAME, size, &mut file).await.unwrap().0, size);
    let mut read = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut read).unwrap();
    assert!(read == archive.bytes);
    assert_eq!(server.bytes(), size, "nothing was sent twice");
    assert!(fetcher.small_file(NAME, size).await.unwrap().bytes == archive.bytes);
    for error in [
        fetcher.small_file(NAME, size - 1).await.unwrap_err(),
        fetcher.download(NAME, size - 1, &mut file).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, FetchErrorKind::Wrong, "{error}");
        assert!(error.text.contains(&format!("expected at most {} bytes, found more", size - 1)), "{error}");
    }
}

#[tokio::test]
async fn requests_to_one_host_are_limited_and_connections_are_used_again() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.set("", Fault::Late(Duration::from_millis(20)));
    let fetcher = fetcher(&server, NetworkLimits { max_per_host: 2, ..limits() });
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (fetcher, hint) = (fetcher.clone(), archive.hint());
        fetches.spawn(async move { fetcher.header(NAME, hint).await.unwrap() });
    }
    fetches.join_all().await;
    let connections = server.sent().iter().map(|sent| sent.connection).max().unwrap() + 1;
    assert_eq!((server.sent().len(), connections), (12, 2));
    let traffic = fetcher.mirrors().network.traffic();
    assert_eq!((traffic.requests(), traffic.bytes()), (12, 12 * archive.end as u64));
}

#[tokio::test]
async fn the_query_of_a_signed_base_url_goes_to_every_request_and_into_no_message() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.require_query("token=secret%2F1");
    let base = format!("{}/?token=secret%2F1", server.url());
    let fetcher = Fetcher::new(Mirrors::of_base(&network(limits()), &store(false), &base).unwrap());
    assert!(fetcher.header(NAME, archive.hint()).await.is_ok());
    server.set(NAME, Fault::Status(401));
    let error = fetcher.header(NAME, archive.hint()).await.unwrap_err();
    assert!(!error.text.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_fetch_ends_when_the_run_is_stopped() {
    let archive = Archive::fixture();
    let server = StaticServer::start(archive.path());
    server.set("", Fault::Late(Duration::from_secs(30)));
    let network = network(NetworkLimits { stall_timeout: Duration::from_secs(30), ..limits() });
    let fetcher = Fetcher::new(Mirrors::of_base(&network, &store(false), &server.url()).unwrap());
    let (stop, began) = (network.stop.clone(), Instant::now());
    let stopping = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.set();
    });
    let error = fetcher.header(NAME, archive.hint()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Stopped);
    assert!(began.elapsed() < Duration::from_secs(5));
    stopping.await.unwrap();
}
