//! Sections of files whose archive is still coming.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::process::free_port;
use compat_tests::rpmbuild::{self, Made};

use crate::{cached, extractions, index_of, large, sends_half_before};

/// Larger than what is held back of a growing file, and than what is read at once.
const SECTION: usize = 8 << 20;
const TAIL: usize = 4 << 20;

/// A program whose section headers go before its `.comment`, which is large; other bytes follow.
fn tables_first(into: &Path) -> (Made, Vec<u8>) {
    let mut elf =
        fixtures::member(&fixtures::package("payloads", "payload-none-1.0-1.fc99.x86_64"), "/usr/bin/payload-none");
    let number = |at: usize, bytes: usize, elf: &[u8]| {
        (0..bytes).rev().fold(0, |number, byte| number << 8 | usize::from(elf[at + byte]))
    };
    let (table, count, names) = (number(40, 8, &elf), number(60, 2, &elf), number(62, 2, &elf));
    let names = number(table + 64 * names + 24, 8, &elf);
    let is_comment = |at: &usize| elf[names + number(*at, 4, &elf)..].starts_with(b".comment\0");
    let at = (0..count).map(|section| table + 64 * section).find(is_comment).unwrap();
    let start = elf.len();
    elf[at + 24..at + 32].copy_from_slice(&start.to_le_bytes());
    elf[at + 32..at + 40].copy_from_slice(&SECTION.to_le_bytes());
    elf.extend(rpmbuild::noise(SECTION + TAIL));
    let section = elf[start..start + SECTION].to_vec();
    (rpmbuild::of_bytes(into, "tables-first", &elf, &rpmbuild::build_id()), section)
}

fn section_of(made: &Made, name: &str) -> String {
    format!("/buildid/{}/section/{name}", made.build_id)
}

#[test]
fn the_first_bytes_of_a_section_leave_as_soon_as_they_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let (made, section) = tables_first(directory.path());
    let gate = Gate::default();
    let store = sends_half_before(&gate, directory.path());
    let index = index_of(directory.path(), "mirror", &store.url());
    let gateway = RunningGateway::start(&index.url());
    let (head, mut body) = http::begin(gateway.port, &section_of(&made, ".comment")).unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some(&*SECTION.to_string())));
    let mut bytes = vec![0; SECTION / 4];
    body.read_exact(&mut bytes).unwrap();
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new(), "a growing file has no name");
    gate.open();
    body.read_to_end(&mut bytes).unwrap();
    assert!(bytes == section, "other bytes");
    assert_eq!((store.connections(), extractions(&gateway, "complete")), (1, 1.0));
}

#[test]
fn nobody_gets_a_whole_section_of_a_wrong_file() {
    let directory = tempfile::tempdir().unwrap();
    let (made, _) = tables_first(directory.path());
    // Far behind the section a byte is another.
    let mut rpm = std::fs::read(&made.rpm).unwrap();
    let at = rpm.len() - TAIL / 2;
    rpm[at] ^= 1;
    let store = FakeServer::start(move |_, stream| {
        fake_server::begin(stream, rpm.len());
        let _ = stream.write_all(&rpm);
    });
    let index = index_of(directory.path(), "mirror", &store.url());
    let gateway = RunningGateway::start(&index.url());
    for _ in 0..2 {
        let answer = http::get(gateway.port, &section_of(&made, ".comment"));
        assert!(answer.is_err(), "{:?}", answer.map(|answer| (answer.status, answer.body.len())));
    }
    assert_eq!((cached(&gateway), extractions(&gateway, "complete")), (Vec::<PathBuf>::new(), 0.0));
}

#[test]
fn what_a_whole_file_said_is_known_when_the_file_is_gone() {
    let (directory, made) = large();
    let (gate, archives) = (Gate::default(), directory.path().to_owned());
    let (wait, connections) = (gate.clone(), AtomicUsize::new(0));
    let store = FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&archives, head);
        fake_server::begin(stream, bytes.len());
        let half = if connections.fetch_add(1, Ordering::SeqCst) == 0 { bytes.len() } else { bytes.len() / 2 };
        let _ = stream.write_all(&bytes[..half]);
        if half < bytes.len() {
            wait.pass();
            let _ = stream.write_all(&bytes[half..]);
        }
    });
    let index = index_of(directory.path(), "mirror", &store.url());
    let gateway = RunningGateway::start(&index.url());
    // objcopy put the table behind everything: the first time all of the file has to be there.
    let section = gateway.get(&section_of(&made, ".filler"));
    assert_eq!((section.status, section.body == rpmbuild::noise(section.body.len())), (200, true));
    assert_eq!(gateway.get(&section_of(&made, ".nowhere")).status, 404);
    cached(&gateway).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(gateway.get(&section_of(&made, ".nowhere")).status, 404);
    assert_eq!(store.connections(), 1, "what is nowhere needs no file");
    let (_, mut body) = http::begin(gateway.port, &section_of(&made, ".filler")).unwrap();
    let mut bytes = vec![0; section.body.len() / 4];
    body.read_exact(&mut bytes).unwrap();
    gate.open();
    body.read_to_end(&mut bytes).unwrap();
    assert!(bytes == section.body, "other bytes");
    assert_eq!((store.connections(), extractions(&gateway, "complete")), (2, 2.0));
}

#[test]
fn a_section_that_debuginfo_does_not_have_is_absent_whoever_is_away() {
    let (debuginfo, program) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (part, directory) in [("-debuginfo", &debuginfo), ("", &program)] {
        let nvra = format!("server{part}-1.1-6.fc99.x86_64");
        fixtures::copy(&[fixtures::package("server", &nvra)], directory.path());
    }
    let index = Sqlite::with_packages(&[debuginfo.path()]);
    // Nobody is there.
    index.add_store("away", "mirror", program.path(), &format!("http://127.0.0.1:{}", free_port()));
    let gateway = RunningGateway::start(&index.url());
    let id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let section = |name: &str| http::get(gateway.port, &format!("/buildid/{id}/section/{name}"));
    assert_eq!(section(".debug_info").unwrap().status, 200);
    assert_eq!(section(".gdb_index").unwrap().status, 404, "programs have no index that their debuginfo lacks");
    assert!(section(".text").is_err(), "the program may have it");
}
