//! A cache directory that is full, cannot be written or is removed while members are served, and a gateway that is
//! killed while it writes there.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::http;
use compat_tests::process::{Process, free_port};
use compat_tests::programs::program;
use compat_tests::rpmbuild;
use compat_tests::scale;
use compat_tests::small_disk::SmallDisk;
use compat_tests::wait_until;
use rustix::process::Signal;

use crate::{ExpectedFile, Random, answer_or_reset, names, packages};

fn refused(gateway: &RunningGateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_cache_write_failures_total{{reason=\"{reason}\"}}"))
}

fn in_memory(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_cache_memory_fallbacks_total")
}

/// A member that is larger than all the memory that stands in for a disk.
fn huge(into: &Path) -> rpmbuild::Made {
    const NUMBER: u16 = 99;
    let build_id = format!("{}{NUMBER:04x}", &rpmbuild::build_id()[..36]);
    let bytes = rpmbuild::program(129 << 20, &build_id);
    rpmbuild::of_bytes_with("w.ufdio", into, "huge", &bytes, &build_id)
}

/// Asserts that the log names the cache directory as the cause of an unavailable answer.
fn assert_cause(gateway: &RunningGateway, cause: &str) {
    let log = gateway.log();
    assert!(
        log.lines().any(|line| line.contains("an answer is unavailable")
            && line.contains("cache directory")
            && line.contains(cause)),
        "{log}"
    );
    // Whoever gave the archive is not to blame.
    assert_eq!(gateway.metric("gateway_store_requests_total{outcome=\"failed\",tier=\"local\"}"), 0.0);
}

/// Whole members, and nothing else, are in the directory.
fn assert_whole(directory: &Path, members: &[ExpectedFile]) {
    for file in names(directory) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(members.iter().any(|member| member.bytes == bytes), "{}: no whole member", file.display());
    }
}

#[test]
fn a_disk_filled_by_other_programs() {
    let directory = tempfile::tempdir().unwrap();
    let small = ExpectedFile::made(rpmbuild::numbered(directory.path(), "small", 64 << 10, 1));
    let large = ExpectedFile::made(rpmbuild::numbered(directory.path(), "large", 2 << 20, 2));
    let huge = ExpectedFile::made(huge(directory.path()));
    let index = Sqlite::with_packages(&[directory.path()]);
    let mut disk = SmallDisk::start(&index.url(), 6, "", &[]);
    let gateway = &disk.gateway;
    small.ask(gateway.port).expect("an answer");
    disk.fill();
    let gateway = &disk.gateway;
    // From memory, each time anew.
    for times in [1.0, 2.0] {
        large.ask(gateway.port).expect("a member that the disk has no room for");
        wait_until("nothing of it in the cache", || gateway.metric("gateway_cache_files") == 1.0);
        assert_eq!((in_memory(gateway), refused(gateway, "disk_full"), refused(gateway, "error")), (times, times, 0.0));
    }
    assert!(gateway.log().contains("a member is sent from memory"), "{}", gateway.log());
    // There is not so much memory.
    assert!(huge.ask(gateway.port).is_none());
    assert_cause(gateway, "bytes free on the disk, found");
    small.ask(gateway.port).expect("what is there is served");
    let port = gateway.port;
    assert!(
        answer_or_reset(port, &small.path.replace("executable", "section/.text"))
            .is_some_and(|answer| answer.status == 200)
    );
    disk.empty();
    large.recovers(&disk.gateway);
    disk.gateway.wait_until_synced();
    let files = disk.path().join("files");
    assert_eq!(names(&files).len(), 2);
    assert_whole(&files, &[small, large]);
}

