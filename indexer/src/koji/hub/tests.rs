//! The client against a Koji, and against servers that are none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use compat_tests::fake_server::FakeServer;
use compat_tests::fixtures;
use compat_tests::koji_hub::{KojiHub, Trouble};
use compat_tests::repository::SigningKey;
use sql::BuildState;

use super::*;
use crate::fetch::network::NetworkLimits;
use crate::koji::build::BuildOrder;
use crate::koji::fault::HubErrorKind;
use crate::koji::paths;
use crate::pipeline::stop::Stop;

fn network(stop: &Stop) -> Arc<Network> {
    let limits = NetworkLimits {
        connect_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_millis(500),
        down_timeout: Duration::from_millis(1500),
        min_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(100),
        ..NetworkLimits::default()
    };
    Network::new(None, limits, stop.clone())
}

fn client(url: &str) -> Hub {
    Hub::new(&network(&Stop::default()), &Url::parse(url).unwrap()).unwrap()
}

fn server(release: u32) -> Vec<PathBuf> {
    let rpms = fixtures::rpms("server");
    rpms.into_iter().filter(|rpm| rpm.display().to_string().contains(&format!("-1.1-{release}."))).collect()
}

fn query(limit: usize, offset: usize) -> BuildQuery {
    BuildQuery {
        state: BuildState::Complete,
        complete_after: None,
        complete_before: None,
        order: BuildOrder::OldestFirst,
        limit,
        offset,
    }
}

