//! Single builds.

use compat_tests::darkserver::RunningGateway;
use compat_tests::fixtures;
use compat_tests::koji_hub::{KojiHub, Trouble};
use compat_tests::repository::SigningKey;

use crate::support::{Database, configured, import, server};

#[test]
fn a_build_answers_with_the_urls_of_its_sub_packages() {
    let hub = KojiHub::start();
    let build = hub.add_build(&server(5));
    let etc = configured(&hub);
    for database in Database::both() {
        let run = import(&database, etc.path(), &["koji", "build", &hub.nvr(build), "--json"]).expect(0);
        let json = run.json();
        assert_eq!(
            (&json["instance"], &json["imported"], &json["packages"]),
            (&"primary".into(), &1.into(), &3.into())
        );
        assert_eq!(json["builds"][0]["outcome"], "imported");
        let again = import(&database, etc.path(), &["koji", "build", &build.to_string(), "--json"]).expect(0).json();
        assert_eq!((&again["unchanged"], &again["headers"], &again["known"]), (&1.into(), &0.into(), &3.into()));
        let gateway = RunningGateway::start(&database.url());
        for row in fixtures::truth("server").iter().filter(|row| row.rpm.contains("-1.1-5.fc99")) {
            let expected = format!("{}/packages/server/1.1/5.fc99/x86_64/{}.rpm", hub.topurl(), row.nvra());
            let answer = gateway.get(&format!("/buildids/{}", row.build_id));
            assert!(answer.text().contains(&expected), "{expected}: {}", answer.text());
        }
    }
}

#[test]
fn the_original_s_file_names_the_instance() {
    let hub = KojiHub::start();
    let build = hub.add_build(&server(5));
    let etc = tempfile::tempdir().unwrap();
    let info = format!(r#"{{"primary": {{"hub": "{}/", "pkgs": "{}//packages"}}}}"#, hub.url(), hub.topurl());
    std::fs::write(etc.path().join("koji_info.json"), info).unwrap();
    let [database, _] = Database::both();
    import(&database, etc.path(), &["koji", "build", &build.to_string()]).expect(0);
    assert_eq!(database.number("select count(*) from packages where koji_instance = 'primary'"), 3);
    assert_eq!(database.number("select count(*) from locations"), 3);
}

#[test]
fn show_tells_what_became_of_a_build() {
    let hub = KojiHub::start();
    let etc = configured(&hub);
    let key = SigningKey::make();
    for database in Database::both() {
        let build = hub.add_draft(&server(5));
        let number = build.to_string();
        let koji = || import(&database, etc.path(), &["koji", "build", &number]).expect(0);
        let show = || import(&database, etc.path(), &["show", "server-1.1-5.fc99.x86_64"]).expect(0).stdout;
        koji();
        let draft = show();
        let expected = format!("  build   server-1.1-5.fc99,draft_{build}, number {build} of primary, a draft\n");
        assert!(draft.contains(&expected), "{expected}: {draft}");
        hub.promote(build);
        let signed = hub.sign(build, &key);
        koji();
        let promoted = show();
        let place = format!("/5.fc99/data/signed/{signed}/x86_64/server-1.1-5.fc99.x86_64.rpm\n");
        for expected in [format!("  build   server-1.1-5.fc99, number {build} of primary\n"), place] {
            assert!(promoted.contains(&expected), "{expected}: {promoted}");
        }
        hub.move_volume(build, "archive");
        koji();
        let moved = show();
        let volume = format!("number {build} of primary, on volume archive\n");
        let place = "/vol/archive/packages/server/1.1/5.fc99/x86_64/server-1.1-5.fc99.x86_64.rpm\n";
        for expected in [volume.as_str(), place] {
            assert!(moved.contains(expected), "{expected}: {moved}");
        }
        hub.delete(build);
        koji();
        let deleted = show();
        assert!(deleted.contains("          deleted between 2"), "{deleted}");
        assert!(deleted.contains("  gone    from all known places since"), "{deleted}");
        let json = import(&database, etc.path(), &["show", "server-1.1-5.fc99.x86_64", "--json"]).expect(0).json();
        let shown = &json["packages"][0]["build"];
        assert_eq!(
            (&shown["instance"], &shown["id"], &shown["state"]),
            (&"primary".into(), &build.into(), &"deleted".into())
        );
        assert!(shown["deleted_after"].as_i64() <= shown["deleted_at"].as_i64(), "{shown}");
    }
}

#[test]
fn builds_that_are_not_in_the_index_are_named() {
    let hub = KojiHub::start();
    let building = hub.begin_build(&server(5));
    let image = hub.add_image_build("Fedora-Cloud-Base", "44", "20260504.0");
    let etc = configured(&hub);
    let [database, _] = Database::both();
    let koji = |arguments: &[&str]| import(&database, etc.path(), &[&["koji", "build"], arguments].concat());
    let run = koji(&[&building.to_string(), "bash-0-1", &hub.nvr(image)]).expect(1);
    for expected in [
        format!("{building}: expected a complete build, found one being built"),
        "bash-0-1: expected a build of the hub, found none".to_owned(),
        format!("{}: it has no RPMs", hub.nvr(image)),
        "3 builds: 0 imported, 0 unchanged, 1 without packages, 1 still being built, 1 UNKNOWN to the hub".to_owned(),
    ] {
        assert!(run.stderr.contains(&expected), "{expected}: {}", run.stderr);
    }
    hub.complete(building);
    let path = "server-debuginfo-1.1-5.fc99.x86_64.rpm";
    hub.files.set(path, compat_tests::static_server::Fault::Status(404));
    let run = koji(&[&building.to_string(), "--json"]).expect(1);
    let json = run.json();
    assert_eq!(json["builds"][0]["outcome"], "failed");
    assert!(json["failed_builds"][0]["reason"].as_str().unwrap().contains(path), "{json}");
    hub.files.repair();
    hub.set_trouble(Some(Trouble::Garbage(b"<html>login</html>".to_vec())));
    let run = koji(&[&building.to_string()]).expect(1);
    assert!(run.stderr.contains(&hub.url()), "{}", run.stderr);
    hub.set_trouble(None);
    koji(&[&building.to_string()]).expect(0);
}

#[test]
fn without_a_configured_instance_usage_is_explained() {
    let [database, _] = Database::both();
    let etc = tempfile::tempdir().unwrap();
    let run = import(&database, etc.path(), &["koji", "build", "1"]).expect(2);
    assert!(run.stderr.contains("--hub and --topurl"), "{}", run.stderr);
    let run = import(&database, etc.path(), &["koji", "backfill", "--after", "2026-02-01", "--before", "2026-01-01"]);
    assert!(run.expect(2).stderr.contains("expected"));
}
