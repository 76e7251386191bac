//! Archives that vanish, are cut off, damaged or become other packages between look-up, header, payload and the last
//! byte.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use artifact::header::Header;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::files::FileServer;
use compat_tests::http;
use compat_tests::wait_until;
use compat_tests::{rpmbuild, scale};

use crate::{ExpectedFile, Random, answer_or_reset};

/// Nothing is cached, so that every answer reads its archive.
const NO_CACHE: [&str; 2] = ["--cache-size", "1KiB"];

/// An archive in a directory, which the test damages.
struct Victim {
    rpm: PathBuf,
    sound: Vec<u8>,
    /// Another package, as long.
    other: Vec<u8>,
}

impl Victim {
    fn of(rpm: &Path, other: &Path) -> Self {
        Self { rpm: rpm.to_owned(), sound: std::fs::read(rpm).unwrap(), other: std::fs::read(other).unwrap() }
    }

    fn put(&self, bytes: &[u8]) {
        let beside = self.rpm.with_extension("new");
        std::fs::write(&beside, bytes).unwrap();
        std::fs::rename(&beside, &self.rpm).unwrap();
    }

    /// Damages the bytes of the file.
    fn damage(&self, random: &mut Random) {
        let file = File::options().write(true).open(&self.rpm).unwrap();
        let at = random.below(self.sound.len() as u64);
        match random.below(3) {
            0 => file.set_len(at).unwrap(),
            1 => file.write_all_at(&[0x5a; 64], at).unwrap(),
            _ => file.write_all_at(&self.sound[..usize::try_from(at).unwrap()], self.sound.len() as u64 - at).unwrap(),
        }
    }

    /// Removes, replaces or damages it.
    fn change(&self, random: &mut Random) {
        match random.below(4) {
            0 => std::fs::remove_file(&self.rpm).unwrap(),
            1 => self.put(&self.other),
            2 => File::options().write(true).open(&self.rpm).unwrap().write_all_at(&self.other, 0).unwrap(),
            _ => self.damage(random),
        }
    }

    /// Restores it, in place or as a new file.
    fn mend(&self, random: &mut Random) {
        if random.below(2) == 0 && self.rpm.exists() {
            let file = File::options().write(true).open(&self.rpm).unwrap();
            file.write_all_at(&self.sound, 0).unwrap();
            file.set_len(self.sound.len() as u64).unwrap();
        } else {
            self.put(&self.sound);
        }
    }
}

/// Two packages of one size; the second only lends its bytes.
fn two(directory: &Path, bytes: usize) -> (ExpectedFile, Victim) {
    let first = rpmbuild::numbered(directory, "first", bytes, 1);
    let other = tempfile::tempdir().unwrap();
    let second = rpmbuild::numbered(other.path(), "other", bytes, 2);
    let victim = Victim::of(&first.rpm, &second.rpm);
    (ExpectedFile::made(first), victim)
}

/// Clients that ask while `disturb` does something again and again; how many answers were whole.
fn under_load(ask: impl Fn() -> bool + Sync, mut disturb: impl FnMut(&mut Random)) -> usize {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (started, least) = (Instant::now(), scale(Duration::from_secs(4), Duration::from_secs(90)));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    served.fetch_add(usize::from(ask()), Ordering::SeqCst);
                }
            });
        }
        let mut random = Random(0x5eed_0004);
        // At least this long, and until ten members were served.
        while started.elapsed() < least || (served.load(Ordering::SeqCst) < 10 && started.elapsed() < 10 * least) {
            disturb(&mut random);
        }
        stop.store(true, Ordering::SeqCst);
    });
    served.load(Ordering::SeqCst)
}

#[test]
fn a_repeatedly_damaged_archive_is_served_correctly_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let (asked, victim) = two(directory.path(), 512 << 10);
    let index = Sqlite::with_packages(&[directory.path()]);
    // A failure is remembered for three seconds: several gateways meet more of the faults.
    let gateways: Vec<RunningGateway> =
        (0..4).map(|_| RunningGateway::start_with(&index.url(), "", &NO_CACHE)).collect();
    let next = AtomicUsize::new(0);
    let served = under_load(
        || asked.ask(gateways[next.fetch_add(1, Ordering::SeqCst) % gateways.len()].port).is_some(),
        |random| {
            std::thread::sleep(Duration::from_millis(random.below(200)));
            victim.damage(random);
            std::thread::sleep(Duration::from_millis(random.below(20)));
            victim.mend(random);
        },
    );
    eprintln!("served {served} whole members");
    assert!(served >= 10, "served {served} members: expected 10");
    victim.put(&victim.sound);
    for gateway in &gateways {
        asked.recovers(gateway);
    }
}

