//! `--metadata-only`: build-ids from listings alone. Build-ids that are not listed are absent at once. Claimed ones
//! are found, and their bytes are right although no header was read by the indexer.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Instant;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fixtures;
use compat_tests::process::run;
use compat_tests::repository::{Compression, Repository, rewrite_metadata};
use compat_tests::scale;
use compat_tests::static_server::StaticServer;
use compat_tests::upstreams::Random;
use serde_json::Value;

use crate::support::{assert_same, index_of_directory, number, repo, rows};

/// A repository of a family that was imported by its metadata alone.
struct Claimed {
    repository: Repository,
    server: StaticServer,
    index: Sqlite,
}

fn claimed(family: &str) -> Claimed {
    let repository = Repository::of_families(&[family.to_owned()], Compression::Gzip);
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &["--metadata-only"]).expect(0);
    assert_eq!(server.sent_for(".rpm").len(), 0, "{:?}", server.sent_for(".rpm"));
    Claimed { repository, server, index }
}

/// Build-ids that links of these packages name, by the real rpm: with the package, and true for debuginfo.
fn linked(family: &str) -> BTreeSet<(String, String, bool)> {
    let mut linked = BTreeSet::new();
    for rpm in fixtures::rpms(family) {
        let nvra = rpm.file_stem().unwrap().to_string_lossy().into_owned();
        let output = run(Command::new("rpm").args(["-qpl", "--nosignature", "--nodigest"]).arg(&rpm), "rpm");
        for path in String::from_utf8_lossy(&output.stdout).lines() {
            let is_debug = path.starts_with("/usr/lib/debug/.build-id/") && path.ends_with(".debug");
            let Some((_, rest)) = path.split_once("/.build-id/") else { continue };
            if !is_debug && !path.starts_with("/usr/lib/.build-id/") {
                continue;
            }
            let digits: String = rest.replace('/', "").chars().take_while(char::is_ascii_hexdigit).collect();
            if digits.len() == 40 {
                linked.insert((digits, nvra.clone(), is_debug));
            }
        }
    }
    linked
}

#[test]
fn random_ids_are_absent_and_each_claimed_id_is_known() {
    let claimed = claimed("fedora-compat");
    let gateway = RunningGateway::start(&claimed.index.url());
    let (mut random, count) = (Random::new(17), scale(10_000, 1_000_000));
    let begun = Instant::now();
    // Hundred ids in a request, as batch clients send them, and some alone.
    for batch in 0..count / 100 {
        let ids: Vec<String> = (0..100).map(|_| random_id(&mut random)).collect();
        let answer = gateway.get(&format!("/buildids/{}", ids.join(",")));
        assert_eq!(answer.text().trim(), "[]", "batch {batch}");
        for kind in ["debuginfo", "executable"] {
            assert_eq!(gateway.get(&format!("/buildid/{}/{kind}", ids[0])).status, 404);
        }
    }
    let took = begun.elapsed();
    eprintln!("{count} random ids absent in {took:?}");
    // A miss is decided without a request to a store.
    assert_eq!(claimed.server.sent_for(".rpm").len(), 0);

    let linked = linked("fedora-compat");
    assert!(linked.len() > 8, "{linked:?}");
    for (id, nvra, _) in &linked {
        let text = gateway.get(&format!("/buildids/{id}")).text();
        let rows: Value = serde_json::from_str(&text).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["rpm"] == nvra.as_str());
        let row = row.unwrap_or_else(|| panic!("{id}: expected {nvra} in {text}"));
        assert!(row["elf"].as_str().unwrap().contains("/.build-id/"), "{row}");
        assert!(row["url"].as_str().unwrap().starts_with(&claimed.server.url()), "{row}");
    }
    assert_eq!(claimed.server.sent_for(".rpm").len(), 0, "names cost no request");
}

fn random_id(random: &mut Random) -> String {
    (0..3).map(|_| format!("{:016x}", random.number())).collect::<String>()[..40].to_owned()
}

