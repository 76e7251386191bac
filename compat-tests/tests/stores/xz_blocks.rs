//! RPMs whose payload is several xz blocks, as kernels' debuginfo: members are extracted without the blocks before
//! them.

use std::io::Write;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::files::FileServer;
use compat_tests::rpmbuild;

use crate::{extractions, index_of};

const MIB: usize = 1 << 20;

/// Builds a package of twelve MiB that do not compress, followed by two programs. Returns path and bytes of the
/// programs.
fn package(payload: &str, into: &Path) -> Members {
    let id = |number: u16| format!("{}{number:04x}", &rpmbuild::build_id()[..36]);
    let programs = [id(1), id(2)].map(|id| (rpmbuild::program(200_000, &id), id));
    let noise = rpmbuild::noise(12 * MIB);
    let names: Vec<String> = (0..12).map(|number| format!("/usr/lib/data/{number:02}")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(noise.chunks(MIB)).collect();
    let links = [1, 2].map(|number| (rpmbuild::link(&id(number), ""), format!("../../../../usr/lib/program{number}")));
    files.extend(links.iter().map(|(link, target)| (link.as_str(), target.as_bytes())));
    files.extend([("/usr/lib/program1", &programs[0].0[..]), ("/usr/lib/program2", &programs[1].0[..])]);
    rpmbuild::build_with(payload, into, "blocks", "1.0", "1", &[("blocks", &files)]);
    programs.map(|(bytes, id)| (format!("/buildid/{id}/executable"), bytes))
}

pub(super) fn archive_bytes(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_archive_read_bytes_total")
}

/// Starts a store that honours Range and states archives to be `longer` bytes longer. It sends `lie(part)` for each
/// part.
pub(super) fn honours_ranges(
    directory: &Path,
    longer: usize,
    lie: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> FakeServer {
    let directory = directory.to_owned();
    FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&directory, head);
        let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let Some(range) = range else {
            fake_server::begin(stream, bytes.len());
            let _ = stream.write_all(&bytes);
            return;
        };
        let (first, last) = range.trim().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let part = lie(bytes[first..=last].to_vec());
        let all = bytes.len() + longer;
        let _ = write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{all}\r\n");
        let _ = write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", part.len());
        let _ = stream.write_all(&part);
    })
}

/// Two members of an archive: request path and bytes.
pub(super) type Members = [(String, Vec<u8>); 2];

/// Requests both members, the second one first, and compares their bytes.
pub(super) fn expect_members(name: &str, gateway: &RunningGateway, [first, second]: &Members) {
    for (path, bytes) in [second, first] {
        assert!(gateway.get(path).body == *bytes, "{name}: other bytes");
    }
}

/// Requests both members, and expects little of the 12 MiB before them to be read.
pub(super) fn expect_entered(name: &str, gateway: &RunningGateway, members: &Members) {
    expect_members(name, gateway, members);
    assert_eq!(extractions(gateway, "complete"), 2.0);
    let read = archive_bytes(gateway);
    assert!(read < 5e6, "{name}: expected to read less than half of 12 MiB for two members, found {read} bytes");
    eprintln!("{name}: {read} bytes of an archive of 12 MiB read for two members behind them");
}

/// Requests both members, and expects the 12 MiB before them to be read for each.
pub(super) fn expect_read_from_the_start(name: &str, gateway: &RunningGateway, members: &Members) {
    expect_members(name, gateway, members);
    assert!(archive_bytes(gateway) > 24e6, "{name}: {} bytes", archive_bytes(gateway));
}

/// Wrong parts that a store may send.
pub(super) const LIES: [fn(Vec<u8>) -> Vec<u8>; 4] = [
    |part| part.iter().map(|byte| byte ^ 0x55).collect(),
    |part| part[..part.len() / 2].to_vec(),
    |_| Vec::new(),
    // Sound for headers and index, and then no more.
    |mut part| {
        if part.len() > 10_000 {
            part[5_000..].fill(0);
        }
        part
    },
];

#[test]
fn a_payload_of_several_xz_blocks_is_entered_at_the_right_one() {
    let directory = tempfile::tempdir().unwrap();
    let members = package("w0T4.xzdio", directory.path());
    let store = honours_ranges(directory.path(), 0, |part| part);
    for index in [Sqlite::with_packages(&[directory.path()]), index_of(directory.path(), "mirror", &store.url())] {
        expect_entered("w0T4.xzdio", &RunningGateway::start(&index.url()), &members);
    }
}

#[test]
fn a_payload_of_one_block_and_a_store_without_ranges_are_read_from_the_start() {
    // The last one is not compressed: no distribution ships such packages (ADR 0018).
    for (payload, is_remote) in [("w0.xzdio", false), ("w0.xzdio", true), ("w0T4.xzdio", true), ("w.ufdio", false)] {
        let directory = tempfile::tempdir().unwrap();
        let members = package(payload, directory.path());
        let store = FileServer::start(directory.path());
        let index = if is_remote {
            index_of(directory.path(), "mirror", &store.url())
        } else {
            Sqlite::with_packages(&[directory.path()])
        };
        expect_read_from_the_start(payload, &RunningGateway::start(&index.url()), &members);
    }
}

#[test]
fn a_store_that_sends_other_parts_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let members = package("w0T4.xzdio", directory.path());
    for (number, lie) in LIES.into_iter().enumerate() {
        let store = honours_ranges(directory.path(), 0, lie);
        let index = index_of(directory.path(), "mirror", &store.url());
        expect_members(&number.to_string(), &RunningGateway::start(&index.url()), &members);
    }
}

#[test]
fn a_part_of_a_replaced_archive_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let members = package("w0T4.xzdio", directory.path());
    let store = honours_ranges(directory.path(), 1, |part| part);
    let index = index_of(directory.path(), "mirror", &store.url());
    expect_read_from_the_start("a replaced archive", &RunningGateway::start(&index.url()), &members);
}