#[test]
fn a_repeatedly_replaced_archive_is_read_from_another_store() {
    let (directory, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (asked, victim) = two(directory.path(), 512 << 10);
    std::fs::copy(&victim.rpm, mirror.path().join(victim.rpm.file_name().unwrap())).unwrap();
    let files = FileServer::start(mirror.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    index.add_store("mirror", "mirror", mirror.path(), &files.url());
    let gateways: Vec<RunningGateway> =
        (0..4).map(|_| RunningGateway::start_with(&index.url(), "", &NO_CACHE)).collect();
    let next = AtomicUsize::new(0);
    let served = under_load(
        || asked.ask(gateways[next.fetch_add(1, Ordering::SeqCst) % gateways.len()].port).is_some(),
        |random| {
            std::thread::sleep(Duration::from_millis(random.below(200)));
            victim.change(random);
            std::thread::sleep(Duration::from_millis(random.below(20)));
            victim.mend(random);
        },
    );
    eprintln!("served {served} whole members");
    assert!(served >= 10, "served {served} members: expected 10");
    // From the mirror alone if it is there; without it absent, not unavailable.
    std::fs::remove_file(&victim.rpm).unwrap();
    asked.recovers(&gateways[0]);
    std::fs::remove_file(mirror.path().join(victim.rpm.file_name().unwrap())).unwrap();
    wait_until("absent", || answer_or_reset(gateways[1].port, &asked.path).is_some_and(|answer| answer.status == 404));
}

#[test]
fn a_download_of_an_archive_is_as_it_was_opened_or_ends_in_a_reset() {
    let directory = tempfile::tempdir().unwrap();
    let (asked, victim) = two(directory.path(), 24 << 20);
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let identity = Header::parse(&victim.sound).unwrap().package.identity;
    let path = format!("/archive/{identity}/first-1.0-1.x86_64.rpm");
    assert!(answer_or_reset(gateway.port, &path).unwrap().body == victim.sound);
    for number in 0..4 {
        let (head, mut body) = http::begin(gateway.port, &path).unwrap();
        assert_eq!(head.header("content-length"), Some(&*victim.sound.len().to_string()));
        body.read_exact(&mut vec![0; 100_000]).unwrap();
        let file = File::options().write(true).open(&victim.rpm).unwrap();
        let mut rest = Vec::new();
        match number {
            // Overwritten: the bytes before and after are of two files.
            0 => file.write_all_at(&[0x5a; 64], victim.sound.len() as u64 / 2).unwrap(),
            1 => file.set_len(victim.sound.len() as u64 / 2).unwrap(),
            // Removed or replaced: the open file is sent to its end.
            2 => std::fs::remove_file(&victim.rpm).unwrap(),
            _ => victim.put(&victim.other),
        }
        let ended = body.read_to_end(&mut rest);
        let whole = rest.len() + 100_000 == victim.sound.len();
        match number {
            0 | 1 => assert!(ended.is_err() && !whole, "{number}: expected a reset, found {} bytes", rest.len()),
            _ => assert!(ended.is_ok() && whole && rest == victim.sound[100_000..], "{number}: {ended:?}"),
        }
        victim.put(&victim.sound);
    }
    asked.recovers(&gateway);
}

#[test]
fn an_archive_that_changes_at_a_given_byte() {
    let directory = tempfile::tempdir().unwrap();
    let (asked, victim) = two(directory.path(), 4 << 20);
    let (sound, other) = (victim.sound.clone(), victim.other.clone());
    let payload = usize::try_from(Header::parse(&sound).unwrap().range.end).unwrap();
    // The store sends `at` bytes of the intact archive, then the rest of the other one, or nothing.
    for (at, rest, decision) in [
        (0, Some(&other), "absent"),
        (payload / 2, Some(&other), "unavailable"),
        (payload, Some(&other), "unavailable"),
        (payload + 1000, Some(&other), "unavailable"),
        (sound.len() / 2, Some(&other), "unavailable"),
        (0, None, "unavailable"),
        (payload / 2, None, "unavailable"),
        (payload, None, "unavailable"),
        (sound.len() / 2, None, "unavailable"),
        (sound.len() - 100_000, None, "unavailable"),
    ]
    .into_iter()
    .step_by(scale(3, 1))
    {
        let gate = Gate::default();
        let store = {
            let (gate, sound, rest) = (gate.clone(), sound.clone(), rest.cloned());
            FakeServer::start(move |_, stream| {
                fake_server::begin(stream, sound.len());
                let _ = stream.write_all(&sound[..at]);
                gate.pass();
                let _ = stream.write_all(rest.as_ref().and_then(|rest| rest.get(at..)).unwrap_or_default());
            })
        };
        let index = Sqlite::empty();
        index.add_store("first", "mirror", directory.path(), &store.url());
        let other_store = FileServer::start(directory.path());
        let both = Sqlite::empty();
        both.add_store("first", "mirror", directory.path(), &store.url());
        both.add_store("second", "archive", directory.path(), &other_store.url());
        let (alone, with_another) = (RunningGateway::start(&index.url()), RunningGateway::start(&both.url()));
        std::thread::scope(|scope| {
            let ask = scope.spawn(|| answer_or_reset(alone.port, &asked.path));
            let ask_both = scope.spawn(|| asked.ask(with_another.port));
            wait_until("two questions", || store.connections() == 2);
            gate.open();
            let answer = ask.join().unwrap();
            match decision {
                "absent" => assert_eq!(answer.expect("an answer").status, 404, "{at}"),
                _ => assert!(answer.is_none(), "{at}: expected a reset"),
            }
            // An answer that was begun ends in a reset; the next request is answered from the other store.
            let answer = ask_both.join().unwrap().or_else(|| asked.ask(with_another.port));
            assert!(answer.is_some(), "{at}: expected an answer from the other store");
        });
        assert_eq!(crate::names(&alone.cache()).len(), 0, "{at}");
    }
}
