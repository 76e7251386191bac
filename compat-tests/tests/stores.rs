//! Archives in stores over HTTP, and archives that are broken, replaced, lying or slow: an answer is the right bytes or none.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{Gateway, Sqlite, import_ok};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::odd::{self, Gate, Odd};
use compat_tests::rpmbuild::{self, Made};
use tempfile::TempDir;

/// Enough that a few responses do not fit into the buffers of a connection.
const LARGE: usize = 16 << 20;

/// A folder with copies of a family, which a test may change.
fn copy_of(family: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fixtures::copy(&fixtures::rpms(family), folder.path());
    folder
}

/// An index of a folder, that gateways get from `url`.
fn index_of(folder: &Path, tier: &str, url: &str) -> Sqlite {
    let index = Sqlite::empty();
    index.add_store("store", tier, folder, url);
    index
}

/// A folder with one large package.
fn large() -> (TempDir, Made) {
    let folder = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(folder.path(), "large", LARGE);
    (folder, made)
}

/// A store that sends half of an archive, and the rest when the gate is open.
fn sends_half_before(gate: &Gate, folder: &Path) -> Odd {
    let (folder, gate) = (folder.to_owned(), gate.clone());
    Odd::start(move |head, stream| {
        let bytes = odd::file(&folder, head);
        odd::begin(stream, bytes.len());
        let _ = stream.write_all(&bytes[..bytes.len() / 2]);
        gate.pass();
        let _ = stream.write_all(&bytes[bytes.len() / 2..]);
    })
}

fn path_of(made: &Made) -> String {
    format!("/buildid/{}/executable", made.build_id)
}

/// `server` 1.1-6: what a folder with the family `server` is asked for.
fn server() -> (String, Vec<u8>) {
    const RPM: &str = "server/server-1.1-6.fc99.x86_64.rpm";
    let path = format!("/buildid/{}/executable", fixtures::build_id(RPM, "/usr/bin/server"));
    (path, fixtures::member(&fixtures::rpm(RPM), "/usr/bin/server"))
}

/// The question was not decided: a reset, never an orderly end and never a status.
#[track_caller]
fn expect_reset(gateway: &Gateway, path: &str) {
    match http::get(gateway.port, path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{path}: expected a reset, found {error}"),
        Ok(answer) => panic!("{path}: expected a reset, found {} with {} bytes", answer.status, answer.body.len()),
    }
}

/// Names in the cache folder.
fn cached(gateway: &Gateway) -> Vec<PathBuf> {
    std::fs::read_dir(gateway.cache()).unwrap().map(|file| file.unwrap().path()).collect()
}

/// Waits until `is_so`, which is to happen without another request.
#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn extractions(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("gateway_extractions_total{{result=\"{result}\"}}"))
}

