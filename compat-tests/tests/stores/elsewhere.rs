//! An archive breaks off in the middle of a response: the extraction continues from another location, and clients
//! notice a pause only. If no location is left, the response ends in a reset.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::files::FileServer;
use compat_tests::http;
use compat_tests::rpmbuild::{self, Made};
use compat_tests::wait_until;

use crate::{LARGE, cached, extractions, large, path_of};

/// What the gateway holds back until the whole is right.
const HELD_BACK: usize = 64 << 10;

/// A store that sends the first `most` bytes of an archive, and then what `then` does.
fn sends(most: usize, directory: &Path, then: impl Fn() + Send + Sync + 'static) -> FakeServer {
    let directory = directory.to_owned();
    FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&directory, head);
        fake_server::begin(stream, bytes.len());
        let _ = stream.write_all(&bytes[..most.min(bytes.len())]);
        then();
    })
}

/// An index that has the packages of a directory at each of these URLs, asked in this order.
fn at_all(directory: &Path, urls: &[String]) -> (Sqlite, Vec<tempfile::TempDir>) {
    let index = Sqlite::empty();
    let mut directories = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        // A store is known by its directory.
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let tier = ["mirror", "koji", "archive"][number];
        index.add_store(&format!("store{number}"), tier, copy.path(), url);
        directories.push(copy);
    }
    (index, directories)
}

fn continued(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_extraction_resumes_total")
}

#[test]
fn an_archive_that_breaks_off_at_any_byte_is_continued_from_another_location() {
    let (directory, made) = large();
    let archive_bytes = std::fs::read(&made.rpm).unwrap().len();
    let sound = FileServer::start(directory.path());
    // Within lead and header, before the member, in it, in what is held back, behind it.
    for (sent, continues) in [
        (40, 0.0),
        (1_000, 0.0),
        (HELD_BACK / 2, 1.0),
        (HELD_BACK * 3, 1.0),
        (archive_bytes / 2, 1.0),
        (archive_bytes - HELD_BACK - 5_000, 1.0),
        (archive_bytes - HELD_BACK / 2, 1.0),
    ] {
        let broken = sends(sent, directory.path(), || ());
        let (index, _directories) = at_all(directory.path(), &[broken.url(), sound.url()]);
        let gateway = RunningGateway::start(&index.url());
        assert!(gateway.get(&path_of(&made)).body == made.bytes, "{sent}: other bytes");
        assert_eq!((continued(&gateway), extractions(&gateway, "complete")), (continues, 1.0), "{sent}");
        assert_eq!((broken.connections(), cached(&gateway).len()), (1, 1), "{sent}");
    }
}

#[test]
fn every_client_in_the_middle_of_a_body_gets_the_rest_from_elsewhere() {
    let (directory, made) = large();
    let (gate, sound) = (Gate::default(), FileServer::start(directory.path()));
    let (opened, half) = (gate.clone(), LARGE / 2);
    let broken = sends(half, directory.path(), move || opened.pass());
    let (index, _directories) = at_all(directory.path(), &[broken.url(), sound.url()]);
    let gateway = RunningGateway::start(&index.url());
    let bodies: Vec<_> = (0..20)
        .map(|number| {
            let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
            let mut read = vec![0; (number + 1) * 300_000];
            body.read_exact(&mut read).unwrap();
            (read, body)
        })
        .collect();
    gate.open();
    for (mut bytes, mut body) in bodies {
        body.read_to_end(&mut bytes).unwrap();
        assert!(bytes == made.bytes, "other bytes");
    }
    assert_eq!((continued(&gateway), extractions(&gateway, "complete"), broken.connections()), (1.0, 1.0, 1));
}

#[test]
fn a_store_that_stalls_at_any_byte_is_left_for_another_one() {
    let (directory, made) = large();
    let (gate, sound) = (Gate::default(), FileServer::start(directory.path()));
    let archive_bytes = std::fs::read(&made.rpm).unwrap().len();
    // Within the header, right behind it, in the member, in what is held back, at the last byte: each waits as long as
    // the others.
    std::thread::scope(|scope| {
        for sent in [1_000, HELD_BACK / 2, LARGE / 2, archive_bytes - HELD_BACK / 2, archive_bytes - 1] {
            let (made, sound, directory, closed) = (&made, &sound, directory.path(), gate.clone());
            scope.spawn(move || {
                let stalls = sends(sent, directory, move || closed.pass());
                let (index, _directories) = at_all(directory, &[stalls.url(), sound.url()]);
                let gateway = RunningGateway::start(&index.url());
                let asked = Instant::now();
                assert!(gateway.get(&path_of(made)).body == made.bytes, "{sent}: other bytes");
                assert!(asked.elapsed() < Duration::from_secs(60), "{sent}: {:?}", asked.elapsed());
                assert_eq!((cached(&gateway).len(), extractions(&gateway, "failed")), (1, 0.0), "{sent}");
            });
        }
    });
    gate.open();
}

#[test]
fn a_store_that_sends_other_bytes_the_second_time_is_never_believed() {
    let (directory, made) = large();
    let archive = std::fs::read(&made.rpm).unwrap();
    // The first time it breaks off; then a byte of the member is another one: before what was sent, or behind it.
    for changed in [LARGE / 4, LARGE / 2 + HELD_BACK * 2] {
        let (archive, asked) = (archive.clone(), AtomicUsize::new(0));
        let changing = FakeServer::start(move |_, stream| {
            fake_server::begin(stream, archive.len());
            let mut bytes = archive.clone();
            let most = match asked.fetch_add(1, Ordering::SeqCst) {
                0 => LARGE / 2,
                _ => bytes.len(),
            };
            bytes[changed] ^= u8::from(most == bytes.len());
            let _ = stream.write_all(&bytes[..most]);
        });
        // Asked twice, by two locations.
        let (index, _directories) = at_all(directory.path(), &[changing.url(), changing.url()]);
        let gateway = RunningGateway::start(&index.url());
        gateway.expect_reset(&path_of(&made));
        assert_eq!((extractions(&gateway, "complete"), cached(&gateway).len()), (0.0, 0), "{changed}");
        assert!(changing.connections() >= 2, "{changed}");
    }
}