#[test]
fn debuginfod_find_gets_the_right_bytes_of_every_claimed_id() {
    for family in ["server", "fedora-compat"] {
        let claimed = claimed(family);
        let gateway = RunningGateway::start(&claimed.index.url());
        let client = DebuginfodClient::new(&gateway.url());
        let truth = fixtures::truth_with_bytes(family);
        for (id, nvra, is_debug) in linked(family) {
            let files: BTreeMap<&str, &Vec<u8>> = truth
                .iter()
                .filter(|(row, _)| row.build_id == id && row.path.starts_with("/usr/lib/debug/") == is_debug)
                .map(|(row, bytes)| (row.path.as_str(), bytes))
                .collect();
            let word = if is_debug { "debuginfo" } else { "executable" };
            let found = client.found(&[word, &id]);
            assert!(files.values().any(|bytes| **bytes == found), "{word} {id} of {nvra}: other bytes");
        }
        // Nothing was written: the index has claims still.
        assert_eq!(number(&claimed.index, "select count(*) from artifacts"), 0);
    }
}

#[test]
fn the_kind_that_nobody_claimed_is_absent() {
    let claimed = claimed("server");
    let gateway = RunningGateway::start(&claimed.index.url());
    // Debuginfo of 1.1-6 is listed; the repository without its -debuginfo package claims executables alone.
    let repository = Repository::of_rpms(&[fixtures::package("server", "server-1.1-6.fc99.x86_64")]);
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &["--metadata-only"]).expect(0);
    let alone = RunningGateway::start(&index.url());
    let id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    assert_eq!(alone.get(&format!("/buildid/{id}/executable")).status, 200);
    assert_eq!(alone.get(&format!("/buildid/{id}/debuginfo")).status, 404);
    assert_eq!(gateway.get(&format!("/buildid/{id}/debuginfo")).status, 200);
}

#[test]
fn headers_that_are_read_later_merge_without_doubled_rows() {
    for family in ["server", "fedora-compat", "old-classes"] {
        let claimed = claimed(family);
        repo(&claimed.index, &claimed.server.url(), &[]).expect(0);
        assert_same(&claimed.index, &index_of_directory(claimed.repository.path()), family);
        assert_eq!(number(&claimed.index, "select count(*) from claims"), 0, "{family}");
        let memberships = number(&claimed.index, "select count(*) from memberships");
        assert_eq!(memberships, number(&claimed.index, "select count(*) from packages"), "{family}");
    }
}

#[test]
fn rubbish_is_skipped_with_a_count_and_false_claims_find_nothing() {
    let repository = Repository::of_families(&["server".to_owned()], Compression::Gzip);
    let false_id = "ab".repeat(20);
    let directory = repository.path();
    rewrite_metadata(directory, "primary", |text| {
        let rubbish: String = ["nilnil", "xyz", "", "12", &"0".repeat(500)]
            .iter()
            .map(|id| format!("<rpm:entry name=\"debuginfo(build-id)\" flags=\"EQ\" epoch=\"0\" ver=\"{id}\"/>"))
            .collect();
        let lie = format!("<rpm:entry name=\"debuginfo(build-id)\" flags=\"EQ\" epoch=\"0\" ver=\"{false_id}\"/>");
        text.replacen("<rpm:provides>", &format!("<rpm:provides>{rubbish}{lie}"), 1)
    });
    let server = StaticServer::start(directory);
    let index = Sqlite::empty();
    let run = repo(&index, &server.url(), &["--metadata-only"]).expect(0);
    assert!(run.stderr.contains('5') || run.stdout.contains(":5"), "expected a count of rubbish: {run:?}");
    assert_eq!(rows(&index, &format!("select kind from claims where build_id = '{false_id}'")), ["debuginfo"]);
    let gateway = RunningGateway::start(&index.url());
    // The header does not confirm it: as if there were no claim.
    assert_eq!(gateway.get(&format!("/buildid/{false_id}/debuginfo")).status, 404);
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!(number(&index, "select count(*) from claims"), 0);
    assert_same(&index, &index_of_directory(directory), "after a lie");
}