#[test]
fn a_disk_smaller_than_the_cache_holds_what_was_used_last() {
    let directory = tempfile::tempdir().unwrap();
    let members = packages(directory.path(), 5, 1 << 20);
    let index = Sqlite::with_packages(&[directory.path()]);
    let mut disk = SmallDisk::start(&index.url(), 4, "", &[]);
    let port = disk.gateway.port;
    for member in members.iter().chain(&members) {
        member.ask(port).expect("an answer from a disk that is full of what can be removed");
        // What is still on its way to the disk cannot be removed.
        disk.gateway.wait_until_synced();
    }
    assert_eq!((refused(&disk.gateway, "disk_full"), refused(&disk.gateway, "error")), (0.0, 0.0));
    assert!(disk.gateway.log().contains("the cache directory's disk is full before the cache is"));
    // Many at once: what others read cannot be removed, so not all of them can be served, but none wrongly.
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            let (members, served) = (&members, &served);
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..scale(15, 400) {
                    let member = &members[random.below(members.len() as u64) as usize];
                    served.fetch_add(usize::from(member.ask(port).is_some()), Ordering::SeqCst);
                }
            });
        }
    });
    assert!(served.load(Ordering::SeqCst) > 0);
    for member in &members {
        member.recovers(&disk.gateway);
    }
    let files = disk.path().join("files");
    assert_whole(&files, &members);
}

#[test]
fn a_write_that_fails_in_the_middle_of_a_member() {
    let directory = tempfile::tempdir().unwrap();
    let small = ExpectedFile::made(rpmbuild::numbered(directory.path(), "small", 64 << 10, 1));
    let large = ExpectedFile::made(rpmbuild::numbered(directory.path(), "large", 3 << 20, 2));
    let index = Sqlite::with_packages(&[directory.path()]);
    // No file may be larger than 1 or 2 MiB, by the unit of the shell.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"];
    let gateway = RunningGateway::start_through(&limit, &[("DARKSERVER_DATABASE", &index.url())], "", &[]);
    for _ in 0..2 {
        assert!(large.ask(gateway.port).is_none(), "a member that cannot be whole");
        assert!(answer_or_reset(gateway.port, &large.path.replace("executable", "section/.text")).is_none());
        small.ask(gateway.port).expect("an answer");
    }
    assert!(refused(&gateway, "error") >= 1.0);
    assert!(
        gateway.log().lines().any(|line| line.contains("cache directory") && line.contains("File too large")),
        "{}",
        gateway.log()
    );
    gateway.wait_until_synced();
    assert_eq!(names(&gateway.cache()).len(), 1);
}

#[test]
fn a_disk_that_becomes_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let members = packages(directory.path(), 2, 256 << 10);
    let huge = ExpectedFile::made(huge(directory.path()));
    let index = Sqlite::with_packages(&[directory.path()]);
    let mut disk = SmallDisk::start(&index.url(), 8, "", &[]);
    let port = disk.gateway.port;
    members[0].ask(port).expect("an answer");
    disk.remount("ro");
    members[0].ask(port).expect("what is there is served");
    members[1].ask(port).expect("what cannot be kept is sent from memory");
    assert_eq!(
        (in_memory(&disk.gateway), refused(&disk.gateway, "disk_full"), refused(&disk.gateway, "error")),
        (1.0, 0.0, 1.0)
    );
    assert!(huge.ask(port).is_none());
    assert_cause(&disk.gateway, "Read-only file system");
    wait_until("the probe of the directory", || disk.gateway.get("/readyz?strict").text().contains("Read-only"));
    assert_eq!((disk.gateway.get("/readyz?strict").status, disk.gateway.get("/readyz").status), (503, 200));
    disk.remount("rw");
    members[1].recovers(&disk.gateway);
    wait_until("the probe of the directory", || disk.gateway.get("/readyz?strict").status == 200);
}

