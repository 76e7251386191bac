//! What a hook has accepted survives that the indexer is killed at once.

use compat_tests::http;
use compat_tests::indexer::{ANSWER_WITHIN, RunningIndexer};
use compat_tests::koji_hub::KojiHub;
use compat_tests::{scale, wait_within};

use crate::support::{CONTENTS, Database, instance};

const TOKEN: &str = "a-token-of-a-test-0123456789";

#[test]
fn an_accepted_request_survives_a_kill() {
    let (hub, database) = (KojiHub::start(), Database::sqlite());
    let builds = hub.add_generated_builds(scale(6, 50));
    builds.clone().for_each(|build| hub.set_completion_time(build, 1_600_000_000.0));
    let tokens = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(tokens.path(), TOKEN).expect("write tokens");
    let configuration = format!("[hooks]\ntoken_file = '{}'\n{}", tokens.path().display(), instance(&hub));
    // Its jobs stay where they are.
    hub.set_down(true);
    let mut indexer = RunningIndexer::start(&database.url(), &configuration);
    for build in builds.clone() {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
        let body = format!("{{\"build\": {build}}}");
        let answer = http::request_with(indexer.port, "POST", "/hooks/koji", &headers, body.as_bytes());
        indexer.kill();
        assert_eq!(answer.expect("an answer").status, 202, "{}", indexer.log());
        let job = format!("select count(*) from jobs where `key` = 'build primary {build}'");
        assert_eq!(database.count(&job), 1, "build {build}: {:?}", database.rows("select `key` from jobs"));
        indexer.restart();
    }
    assert_eq!(database.count("select count(*) from jobs"), builds.clone().count() as u64);
    hub.set_down(false);
    wait_within(2 * ANSWER_WITHIN, "no jobs", || database.count("select count(*) from jobs") == 0);
    let imported = "select count(*) from builds where imported_at is not null and state = 'complete'";
    assert_eq!(database.count(imported), builds.count() as u64);
    let (_, packages) = CONTENTS[0];
    let mut found = database.rows(packages);
    let count = found.len();
    found.dedup();
    assert_eq!((found.len() as u64, count as u64), (2 * database.count(imported), 2 * database.count(imported)));
    assert_eq!(indexer.stop(), Some(0));
}
