//! Archives that are removed, replaced, extended or truncated while they are read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use compat_tests::rpmbuild;

use crate::crash_points::Chance;
use crate::import_process::{Running, command, run, run_ok};
use crate::locked_index::{assert_same, dump};
use crate::support::{ImportFixture, RunOutput, many_packages};

/// Starts an import and holds it when it is in the middle of a file's payload; `None` if it was done before.
fn hold_in_payload(database: &str, args: &[&str], file: &Path) -> Option<Running> {
    let mut importer = Running::start(command(database, args));
    while importer.is_done().is_none() {
        if position(importer.id(), file).is_some_and(|position| position > 1 << 20) {
            importer.pause();
            // It may have come to the end of the file before it was held.
            let size = fs::metadata(file).unwrap().len();
            if position(importer.id(), file).is_some_and(|position| position < size) {
                return Some(importer);
            }
            importer.resume();
        }
    }
    None
}

/// How far a process has read a file that it has open.
fn position(process: u32, file: &Path) -> Option<u64> {
    for descriptor in fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten() {
        if fs::read_link(descriptor.path()).is_ok_and(|path| path == file) {
            let state =
                fs::read_to_string(format!("/proc/{process}/fdinfo/{}", descriptor.file_name().display())).ok()?;
            return state.lines().find_map(|line| line.strip_prefix("pos:")?.trim().parse().ok());
        }
    }
    None
}

/// A directory with one archive, whose payload is slow to read, and another archive beside the directory.
struct Two {
    fixture: ImportFixture,
    archive: PathBuf,
    other: PathBuf,
}

impl Two {
    fn new() -> Self {
        let fixture = ImportFixture::new();
        let packages = fixture.packages().canonicalize().unwrap();
        let archive = rpmbuild::large(&packages, "first", 24 << 20).rpm;
        let other = rpmbuild::large(fixture.directory.path(), "second", 2 << 20).rpm;
        Self { fixture, archive, other }
    }

    fn args<'a>(&self, directory: &'a str) -> [&'a str; 4] {
        ["dir", directory, "--payload", "always"]
    }

    /// A run in whose middle `change` happens to the archive.
    fn changed(&self, change: impl Fn(&Self)) -> RunOutput {
        let directory = self.fixture.packages();
        let args = self.args(directory.to_str().unwrap());
        for _ in 0..20 {
            match hold_in_payload(&self.fixture.database, &args, &self.archive) {
                Some(importer) => {
                    change(self);
                    importer.resume();
                    return importer.finish();
                }
                None => fs::remove_file(self.fixture.directory.path().join("index.db")).unwrap(),
            }
        }
        panic!("no import was met in the middle of a payload");
    }

    fn run(&self, database: &str) -> RunOutput {
        let directory = self.fixture.packages();
        run(database, &self.args(directory.to_str().unwrap()))
    }
}

/// A file that is overwritten while it is read: the index has one of the two states, and no mixture.
#[tokio::test]
async fn an_archive_that_changes_during_a_read_is_read_again() {
    let second = |two: &Two| fs::read(&two.other).unwrap();
    let in_place = |two: &Two| File::options().write(true).open(&two.archive).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&Two));
    let changes: [Change<'_>; 4] = [
        ("cut off", &|two| in_place(two).set_len(3 << 20).unwrap()),
        ("grown", &|two| File::options().append(true).open(&two.archive).unwrap().write_all(b"more").unwrap()),
        ("another header", &|two| in_place(two).write_all_at(&second(two)[..1 << 20], 0).unwrap()),
        ("another archive", &|two| fs::write(&two.archive, second(two)).unwrap()),
    ];
    for (what, change) in changes {
        let two = Two::new();
        // Afterwards the archive is valid, or broken in the same way as without a change.
        let (output, alone) = (two.changed(change), two.fixture.other_database("alone.db"));
        let expected = two.run(&alone);
        assert_eq!(output.code, expected.code, "{what}: {output:?} {expected:?}");
        let expected = dump(&alone).await;
        assert_same(&dump(&two.fixture.database).await, &expected, what);
        two.run(&two.fixture.database);
        assert_same(&dump(&two.fixture.database).await, &expected, what);
    }
}

/// A file that is replaced or removed: the file that was open is read to its end, and the next run indexes the new
/// state.
#[tokio::test]
async fn the_next_run_indexes_an_archive_that_was_replaced_or_removed_during_a_read() {
    for is_replaced in [true, false] {
        let two = Two::new();
        let earlier = two.fixture.other_database("earlier.db");
        assert_eq!(two.run(&earlier).code, Some(0));
        let output = two.changed(|two| {
            if is_replaced {
                fs::copy(&two.other, two.archive.with_extension("new")).unwrap();
                fs::rename(two.archive.with_extension("new"), &two.archive).unwrap();
            } else {
                fs::remove_file(&two.archive).unwrap();
            }
        });
        assert_eq!((output.code, output.count("imported")), (Some(0), 1), "{output:?}");
        let (output, expected) = (two.run(&two.fixture.database), two.run(&earlier));
        assert_eq!((output.code, expected.code), (Some(0), Some(0)), "{output:?} {expected:?}");
        assert_same(&dump(&two.fixture.database).await, &dump(&earlier).await, &format!("replaced {is_replaced}"));
    }
}

