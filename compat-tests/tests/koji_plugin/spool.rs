//! The spool: disks that are missing, full or slow, its bound, processes that are killed, several flushes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use compat_tests::process::{free_port, run};
use compat_tests::unshare::unshare;
use compat_tests::{python, wait_within};
use serde_json::json;

use crate::hub::{Hub, complete, flush_command, plugins};
use crate::indexer::Indexer;
use crate::{Setup, builds, entries};

/// The address of an indexer that is not there yet.
fn dead() -> (u16, String) {
    let port = free_port();
    (port, format!("http://127.0.0.1:{port}"))
}

/// The hub completes builds without a spool while the indexer is dead; when it is back, the next build tells all.
#[track_caller]
fn survives_without_a_spool(more: &str) {
    let (port, url) = dead();
    let setup = Setup::new(&url, more);
    let mut hub = Hub::start(&setup);
    for id in 1..=3 {
        hub.commit(&[complete(id)]);
    }
    wait_within(Duration::from_secs(10), "a log of the spool", || hub.log().contains("in memory alone: cannot spool"));
    wait_within(Duration::from_secs(10), "a log of the indexer", || hub.log().contains("in memory cannot be told"));
    let indexer = Indexer::start_on(port, |_| 202);
    hub.commit(&[complete(4)]);
    wait_within(Duration::from_secs(20), "all builds", || indexer.builds() == builds(1, 4));
    assert!(!hub.log().contains("Traceback"), "{}", hub.log());
}

#[test]
fn the_directory_cannot_be_made() {
    survives_without_a_spool("spool = /nonexistent/directory/spool");
}

#[test]
fn the_directory_is_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    survives_without_a_spool(&format!("spool = {}", file.path().display()));
}

/// A hub whose spool is a small tmpfs of its own, with the options of mount(8).
fn hub_with_disk(setup: &Setup, options: &str) -> (Hub, PathBuf) {
    let script = format!("mount -t tmpfs -o {options} tmpfs \"$1\" && shift && exec \"$@\"");
    let (spool, mut through) = (setup.path("spool"), unshare("--mount"));
    std::fs::create_dir(&spool).unwrap();
    through.extend(["sh", "-c", &script, "sh", &spool]);
    let hub = Hub::start_through(setup, &through, &[]);
    let seen = Path::new("/proc").join(hub.id().to_string()).join("root").join(spool.trim_start_matches('/'));
    (hub, seen)
}

#[test]
fn the_disk_is_full() {
    let (port, url) = dead();
    let setup = Setup::new(&url, "");
    let (mut hub, disk) = hub_with_disk(&setup, "size=64k,mode=0700");
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; 1 << 20]).expect_err("expected a disk that gets full");
    for id in 1..=3 {
        hub.commit(&[complete(id)]);
    }
    wait_within(Duration::from_secs(10), "a log", || hub.log().contains("in memory alone: cannot spool"));
    assert!(hub.log().contains("No space left"), "{}", hub.log());
    assert_eq!(entries(&disk).len(), 0);

    // With room again, the next build takes those in memory into the spool.
    std::fs::remove_file(&filler).unwrap();
    hub.commit(&[complete(4)]);
    wait_within(Duration::from_secs(10), "the spool", || entries(&disk).len() == 4);
    let indexer = Indexer::start_on(port, |_| 202);
    hub.commit(&[complete(5)]);
    wait_within(Duration::from_secs(20), "all builds", || indexer.builds() == builds(1, 5));
    wait_within(Duration::from_secs(10), "an empty spool", || entries(&disk).is_empty());
}

#[test]
fn the_disk_is_read_only() {
    let (port, url) = dead();
    let setup = Setup::new(&url, "");
    let (mut hub, _) = hub_with_disk(&setup, "ro,size=64k,mode=0700");
    hub.commit(&[complete(1)]);
    wait_within(Duration::from_secs(10), "a log", || hub.log().contains("Read-only file system"));
    let indexer = Indexer::start_on(port, |_| 202);
    hub.commit(&[complete(2)]);
    wait_within(Duration::from_secs(20), "all builds", || indexer.builds() == builds(1, 2));
}

#[test]
fn a_slow_disk_delays_the_hub_by_the_timeout_at_most() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start_through(&setup, &[], &["--slow-disk", "1.5"]);
    for id in 1..=3 {
        hub.commit(&[complete(id)]);
    }
    assert!(hub.log().contains("goes on in the background"), "{}", hub.log());
    wait_within(Duration::from_secs(30), "all builds", || indexer.builds() == builds(1, 3));
}

#[test]
fn a_usual_request_is_delayed_by_little() {
    let (_, url) = dead();
    let setup = Setup::new(&url, "");
    let mut seconds = Hub::start(&setup).commit_many(1, 1, 200);
    seconds.sort_by(f64::total_cmp);
    assert!(seconds[100] < 0.05, "half of the requests waited for {} s or longer", seconds[100]);
}

