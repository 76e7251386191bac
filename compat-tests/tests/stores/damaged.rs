//! Archives that were damaged or break off.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::wait_until;

use crate::{LARGE, cached, copy_of, extractions, index_of, large, path_of, server};

/// Changes one byte of an archive's payload, so many bytes before its end.
fn damage(rpm: &Path, before_end: usize) {
    let mut bytes = std::fs::read(rpm).unwrap();
    let at = bytes.len() - before_end;
    bytes[at] ^= 0x40;
    std::fs::write(rpm, bytes).unwrap();
}

/// Bytes before the end of a large archive: in the last bytes of its program, which three small members follow, in the
/// middle, and near the start.
const DAMAGES: [usize; 4] = [1_000, 70_000, LARGE / 2, LARGE - 1_000_000];

#[test]
fn an_archive_damaged_after_its_import_is_never_served_whole() {
    let (directory, made) = large();
    let sound = std::fs::read(&made.rpm).unwrap();
    let index = Sqlite::with_packages(&[directory.path()]);
    for before_end in DAMAGES {
        std::fs::write(&made.rpm, &sound).unwrap();
        damage(&made.rpm, before_end);
        let gateway = RunningGateway::start(&index.url());
        for word in ["executable", "section/.text"] {
            match http::get(gateway.port, &format!("/buildid/{}/{word}", made.build_id)) {
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{before_end}: {error}"),
                Ok(answer) => {
                    panic!("{word}: byte {before_end} before the end: found {} and a whole body", answer.status)
                }
            }
        }
        assert_eq!(cached(&gateway), Vec::<PathBuf>::new(), "{before_end}");
        assert_eq!(extractions(&gateway, "complete"), 0.0, "{before_end}");
        // Repaired, it is served, and not one bad byte is left anywhere.
        std::fs::write(&made.rpm, &sound).unwrap();
        wait_until("the end of UNAVAILABLE_TTL", || http::get(gateway.port, &path_of(&made)).is_ok());
        assert!(gateway.get(&path_of(&made)).body == made.bytes, "{before_end}: other bytes");
    }
}

#[test]
fn a_small_member_of_a_damaged_archive_is_not_served_either() {
    let directory = copy_of("server");
    let index = Sqlite::with_packages(&[directory.path()]);
    damage(&directory.path().join("server-1.1-6.fc99.x86_64.rpm"), 1_000);
    let gateway = RunningGateway::start(&index.url());
    gateway.expect_reset(&server().0);
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
}

#[test]
fn instead_of_a_damaged_archive_the_next_location_is_used() {
    let (directory, made) = large();
    let files = tempfile::tempdir().unwrap();
    fixtures::copy(std::slice::from_ref(&made.rpm), files.path());
    let store = FileServer::start(files.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    index.add_store("store", "archive", files.path(), &store.url());
    let sound = std::fs::read(&made.rpm).unwrap();
    for before_end in DAMAGES {
        std::fs::write(&made.rpm, &sound).unwrap();
        damage(&made.rpm, before_end);
        let gateway = RunningGateway::start(&index.url());
        // A response that sent bad bytes ends in a reset; the next request is answered from another location. Bytes
        // that no client has seen yet are replaced.
        let first = http::get(gateway.port, &path_of(&made));
        let resets = f64::from(u8::from(first.is_err()));
        let answer = first.or_else(|_| http::get(gateway.port, &path_of(&made)));
        assert!(answer.unwrap().body == made.bytes, "{before_end}: other bytes");
        let opened = gateway.metric("gateway_store_requests_total{outcome=\"found\",tier=\"archive\"}");
        assert_eq!(opened, 1.0 + resets, "{before_end}");
        eprintln!("damaged {before_end} bytes before the end: {resets} resets");
    }
    // A small member is known to be wrong before the first byte: the first request is answered.
    let (directory, files) = (copy_of("server"), copy_of("server"));
    let store = FileServer::start(files.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    index.add_store("store", "archive", files.path(), &store.url());
    damage(&directory.path().join("server-1.1-6.fc99.x86_64.rpm"), 1_000);
    let (path, expected) = server();
    for path in [path.clone(), path.replace("executable", "section/.text")] {
        let gateway = RunningGateway::start(&index.url());
        let answer = gateway.get(&path);
        assert!(expected.windows(answer.body.len()).any(|bytes| bytes == answer.body), "{path}: other bytes");
    }
}

#[test]
fn a_transfer_that_breaks_off_is_reset_and_not_kept() {
    let (directory, made) = large();
    let whole = Arc::new(AtomicBool::new(false));
    for announced in ["all", "half"] {
        whole.store(false, Ordering::SeqCst);
        let (root, whole_now, announced) = (directory.path().to_owned(), whole.clone(), announced == "all");
        let store = FakeServer::start(move |head, stream| {
            let bytes = fake_server::file(&root, head);
            let sent = if whole_now.load(Ordering::SeqCst) { bytes.len() } else { bytes.len() / 2 };
            fake_server::begin(stream, if announced { bytes.len() } else { sent });
            let _ = stream.write_all(&bytes[..sent]);
        });
        let index = index_of(directory.path(), "mirror", &store.url());
        let gateway = RunningGateway::start(&index.url());
        gateway.expect_reset(&path_of(&made));
        assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
        assert_eq!((extractions(&gateway, "complete"), extractions(&gateway, "failed")), (0.0, 1.0));
        whole.store(true, Ordering::SeqCst);
        assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    }
}
