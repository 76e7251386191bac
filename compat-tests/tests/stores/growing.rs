//! Members that are served while their archive is still coming.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use compat_tests::darkserver::RunningGateway;
use compat_tests::fake_server::Gate;
use compat_tests::files::FileServer;
use compat_tests::http;
use compat_tests::wait_until;

use crate::{LARGE, cached, extractions, index_of, large, names, path_of, sends_half_before};

#[test]
fn the_first_bytes_leave_while_the_archive_is_still_coming() {
    let (directory, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, directory.path());
    let index = index_of(directory.path(), "mirror", &store.url());
    let gateway = RunningGateway::start(&index.url());
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
    assert_eq!((store.connections(), extractions(&gateway, "complete")), (1, 1.0));
    let warm = Instant::now();
    let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    body.read_exact(&mut [0]).unwrap();
    eprintln!("first byte of {} MiB: cold {first_byte:?}, warm {:?}", LARGE >> 20, warm.elapsed());
}

#[test]
fn a_client_that_disconnects_does_not_stop_the_others() {
    let (directory, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, directory.path());
    let index = index_of(directory.path(), "mirror", &store.url());
    let gateway = RunningGateway::start(&index.url());
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
    assert_eq!((store.connections(), extractions(&gateway, "complete")), (1, 1.0));
}

#[test]
fn an_abandoned_extraction_is_finished_for_the_next_request() {
    let (directory, made) = large();
    let files = FileServer::start(directory.path());
    let index = index_of(directory.path(), "mirror", &files.url());
    let gateway = RunningGateway::start(&index.url());
    drop(http::begin(gateway.port, &path_of(&made)).unwrap());
    wait_until("the extraction", || extractions(&gateway, "complete") == 1.0);
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!(extractions(&gateway, "complete"), 1.0);
}

#[test]
fn a_gateway_killed_in_the_middle_leaves_nothing_incomplete() {
    let (directory, made) = large();
    let gate = Gate::default();
    let store = sends_half_before(&gate, directory.path());
    let index = index_of(directory.path(), "mirror", &store.url());
    let mut gateway = RunningGateway::start(&index.url());
    let (_, mut body) = http::begin(gateway.port, &path_of(&made)).unwrap();
    body.read_exact(&mut vec![0; 1 << 20]).unwrap();
    gateway.process().kill();
    assert_eq!(names(&gateway.cache()), Vec::<PathBuf>::new());
    let broken = body.read_to_end(&mut Vec::new());
    assert!(broken.is_err() || made.bytes.len() > 1 << 20);
    gate.open();
    gateway.restart();
    assert_eq!(cached(&gateway), Vec::<PathBuf>::new());
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    assert_eq!(store.connections(), 2);
}