#[test]
fn a_directory_removed_while_twenty_clients_download() {
    let directory = tempfile::tempdir().unwrap();
    let members = packages(directory.path(), 4, 1 << 20);
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let (files, cache) = (gateway.cache(), gateway.cache().parent().unwrap().to_owned());
    let (stop, served, removed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let until = Instant::now() + scale(Duration::from_secs(6), Duration::from_secs(120));
    std::thread::scope(|scope| {
        for seed in 1..=20 {
            let (members, stop, served, port) = (&members, &stop, &served, gateway.port);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !stop.load(Ordering::SeqCst) {
                    let member = &members[random.below(members.len() as u64) as usize];
                    served.fetch_add(usize::from(member.ask(port).is_some()), Ordering::SeqCst);
                }
            });
        }
        let mut random = Random(0x5eed_0002);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(random.below(200)));
            // Another one may be faster: the gateway puts files there all the time.
            let gone = match random.below(4) {
                0 => std::fs::remove_dir_all(&cache).is_ok(),
                1 => std::fs::remove_dir_all(&files).is_ok(),
                2 => {
                    let away = cache.with_extension("away");
                    let renamed =
                        std::fs::rename(&cache, &away).is_ok() && std::fs::write(&cache, "no directory").is_ok();
                    std::thread::sleep(Duration::from_millis(random.below(50)));
                    if renamed {
                        std::fs::remove_file(&cache).unwrap();
                    }
                    let _ = std::fs::remove_dir_all(&away);
                    renamed
                }
                _ => names(&files).first().is_some_and(|file| std::fs::remove_file(file).is_ok()),
            };
            removed.fetch_add(usize::from(gone), Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let (served, removed) = (served.load(Ordering::SeqCst), removed.load(Ordering::SeqCst));
    eprintln!("removed {removed} times, served {served} whole members");
    assert!(removed >= 5 && served >= 50, "removed {removed} times, served {served} members: too few to mean anything");
    for member in &members {
        member.recovers(&gateway);
    }
    wait_until("the probe of the directory", || gateway.get("/readyz?strict").status == 200);
    wait_until("all files", || names(&files).len() == members.len());
    assert_whole(&files, &members);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(files.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_gateway_killed_while_filling_leaves_complete_files_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let members = packages(directory.path(), 3, 6 << 20);
    let index = Sqlite::with_packages(&[directory.path()]);
    let mut gateway = RunningGateway::start(&index.url());
    let mut random = Random(0x5eed_0003);
    let mut left = 0;
    for round in 0..scale(6, 60) {
        std::thread::scope(|scope| {
            for member in members.iter().chain(&members) {
                let port = gateway.port;
                // Its end may be any error; a whole body is right all the same.
                scope.spawn(move || {
                    if let Ok(answer) = http::get(port, &member.path) {
                        assert!(answer.status == 200 && answer.body == member.bytes, "{}: other bytes", member.path);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(random.below(400)));
            gateway.process().kill();
        });
        assert_whole(&gateway.cache(), &members);
        left += names(&gateway.cache()).len();
        gateway.restart();
        assert_whole(&gateway.cache(), &members);
        for member in &members {
            member.ask(gateway.port).unwrap_or_else(|| panic!("round {round}: {}", member.path));
        }
        wait_until("all files", || names(&gateway.cache()).len() == members.len());
        for file in names(&gateway.cache()) {
            std::fs::remove_file(file).unwrap();
        }
    }
    eprintln!("{left} whole files were taken over");
}

#[test]
fn a_gateway_killed_while_filling_fifty_files_leaves_none_of_them() {
    const FILES: u16 = 50;
    let (directory, gate) = (tempfile::tempdir().unwrap(), Gate::default());
    let members = packages(directory.path(), FILES, 300 << 10);
    // Each archive stops in the middle, so that all files grow at once.
    let (root, opened) = (directory.path().to_owned(), gate.clone());
    let store = FakeServer::start(move |head, stream| {
        let bytes = fake_server::file(&root, head);
        fake_server::begin(stream, bytes.len());
        let _ = stream.write_all(&bytes[..bytes.len() / 2]);
        opened.pass();
        let _ = stream.write_all(&bytes[bytes.len() / 2..]);
    });
    let index = Sqlite::empty();
    index.add_store("store", "mirror", directory.path(), &store.url());
    let mut gateway = RunningGateway::start_with(&index.url(), "[extraction]\nmax_concurrent = 128\n", &[]);
    let bodies: Vec<_> = members.iter().map(|member| http::begin(gateway.port, &member.path).unwrap().1).collect();
    assert_eq!((store.connections(), gateway.metric("gateway_cache_files")), (usize::from(FILES), f64::from(FILES)));
    gateway.process().kill();
    for mut body in bodies {
        let mut bytes = Vec::new();
        let ended = body.read_to_end(&mut bytes);
        assert!(ended.is_err() || bytes.len() < 300 << 10, "a whole body of a file that was not whole");
    }
    assert_eq!(names(&gateway.cache()), Vec::<PathBuf>::new());
    gate.open();
    gateway.restart();
    assert_eq!((names(&gateway.cache()).len(), gateway.metric("gateway_cache_files")), (0, 0.0));
    for member in &members {
        member.ask(gateway.port).unwrap();
    }
    wait_until("all files", || names(&gateway.cache()).len() == members.len());
    assert_whole(&gateway.cache(), &members);
}

/// A gateway whose cache directory is a link to `shared`, with its port. It need not be ready.
fn launch_on(shared: &Path, index: &Sqlite, private: &Path) -> (Process, u16) {
    std::os::unix::fs::symlink(shared, private.join("cache")).unwrap();
    let port = free_port();
    let mut command = Command::new(program("darkserver"));
    command.env("DARKSERVER_DATABASE", index.url()).env("DARKSERVER_ETC", private).env("RUST_LOG", "info");
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--cache-dir"]).arg(private.join("cache"));
    (Process::start(&mut command, &private.join("log")), port)
}

fn is_ready(port: u16) -> bool {
    http::get(port, "/healthz").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_second_gateway_on_a_cache_directory_is_refused_with_the_id_of_the_first() {
    let [shared, one, other] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let index = Sqlite::with_packages(&[]);
    let (mut first, port) = launch_on(shared.path(), &index, one.path());
    first.wait_until("the first gateway", || is_ready(port));
    let began = Instant::now();
    let (mut second, _) = launch_on(shared.path(), &index, other.path());
    assert!(!second.wait().success());
    assert!(began.elapsed() >= Duration::from_secs(10), "refused after {:?}", began.elapsed());
    let log = second.output();
    assert!(log.contains(&format!("locked by process {} after 10s", first.id())), "{log}");
    assert_eq!(log.matches("waiting for the lock of the cache directory").count(), 1, "{log}");
    assert!(is_ready(port), "the first gateway was disturbed");
}

#[test]
fn a_gateway_succeeds_a_predecessor_that_stops_or_is_killed() {
    let (shared, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let member = packages(directory.path(), 1, 256 << 10).pop().unwrap();
    let index = Sqlite::with_packages(&[directory.path()]);
    let directories: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let (mut first, port) = launch_on(shared.path(), &index, directories[0].path());
    first.wait_until("the first gateway", || is_ready(port));
    member.ask(port).expect("an answer");
    wait_until("the file on the disk", || names(&shared.path().join("files")).len() == 1);
    let (mut second, port) = launch_on(shared.path(), &index, directories[1].path());
    wait_until("a successor that waits", || second.output().contains("waiting for the lock of the cache directory"));
    // A request that arrives before the predecessor has ended is answered, not lost.
    let path = member.path.clone();
    let early = std::thread::spawn(move || http::get(port, &path));
    first.signal(Signal::TERM);
    assert!(early.join().unwrap().unwrap().body == member.bytes, "other bytes");
    second.wait_until("the second gateway", || is_ready(port));
    assert!(first.wait().success());
    second.kill();
    let began = Instant::now();
    let (mut third, port) = launch_on(shared.path(), &index, directories[2].path());
    third.wait_until("the third gateway", || is_ready(port));
    eprintln!("ready {:?} after kill -9", began.elapsed());
    assert!(!third.output().contains("waiting for the lock"), "{}", third.output());
    member.ask(port).expect("an answer");
    let metrics = http::get(port, "/metrics").unwrap().text();
    assert!(metrics.contains("gateway_cache_files 1"), "the file of the first gateway is served");
    assert!(metrics.contains("gateway_extractions_total{result=\"complete\"} 0"), "nothing is extracted again");
}
