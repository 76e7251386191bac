//! Ended at any moment and started again, an import ends with the same index.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Place, many_packages};

/// Packages: an import of them takes longer than the moments at which it is ended.
const PACKAGES: u64 = 1_200;

/// How often an import is killed four times and then let finish.
fn rounds() -> u32 {
    compat_tests::scale(6, 100)
}

#[tokio::test]
async fn killed_at_any_moment_it_ends_with_the_same_index() {
    let place = Place::new();
    many_packages(&place.packages(), usize::try_from(PACKAGES).unwrap());
    let alone = Place { database: place.other_database("alone.db"), folder: place.folder };
    let started = Instant::now();
    alone.import(&[]).counts(&[("imported", PACKAGES)]);
    let whole = started.elapsed();
    let expected = alone.dump().await;
    let mut folder = alone.folder;

    for round in 0..rounds() {
        let place = Place { database: format!("sqlite:{}/round{round}.db", folder.path().display()), folder };
        let packages = place.packages();
        // The moments move through the whole import, whatever the machine's speed; the clock adds the chance.
        for part in 1..=4 {
            let chance = Duration::from_micros(u64::from(Instant::now().elapsed().subsec_nanos() % 5_000));
            let mut importer = place.command(&["dir", packages.to_str().unwrap(), "--quiet"]).spawn().unwrap();
            thread::sleep(whole * (round * 4 + part) / (rounds() * 4 + 2) + chance);
            importer.kill().unwrap();
            importer.wait().unwrap();
        }
        let said = place.import(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.counts(&[("found", PACKAGES), ("gone", 0), ("broken", 0)]);
        assert!(place.dump().await == expected, "round {round}: another index than that of an uninterrupted import");
        folder = place.folder;
    }
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let mut place = Place::new();
    many_packages(&place.packages(), 3_000);
    // A signal can come before the program listens, and after it is done: then the next moment is tried.
    for delay_ms in (0..200).map(|round| 5 + round * 7 % 300) {
        place.database = place.other_database(&format!("after-{delay_ms}.db"));
        let mut command = place.command(&["dir", place.packages().to_str().unwrap(), "--json"]);
        let importer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        // Two, as timeout(1) sends them: they count as one. It may have ended.
        for signal in ["-TERM", "-INT"] {
            let _ =
                Command::new("kill").arg(signal).arg(importer.id().to_string()).stderr(Stdio::null()).status().unwrap();
        }
        let said = crate::support::said(&importer.wait_with_output().unwrap());
        if said.code != Some(130) || said.count("imported") == 0 || said.count("imported") == 3_000 {
            continue;
        }
        assert!(said.stderr.contains("stopping") && said.stderr.contains("interrupted"), "{said:?}");
        said.counts(&[("gone", 0), ("broken", 0), ("problems", 0)]);
        let imported = said.count("imported");
        let said = place.import(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.counts(&[("found", 3_000), ("unchanged", imported), ("imported", 3_000 - imported), ("gone", 0)]);
        return;
    }
    panic!("no signal met an import in its middle");
}