async fn build(hub: &Hub, id: i64) -> HubBuild {
    hub.builds(&[BuildRef::Id(id)]).await.unwrap().remove(0).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_and_their_files_are_followed_through_their_life() {
    let koji = KojiHub::start();
    let id = koji.add_build(&server(6));
    let (draft, image) = (koji.add_draft(&server(5)), koji.add_image_build("image", "1", "1"));
    koji.add_metadata_only(id, "server-doc", "noarch");
    koji.add_external(id, "other", "x86_64");
    koji.add_source_package(id);
    let hub = client(&koji.url());
    let refs =
        [BuildRef::Nvr("server-1.1-6.fc99".into()), BuildRef::Id(7), BuildRef::Nvr("x".into()), BuildRef::Id(draft)];
    let found: Vec<_> = hub.builds(&refs).await.unwrap().into_iter().map(Result::unwrap).collect();
    let ids: Vec<_> = found.iter().map(|build| build.as_ref().map(|build| build.id)).collect();
    assert_eq!(ids, [Some(id), None, None, Some(draft)]);
    let of = found[0].clone().unwrap();
    assert_eq!((of.nvr().as_str(), of.state, of.is_draft), ("server-1.1-6.fc99", BuildState::Complete, false));
    assert_eq!((of.volume.as_str(), of.completion_time), ("DEFAULT", koji.completion_time(id)));
    let draft_build = found[3].clone().unwrap();
    assert!(draft_build.is_draft && draft_build.release == format!("5.fc99,draft_{draft}"), "{draft_build:?}");

    let rpms = hub.build_rpms(&[id, 7, image]).await.unwrap();
    assert_eq!(rpms[1], Err(Fault { code: 1000, text: "No such build: 7".into() }));
    assert_eq!(rpms[2], Ok(Vec::new()));
    let rpms = rpms[0].clone().unwrap();
    assert_eq!(rpms.len(), 6);
    let have_files: Vec<&HubRpm> = rpms.iter().filter(|rpm| !rpm.is_metadata_only && !rpm.is_external).collect();
    let mut paths: Vec<String> = have_files.iter().map(|rpm| paths::plain(&of, rpm).unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, koji.paths(id), "files are where the paths say");
    for rpm in &have_files {
        let size = std::fs::metadata(koji.directory().join(paths::plain(&of, rpm).unwrap())).unwrap().len();
        assert_eq!((rpm.size, rpm.build), (Some(size), id));
    }

    let key = koji.sign(id, &SigningKey::make());
    let rpm_ids: Vec<i64> = rpms.iter().map(|rpm| rpm.id).collect();
    for (rpm, keys) in rpms.iter().zip(hub.signatures(&rpm_ids).await.unwrap()) {
        let is_signed = have_files.contains(&rpm);
        assert_eq!(keys.unwrap(), if is_signed { vec![key.clone()] } else { Vec::new() }, "{rpm:?}");
        let copy = koji.directory().join(paths::signed(&of, rpm, &key).unwrap());
        assert_eq!(copy.is_file(), is_signed, "{}", copy.display());
    }
    for (rpm, header) in rpms.iter().zip(hub.headers(&rpm_ids).await.unwrap()) {
        let header = header.unwrap();
        assert_eq!(header.is_some(), have_files.contains(&rpm), "{rpm:?}");
        if rpm.nevra.name == "server" && rpm.nevra.arch == "x86_64" {
            let header = header.unwrap();
            let build_id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
            let link = format!("/usr/lib/.build-id/{}/{}", &build_id[..2], &build_id[2..]);
            assert_eq!(header.source_rpm.as_deref(), Some("server-1.1-6.fc99.src.rpm"));
            assert!(header.built_at.is_some());
            let links: Vec<_> = header.links.iter().map(|link| (link.path.clone(), link.target.clone())).collect();
            assert_eq!(links, [(link, "../../../../usr/bin/server".to_owned())]);
        }
    }

    koji.move_volume(id, "other");
    koji.promote(draft);
    for build in [build(&hub, id).await, build(&hub, draft).await] {
        assert_eq!(build.directory().unwrap(), koji.build_directory(build.id));
    }
    assert_eq!(build(&hub, id).await.volume, "other");
    koji.delete(id);
    assert_eq!(build(&hub, id).await.state, BuildState::Deleted);
    assert!(hub.headers(&rpm_ids).await.unwrap().into_iter().all(|header| header == Ok(None)));
    assert!(hub.signatures(&rpm_ids).await.unwrap().into_iter().all(|keys| keys == Ok(Vec::new())));
    assert_eq!(hub.calls(), koji.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_in_the_order_of_completion() {
    let koji = KojiHub::start();
    let ids: Vec<i64> = koji.add_generated_builds(7).collect();
    koji.add_image_build("image", "1", "1");
    let hub = client(&koji.url());
    let mut listed = Vec::new();
    for offset in [0, 3, 6, 9] {
        listed.extend(hub.list_builds(&query(3, offset)).await.unwrap().builds.into_iter().map(|build| build.id));
    }
    assert_eq!(listed, ids);
    let newest = BuildQuery { order: BuildOrder::NewestFirst, ..query(2, 0) };
    let newest: Vec<i64> = hub.list_builds(&newest).await.unwrap().builds.into_iter().map(|build| build.id).collect();
    assert_eq!(newest, [ids[6], ids[5]]);
    let (complete_after, complete_before) = (koji.completion_time(ids[1]), koji.completion_time(ids[4]));
    let between = BuildQuery { complete_after, complete_before, ..query(100, 0) };
    let between: Vec<i64> = hub.list_builds(&between).await.unwrap().builds.into_iter().map(|build| build.id).collect();
    assert_eq!(between, ids[2..4]);
    koji.set_state(ids[0], 3);
    let failed = BuildQuery { state: BuildState::Failed, ..query(100, 0) };
    assert_eq!(hub.list_builds(&failed).await.unwrap().builds[0].id, ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_are_one_request() {
    let koji = KojiHub::start();
    let ids: Vec<i64> = koji.add_generated_builds(120).collect();
    let hub = client(&koji.url());
    assert_eq!(hub.builds(&[]).await.unwrap(), []);
    assert_eq!(hub.calls(), 0);
    let refs: Vec<BuildRef> = ids.iter().map(|id| BuildRef::Id(*id)).collect();
    let found: Vec<i64> =
        hub.builds(&refs).await.unwrap().into_iter().map(|build| build.unwrap().unwrap().id).collect();
    assert_eq!((found, hub.calls()), (ids.clone(), 2));
    let rpms = hub.build_rpms(&ids).await.unwrap().into_iter().flat_map(Result::unwrap);
    let rpms: Vec<i64> = rpms.map(|rpm| rpm.id).collect();
    assert_eq!((rpms.len(), hub.calls()), (240, 4));
    assert_eq!(hub.signatures(&rpms).await.unwrap().len(), 240);
    assert_eq!(hub.calls(), 5);
    // A request that Koji would refuse for its length is sent in parts.
    let long: Vec<BuildRef> = (0..100).map(|number| BuildRef::Nvr(format!("{number:050000}"))).collect();
    assert!(hub.builds(&long).await.unwrap().into_iter().all(|build| build == Ok(None)));
    assert_eq!((hub.calls(), koji.requests()), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_may_pass_are_tried_again() {
    let koji = KojiHub::start();
    let id = koji.add_build(&server(6));
    let hub = client(&koji.url());
    for trouble in [
        Trouble::Status(502),
        Trouble::Status(503),
        Trouble::Status(429),
        Trouble::Offline,
        Trouble::BreaksOff(300),
        Trouble::Slow(Duration::from_secs(2)),
    ] {
        let before = hub.calls();
        koji.set_trouble_times(trouble.clone(), 1);
        assert_eq!(build(&hub, id).await.id, id);
        assert_eq!(hub.calls() - before, 2, "{trouble:?}");
    }
    for (trouble, expected) in [
        (Trouble::Status(503), "expected 200, found 503 Service Unavailable"),
        (Trouble::Offline, "fault 1014: database outage"),
    ] {
        let before = hub.calls();
        koji.set_trouble(Some(trouble));
        let error = hub.builds(&[BuildRef::Id(id)]).await.unwrap_err();
        assert_eq!((error.kind, hub.calls() - before), (HubErrorKind::Unreachable, 4));
        assert_eq!(error.text, format!("{}: {expected}", koji.url()));
    }
    koji.set_trouble(None);
    koji.set_down(true);
    let error = hub.builds(&[BuildRef::Id(id)]).await.unwrap_err();
    assert!(error.kind == HubErrorKind::Unreachable && error.text.contains("refused"), "{error}");
    koji.set_down(false);
    assert_eq!(build(&hub, id).await.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_no_hub_are_told_once() {
    let koji = KojiHub::start();
    let id = koji.add_build(&server(6));
    let hub = client(&koji.url());
    let answer =
        |value: &str| format!("<methodResponse><params><param>{value}</param></params></methodResponse>").into_bytes();
    for (trouble, expected) in [
        (Trouble::Status(403), "expected 200, found 403 Forbidden"),
        (Trouble::Garbage(b"<html>log in</html>".to_vec()), "expected an answer of XML-RPC, found a page of HTML"),
        (Trouble::Garbage(b"{}".to_vec()), "expected an answer of XML-RPC, found \"{}\""),
        (Trouble::Garbage(b"<methodResponse><params>".to_vec()), "expected </methodResponse>, found none in 24 bytes"),
        (Trouble::Garbage(answer("<value><int>1</int></value>")), "expected an array of results, found an int"),
        (Trouble::Fewer, "expected the results of 1 calls, found 0"),
    ] {
        let before = hub.calls();
        koji.set_trouble(Some(trouble));
        let error = hub.builds(&[BuildRef::Id(id)]).await.unwrap_err();
        // An answer that is no XML may be that of this build alone: another call is made.
        let is_unreadable = expected.contains("XML-RPC") || expected.contains("</methodResponse>");
        let calls = 1 + u64::from(is_unreadable);
        assert_eq!((error.kind, hub.calls() - before), (HubErrorKind::Wrong, calls), "{error}");
        assert_eq!(error.text, format!("{}: {expected}", koji.url()));
    }
    koji.set_trouble(None);
    koji.set_trouble_times(Trouble::Garbage(answer("<value><struct></struct></value>")), 1);
    let error = hub.list_builds(&query(1, 0)).await.unwrap_err();
    assert_eq!(error.text, format!("{}: builds: expected an array, found a struct", koji.url()));
    // One result that is none is the fault of its call.
    let nil = "<value><array><data><value><nil/></value></data></array></value>";
    let number = nil.replace("<nil/>", "<int>1</int>");
    let two = format!("<value><array><data>{nil}{number}</data></array></value>");
    koji.set_trouble_times(Trouble::Garbage(answer(&two)), 1);
    let found = hub.builds(&[BuildRef::Id(id), BuildRef::Id(id)]).await.unwrap();
    assert_eq!(found[0], Ok(None));
    assert_eq!(found[1], Err(Fault { code: 0, text: "build: expected a struct, found an int".into() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_build_that_cannot_be_read_does_not_hinder_others() {
    let array = |values: &str| format!("<value><array><data>{values}</data></array></value>");
    let build = |id: usize| {
        let member = |name: &str, value: &str| format!("<member><name>{name}</name><value>{value}</value></member>");
        let numbers = [("build_id", id), ("state", 1)].map(|(name, of)| member(name, &format!("<int>{of}</int>")));
        let texts = ["name", "version", "release"].map(|name| member(name, "<string>1</string>"));
        match id {
            4 => "<value><int>4</int></value>".to_owned(),
            _ => format!("<value><struct>{}{}</struct></value>", numbers.concat(), texts.concat()),
        }
    };
    // Answers about the build with the number 7 are not UTF-8. A list has the builds 0 to 8, and 4 is none.
    let server = FakeServer::start(move |head, stream| {
        let body = read_body(head, stream);
        let number = |name: &str| -> usize {
            let value = body.split(&format!("<name>{name}</name>")).nth(1).unwrap_or_default();
            let texts = value.split(['<', '>']);
            texts.into_iter().find_map(|text| text.parse().ok()).unwrap()
        };
        let (value, is_broken) = if body.contains("getAPIVersion") {
            ("<value><int>1</int></value>".to_owned(), false)
        } else if body.contains("listBuilds") {
            let (first, end) = (number("offset"), number("offset") + number("limit"));
            (array(&(first..end.min(9)).map(build).collect::<String>()), (first..end).contains(&7))
        } else {
            let nil = array("<value><nil/></value>");
            (array(&nil.repeat(body.matches("getBuild").count())), body.contains(">7</"))
        };
        let answer = format!("<methodResponse><params><param>{value}</param></params></methodResponse>");
        let mut answer = answer.into_bytes();
        if is_broken {
            let middle = answer.len() / 2;
            answer[middle] = 0xff;
        }
        respond(stream, "200 OK", "Content-Type: text/xml\r\n", &answer);
    });
    let hub = client(&server.url());
    let refs: Vec<BuildRef> = (0..50).map(BuildRef::Id).collect();
    for (id, found) in hub.builds(&refs).await.unwrap().into_iter().enumerate() {
        match id {
            7 => assert_eq!(found.unwrap_err().code, Fault::WRONG_RESULT),
            _ => assert_eq!(found, Ok(None), "{id}"),
        }
    }
    assert!(hub.calls() < 20, "{}", hub.calls());
    let list = hub.list_builds(&query(100, 0)).await.unwrap();
    let ids: Vec<i64> = list.builds.iter().map(|build| build.id).collect();
    assert_eq!((ids, list.skipped), (vec![0, 1, 2, 3, 5, 6, 8], 2));
}

/// Reads the body of a request: without it, the end of a connection would be a reset.
fn read_body(head: &str, stream: &mut TcpStream) -> String {
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.lines().find_map(length).unwrap_or_default()];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8_lossy(&body).into_owned()
}

fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(body);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_answers_are_read_and_large_ones_refused() {
    let nothing = "<methodResponse><params><param><value><array><data><value><array><data><value><nil/></value></data>\
                   </array></value></data></array></value></param></params></methodResponse>";
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let (small, bomb) = (gzip(nothing.as_bytes()), gzip(&vec![b' '; MAX_ANSWER_BYTES + 1]));
    let server = FakeServer::start(move |head, stream| {
        read_body(head, stream);
        let body = if head.starts_with("POST /bomb ") { &bomb } else { &small };
        respond(stream, "200 OK", "Content-Encoding: gzip\r\nContent-Type: text/xml\r\n", body);
    });
    let hub = client(&format!("{}/kojihub", server.url()));
    assert_eq!(hub.builds(&[BuildRef::Id(1)]).await.unwrap(), [Ok(None)]);
    let request = server.requests().remove(0);
    assert!(request.header("accept-encoding").is_some_and(|value| value.contains("gzip")), "{request:?}");
    assert_eq!(request.header("content-type"), Some("text/xml"));
    assert!(request.header("user-agent").is_some_and(|value| value.starts_with("darkserver-import/")), "{request:?}");
    let hub = client(&format!("{}/bomb", server.url()));
    let refs: Vec<BuildRef> = (0..4).map(BuildRef::Id).collect();
    let error = hub.builds(&refs).await.unwrap_err();
    assert!(error.text.ends_with(&format!("expected at most {MAX_ANSWER_BYTES} bytes, found more")), "{error}");
    // Four calls at once, two, one, and another one: then fewer do not help.
    assert_eq!(hub.calls(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_trickles_holds_the_turn_for_a_bounded_time() {
    let server = FakeServer::start(|head, stream| {
        read_body(head, stream);
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n";
        let mut sent = stream.write_all(answer.as_bytes());
        for _ in 0..200 {
            // Well within the time between two parts.
            std::thread::sleep(Duration::from_millis(100));
            sent = sent.and_then(|()| stream.write_all(b" "));
            if sent.is_err() {
                return;
            }
        }
    });
    let hub = client(&format!("http://127.0.0.1:{}/", server.port));
    let began = Instant::now();
    let error = hub.builds(&[BuildRef::Id(1)]).await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Unreachable);
    assert!(error.to_string().contains("bytes per second"), "{error}");
    let tries = 1 + MAX_RETRIES as u32;
    assert!(began.elapsed() < Duration::from_secs(3) * tries, "{:?}", began.elapsed());
    assert_eq!(hub.calls(), u64::from(tries));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_redirects_is_wrong_and_its_secrets_stay() {
    let target = FakeServer::start(|_, _| {});
    let location = format!("Location: {}/x\r\n", target.url());
    let server = FakeServer::start(move |head, stream| {
        read_body(head, stream);
        respond(stream, "301 Moved Permanently", &location, b"");
    });
    let url = format!("{}/kojihub?key=geheim", server.url().replace("//", "//me:geheim@"));
    let error = client(&url).builds(&[BuildRef::Id(1)]).await.unwrap_err();
    let expected =
        format!("{}/kojihub: expected 200, found 301 Moved Permanently: redirects a POST request", server.url());
    assert_eq!((error.kind, error.text), (HubErrorKind::Wrong, expected));
    assert_eq!(target.connections(), 0);
    let file = Hub::new(&network(&Stop::default()), &Url::parse("file:///kojihub").unwrap());
    assert_eq!(file.err().unwrap().to_string(), "expected an http or https URL of a hub, found file:///kojihub");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_one_another_and_end_with_the_run() {
    let koji = KojiHub::start();
    let id = koji.add_build(&server(6));
    let stop = Stop::default();
    let hub = Hub::new(&network(&stop), &Url::parse(&koji.url()).unwrap()).unwrap();
    koji.set_trouble(Some(Trouble::Slow(Duration::from_millis(100))));
    let started = Instant::now();
    let calls = (0..4).map(|_| {
        let hub = hub.clone();
        tokio::spawn(async move { build(&hub, id).await.id })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), id);
    }
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    // A request that is given up does not keep the next one waiting.
    koji.set_trouble_times(Trouble::Slow(Duration::from_secs(1)), 1);
    let given_up = tokio::time::timeout(Duration::from_millis(100), hub.builds(&[BuildRef::Id(id)])).await;
    assert!(given_up.is_err());
    let started = Instant::now();
    assert_eq!(build(&hub, id).await.id, id);
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    koji.set_trouble(Some(Trouble::Slow(Duration::from_secs(1))));
    let waiting = tokio::spawn({
        let hub = hub.clone();
        async move { hub.builds(&[BuildRef::Id(id)]).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    stop.set();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.text.ends_with(": stopped") && error.kind == HubErrorKind::Unreachable, "{error}");
    assert!(started.elapsed() < Duration::from_millis(500));
}
