//! The plugin and `darkserver-import listen`.

use std::time::Duration;

use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::indexer::RunningIndexer;
use compat_tests::process::free_port;
use compat_tests::wait_within;
use serde_json::Value;

use crate::Setup;
use crate::hub::{Hub, complete};

#[test]
fn the_service_accepts_builds_and_refuses_those_of_an_unknown_instance() {
    let sqlite = Sqlite::empty();
    import_ok(&sqlite.url(), &["migrate"]);
    let setup = Setup::new("http://127.0.0.1:1", "");
    // Nothing listens at the hub: jobs stay.
    let hub_port = free_port();
    let indexer = RunningIndexer::start(
        &sqlite.url(),
        &format!(
            "[hooks]\ntoken_file = '{}'\n[[koji]]\nname = 'primary'\nhub = 'http://127.0.0.1:{hub_port}/kojihub'\n\
             topurl = 'http://127.0.0.1:{hub_port}'\n",
            setup.path("token")
        ),
    );
    setup.configure(&indexer.url(), "");
    let accepted = || indexer.metric("indexer_hook_requests_total{hook=\"koji\",status=\"202\"}");

    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(4711), complete(4712)]);
    setup.wait_until_told();
    wait_within(Duration::from_secs(10), "two accepted builds", || accepted() == 2.0);
    wait_within(Duration::from_secs(20), "the jobs in the status", || {
        let status = import_ok(&sqlite.url(), &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["jobs"].as_array().is_some_and(|jobs| jobs.iter().any(|job| job["kind"] == "build"))
    });
    hub.kill();

    let text = std::fs::read_to_string(setup.configuration()).unwrap();
    std::fs::write(setup.configuration(), text.replace("instance = primary", "instance = unknown")).unwrap();
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(4713)]);
    setup.wait_until_told();
    assert!(hub.log().contains("darkserver refused build 4713"), "{}", hub.log());
    assert_eq!(accepted(), 2.0);
}