const PACKAGES: usize = 200;

/// Sets the time of a file to one that no other file of a test has, as long as the number is its own: files that are
/// written in the same tick of a file system's clock have the same time, and if one of them replaces another
/// of the same size, the change cannot be detected.
fn make_unique(path: &Path, modified: SystemTime, number: u32) -> io::Result<()> {
    let unique = modified + Duration::from_nanos(number.into());
    File::options().write(true).open(path)?.set_modified(unique)
}

/// Changes a directory as mirrors, uploads and clean-ups do, with whole packages from another directory.
fn disturb(directory: &Path, from: &[PathBuf], seed: u64, done: &AtomicBool) -> io::Result<u32> {
    let mut chance = Chance::new(seed);
    let mut changes = 0;
    let any = |chance: &mut Chance| from[usize::try_from(chance.below(from.len() as u64)).unwrap()].clone();
    while !done.load(Ordering::SeqCst) {
        let to = directory.join(format!("{}.rpm", chance.below(80)));
        let bytes = fs::read(any(&mut chance))?;
        match chance.below(6) {
            0 => drop(fs::remove_file(&to)),
            1 => {
                fs::write(to.with_extension("part"), &bytes)?;
                make_unique(&to.with_extension("part"), SystemTime::now(), changes)?;
                fs::rename(to.with_extension("part"), &to)?;
            }
            2 => drop(fs::rename(&to, directory.join(format!("{}.rpm", chance.below(80))))),
            3 => {
                fs::write(&to, &bytes[..usize::try_from(chance.below(bytes.len() as u64)).unwrap()])?;
                make_unique(&to, SystemTime::now(), changes)?;
            }
            // Into the same file, in pieces, and with the time set back, as rsync --inplace --times does.
            4 => {
                let file = File::options().create(true).truncate(false).write(true).open(&to)?;
                let modified = file.metadata()?.modified()?;
                for (number, piece) in bytes.chunks(bytes.len() / 3).enumerate() {
                    file.write_all_at(piece, (number * (bytes.len() / 3)) as u64)?;
                    thread::sleep(Duration::from_micros(chance.below(300)));
                }
                file.set_len(bytes.len() as u64)?;
                let modified = if chance.below(2) == 0 {
                    modified + Duration::from_millis(1 + chance.below(9))
                } else {
                    SystemTime::now()
                };
                make_unique(&to, modified, changes)?;
            }
            _ => {
                fs::write(&to, &bytes)?;
                make_unique(&to, SystemTime::now(), changes)?;
            }
        }
        changes += 1;
        thread::sleep(Duration::from_micros(chance.below(1_500)));
    }
    Ok(changes)
}

/// Returns the dump without locations and stores: packages and their artifacts.
fn of_packages(dump: &[String]) -> BTreeSet<String> {
    dump.iter().filter(|line| !line.starts_with("locations:") && !line.starts_with("stores:")).cloned().collect()
}

#[tokio::test]
async fn a_directory_that_changes_all_the_time_leaves_no_wrong_rows() {
    let fixture = ImportFixture::new();
    let (directory, whole) = (fixture.packages(), fixture.directory.path().join("whole"));
    many_packages(&whole, PACKAGES);
    let files = walkdir::WalkDir::new(&whole).into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file());
    let files: Vec<PathBuf> = files.map(|file| file.into_path()).collect();
    let (all, import) = (fixture.other_database("all.db"), ["dir", directory.to_str().unwrap()]);
    run_ok(&all, &["dir", whole.to_str().unwrap()]);
    let truth = of_packages(&dump(&all).await);

    let done = AtomicBool::new(false);
    let changes = thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(&directory, &files, 5, &done));
        let until = Instant::now() + Duration::from_secs(compat_tests::scale(5, 120));
        while Instant::now() < until {
            let output = run(&fixture.database, &import);
            assert!(matches!(output.code, Some(0 | 1)) && output.json.is_object(), "{output:?}");
        }
        done.store(true, Ordering::SeqCst);
        disturber.join().unwrap().unwrap()
    });
    assert!(changes > 100, "only {changes} changes");

    // Without further changes broken archives are reported, and all others are indexed.
    assert!(matches!(run(&fixture.database, &import).code, Some(0 | 1)));
    let alone = fixture.other_database("alone.db");
    run(&alone, &import);
    let locations = |dump: &[String]| {
        dump.iter()
            .filter(|line| line.starts_with("locations:") && line.ends_with(" there"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (found, expected) = (dump(&fixture.database).await, dump(&alone).await);
    assert_same(&locations(&found), &locations(&expected), "present locations");

    // Packages of which there were only broken copies are open: whole ones complete them.
    fs::rename(&whole, directory.join("whole")).unwrap();
    let output = run(&fixture.database, &import);
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    let found: Vec<String> = of_packages(&dump(&fixture.database).await).into_iter().collect();
    assert_same(&found, &truth.into_iter().collect::<Vec<_>>(), "packages, after all whole ones came");
    eprintln!("{changes} changes");
}
