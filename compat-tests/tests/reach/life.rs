//! What becomes of builds in Koji: `show` tells the truth at each stage.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compat_tests::darkserver::RunningGateway;
use compat_tests::fixtures;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::repository::SigningKey;
use serde_json::{Value, json};

use crate::messages::{completed, deleted, moved, publish, stable, tagging};
use crate::site::{Database, Place, Site, places, server, server_id, server_nvra};

/// No message tells anything.
const SHORT: &str = "reconcile_interval = \"1s\"\nsweep_interval = \"1s\"";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Expects these values in an object.
#[track_caller]
fn expect(found: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key} in {found}");
    }
}

/// The place of a package of `server-1.1-RELEASE` that is not signed.
fn plain(site: &Site, volume: &str, directory: &str, nvra: &str) -> Place {
    (format!("{}/{volume}packages/server/1.1/{directory}/x86_64/{nvra}.rpm", site.koji.topurl()), None)
}

/// The place of one that is signed.
fn signed(site: &Site, volume: &str, directory: &str, key: &str, nvra: &str) -> Place {
    let url = format!("{volume}packages/server/1.1/{directory}/data/signed/{key}/x86_64/{nvra}.rpm");
    (format!("{}/{url}", site.koji.topurl()), Some(key.to_owned()))
}

/// Expects that a gateway with an empty cache gets the debuginfo from Koji, and from one of these places. Others may be
/// there, too.
#[track_caller]
fn expect_served_from(site: &Site, release: u32, places: &BTreeSet<Place>) {
    site.koji.files.forget();
    let gateway = RunningGateway::start(&site.database.url());
    let nvra = format!("server-debuginfo-1.1-{release}.fc99.x86_64");
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", server_id(release)));
    let member = format!("/usr/lib/debug/usr/bin/server-1.1-{release}.fc99.x86_64.debug");
    assert_eq!(answer.status, 200, "{}", gateway.log());
    assert!(answer.body == fixtures::member(&fixtures::package("server", &nvra), &member));
    let sent = site.koji.files.sent_for(&nvra).into_iter().filter(|sent| sent.method == "GET" && sent.status < 300);
    let urls: BTreeSet<String> = sent.map(|sent| format!("{}{}", site.koji.topurl(), sent.target)).collect();
    assert!(!urls.is_empty(), "{:?}", site.koji.files.sent());
    for url in urls {
        assert!(places.iter().any(|(place, _)| *place == url), "{url}: expected one of {places:?}");
    }
}

