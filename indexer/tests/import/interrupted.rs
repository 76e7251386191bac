//! Ended at any moment and started again, an import ends with the same index.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{ImportFixture, many_packages};

/// Number of packages: their import takes longer than the times after which it is killed.
const PACKAGES: u64 = 1_200;

/// How often an import is killed four times and then let finish.
fn rounds() -> u32 {
    compat_tests::scale(6, 100)
}

#[tokio::test]
async fn an_import_killed_at_any_moment_ends_with_the_same_index() {
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), usize::try_from(PACKAGES).unwrap());
    let alone = ImportFixture { database: fixture.other_database("alone.db"), directory: fixture.directory };
    let started = Instant::now();
    alone.import(&[]).counts(&[("imported", PACKAGES)]);
    let whole = started.elapsed();
    let expected = alone.dump().await;
    let mut directory = alone.directory;

    for round in 0..rounds() {
        let fixture =
            ImportFixture { database: format!("sqlite:{}/round{round}.db", directory.path().display()), directory };
        let packages = fixture.packages();
        // The moments move through the whole import, whatever the machine's speed; the clock adds the chance.
        for part in 1..=4 {
            let chance = Duration::from_micros(u64::from(Instant::now().elapsed().subsec_nanos() % 5_000));
            let mut importer = fixture.command(&["dir", packages.to_str().unwrap(), "--quiet"]).spawn().unwrap();
            thread::sleep(whole * (round * 4 + part) / (rounds() * 4 + 2) + chance);
            importer.kill().unwrap();
            importer.wait().unwrap();
        }
        let output = fixture.import(&[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.counts(&[("found", PACKAGES), ("gone", 0), ("broken", 0)]);
        assert!(fixture.dump().await == expected, "round {round}: another index than that of an uninterrupted import");
        directory = fixture.directory;
    }
}

#[test]
fn a_signal_stops_an_import_after_its_batch_is_written() {
    let mut fixture = ImportFixture::new();
    many_packages(&fixture.packages(), 3_000);
    // A signal can come before the program listens, and after it is done: then the next moment is tried.
    for delay_ms in (0..200).map(|round| 5 + round * 7 % 300) {
        fixture.database = fixture.other_database(&format!("after-{delay_ms}.db"));
        let mut command = fixture.command(&["dir", fixture.packages().to_str().unwrap(), "--json"]);
        let importer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        // Two, as timeout(1) sends them: they count as one. It may have ended.
        for signal in ["-TERM", "-INT"] {
            let _ =
                Command::new("kill").arg(signal).arg(importer.id().to_string()).stderr(Stdio::null()).status().unwrap();
        }
        let output = crate::support::run_output(&importer.wait_with_output().unwrap());
        if output.code != Some(130) || output.count("imported") == 0 || output.count("imported") == 3_000 {
            continue;
        }
        assert!(output.stderr.contains("stopping") && output.stderr.contains("interrupted"), "{output:?}");
        output.counts(&[("gone", 0), ("broken", 0), ("unreadable", 0)]);
        let imported = output.count("imported");
        let output = fixture.import(&[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.counts(&[("found", 3_000), ("unchanged", imported), ("imported", 3_000 - imported), ("gone", 0)]);
        return;
    }
    panic!("no signal met an import in its middle");
}