#[test]
fn a_long_transaction_is_spooled_whole() {
    let (port, url) = dead();
    let setup = Setup::new(&url, "");
    let mut hub = Hub::start(&setup);
    let callbacks: Vec<_> = (1..=1000).map(complete).collect();
    hub.commit(&callbacks);
    wait_within(Duration::from_secs(20), "the spool", || setup.spooled().len() == 1000);
    hub.kill();
    setup.age_claims();
    let indexer = Indexer::start_on(port, |_| 202);
    setup.flush_to(&indexer, "");
    assert_eq!(indexer.builds(), builds(1, 1000));
}

#[test]
fn the_spool_is_bounded() {
    let (port, url) = dead();
    let setup = Setup::new(&url, "max_spool = 3");
    let mut hub = Hub::start(&setup);
    for id in 1..=5 {
        hub.commit(&[complete(id)]);
    }
    // A build that is there already needs no further entry.
    hub.commit(&[complete(1)]);
    let is_bounded = || hub.log().contains("expected fewer than 3 entries, found 3");
    wait_within(Duration::from_secs(10), "a log of the bound", is_bounded);
    assert_eq!(setup.spooled().len(), 3);
    let indexer = Indexer::start_on(port, |_| 202);
    hub.commit(&[complete(6)]);
    wait_within(Duration::from_secs(20), "all builds", || indexer.builds() == builds(1, 6));
    setup.wait_until_told();
}

#[test]
fn a_hub_that_is_killed_after_a_request_loses_nothing() {
    let (_, url) = dead();
    let setup = Setup::new(&url, "");
    for id in 1..=10 {
        let mut hub = Hub::start(&setup);
        hub.commit(&[complete(id)]);
        hub.kill();
    }
    setup.age_claims();
    let indexer = Indexer::start();
    setup.flush_to(&indexer, "");
    assert_eq!(indexer.builds(), builds(1, 10));
}

#[test]
fn what_a_killed_process_began_to_tell_is_told_later() {
    let setup = Setup::new("http://127.0.0.1:1", "");
    let spool = PathBuf::from(setup.path("spool"));
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(spool.join("7.json.telling.host.1.0"), r#"{"event": "complete", "time": 1}"#).unwrap();
    let indexer = Indexer::start();
    setup.configure(&indexer.url(), "");
    let (status, written) = setup.flush(&["--max-seconds", "0"]);
    assert_eq!(status, Some(75), "{written}");
    assert!(written.contains("1 builds are left: a process of the hub tells them"), "{written}");
    setup.age_claims();
    setup.flush_to(&indexer, "");
    assert_eq!(indexer.builds(), [7].into());
}

#[test]
fn an_entry_without_contents_is_told_by_its_name() {
    let setup = Setup::new("http://127.0.0.1:1", "");
    let spool = PathBuf::from(setup.path("spool"));
    std::fs::create_dir(&spool).unwrap();
    for (name, contents) in [("1.json", ""), ("2.json", "\0\0\0\0"), ("3.json", "[7]"), ("x.json", "{}"), ("4", "{}")] {
        std::fs::write(spool.join(name), contents).unwrap();
    }
    let indexer = Indexer::start();
    setup.configure(&indexer.url(), "");
    let (status, written) = setup.flush(&[]);
    assert_eq!(status, Some(0), "{written}");
    assert_eq!(indexer.builds(), builds(1, 3));
    assert!(indexer.messages().iter().all(|message| message["instance"] == "primary"), "{:?}", indexer.messages());
}

#[test]
fn an_event_during_the_telling_is_told_again() {
    let (telling, answer) = (compat_tests::fake_server::Gate::default(), compat_tests::fake_server::Gate::default());
    let gates = (telling.clone(), answer.clone());
    let indexer = Indexer::start_on(0, move |_| {
        gates.0.open();
        gates.1.pass();
        202
    });
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(1)]);
    telling.pass();
    // Another process deletes the build while the first one waits for the answer.
    let mut other = Hub::start(&setup);
    other.commit(&[crate::hub::changed(1, "state", json!(1), 2, 2)]);
    // Its own entry stands beside the one that is being told; it may be told already, too.
    let of_build = setup.spooled().iter().filter(|name| name.starts_with("1.json")).count();
    assert_eq!(of_build, 2, "{:?}", setup.spooled());
    answer.open();
    setup.wait_until_told();
    let events: Vec<_> = indexer.messages().iter().map(|message| message["event"].clone()).collect();
    assert_eq!(events, ["complete", "deleted"]);
}