/// A build is signed, moved, loses its signed copies and is deleted; the sweep alone finds all of it.
fn is_found_without_any_message(database: Database) {
    let site = Site::start(database, SHORT, "");
    let (nvra, debuginfo) = (server_nvra(6), "server-debuginfo-1.1-6.fc99.x86_64".to_owned());
    let build = site.koji.add_build(&server(6));
    let known = site.shown(&nvra, "a build", |known| !known["build"]["imported_at"].is_null());
    let complete = json!({"instance": "primary", "id": build, "nvr": "server-1.1-6.fc99", "state": "complete",
        "draft": false, "volume": "DEFAULT", "deleted_at": null, "deleted_after": null,
        "completed_at": site.koji.completion_time(build).unwrap() as i64});
    expect(&known["build"], &complete);
    expect(&known, &json!({"deleted_at": null, "state": "complete"}));
    assert_eq!(places(&known, true), [plain(&site, "", "6.fc99", &nvra)].into());

    // Koji writes signed copies without telling.
    let key = site.koji.sign(build, &SigningKey::make());
    let both = |volume: &str, nvra: &str| {
        BTreeSet::from([signed(&site, volume, "6.fc99", &key, nvra), plain(&site, volume, "6.fc99", nvra)])
    };
    let known = site.shown(&nvra, "a signed copy", |known| places(known, true).len() == 2);
    assert_eq!(places(&known, true), both("", &nvra));

    site.koji.move_volume(build, "archive");
    let is_moved = |known: &Value| known["build"]["volume"] == "archive" && places(known, true).len() == 2;
    let known = site.shown(&nvra, "another volume", is_moved);
    assert_eq!(places(&known, true), both("vol/archive/", &nvra));
    assert_eq!(places(&known, false), both("", &nvra));
    expect(&known["build"], &json!({"id": build, "state": "complete", "nvr": "server-1.1-6.fc99"}));
    site.shown(&debuginfo, "another volume", is_moved);
    expect_served_from(&site, 6, &both("vol/archive/", &debuginfo));

    site.koji.prune_signed(build, &key);
    let known = site.shown(&nvra, "a lost copy", |known| places(known, true).len() == 1);
    assert_eq!(places(&known, true), [plain(&site, "vol/archive/", "6.fc99", &nvra)].into());
    assert_eq!(places(&known, false).len(), 3, "{known}");
    expect(&known["build"], &json!({"state": "complete", "volume": "archive", "deleted_at": null}));
    site.shown(&debuginfo, "a lost copy", |known| places(known, true).len() == 1);
    expect_served_from(&site, 6, &[plain(&site, "vol/archive/", "6.fc99", &debuginfo)].into());

    let before = now();
    site.koji.delete(build);
    let after = now();
    let known = site.shown(&nvra, "a deletion", |known| known["build"]["state"] == "deleted");
    let (at, last) =
        (known["build"]["deleted_at"].as_i64().unwrap(), known["build"]["deleted_after"].as_i64().unwrap());
    assert!(last <= after && before <= at && at <= now(), "deleted {before} to {after}, found {last} to {at}");
    // The command reads package and build one after the other: the deletion may have been recorded in between.
    let known = site.shown(&nvra, "a deleted package", |known| known["deleted_at"] == at);
    assert_eq!((places(&known, true), places(&known, false).len()), (BTreeSet::new(), 4));
    let page = site.page(&nvra);
    assert!(page.contains("deleted between "), "{page}");
    // The index still tells which package it was, and the gateway has nothing to give.
    assert!(site.answer(&server_id(6)).as_array().unwrap().iter().any(|row| row["rpm"] == *nvra));
    let gateway = RunningGateway::start(&site.database.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", server_id(6))).status, 404);
}

#[test]
fn moves_lost_copies_and_deletions_are_found_without_any_message_on_sqlite() {
    is_found_without_any_message(Database::sqlite());
}

#[test]
fn moves_lost_copies_and_deletions_are_found_without_any_message_on_mariadb() {
    is_found_without_any_message(Database::mariadb());
}

#[test]
fn a_promotion_of_a_draft_is_found_without_any_message() {
    let site = Site::start(Database::sqlite(), SHORT, "");
    let nvra = server_nvra(7);
    let draft = site.koji.add_draft(&server(7));
    let known = site.shown(&nvra, "a draft", |known| !known["build"]["imported_at"].is_null());
    let (nvr, directory) = (format!("server-1.1-7.fc99,draft_{draft}"), format!("7.fc99,draft_{draft}"));
    expect(&known["build"], &json!({"id": draft, "nvr": nvr, "draft": true, "state": "complete"}));
    assert!(site.page(&nvra).contains("draft"), "{}", site.page(&nvra));
    let found = places(&known, true);
    let Some((url, None)) = found.first() else { panic!("{known}") };
    assert!(url.replace("%2C", ",").contains(&directory), "{url}");

    site.koji.promote(draft);
    let is_promoted = |known: &Value| known["build"]["draft"] == false;
    let known = site.shown(&nvra, "a promotion", is_promoted);
    expect(&known["build"], &json!({"id": draft, "nvr": "server-1.1-7.fc99", "state": "complete", "deleted_at": null}));
    assert_eq!(places(&known, true), [plain(&site, "", "7.fc99", &nvra)].into());
    assert_eq!(places(&known, false).len(), 1, "{known}");
    let debuginfo = "server-debuginfo-1.1-7.fc99.x86_64";
    site.shown(debuginfo, "a promotion", is_promoted);
    expect_served_from(&site, 7, &[plain(&site, "", "7.fc99", debuginfo)].into());
}

/// Of messages that waited while the indexer was away, the time counts at which they were sent.
fn is_told_by_messages(database: Database) {
    let virtual_host = VirtualHost::new();
    let queue = format!(
        "[[messages]]\nname = \"fedora\"\nurl = \"{}\"\nqueue = \"darkserver\"\ndurable = true\nauto_delete = false\n",
        virtual_host.url()
    );
    let keys = "reconcile_interval = \"1d\"\nsweep_interval = \"7d\"";
    let mut site = Site::start(database, keys, &queue);
    site.wait_until_consumed("fedora");
    let (nvra, url) = (server_nvra(5), virtual_host.url());
    let build = site.koji.add_build(&server(5));
    let candidate = "f99-updates-candidate";
    publish(&url, &[completed(&site.koji, build), tagging("TagV1", &site.koji, build, candidate)]);
    let known = site.shown(&nvra, "a tag", |known| {
        known["build"]["tags"][0]["tag"] == candidate && !places(known, true).is_empty()
    });
    expect(&known["build"]["tags"][0], &json!({"current": true, "untagged_at": null}));

    // Signed, and then released: the message of a signature is older than the signed copy, that of Bodhi is not.
    let key = site.koji.sign(build, &SigningKey::make());
    let [untag, tag] =
        [("UntagV1", candidate), ("TagV1", "f99-updates")].map(|(class, tag)| tagging(class, &site.koji, build, tag));
    publish(&url, &[untag, tag, stable(&site.koji, build)]);
    let is_released = |known: &Value| {
        let tags = known["build"]["tags"].as_array().unwrap();
        tags.iter().any(|tag| tag["tag"] == "f99-updates") && places(known, true).len() == 2
    };
    let known = site.shown(&nvra, "a release", is_released);
    let both = [plain(&site, "", "5.fc99", &nvra), signed(&site, "", "5.fc99", &key, &nvra)];
    assert_eq!(places(&known, true), both.into());
    for tag in known["build"]["tags"].as_array().unwrap() {
        assert_eq!(tag["current"], tag["tag"] == "f99-updates", "{known}");
    }

    site.koji.move_volume(build, "other");
    publish(&url, &[moved(&site.koji, build)]);
    let known = site.shown(&nvra, "another volume", |known| known["build"]["volume"] == "other");
    assert!(places(&known, true).iter().all(|(url, _)| url.contains("/vol/other/")), "{known}");

    assert_eq!(site.indexer.stop(), Some(0));
    site.koji.delete(build);
    let before = now();
    publish(&url, &[deleted(&site.koji, build)]);
    let after = now();
    // Whoever looks now sees a later second.
    while now() <= after + 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    site.indexer.restart();
    // The sweep begins anew and may be faster: then the exact time comes later. Package and build are read one after
    // the other, so that they may differ while it comes.
    let known = site.shown(&nvra, "an exact time", |known| {
        let build = &known["build"];
        let is_exact = build["state"] == "deleted" && build["deleted_after"].is_null();
        is_exact && known["deleted_at"] == build["deleted_at"]
    });
    let at = known["build"]["deleted_at"].as_i64().unwrap();
    assert!(before <= at && at <= after, "sent from {before} to {after}, found {at}: {known}");
    assert!(places(&known, true).is_empty(), "{known}");
    let page = site.page(&nvra);
    assert!(page.contains("deleted on "), "{page}");
}

#[test]
fn messages_tell_of_tags_moves_and_deletions_with_their_times_on_sqlite() {
    is_told_by_messages(Database::sqlite());
}

#[test]
fn messages_tell_of_tags_moves_and_deletions_with_their_times_on_mariadb() {
    is_told_by_messages(Database::mariadb());
}
