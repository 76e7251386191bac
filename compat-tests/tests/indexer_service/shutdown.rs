//! Signals, and the system manager.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use compat_tests::darkserver::Sqlite;
use compat_tests::indexer::RunningIndexer;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::wait_until;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{add_store, archive_job, archives, copies, enqueue, jobs};

/// A service that runs the job of one archive, whose server has a fault.
struct Busy {
    index: Sqlite,
    _files: TempDir,
    server: StaticServer,
    service: RunningIndexer,
}

impl Busy {
    fn start(fault: Fault) -> Self {
        let (index, files) = (Sqlite::empty(), copies(1));
        let server = StaticServer::start(files.path());
        server.set("0.rpm", fault);
        let service = RunningIndexer::start(&index.url(), "");
        wait_until("readiness", || service.get("/readyz").status == 200);
        add_store(&index.url(), &server.url());
        enqueue(&index.url(), &[archive_job("0.rpm")]);
        wait_until("the claim", || jobs(&index.url()).2 == 1);
        Self { index, _files: files, server, service }
    }
}

#[test]
fn a_running_job_ends_before_the_service_does() {
    let mut busy = Busy::start(Fault::Late(Duration::from_secs(3)));
    let began = Instant::now();
    assert_eq!(busy.service.stop(), Some(0), "{}", busy.service.log());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(jobs(&busy.index.url()), (0, 0, 0, 0), "the job ended");
    assert!(busy.service.log().contains("is_whole=true"), "{}", busy.service.log());
}

#[test]
fn a_job_that_hangs_is_given_back_within_bounds() {
    let mut busy = Busy::start(Fault::StallsAfter(10));
    let began = Instant::now();
    assert_eq!(busy.service.stop(), Some(0), "{}", busy.service.log());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(jobs(&busy.index.url()), (1, 0, 0, 0), "the job is due");
    busy.server.repair();
    busy.service.restart();
    wait_until("the job", || archives(&busy.service, "done") == 1.0);
}

#[test]
fn a_second_signal_ends_the_service_at_once() {
    let mut busy = Busy::start(Fault::StallsAfter(10));
    let began = Instant::now();
    busy.service.process().signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(busy.service.stop(), Some(130), "{}", busy.service.log());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn the_system_manager_is_told_of_start_state_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let receive = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    };
    let index = Sqlite::empty();
    let mut service = RunningIndexer::start_through(
        // WATCHDOG_PID is the process that this shell becomes.
        &["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"],
        &[
            ("DARKSERVER_DATABASE", &index.url()),
            ("NOTIFY_SOCKET", socket.to_str().unwrap()),
            ("WATCHDOG_USEC", "3000000"),
        ],
        "",
    );
    let mut messages = Vec::new();
    while !messages.iter().any(|message: &String| message.starts_with("STATUS=jobs: 0 due")) {
        messages.push(receive());
    }
    while messages.iter().filter(|message| *message == "WATCHDOG=1").count() < 2 {
        messages.push(receive());
    }
    assert!(messages.iter().any(|message| message == "READY=1"), "{messages:?}");
    assert_eq!(service.stop(), Some(0));
    while messages.last().is_none_or(|message| message != "STOPPING=1") {
        messages.push(receive());
    }
}
