//! Each way into the index alone: after it the gateway answers.

use std::process::Command;

use compat_tests::darkserver::{import_command, import_ok};
use compat_tests::process::run;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::static_server::StaticServer;
use compat_tests::{fixtures, wait_until};
use serde_json::json;

use crate::messages::{completed, publish};
use crate::site::{Database, Site, TOKEN, server, server_id, server_nvra};

/// Nothing but what a test does leads into the index.
const NEVER: &str = "reconcile_interval = \"1d\"\nsweep_interval = \"7d\"";

/// The URL of a package in the Koji.
fn in_koji(site: &Site, release: u32) -> impl Fn(&str) -> String {
    let (topurl, directory) = (site.koji.topurl(), format!("packages/server/1.1/{release}.fc99/x86_64"));
    move |nvra| format!("{topurl}/{directory}/{nvra}.rpm")
}

fn is_answered_after_a_message(database: Database) {
    let virtual_host = VirtualHost::new();
    let queue = format!("[[messages]]\nname = \"fedora\"\nurl = \"{}\"\n", virtual_host.url());
    let site = Site::start(database, NEVER, &queue);
    site.wait_until_consumed("fedora");
    let build = site.koji.begin_build(&server(6));
    site.koji.complete(build);
    site.koji.forget();
    assert_eq!(site.answer(&server_id(6)), json!([]));
    publish(&virtual_host.url(), &[completed(&site.koji, build)]);
    site.expect_server(6, in_koji(&site, 6));
    assert_eq!(site.indexer.metric("indexer_messages_total{queue=\"fedora\",result=\"queued\"}"), 1.0);
    assert_eq!(site.koji.calls_of("listBuilds"), 0);
}

#[test]
fn a_build_is_answered_after_a_message_on_sqlite() {
    is_answered_after_a_message(Database::sqlite());
}

#[test]
fn a_build_is_answered_after_a_message_on_mariadb() {
    is_answered_after_a_message(Database::mariadb());
}

#[test]
fn a_build_is_answered_after_a_hook_named_it() {
    let site = Site::start(Database::mariadb(), NEVER, "");
    let first = site.koji.add_build(&server(6));
    site.koji.forget();
    let accepted = site.post("koji", &json!({"build": first, "event": "complete"}));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    site.expect_server(6, in_koji(&site, 6));
    // By its name, and before it is complete: a hook can be faster than the hub's commit.
    let second = site.koji.begin_build(&server(7));
    let accepted = site.post("koji", &json!({"nvr": site.koji.nvr(second)}));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    wait_until("a question that is too early", || {
        site.indexer.metric("indexer_jobs_total{kind=\"build\",result=\"retried\"}") >= 1.0
    });
    assert_eq!(site.answer(&server_id(7)), json!([]));
    site.koji.complete(second);
    site.expect_server(7, in_koji(&site, 7));
    assert_eq!(site.koji.calls_of("listBuilds"), 0);
}

#[test]
fn archives_are_answered_after_a_hook_named_them() {
    let site = Site::start(Database::sqlite(), NEVER, "");
    let mirror = site.directory.path().join("mirror");
    fixtures::copy(&server(6), &mirror.join("updates/Packages"));
    let files = StaticServer::start(&mirror);
    import_ok(&site.database.url(), &["store", "add", "mirror", "--tier", "mirror", "--url", &files.url()]);
    let url = |nvra: &str| format!("{}/updates/Packages/{nvra}.rpm", files.url());
    for rpm in server(6) {
        let nvra = rpm.file_stem().unwrap().to_str().unwrap();
        let accepted = site.post("archive", &json!({"url": url(nvra)}));
        assert_eq!(accepted.status, 202, "{}", accepted.text());
    }
    site.expect_server(6, url);
}

#[test]
fn pushed_packages_are_answered() {
    let site = Site::start(Database::mariadb(), NEVER, "");
    let mut push = import_command("sqlite:/nonexistent/no.db", &["push", "--to", &site.indexer.url()]);
    push.args(server(6)).env("DARKSERVER_HOOK_TOKEN", TOKEN);
    let output = run(&mut push, "the workspace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Of a store without a URL the gateway itself gives the archive.
    let path = |nvra: &str| format!("/archive/{}/{nvra}.rpm", header_digest(nvra));
    let gateway = site.gateway.url();
    site.expect_server(6, |nvra| format!("{gateway}{}", path(nvra)));
    let archive = site.gateway.get(&path(&server_nvra(6)));
    assert!(archive.body == std::fs::read(fixtures::package("server", &server_nvra(6))).unwrap());
}

/// The SHA-256 of a package's header, which identifies it, by the real rpm.
fn header_digest(nvra: &str) -> String {
    let mut command = Command::new("rpm");
    command.args(["-qp", "--nosignature", "--qf", "%{SHA256HEADER}"]).arg(fixtures::package("server", nvra));
    String::from_utf8(run(&mut command, "rpm").stdout).unwrap()
}

fn is_answered_by_the_reconciler_alone(database: Database) {
    let site = Site::start(database, "reconcile_interval = \"1s\"\nsweep_interval = \"7d\"", "");
    site.koji.add_build(&server(6));
    // It completes after a later build.
    let slow = site.koji.begin_build(&server(5));
    site.koji.add_build(&server(7));
    for release in [6, 7] {
        site.expect_server(release, in_koji(&site, release));
    }
    site.koji.complete(slow);
    site.expect_server(5, in_koji(&site, 5));
}

#[test]
fn a_build_is_answered_by_the_reconciler_alone_on_sqlite() {
    is_answered_by_the_reconciler_alone(Database::sqlite());
}

#[test]
fn a_build_is_answered_by_the_reconciler_alone_on_mariadb() {
    is_answered_by_the_reconciler_alone(Database::mariadb());
}