#[test]
fn with_no_location_left_a_response_ends_in_a_reset() {
    let (directory, made) = large();
    let other = tempfile::tempdir().unwrap();
    rpmbuild::of_bytes(other.path(), "large", b"another package with this name", &made.build_id);
    let broken = || sends(LARGE / 2, directory.path(), || ());
    let elsewhere = FileServer::start(other.path());
    // Another package in the place of this one, another broken one, one that has it no more.
    let (second, gone) = (broken(), FakeServer::start(fake_server::answer_absent));
    for (url, other_whole) in [(elsewhere.url(), None), (second.url(), Some(1.0)), (gone.url(), None)] {
        let first = broken();
        let (index, _directories) = at_all(directory.path(), &[first.url(), url]);
        let gateway = RunningGateway::start(&index.url());
        gateway.expect_reset(&path_of(&made));
        assert_eq!((extractions(&gateway, "complete"), extractions(&gateway, "failed")), (0.0, 1.0));
        assert_eq!(continued(&gateway), other_whole.unwrap_or(0.0));
        assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
    }
}

#[test]
fn another_copy_with_other_bytes_than_were_sent_is_not_mixed_in() {
    let (directory, made) = large();
    let (damaged, sound) = (tempfile::tempdir().unwrap(), FileServer::start(directory.path()));
    let mut bytes = std::fs::read(&made.rpm).unwrap();
    bytes[1_000_000] ^= 0x55;
    std::fs::write(damaged.path().join(made.rpm.file_name().unwrap()), &bytes).unwrap();
    let (first, damaged) = (sends(LARGE / 2, directory.path(), || ()), FileServer::start(damaged.path()));
    let (index, _directories) = at_all(directory.path(), &[first.url(), damaged.url(), sound.url()]);
    let gateway = RunningGateway::start(&index.url());
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!((continued(&gateway), extractions(&gateway, "complete")), (2.0, 1.0));
    // What nobody has seen is written anew: here the damage comes first, and breaks off before anything leaves.
    let mut early = bytes;
    early[1_000_000] ^= 0x55;
    let at = early.len() / 100;
    early[at] ^= 0x55;
    let cut = tempfile::tempdir().unwrap();
    std::fs::write(cut.path().join(made.rpm.file_name().unwrap()), &early).unwrap();
    let first = sends(at + 1_000, cut.path(), || ());
    let (index, _directories) = at_all(directory.path(), &[first.url(), sound.url()]);
    let gateway = RunningGateway::start(&index.url());
    let answer = http::get(gateway.port, &path_of(&made)).or_else(|_| http::get(gateway.port, &path_of(&made)));
    assert!(answer.unwrap().body == made.bytes, "other bytes");
}

#[test]
fn an_extraction_that_nobody_waits_for_is_dropped_where_that_is_configured() {
    let (directory, made) = large();
    let (gate, store_directory) = (Gate::default(), directory.path().to_owned());
    let opened = gate.clone();
    // Slowly, so that the extraction looks whether it is wanted.
    let store = FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&store_directory, head);
        fake_server::begin(stream, bytes.len());
        for (number, piece) in bytes.chunks(100_000).enumerate() {
            if number > 20 && !opened.is_open() {
                std::thread::sleep(Duration::from_millis(200));
            }
            if stream.write_all(piece).is_err() {
                return;
            }
        }
    });
    let (index, _directories) = at_all(directory.path(), &[store.url()]);
    let gateway = RunningGateway::start_with(&index.url(), "[extraction]\nabandoned = \"cancel\"\n", &[]);
    let clients: Vec<_> = (0..200).map(|_| http::begin(gateway.port, &path_of(&made)).unwrap()).collect();
    drop(clients);
    wait_until("the end of the extraction", || extractions(&gateway, "cancelled") == 1.0);
    wait_until("room in the cache", || gateway.metric("gateway_cache_bytes") == 0.0);
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
    gate.open();
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!((extractions(&gateway, "complete"), store.connections()), (1.0, 2));
}

#[test]
fn a_program_without_the_note_that_its_package_promises_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let whole = rpmbuild::large(directory.path(), "whole", 200_000);
    let note = hex_bytes(&whole.build_id);
    let at = whole.bytes.windows(note.len()).position(|bytes| bytes == note).unwrap();
    let mut bytes = whole.bytes.clone();
    // Another type of note: the program has no build-id any more.
    bytes[at - 8..at - 4].copy_from_slice(&77_u32.to_ne_bytes());
    let id = "00".repeat(20);
    let made: Made = rpmbuild::of_bytes(directory.path(), "silent", &bytes, &id);
    let index = Sqlite::empty();
    compat_tests::darkserver::import_ok(
        &index.url(),
        &["dir", directory.path().to_str().unwrap(), "--payload", "never"],
    );
    let gateway = RunningGateway::start(&index.url());
    assert!(
        gateway.get(&format!("/buildids/{id}")).text().contains("silent-1.0-1.x86_64"),
        "expected an index that believes links"
    );
    assert_eq!(gateway.get(&path_of(&made)).status, 404);
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