#[test]
fn members_come_out_of_archives_in_a_store_and_only_they_are_kept() {
    for family in ["fedora-compat", "old-noclasses", "payloads", "v3", "v6", "largefile"] {
        let files = FileServer::start(&fixtures::family(family));
        let index = index_of(&fixtures::family(family), "mirror", &files.url());
        let gateway = Gateway::start(&index.url());
        let truth = fixtures::truth_with_bytes(family);
        for (row, _) in &truth {
            for word in ["executable", "debuginfo"] {
                let answer = gateway.get(&format!("/buildid/{}/{word}", row.build_id));
                if answer.status == 404 {
                    continue;
                }
                let (file, archive) = (answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"));
                let named =
                    truth.iter().find(|(row, _)| file == Some(&*row.path) && archive == Some(&*format!("{}.rpm", row.nvra())));
                assert!(named.unwrap_or_else(|| panic!("{file:?} in {archive:?}")).1 == answer.body, "{family}: {file:?}");
            }
        }
        let whole = extractions(&gateway, "whole");
        assert!(whole > 0.0, "{family}");
        assert_eq!(gateway.metric("gateway_store_requests_total{result=\"opened\",tier=\"mirror\"}"), whole, "{family}");
        assert_eq!(cached(&gateway).len() as f64, whole, "{family}");
        let members: Vec<u64> = truth.iter().map(|(_, bytes)| bytes.len() as u64).collect();
        for file in cached(&gateway) {
            assert!(members.contains(&file.metadata().unwrap().len()), "{family}: {} is no member", file.display());
        }
    }
}

#[test]
fn sources_come_out_of_the_debugsource_package_in_a_store() {
    let files = FileServer::start(&fixtures::family("server"));
    let index = index_of(&fixtures::family("server"), "koji", &files.url());
    let gateway = Gateway::start(&index.url());
    for release in 5..=7 {
        let nvra = format!("server-1.1-{release}.fc99.x86_64");
        let rpm = format!("server-debugsource-1.1-{release}.fc99.x86_64");
        let path = format!("/usr/src/debug/{nvra}/worker/crash.c");
        let id = fixtures::build_id(&format!("server/{nvra}.rpm"), "/usr/bin/server");
        let answer = gateway.get(&format!("/buildid/{id}/source{path}"));
        assert!(answer.body == fixtures::member(&fixtures::package("server", &rpm), &path), "{release}: other bytes");
        assert_eq!(answer.header("x-debuginfod-archive"), Some(&*format!("{rpm}.rpm")));
    }
}

#[test]
fn the_first_bytes_leave_while_the_archive_is_still_coming() {
    let (folder, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, folder.path());
    let index = index_of(folder.path(), "mirror", &store.url());
    let gateway = Gateway::start(&index.url());
    let started = Instant::now();
    let (head, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    assert_eq!(head.header("content-length"), Some(&*made.bytes.len().to_string()));
    let mut first = vec![0; made.bytes.len() / 4];
    body.read_exact(&mut first[..1]).unwrap();
    let first_byte = started.elapsed();
    body.read_exact(&mut first[1..]).unwrap();
    assert!(first == made.bytes[..first.len()], "other bytes");
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new(), "a growing file has no name");
    // A client that goes away, and one that comes later, while the store has sent only half.
    drop(http::begin(gateway.port, &path_of(&made)).unwrap());
    let (_, mut late) = http::begin(gateway.port, &path_of(&made)).unwrap();
    gate.open();
    let mut rest = first;
    body.read_to_end(&mut rest).unwrap();
    assert!(rest == made.bytes, "other bytes");
    let mut all = Vec::new();
    late.read_to_end(&mut all).unwrap();
    assert!(all == made.bytes, "other bytes for a late client");
    assert_eq!((store.connections(), extractions(&gateway, "whole")), (1, 1.0));
    let warm = Instant::now();
    let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    body.read_exact(&mut [0]).unwrap();
    eprintln!("first byte of {} MiB: cold {first_byte:?}, warm {:?}", LARGE >> 20, warm.elapsed());
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_others() {
    let (folder, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, folder.path());
    let index = index_of(folder.path(), "mirror", &store.url());
    let gateway = Gateway::start(&index.url());
    // The one that started the extraction goes before it has anything, the next one with a part of it.
    drop(TcpStream::connect(("127.0.0.1", gateway.port)).map(|mut stream| {
        write!(stream, "GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path_of(&made)).unwrap();
    }));
    let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    body.read_exact(&mut vec![0; 100_000]).unwrap();
    drop(body);
    let ask = std::thread::spawn({
        let (port, path) = (gateway.port, path_of(&made));
        move || http::get(port, &path).unwrap()
    });
    gate.open();
    assert!(ask.join().unwrap().body == made.bytes, "other bytes");
    assert_eq!((store.connections(), extractions(&gateway, "whole")), (1, 1.0));
}

#[test]
fn an_extraction_that_nobody_waits_for_is_finished_for_the_next_one() {
    let (folder, made) = large();
    let files = FileServer::start(folder.path());
    let index = index_of(folder.path(), "mirror", &files.url());
    let gateway = Gateway::start(&index.url());
    drop(http::begin(gateway.port, &path_of(&made)).unwrap());
    wait_for("the extraction", || extractions(&gateway, "whole") == 1.0);
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!(extractions(&gateway, "whole"), 1.0);
}

#[test]
fn a_gateway_killed_in_the_middle_leaves_nothing_incomplete() {
    let (folder, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, folder.path());
    let index = index_of(folder.path(), "mirror", &store.url());
    let mut gateway = Gateway::start(&index.url());
    let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    body.read_exact(&mut vec![0; 1 << 20]).unwrap();
    gateway.process().kill();
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
    let broken = body.read_to_end(&mut Vec::new());
    assert!(broken.is_err() || made.bytes.len() > 1 << 20);
    gate.open();
    gateway.restart();
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!(store.connections(), 2);
}

/// Changes one byte of an archive's payload, so many bytes before its end.
fn damage(rpm: &Path, before_end: usize) {
    let mut bytes = std::fs::read(rpm).unwrap();
    let at = bytes.len() - before_end;
    bytes[at] ^= 0x40;
    std::fs::write(rpm, bytes).unwrap();
}

/// Bytes before the end of a large archive: in the last bytes of its program, which three small members follow, in the middle, and
/// near the start.
const DAMAGES: [usize; 4] = [1_000, 70_000, LARGE / 2, LARGE - 1_000_000];

#[test]
fn an_archive_damaged_after_its_import_is_never_served_whole() {
    let (folder, made) = large();
    let sound = std::fs::read(&made.rpm).unwrap();
    let index = Sqlite::of(&[folder.path()]);
    for before_end in DAMAGES {
        std::fs::write(&made.rpm, &sound).unwrap();
        damage(&made.rpm, before_end);
        let gateway = Gateway::start(&index.url());
        for word in ["executable", "section/.text"] {
            match http::get(gateway.port, &format!("/buildid/{}/{word}", made.build_id)) {
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{before_end}: {error}"),
                Ok(answer) => panic!("{word}: byte {before_end} before the end: found {} and a whole body", answer.status),
            }
        }
        assert_eq!(cached(&gateway), Vec::<PathBuf>::new(), "{before_end}");
        assert_eq!(extractions(&gateway, "whole"), 0.0, "{before_end}");
        // Repaired, it is served, and not one bad byte is left anywhere.
        std::fs::write(&made.rpm, &sound).unwrap();
        wait_for("the end of the undecided time", || http::get(gateway.port, &path_of(&made)).is_ok());
        assert!(gateway.get(&path_of(&made)).body == made.bytes, "{before_end}: other bytes");
    }
}

#[test]
fn a_small_member_of_a_damaged_archive_is_not_served_either() {
    let folder = copy_of("server");
    let index = Sqlite::of(&[folder.path()]);
    damage(&folder.path().join("server-1.1-6.fc99.x86_64.rpm"), 1_000);
    let gateway = Gateway::start(&index.url());
    expect_reset(&gateway, &server().0);
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
}

#[test]
fn instead_of_a_damaged_archive_the_next_location_is_used() {
    let (folder, made) = large();
    let files = tempfile::tempdir().unwrap();
    fixtures::copy(std::slice::from_ref(&made.rpm), files.path());
    let store = FileServer::start(files.path());
    let index = Sqlite::of(&[folder.path()]);
    index.add_store("store", "archive", files.path(), &store.url());
    let sound = std::fs::read(&made.rpm).unwrap();
    for before_end in DAMAGES {
        std::fs::write(&made.rpm, &sound).unwrap();
        damage(&made.rpm, before_end);
        let gateway = Gateway::start(&index.url());
        // What was begun with bad bytes ends in a reset; the client asks again, and gets it from elsewhere.
        let answer = http::get(gateway.port, &path_of(&made)).or_else(|_| http::get(gateway.port, &path_of(&made)));
        assert!(answer.unwrap().body == made.bytes, "{before_end}: other bytes");
        assert_eq!(gateway.metric("gateway_store_requests_total{result=\"opened\",tier=\"archive\"}"), 1.0, "{before_end}");
    }
    // A small member is known to be wrong before the first byte: the first request is answered.
    let (folder, files) = (copy_of("server"), copy_of("server"));
    let store = FileServer::start(files.path());
    let index = Sqlite::of(&[folder.path()]);
    index.add_store("store", "archive", files.path(), &store.url());
    damage(&folder.path().join("server-1.1-6.fc99.x86_64.rpm"), 1_000);
    let (path, expected) = server();
    for path in [path.clone(), path.replace("executable", "section/.text")] {
        let gateway = Gateway::start(&index.url());
        let answer = gateway.get(&path);
        assert!(expected.windows(answer.body.len()).any(|bytes| bytes == answer.body), "{path}: other bytes");
    }
}

#[test]
fn a_transfer_that_breaks_off_is_reset_and_not_kept() {
    let (folder, made) = large();
    let whole = Arc::new(AtomicBool::new(false));
    for announced in ["all", "half"] {
        whole.store(false, Ordering::SeqCst);
        let (root, whole_now, announced) = (folder.path().to_owned(), whole.clone(), announced == "all");
        let store = Odd::start(move |head, stream| {
            let bytes = odd::file(&root, head);
            let sent = if whole_now.load(Ordering::SeqCst) { bytes.len() } else { bytes.len() / 2 };
            odd::begin(stream, if announced { bytes.len() } else { sent });
            let _ = stream.write_all(&bytes[..sent]);
        });
        let index = index_of(folder.path(), "mirror", &store.url());
        let gateway = Gateway::start(&index.url());
        expect_reset(&gateway, &path_of(&made));
        assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
        assert_eq!((extractions(&gateway, "whole"), extractions(&gateway, "failed")), (0.0, 1.0));
        whole.store(true, Ordering::SeqCst);
        assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    }
}

#[test]
fn what_a_store_does_not_have_is_absent() {
    let folder = copy_of("server");
    let path = server().0;
    for status in [404, 410, 403] {
        let store = Odd::start(move |_, stream| {
            let _ = write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        });
        let index = index_of(folder.path(), "mirror", &store.url());
        let gateway = Gateway::start(&index.url());
        assert_eq!(gateway.get(&path).status, 404, "{status}");
        assert_eq!(gateway.get(&path.replace("executable", "section/.text")).status, 404, "{status}");
    }
}

#[test]
fn a_store_that_cannot_be_asked_leaves_the_question_undecided_within_the_budget() {
    let folder = copy_of("server");
    let path = server().0;
    let nobody = format!("http://127.0.0.1:{}", compat_tests::process::free_port());
    let hangs = Odd::start(odd::hangs);
    let fails = Odd::start(odd::fails);
    let lies = Odd::start(odd::lies);
    let closes = Odd::start(|_, _| {});
    for (url, within) in [
        (hangs.url(), Duration::from_millis(1000)),
        (fails.url(), Duration::ZERO),
        (lies.url(), Duration::ZERO),
        (closes.url(), Duration::ZERO),
        (nobody, Duration::ZERO),
    ] {
        let index = index_of(folder.path(), "mirror", &url);
        let gateway = Gateway::start_with(&index.url(), "[federation]\nbudget = \"1s\"\n", &[]);
        let started = Instant::now();
        expect_reset(&gateway, &path);
        let took = started.elapsed();
        assert!(took < within + Duration::from_millis(800), "{url}: {took:?}");
        // The client's next tries are answered at once.
        let started = Instant::now();
        expect_reset(&gateway, &path);
        assert!(started.elapsed() < Duration::from_millis(500), "{url}: {:?}", started.elapsed());
        wait_for("two resets", || gateway.metric("gateway_undecided_total{answer=\"reset\"}") == 2.0);
    }
}

#[test]
fn another_store_answers_for_one_that_cannot() {
    let folder = copy_of("server");
    let files = copy_of("server");
    let good = FileServer::start(files.path());
    let (path, expected) = server();
    for bad in [Odd::start(odd::hangs), Odd::start(odd::fails), Odd::start(odd::lies), Odd::start(odd::knows_nothing)] {
        let index = index_of(folder.path(), "mirror", &bad.url());
        index.add_store("good", "archive", files.path(), &good.url());
        let gateway = Gateway::start_with(&index.url(), "[federation]\nbudget = \"2s\"\n", &[]);
        assert!(gateway.get(&path).body == expected, "other bytes");
        assert_eq!(bad.connections(), 1);
    }
}

#[test]
fn a_folder_that_is_not_mounted_is_not_taken_for_an_empty_one() {
    let (path, expected) = server();
    let place = tempfile::tempdir().unwrap();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    std::fs::create_dir(&mounted).unwrap();
    fixtures::copy(&fixtures::rpms("server"), &mounted);
    let index = Sqlite::of(&[&mounted]);
    let gateway = Gateway::start(&index.url());
    std::fs::rename(&mounted, &away).unwrap();
    expect_reset(&gateway, &path);
    let archive = gateway.get("/package/server-1.1-6.fc99.x86_64").text();
    let archive = archive.split("/archive/").nth(1).and_then(|tail| tail.split('"').next()).unwrap().to_owned();
    assert_eq!(gateway.get(&format!("/archive/{archive}")).status, 503);
    std::fs::rename(&away, &mounted).unwrap();
    wait_for("the end of the undecided time", || http::get(gateway.port, &path).is_ok());
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert_eq!(gateway.get(&format!("/archive/{archive}")).status, 200);
}

/// A store that sends an archive up to somewhere behind its header, and then nothing for a minute.
fn stalls(folder: PathBuf) -> Odd {
    Odd::start(move |head, stream| {
        let archive = odd::file(&folder, head);
        let payload = artifact::header::Header::parse(&archive).unwrap().range.end;
        odd::begin(stream, archive.len());
        let _ = stream.write_all(&archive[..usize::try_from(payload).unwrap() + 200]);
        odd::hangs(head, stream);
    })
}

#[test]
fn a_store_that_stalls_behind_the_header_is_given_up_for_the_next_one() {
    let folder = copy_of("server");
    let bad = stalls(folder.path().to_owned());
    let (path, expected) = server();
    let section = path.replace("executable", "section/.text");

    // Nobody else has it: undecided, within a budget.
    let index = index_of(folder.path(), "mirror", &bad.url());
    let gateway = Gateway::start_with(&index.url(), "[federation]\nbudget = \"2s\"\n", &[]);
    for path in [&path, &section] {
        let started = Instant::now();
        expect_reset(&gateway, path);
        assert!(started.elapsed() < Duration::from_millis(2800), "{path}: {:?}", started.elapsed());
    }

    // Somebody else has it.
    let good = FileServer::start(folder.path());
    index.add_store("good", "archive", folder.path(), &good.url());
    let gateway = Gateway::start_with(&index.url(), "[federation]\nbudget = \"2s\"\n", &[]);
    let started = Instant::now();
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert!(started.elapsed() < Duration::from_millis(2800), "{:?}", started.elapsed());
    let files = cached(&gateway);
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn redirects_of_a_store_lead_only_where_the_configuration_allows() {
    let folder = copy_of("server");
    let files = FileServer::start(folder.path());
    let elsewhere = files.url();
    let store = Odd::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let _ =
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {elsewhere}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let index = index_of(folder.path(), "mirror", &store.url());
    let (path, expected) = server();
    for configuration in ["", "[stores]\nredirect_hosts = [\"other.example\"]\n"] {
        let gateway = Gateway::start_with(&index.url(), configuration, &[]);
        expect_reset(&gateway, &path);
        assert!(!files.log().contains("GET"), "{}", files.log());
    }
    let gateway = Gateway::start_with(&index.url(), "[stores]\nredirect_hosts = [\"127.0.0.1\"]\n", &[]);
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert!(files.log().contains("GET"), "{}", files.log());
}

#[test]
fn a_file_is_never_served_for_a_build_id_that_it_does_not_carry() {
    const CLAIMED: &str = "c1a1med0c1a1med0c1a1med0c1a1med0c1a1med0";
    let claimed = CLAIMED.replace('l', "1").replace('m', "3");
    for filler_bytes in [0, 1 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let made = rpmbuild::make(folder.path(), "lying", filler_bytes, &claimed);
        let index = Sqlite::empty();
        import_ok(&index.url(), &["dir", folder.path().to_str().unwrap(), "--payload", "never"]);
        let gateway = Gateway::start(&index.url());
        let known = gateway.get(&format!("/buildids/{claimed}")).text();
        assert!(known.contains("lying-1.0-1.x86_64"), "expected an index that believes the link, found {known}");
        for word in ["executable", "debuginfo", "section/.text"] {
            assert_eq!(gateway.get(&format!("/buildid/{claimed}/{word}")).status, 404, "{word}");
        }
        // An import that looks inside knows better.
        let index = Sqlite::of(&[folder.path()]);
        let gateway = Gateway::start(&index.url());
        assert_eq!(gateway.get(&format!("/buildid/{claimed}/executable")).status, 404);
        let answer = gateway.get(&format!("/buildid/{}/executable", rpmbuild::build_id()));
        assert!(answer.body == made.bytes, "other bytes");
    }
}

#[test]
fn another_package_at_the_same_path_is_not_taken_for_the_one_that_was_indexed() {
    let (path, expected) = server();
    let folder = copy_of("server");
    let files = FileServer::start(folder.path());
    for index in [Sqlite::of(&[folder.path()]), index_of(folder.path(), "mirror", &files.url())] {
        let rpm = folder.path().join("server-1.1-6.fc99.x86_64.rpm");
        let gateway = Gateway::start(&index.url());
        std::fs::copy(fixtures::package("server", "server-1.1-7.fc99.x86_64"), &rpm).unwrap();
        assert_eq!(gateway.get(&path).status, 404);
        std::fs::write(&rpm, "not an archive at all").unwrap();
        expect_reset(&gateway, &path);
        std::fs::copy(fixtures::package("server", "server-1.1-6.fc99.x86_64"), &rpm).unwrap();
        wait_for("the end of the undecided time", || http::get(gateway.port, &path).is_ok());
        assert!(gateway.get(&path).body == expected, "other bytes");
    }
}

#[test]
fn links_that_lead_out_of_a_store_are_never_followed() {
    let (path, _) = server();
    let (outside, folder) = (copy_of("server"), tempfile::tempdir().unwrap());
    let inside = folder.path().join("packages");
    fixtures::copy(&fixtures::rpms("server"), &inside);
    let index = Sqlite::of(&[folder.path()]);
    let gateway = Gateway::start(&index.url());
    let refused = || match http::get(gateway.port, &path) {
        Ok(answer) => assert_eq!(answer.status, 404),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    };
    // The very same package, by a link to the file, absolute and relative, and by a link to its folder.
    let rpm = inside.join("server-1.1-6.fc99.x86_64.rpm");
    let other = outside.path().join("server-1.1-6.fc99.x86_64.rpm");
    let relative = Path::new("../..").join(outside.path().file_name().unwrap()).join(other.file_name().unwrap());
    for target in [other.clone(), relative] {
        std::fs::remove_file(&rpm).unwrap();
        std::os::unix::fs::symlink(&target, &rpm).unwrap();
        assert!(rpm.is_file(), "expected a link that leads somewhere: {}", target.display());
        refused();
    }
    std::fs::rename(&inside, folder.path().join("gone")).unwrap();
    std::os::unix::fs::symlink(outside.path(), &inside).unwrap();
    assert!(rpm.is_file());
    refused();
    assert_eq!(extractions(&gateway, "whole"), 0.0);
    // A link that stays inside is no danger.
    std::fs::remove_file(&inside).unwrap();
    fixtures::copy(&fixtures::rpms("server"), &folder.path().join("real"));
    std::os::unix::fs::symlink("real", &inside).unwrap();
    wait_for("the end of the undecided time", || http::get(gateway.port, &path).is_ok_and(|answer| answer.status == 200));
}

#[test]
fn names_of_archives_are_escaped_on_their_way_to_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let odd_name = folder.path().join("a b#c?d%2e%2e.rpm");
    std::fs::copy(fixtures::package("server", "server-1.1-6.fc99.x86_64"), &odd_name).unwrap();
    let files = FileServer::start(folder.path());
    let index = index_of(folder.path(), "mirror", &files.url());
    let gateway = Gateway::start(&index.url());
    let (path, expected) = server();
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert!(files.log().contains("/a%20b%23c%3Fd%252e%252e.rpm"), "{}", files.log());
}
