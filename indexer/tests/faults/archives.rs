//! Archives that vanish, are replaced, grow or are cut off while they are looked at.

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
use crate::support::{Place, Said, many_packages};

/// Starts an import and holds it when it is in the middle of a file's payload; `None` if it was done before.
fn hold_in_payload(database: &str, args: &[&str], file: &Path) -> Option<Running> {
    let mut importer = Running::start(command(database, args));
    while importer.is_done().is_none() {
        if position(importer.id(), file).is_some_and(|position| position > 1 << 20) {
            importer.hold();
            // It may have come to the end of the file before it was held.
            let size = fs::metadata(file).unwrap().len();
            if position(importer.id(), file).is_some_and(|position| position < size) {
                return Some(importer);
            }
            importer.go_on();
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

/// A folder with one archive, whose payload takes a while, and another archive beside the folder.
struct Two {
    place: Place,
    archive: PathBuf,
    other: PathBuf,
}

impl Two {
    fn new() -> Self {
        let place = Place::new();
        let packages = place.packages().canonicalize().unwrap();
        let archive = rpmbuild::large(&packages, "first", 24 << 20).rpm;
        let other = rpmbuild::large(place.folder.path(), "second", 2 << 20).rpm;
        Self { place, archive, other }
    }

    fn args<'a>(&self, folder: &'a str) -> [&'a str; 4] {
        ["dir", folder, "--payload", "always"]
    }

    /// A run in whose middle `change` happens to the archive.
    fn changed(&self, change: impl Fn(&Self)) -> Said {
        let folder = self.place.packages();
        let args = self.args(folder.to_str().unwrap());
        for _ in 0..20 {
            match hold_in_payload(&self.place.database, &args, &self.archive) {
                Some(importer) => {
                    change(self);
                    importer.go_on();
                    return importer.finish();
                }
                None => fs::remove_file(self.place.folder.path().join("index.db")).unwrap(),
            }
        }
        panic!("no import was met in the middle of a payload");
    }

    fn run(&self, database: &str) -> Said {
        let folder = self.place.packages();
        run(database, &self.args(folder.to_str().unwrap()))
    }
}

/// Written in place: nothing comes into the index of what is neither the one nor the other.
#[tokio::test]
async fn an_archive_that_changes_under_the_reader_is_read_again() {
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
        // What is there afterwards is sound, or broken in the way in which it is broken without a change.
        let (said, alone) = (two.changed(change), two.place.other_database("alone.db"));
        let expected = two.run(&alone);
        assert_eq!(said.code, expected.code, "{what}: {said:?} {expected:?}");
        let expected = dump(&alone).await;
        assert_same(&dump(&two.place.database).await, &expected, what);
        two.run(&two.place.database);
        assert_same(&dump(&two.place.database).await, &expected, what);
    }
}

/// Another file in its place, or none: the file that was open is read to its end, and the next run notes what became of
/// it.
#[tokio::test]
async fn an_archive_that_is_replaced_or_removed_under_the_reader_is_followed_by_the_next_run() {
    for is_replaced in [true, false] {
        let two = Two::new();
        let earlier = two.place.other_database("earlier.db");
        assert_eq!(two.run(&earlier).code, Some(0));
        let said = two.changed(|two| {
            if is_replaced {
                fs::copy(&two.other, two.archive.with_extension("new")).unwrap();
                fs::rename(two.archive.with_extension("new"), &two.archive).unwrap();
            } else {
                fs::remove_file(&two.archive).unwrap();
            }
        });
        assert_eq!((said.code, said.count("imported")), (Some(0), 1), "{said:?}");
        let (said, expected) = (two.run(&two.place.database), two.run(&earlier));
        assert_eq!((said.code, expected.code), (Some(0), Some(0)), "{said:?} {expected:?}");
        assert_same(&dump(&two.place.database).await, &dump(&earlier).await, &format!("replaced {is_replaced}"));
    }
}

const PACKAGES: usize = 200;

/// Sets the time of a file to one that no other file of a test has, as long as the number is its own: files that are
/// written in the same tick of a file system's clock have the same time, and if one of them takes the place of another
/// of the same size, nobody can tell.
fn make_unique(path: &Path, modified: SystemTime, number: u32) -> io::Result<()> {
    let unique = modified + Duration::from_nanos(number.into());
    File::options().write(true).open(path)?.set_modified(unique)
}

/// Does to a folder what careless mirrors, uploads and clean-ups do, with whole packages out of another folder.
fn disturb(folder: &Path, from: &[PathBuf], seed: u64, done: &AtomicBool) -> io::Result<u32> {
    let mut chance = Chance::new(seed);
    let mut changes = 0;
    let any = |chance: &mut Chance| from[usize::try_from(chance.below(from.len() as u64)).unwrap()].clone();
    while !done.load(Ordering::SeqCst) {
        let to = folder.join(format!("{}.rpm", chance.below(80)));
        let bytes = fs::read(any(&mut chance))?;
        match chance.below(6) {
            0 => drop(fs::remove_file(&to)),
            1 => {
                fs::write(to.with_extension("part"), &bytes)?;
                make_unique(&to.with_extension("part"), SystemTime::now(), changes)?;
                fs::rename(to.with_extension("part"), &to)?;
            }
            2 => drop(fs::rename(&to, folder.join(format!("{}.rpm", chance.below(80))))),
            3 => {
                fs::write(&to, &bytes[..usize::try_from(chance.below(bytes.len() as u64)).unwrap()])?;
                make_unique(&to, SystemTime::now(), changes)?;
            }
            // In place, in pieces, and with the time set back, as rsync --inplace --times does.
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

/// Everything in an index but locations and stores: packages with what is in them.
fn of_packages(dump: &[String]) -> BTreeSet<String> {
    dump.iter().filter(|line| !line.starts_with("locations:") && !line.starts_with("stores:")).cloned().collect()
}

#[tokio::test]
async fn a_folder_that_never_rests_brings_no_wrong_rows() {
    let place = Place::new();
    let (folder, whole) = (place.packages(), place.folder.path().join("whole"));
    many_packages(&whole, PACKAGES);
    let files = walkdir::WalkDir::new(&whole).into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file());
    let files: Vec<PathBuf> = files.map(|file| file.into_path()).collect();
    let (all, import) = (place.other_database("all.db"), ["dir", folder.to_str().unwrap()]);
    run_ok(&all, &["dir", whole.to_str().unwrap()]);
    let truth = of_packages(&dump(&all).await);

    let done = AtomicBool::new(false);
    let changes = thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(&folder, &files, 5, &done));
        let until = Instant::now() + Duration::from_secs(compat_tests::scale(5, 120));
        while Instant::now() < until {
            let said = run(&place.database, &import);
            assert!(matches!(said.code, Some(0 | 1)) && said.json.is_object(), "{said:?}");
        }
        done.store(true, Ordering::SeqCst);
        disturber.join().unwrap().unwrap()
    });
    assert!(changes > 100, "only {changes} changes");

    // Peace: what is broken is reported, and everything else is right.
    assert!(matches!(run(&place.database, &import).code, Some(0 | 1)));
    let alone = place.other_database("alone.db");
    run(&alone, &import);
    let locations = |dump: &[String]| {
        dump.iter()
            .filter(|line| line.starts_with("locations:") && line.ends_with(" there"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (found, expected) = (dump(&place.database).await, dump(&alone).await);
    assert_same(&locations(&found), &locations(&expected), "present locations");

    // Packages of which there were only broken copies are open: whole ones complete them.
    fs::rename(&whole, folder.join("whole")).unwrap();
    let said = run(&place.database, &import);
    assert!(matches!(said.code, Some(0 | 1)), "{said:?}");
    let found: Vec<String> = of_packages(&dump(&place.database).await).into_iter().collect();
    assert_same(&found, &truth.into_iter().collect::<Vec<_>>(), "packages, after all whole ones came");
    eprintln!("{changes} changes");
}