#[test]
fn two_flushes_do_not_run_at_once() {
    let (asked, answer) = (compat_tests::fake_server::Gate::default(), compat_tests::fake_server::Gate::default());
    let gates = (asked.clone(), answer.clone());
    let indexer = Indexer::start_on(0, move |_| {
        gates.0.open();
        gates.1.pass();
        202
    });
    let setup = Setup::new(&indexer.url(), "");
    std::fs::create_dir(setup.path("spool")).unwrap();
    std::fs::write(PathBuf::from(setup.path("spool")).join("1.json"), "{}").unwrap();
    let mut first = flush_command(&setup.configuration()).spawn().unwrap();
    asked.pass();
    let (status, written) = setup.flush(&[]);
    assert_eq!(status, Some(0), "{written}");
    assert!(written.contains("another flush runs"), "{written}");
    answer.open();
    assert!(first.wait().unwrap().success());
    assert_eq!(indexer.requests(), 1);
    setup.wait_until_told();
}

#[test]
fn a_flush_waits_for_an_indexer_that_is_away() {
    let (port, url) = dead();
    let setup = Setup::new(&url, "");
    std::fs::create_dir(setup.path("spool")).unwrap();
    for id in 1..=20 {
        std::fs::write(PathBuf::from(setup.path("spool")).join(format!("{id}.json")), "{}").unwrap();
    }
    let mut flush = flush_command(&setup.configuration()).args(["--max-seconds", "60"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(flush.try_wait().unwrap().is_none(), "expected that it tries again");
    // Too many requests at first.
    let count = std::sync::atomic::AtomicU32::new(0);
    let is_many = move || count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 5;
    let indexer = Indexer::start_on(port, move |_| if is_many() { 429 } else { 202 });
    assert!(flush.wait().unwrap().success());
    assert_eq!(indexer.builds(), builds(1, 20));
    assert_eq!(setup.spooled().len(), 0);
}

#[test]
fn an_option_that_cannot_be_used_delays_the_telling() {
    let indexer = Indexer::start();
    for more in ["timeout = soon", "timeout = 61", "max_spool = 0", "verify = perhaps", "url = ftp://localhost"] {
        let setup = Setup::new(&indexer.url(), "");
        let text = std::fs::read_to_string(setup.configuration()).unwrap();
        let option = more.split(' ').next().unwrap();
        let others: String =
            text.lines().filter(|line| !line.starts_with(option)).map(|line| line.to_owned() + "\n").collect();
        std::fs::write(setup.configuration(), others + more).unwrap();
        let mut hub = Hub::start(&setup);
        hub.commit(&[complete(1)]);
        wait_within(Duration::from_secs(10), "the spool", || setup.spooled() == ["1.json".to_owned()].into());
        let expected = format!("builds go to {} and are not told: {}", setup.path("spool"), setup.configuration());
        assert!(hub.log().contains(&expected), "{}", hub.log());
        let (status, written) = setup.flush(&[]);
        assert_eq!(status, Some(2), "{more}: {written}");
        wait_within(Duration::from_secs(10), "the end of an attempt", || setup.spooled().contains("1.json"));
        setup.flush_to(&indexer, "");
    }
    assert_eq!(indexer.messages().len(), 5);
}

#[test]
fn without_a_configuration_builds_go_to_the_default_spool() {
    let setup = Setup::new("http://127.0.0.1:1", "");
    std::fs::remove_file(setup.configuration()).unwrap();
    // It is a directory of the machine: here one of the test.
    let script = "mount --bind \"$1\" /var/spool && shift && exec \"$@\"";
    let (own, mut through) = (setup.path("own"), unshare("--mount"));
    std::fs::create_dir(&own).unwrap();
    through.extend(["sh", "-c", script, "sh", &own]);
    let mut hub = Hub::start_through(&setup, &through, &[]);
    hub.commit(&[complete(1)]);
    let spool = Path::new(&own).join("darkserver-koji");
    wait_within(Duration::from_secs(10), "the default spool", || entries(&spool).len() == 1);
    assert!(hub.log().contains("No such file"), "{}", hub.log());
}

#[test]
fn the_hub_starts_without_a_configuration() {
    let setup = Setup::new("http://127.0.0.1:1", "");
    std::fs::remove_file(setup.configuration()).unwrap();
    let mut hub = Hub::start(&setup);
    hub.run(&[complete(1)], "rollback");
    hub.run(&[], "commit");
    assert_eq!(hub.log(), "");
}

#[test]
fn a_process_that_was_forked_tells_by_itself() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut command = std::process::Command::new(python::interpreter());
    command.args(["-B", "-c", FORK]).arg(plugins()).arg(setup.configuration());
    let output = run(&mut command, "python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(indexer.builds(), builds(1, 2));
}

/// A build in this process, and then one in a child that inherits its state and none of its threads.
const FORK: &str = "
import os, sys, time, koji.plugin
plugin = koji.plugin.PluginTracker(path=[sys.argv[1]]).load('darkserver')
plugin.CONFIG_FILE = sys.argv[2]
def commit(build):
    plugin.note_change('postBuildStateChange', attribute='state', old=0, new=1, info={'id': build})
    plugin.submit_noted('postCommit')
    end = time.monotonic() + 10
    while plugin.worker().spool.count() and time.monotonic() < end:
        time.sleep(0.01)
commit(1)
child = os.fork()
if child == 0:
    commit(2)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
