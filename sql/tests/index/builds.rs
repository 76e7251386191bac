//! Builds of Koji: what checks and messages of them change.

use artifact::{Format, Kind};
use sql::{
    Build, BuildPackage, BuildState, BuildTag, BuildUpdate, Claim, ClaimedPackage, History, Import, Index, KojiOrigin,
    NewLocation, Origin, PackageState, SignedCopy, Store, StoredBuild, TagChange, Tier,
};

use crate::builders::{build_id, simple, store};
use crate::{Fresh, on_both, sequences};

const KEY: &str = "e8f23996f2321864";

fn build(number: i64, name: &str) -> Build {
    Build {
        instance: "primary".into(),
        build: number,
        name: name.into(),
        version: "1".into(),
        release: "1.fc43".into(),
        epoch: None,
        state: BuildState::Complete,
        volume: "DEFAULT".into(),
        draft: false,
        completed_at: Some(1_000),
    }
}

fn update(store: &Store, build: Build) -> BuildUpdate {
    BuildUpdate { build, is_imported: true, deleted_at: None, store_id: store.id, directory: None, signed: Vec::new() }
}

fn deleted(store: &Store, build: Build, at: Option<i64>) -> BuildUpdate {
    let build = Build { state: BuildState::Deleted, ..build };
    BuildUpdate { deleted_at: at, ..update(store, build) }
}

fn origin(number: i64, volume: &str) -> KojiOrigin {
    KojiOrigin { instance: "primary".into(), build: number, volume: volume.into() }
}

/// An import of `NAME-1-1.fc43.x86_64` of a build, from `DIRECTORY/x86_64/NVRA.rpm`.
fn package(store: &Store, number: i64, name: &str, directory: &str) -> Import {
    let nvra = format!("{name}-1-1.fc43.x86_64");
    let mut import = simple(store, &nvra);
    import.location.path = format!("{directory}/x86_64/{nvra}.rpm");
    import.koji = Some(origin(number, "DEFAULT"));
    import
}

fn copy(name: &str, key: &str, is_present: bool) -> SignedCopy {
    SignedCopy {
        nvra: format!("{name}-1-1.fc43.x86_64"),
        path: format!("packages/{name}/1/1.fc43/data/signed/{key}/x86_64/{name}-1-1.fc43.x86_64.rpm"),
        key: key.into(),
        size: Some(2000),
        is_present,
    }
}

async fn record(index: &Index, update: BuildUpdate, at: i64) {
    index.record_builds("test", &[update], at).await.unwrap();
}

async fn stored(index: &Index, number: i64) -> StoredBuild {
    index.builds("primary", &[number]).await.unwrap().remove(0)
}

async fn packages(index: &Index, number: i64, store: &Store) -> Vec<BuildPackage> {
    index.build_packages("primary", &[number], store.id).await.unwrap()
}

async fn history(index: &Index, name: &str) -> History {
    index.histories_by_nvra(&format!("{name}-1-1.fc43.x86_64")).await.unwrap().remove(0)
}

/// Path and end of all places of a package, by path.
fn places(history: &History) -> Vec<(&str, Option<i64>)> {
    let mut places: Vec<_> = history.locations.iter().map(|place| (place.path.as_str(), place.gone_at)).collect();
    places.sort_unstable();
    places
}

#[test]
fn builds_are_stored_and_listed_newest_first() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let draft =
            Build { epoch: Some(2), draft: true, release: "1,draft_7".into(), completed_at: None, ..build(7, "draft") };
        let building = Build { state: BuildState::Building, ..build(9, "building") };
        let not_imported = BuildUpdate { is_imported: false, ..update(&koji, build(8, "b")) };
        let updates = [
            update(&koji, draft.clone()),
            not_imported,
            update(&koji, Build { instance: "other".into(), ..build(8, "b") }),
            BuildUpdate { is_imported: false, ..update(&koji, building) },
            update(&koji, build(3, "a")),
        ];
        index.record_builds("test", &updates, 50).await.unwrap();
        index.record_builds("test", &[], 60).await.unwrap();
        let found = index.builds("primary", &[7, 3, 8, 9, 4, 7]).await.unwrap();
        assert_eq!(found.iter().map(|found| found.build.build).collect::<Vec<_>>(), [3, 7, 8, 9]);
        let expected =
            StoredBuild { build: draft, imported_at: Some(50), checked_at: 50, deleted_at: None, deleted_after: None };
        assert_eq!((&found[1], found[1].build.nvr()), (&expected, "draft-1-1,draft_7".into()));
        assert_eq!((found[2].imported_at, found[3].build.state), (None, BuildState::Building));
        let below = async |below, limit| {
            let found = index.builds_below("primary", below, limit).await.unwrap();
            found.iter().map(|found| found.build.build).collect::<Vec<_>>()
        };
        assert_eq!((below(None, 2).await, below(Some(7), 9).await), (vec![8, 7], vec![3]));
        assert_eq!(index.build_count("primary").await.unwrap(), 3);
        // Imported later; the first time stays.
        record(&index, update(&koji, build(8, "b")), 70).await;
        record(&index, BuildUpdate { is_imported: false, ..update(&koji, build(8, "b")) }, 80).await;
        let after = stored(&index, 8).await;
        assert_eq!((after.imported_at, after.checked_at), (Some(70), 80));
        assert!(index.builds("primary", &[]).await.unwrap().is_empty());
        let long = BuildUpdate { signed: vec![copy("a", "0123456789abcdef0", true)], ..update(&koji, build(1, "a")) };
        index.record_builds("test", &[long], 90).await.unwrap_err();
    });
}

#[test]
fn an_older_check_changes_nothing() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        index.insert("test", &[package(&koji, 1, "a", "packages/a/1/1.fc43")]).await.unwrap();
        record(&index, BuildUpdate { is_imported: false, ..update(&koji, build(1, "a")) }, 100).await;
        let before = (fresh.dump().await, fresh.rows("select * from builds").await);
        let writes = sequences(&index).await;
        let moved = Build { volume: "v".into(), ..build(1, "a") };
        let directory = Some("vol/v/packages/a/1/1.fc43".to_owned());
        record(&index, BuildUpdate { directory, signed: vec![copy("a", KEY, true)], ..update(&koji, moved) }, 99).await;
        record(&index, deleted(&koji, build(1, "a"), Some(90)), 99).await;
        assert_eq!((fresh.dump().await, fresh.rows("select * from builds").await), before);
        assert_eq!(sequences(&index).await, writes);
        // The same check again, and a later one that finds the same.
        record(&index, update(&koji, build(1, "a")), 100).await;
        record(&index, update(&koji, build(1, "a")), 101).await;
        assert_eq!((stored(&index, 1).await.checked_at, stored(&index, 1).await.imported_at), (101, Some(100)));
        assert_eq!((fresh.dump().await, sequences(&index).await), (before.0, writes));
    });
}

#[test]
fn a_check_of_a_clock_that_is_ahead_hides_no_later_one() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        index.insert("test", &[package(&koji, 1, "a", "packages/a/1/1.fc43")]).await.unwrap();
        let now = index.now().await.unwrap();
        let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(own as i64) < 60, "{now}");
        let ahead = BuildUpdate { signed: vec![copy("a", KEY, false)], ..update(&koji, build(1, "a")) };
        record(&index, ahead, now + 100_000).await;
        let signed = BuildUpdate { signed: vec![copy("a", KEY, true)], ..update(&koji, build(1, "a")) };
        record(&index, signed, now).await;
        assert_eq!(stored(&index, 1).await.checked_at, now);
        assert_eq!(places(&history(&index, "a").await).iter().filter(|(_, gone_at)| gone_at.is_none()).count(), 2);
        record(&index, update(&koji, build(1, "a")), now + 100_000).await;
        let overtaken = index.record_builds("test", &[deleted(&koji, build(1, "a"), None)], now).await.unwrap();
        assert!(overtaken.is_empty(), "{overtaken:?}");
        let found = stored(&index, 1).await;
        assert_eq!((found.build.state, found.deleted_at), (BuildState::Deleted, Some(now)));
        assert!(found.deleted_after <= Some(now), "{found:?}");
        assert!(places(&history(&index, "a").await).iter().all(|(_, gone_at)| gone_at.is_some()));
        // Who is overtaken by a check that is truly later is told so.
        let overtaken = index.record_builds("test", &[update(&koji, build(1, "a"))], now - 5).await.unwrap();
        assert_eq!(overtaken, [("primary".to_owned(), 1)]);
    });
}

#[test]
fn a_deletion_has_its_time_or_the_two_checks_around_it() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        for (number, name) in [(1, "exact"), (2, "between"), (3, "unknown")] {
            let import = package(&koji, number, name, &format!("packages/{name}/1/1.fc43"));
            index.insert("test", &[import, simple(&mirror, &format!("{name}-1-1.fc43.x86_64"))]).await.unwrap();
        }
        let seen_at = history(&index, "exact").await.locations[0].last_seen.unwrap();
        let at = |after: i64| seen_at + after;
        record(&index, update(&koji, build(1, "exact")), at(10)).await;
        record(&index, update(&koji, build(2, "between")), at(20)).await;
        record(&index, deleted(&koji, build(1, "exact"), Some(at(15))), at(30)).await;
        record(&index, deleted(&koji, build(2, "between"), None), at(30)).await;
        // Never checked before: it existed when it was complete.
        record(&index, deleted(&koji, build(3, "unknown"), None), at(30)).await;
        let never = Build { completed_at: None, ..build(4, "never") };
        record(&index, deleted(&koji, never, None), at(30)).await;
        for (number, deleted_at, deleted_after) in
            [(1, at(15), None), (2, at(30), Some(at(20))), (3, at(30), Some(1_000)), (4, at(30), Some(0))]
        {
            let found = stored(&index, number).await;
            assert_eq!((found.deleted_at, found.deleted_after), (Some(deleted_at), deleted_after), "{number}");
            assert_eq!(found.build.state, BuildState::Deleted);
        }
        let (exact, between) = (history(&index, "exact").await, history(&index, "between").await);
        assert_eq!((exact.deleted_at, between.deleted_at), (Some(at(15)), Some(at(30))));
        // The copy on the mirror lives on.
        let expected = [
            ("exact-1-1.fc43.x86_64.rpm", None),
            ("packages/exact/1/1.fc43/x86_64/exact-1-1.fc43.x86_64.rpm", Some(at(15))),
        ];
        assert_eq!(places(&exact), expected);
        assert_eq!(exact.build.unwrap().build, stored(&index, 1).await);

        // It stays deleted, whatever an answer says; the exact time is learned later.
        record(
            &index,
            BuildUpdate { signed: vec![copy("between", KEY, true)], ..update(&koji, build(2, "between")) },
            at(40),
        )
        .await;
        let found = stored(&index, 2).await;
        assert_eq!(
            (found.build.state, found.checked_at, found.deleted_at),
            (BuildState::Deleted, at(40), Some(at(30)))
        );
        record(&index, deleted(&koji, build(2, "between"), Some(at(25))), at(50)).await;
        record(&index, deleted(&koji, build(2, "between"), Some(at(99))), at(60)).await;
        record(&index, deleted(&koji, build(2, "between"), None), at(70)).await;
        let found = stored(&index, 2).await;
        assert_eq!((found.deleted_at, found.deleted_after, found.checked_at), (Some(at(25)), None, at(70)));
        let between = history(&index, "between").await;
        assert_eq!((between.deleted_at, between.locations.len()), (Some(at(25)), 2));
        assert_eq!(index.status().await.unwrap().deleted_packages, 3);
    });
}

#[test]
fn a_place_that_a_check_found_after_the_hub_was_asked_stays() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let import = package(&koji, 1, "a", "packages/a/1/1.fc43");
        index.insert("test", std::slice::from_ref(&import)).await.unwrap();
        let seen_at = history(&index, "a").await.locations[0].last_seen.unwrap();
        let check = sql::PlaceCheck {
            package_id: history(&index, "a").await.id,
            store_id: koji.id,
            path: import.location.path.clone(),
            at: seen_at - 20,
            result: sql::CheckResult::Present { size: None },
            derived: false,
        };
        index.record_check(std::slice::from_ref(&check)).await.unwrap();
        record(&index, deleted(&koji, build(1, "a"), Some(2_000)), seen_at - 30).await;
        let after = history(&index, "a").await;
        assert_eq!((after.locations[0].gone_at, after.deleted_at), (None, Some(2_000)));
        // The hub says so after the check, too. The check saw it after the deletion: it is gone from then on.
        record(&index, deleted(&koji, build(1, "a"), None), seen_at - 10).await;
        assert_eq!(history(&index, "a").await.locations[0].gone_at, Some(seen_at - 20));
    });
}

#[test]
fn a_deletion_is_after_the_completion_and_before_the_answer_of_the_hub() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        for (number, stated, expected) in
            [(1, i64::MAX, 5_000), (2, 0, 1_000), (3, 4_000, 4_000), (4, i64::MIN, 1_000), (5, 5_001, 5_000)]
        {
            record(&index, deleted(&koji, build(number, "a"), Some(stated)), 5_000).await;
            let found = stored(&index, number).await;
            assert_eq!((found.deleted_at, found.deleted_after), (Some(expected), None), "{stated}");
        }
        let late = Build { completed_at: Some(9_000), ..build(6, "a") };
        record(&index, deleted(&koji, late, Some(7)), 5_000).await;
        assert_eq!(stored(&index, 6).await.deleted_at, Some(5_000));
    });
}

#[test]
fn a_build_that_completes_again_is_not_deleted_any_more() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mut import = package(&koji, 1, "a", "packages/a/1/1.fc43");
        index.insert("test", &[import.clone(), package(&koji, 1, "b", "packages/a/1/1.fc43")]).await.unwrap();
        let at = history(&index, "a").await.locations[0].last_seen.unwrap() + 10;
        record(&index, update(&koji, build(1, "a")), at).await;
        record(&index, deleted(&koji, build(1, "a"), None), at + 5).await;
        let before = stored(&index, 1).await;
        assert_eq!((before.imported_at, before.deleted_at), (None, Some(at + 5)));
        let again = Build { completed_at: Some(at + 7), ..build(1, "a") };
        assert!(before.stays_deleted(&build(1, "a")) && !before.stays_deleted(&again));
        assert!(before.is_known(&build(1, "a")) && !before.is_known(&again));
        // One of its packages is read again.
        import.location.size = Some(4_321);
        index.insert("test", &[import]).await.unwrap();
        let directory = Some("packages/a/1/1.fc43".to_owned());
        let complete = BuildUpdate { directory, ..update(&koji, again.clone()) };
        record(&index, complete.clone(), at + 8).await;
        let found = stored(&index, 1).await;
        assert_eq!((&found.build, found.imported_at), (&again, Some(at + 8)));
        assert_eq!((found.deleted_at, found.deleted_after), (None, None));
        let (a, b) = (history(&index, "a").await, history(&index, "b").await);
        assert_eq!((a.deleted_at, a.locations[0].gone_at), (None, None));
        assert_eq!((b.deleted_at, b.locations[0].gone_at), (Some(at + 5), Some(at + 5)));
        // It is deleted again.
        record(&index, deleted(&koji, again, Some(at + 9)), at + 10).await;
        assert_eq!(stored(&index, 1).await.deleted_at, Some(at + 9));
        assert_eq!(history(&index, "a").await.deleted_at, Some(at + 9));
    });
}

#[test]
fn a_build_that_is_not_complete_any_more_is_nowhere_and_not_imported() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        let of_koji = package(&koji, 1, "a", "packages/a/1/1.fc43");
        for state in [BuildState::Canceled, BuildState::Building, BuildState::Failed] {
            index.insert("test", &[of_koji.clone(), simple(&mirror, "a-1-1.fc43.x86_64")]).await.unwrap();
            let at = history(&index, "a").await.locations[0].last_seen.unwrap() + 10;
            record(&index, update(&koji, build(1, "a")), at).await;
            assert_eq!(stored(&index, 1).await.imported_at, Some(at), "{state}");
            record(
                &index,
                BuildUpdate { is_imported: false, ..update(&koji, Build { state, ..build(1, "a") }) },
                at + 5,
            )
            .await;
            let found = stored(&index, 1).await;
            assert_eq!((found.build.state, found.imported_at, found.deleted_at), (state, None, None));
            // The copy on the mirror stays.
            let expected = [("a-1-1.fc43.x86_64.rpm", None), (of_koji.location.path.as_str(), Some(at + 5))];
            assert_eq!(places(&history(&index, "a").await), expected);
        }
        // Built again, and nobody saw the states in between.
        record(&index, update(&koji, build(2, "b")), 2_000).await;
        let again = Build { completed_at: Some(3_000), ..build(2, "b") };
        record(&index, BuildUpdate { is_imported: false, ..update(&koji, again.clone()) }, 4_000).await;
        assert_eq!(stored(&index, 2).await.imported_at, None);
        record(&index, update(&koji, again), 5_000).await;
        assert_eq!(stored(&index, 2).await.imported_at, Some(5_000));
    });
}

#[test]
fn a_build_moves_to_another_volume_and_a_draft_is_promoted() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        let old = "packages/a/1/1.fc43,draft_1";
        let import = package(&koji, 1, "a", old);
        index.insert("test", &[import.clone(), simple(&mirror, "a-1-1.fc43.x86_64")]).await.unwrap();
        let draft = Build { draft: true, release: "1.fc43,draft_1".into(), ..build(1, "a") };
        let at = |directory: &str, build: &Build| BuildUpdate {
            directory: Some(directory.into()),
            ..update(&koji, build.clone())
        };
        record(&index, at(old, &draft), 10).await;
        assert!(places(&history(&index, "a").await).iter().all(|(_, gone_at)| gone_at.is_none()));

        // Promoted: another directory, of which the former one's name begins with its name.
        let new = "packages/a/1/1.fc43";
        index.insert("test", &[package(&koji, 1, "a", new)]).await.unwrap();
        record(&index, at(new, &build(1, "a")), 20).await;
        let (promoted, paths) =
            (history(&index, "a").await, |directory: &str| format!("{directory}/x86_64/a-1-1.fc43.x86_64.rpm"));
        let expected = [("a-1-1.fc43.x86_64.rpm", None), (&*paths(old), Some(20)), (&*paths(new), None)];
        let mut sorted = expected.to_vec();
        sorted.sort_unstable();
        assert_eq!(places(&promoted), sorted);
        let found = promoted.build.unwrap().build.build;
        assert_eq!((found.draft, found.nvr()), (false, "a-1-1.fc43".into()));

        // Moved: the hub's answer comes before the file was found at its new place.
        let moved = Build { volume: "ppc64".into(), ..build(1, "a") };
        let directory = "vol/ppc64/packages/a/1/1.fc43";
        record(&index, at(directory, &moved), 30).await;
        let gone = history(&index, "a").await;
        assert_eq!(gone.koji, Some(origin(1, "ppc64")));
        assert!(places(&gone).contains(&(&*paths(new), Some(30))) && places(&gone).contains(&(&*paths(old), Some(20))));
        let import = Import { koji: Some(origin(1, "ppc64")), ..package(&koji, 1, "a", directory) };
        index.insert("test", &[import]).await.unwrap();
        record(&index, at(directory, &moved), 40).await;
        assert!(places(&history(&index, "a").await).contains(&(&*paths(directory), None)));
    });
}

#[test]
fn signed_copies_appear_are_lost_and_come_back() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let (a, other) = (package(&koji, 1, "a", "packages/a/1/1.fc43"), package(&koji, 2, "other", "packages/o/1/1"));
        index.insert("test", &[a, other]).await.unwrap();
        let with = |signed: Vec<SignedCopy>| BuildUpdate { signed, ..update(&koji, build(1, "a")) };
        let place = async |key: &str| {
            let package = packages(&index, 1, &koji).await.remove(0);
            package.places.into_iter().find(|place| place.signing_key.as_deref() == Some(key))
        };
        // The index does not have `b`, and `other` is of another build.
        let copies =
            vec![copy("a", KEY, true), copy("a", "0608b895", false), copy("b", KEY, true), copy("other", KEY, true)];
        let writes = sequences(&index).await["test"];
        record(&index, with(copies), 10).await;
        assert_eq!(sequences(&index).await["test"], writes + 1);
        let found = packages(&index, 1, &koji).await;
        assert_eq!((found.len(), found[0].places.len(), found[0].state), (1, 3, PackageState::Complete));
        assert_eq!(packages(&index, 2, &koji).await[0].places.len(), 1);
        let (present, absent) = (place(KEY).await.unwrap(), place("0608b895").await.unwrap());
        assert_eq!((present.gone_at, present.checked_at, present.size), (None, None, Some(2000)));
        assert_eq!((absent.gone_at, absent.checked_at, absent.has_header), (Some(10), Some(10), false));

        record(&index, with(vec![copy("a", KEY, false)]), 20).await;
        record(&index, with(vec![copy("a", KEY, false)]), 30).await;
        let lost = place(KEY).await.unwrap();
        assert_eq!((lost.gone_at, lost.checked_at, lost.size), (Some(20), Some(30), Some(2000)));
        record(&index, with(vec![copy("a", KEY, true)]), 40).await;
        assert_eq!(place(KEY).await.unwrap().gone_at, None);
        let back =
            history(&index, "a").await.locations.into_iter().find(|place| place.signing_key.as_deref() == Some(KEY));
        let back = back.unwrap();
        assert_eq!((back.first_seen, back.last_seen), (Some(10), Some(40)));

        // What another check found later stays.
        let check = sql::PlaceCheck {
            package_id: found[0].package_id,
            store_id: koji.id,
            path: copy("a", KEY, true).path,
            at: 60,
            result: sql::CheckResult::Gone,
            derived: false,
        };
        index.record_check(&[check]).await.unwrap();
        record(&index, with(vec![copy("a", KEY, true)]), 50).await;
        assert_eq!(place(KEY).await.unwrap().gone_at, Some(60));
    });
}

#[test]
fn a_copy_of_another_size_has_no_known_header() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mut import = package(&koji, 1, "a", "packages/a/1/1.fc43");
        import.location.path = copy("a", KEY, true).path;
        index.insert("test", std::slice::from_ref(&import)).await.unwrap();
        let with = |size| BuildUpdate {
            signed: vec![SignedCopy { size, ..copy("a", KEY, true) }],
            ..update(&koji, build(1, "a"))
        };
        let header = async || packages(&index, 1, &koji).await[0].places[0].has_header;
        record(&index, with(None), i64::MAX / 4).await;
        assert!(header().await);
        record(&index, with(import.location.size), i64::MAX / 4).await;
        assert!(header().await);
        record(&index, with(Some(1_234)), i64::MAX / 4).await;
        assert!(!header().await);
        let place = history(&index, "a").await.locations.remove(0);
        assert_eq!((place.size, place.checksum, place.signing_key.as_deref()), (Some(1_234), None, Some(KEY)));
    });
}

#[test]
fn another_package_at_the_path_of_a_copy_stays() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mut there = simple(&koji, "there-1-1.fc43.x86_64");
        there.location.path = copy("a", KEY, true).path;
        index.insert("test", &[package(&koji, 1, "a", "packages/a/1/1.fc43"), there]).await.unwrap();
        record(&index, BuildUpdate { signed: vec![copy("a", KEY, true)], ..update(&koji, build(1, "a")) }, 10).await;
        assert_eq!(packages(&index, 1, &koji).await[0].places.len(), 1);
        assert_eq!(history(&index, "there").await.locations[0].gone_at, None);
    });
}

#[test]
fn tags_are_right_in_any_order() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let tag = async |tag: &str, change: TagChange, at: i64| {
            index.record_tag("primary", 1, tag, change, at).await.unwrap();
        };
        // Before the build is known.
        tag("f43-updates", TagChange::Untagged, 20).await;
        tag("f43-updates", TagChange::Tagged, 10).await;
        tag("f43-updates", TagChange::Tagged, 5).await;
        tag("f43-updates", TagChange::Untagged, 15).await;
        tag("f43-candidate", TagChange::Tagged, 30).await;
        tag("f43-candidate", TagChange::Untagged, 25).await;
        index.record_tag("other", 1, "f99", TagChange::Tagged, 1).await.unwrap();
        index.record_tag("primary", 1, &"x".repeat(256), TagChange::Tagged, 1).await.unwrap_err();
        index.insert("test", &[package(&koji, 1, "a", "packages/a/1/1.fc43")]).await.unwrap();
        assert_eq!(history(&index, "a").await.build, None);
        record(&index, update(&koji, build(1, "a")), 10).await;
        let tags = history(&index, "a").await.build.unwrap().tags;
        let named = |tag: &str, tagged_at, untagged_at| BuildTag { tag: tag.into(), tagged_at, untagged_at };
        let expected = [named("f43-candidate", Some(30), Some(25)), named("f43-updates", Some(10), Some(20))];
        assert_eq!(tags, expected);
        assert_eq!(tags.iter().map(BuildTag::is_current).collect::<Vec<_>>(), [true, false]);
    });
}

#[test]
fn a_package_known_from_a_repository_gets_its_build() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        let plain = simple(&mirror, "a-1-1.fc43.x86_64");
        index.insert("test", std::slice::from_ref(&plain)).await.unwrap();
        assert_eq!(history(&index, "a").await.koji, None);
        let of_build = package(&koji, 1, "a", "packages/a/1/1.fc43");
        index.insert("test", std::slice::from_ref(&of_build)).await.unwrap();
        assert_eq!(history(&index, "a").await.koji, Some(origin(1, "DEFAULT")));
        // An import that states nothing changes nothing; another build replaces it.
        index.insert("test", std::slice::from_ref(&plain)).await.unwrap();
        assert_eq!(history(&index, "a").await.koji, Some(origin(1, "DEFAULT")));
        let both = [plain.clone(), Import { koji: Some(origin(2, "v")), ..of_build.clone() }, plain];
        index.insert("test", &both).await.unwrap();
        assert_eq!(history(&index, "a").await.koji, Some(origin(2, "v")));
        assert_eq!(index.histories_by_nvra("a-1-1.fc43.x86_64").await.unwrap().len(), 1);
        let long = KojiOrigin { instance: "i".repeat(65), ..origin(1, "v") };
        index.insert("test", &[Import { koji: Some(long), ..of_build }]).await.unwrap_err();
    });
}

/// A package that the hub's headers claim, at its place in Koji.
fn claimed(store: &Store, name: &str, koji: Option<KojiOrigin>) -> ClaimedPackage {
    let import = simple(store, &format!("{name}-1-1.fc43.x86_64"));
    let claim =
        Claim { build_id: build_id(&format!("{name}-1-1.fc43.x86_64")), kind: Kind::Executable, link_path: None };
    ClaimedPackage {
        origin: if koji.is_some() { Origin::Koji } else { Origin::Repository },
        format: Format::Rpm,
        nevra: import.package.nevra,
        source_rpm: import.package.source_rpm,
        distro: "fc43".into(),
        claims: vec![claim],
        location: Some(NewLocation { header: None, checksum: None, signing_key: None, ..import.location }),
        repository_id: None,
        koji,
    }
}

#[test]
fn claims_of_a_hub_are_of_their_build_before_and_after_their_header_is_read() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        // Claimed by the hub, then read by whom knows no build.
        assert_eq!(index.insert_claimed("test", &[claimed(&koji, "a", Some(origin(1, "DEFAULT")))]).await.unwrap(), 1);
        let before = history(&index, "a").await;
        assert_eq!((before.state, before.koji), (PackageState::Claimed, Some(origin(1, "DEFAULT"))));
        assert_eq!(packages(&index, 1, &koji).await[0].places[0].path, "a-1-1.fc43.x86_64.rpm");
        index.insert("test", &[simple(&mirror, "a-1-1.fc43.x86_64")]).await.unwrap();
        let after = history(&index, "a").await;
        assert_eq!((after.state, after.koji), (PackageState::Complete, Some(origin(1, "DEFAULT"))));
        assert_eq!((after.id, after.locations.len()), (before.id, 2));
        // Read from a mirror or claimed by a repository first, then claimed by the hub.
        index.insert("test", &[simple(&mirror, "b-1-1.fc43.x86_64")]).await.unwrap();
        index.insert_claimed("test", &[claimed(&mirror, "c", None)]).await.unwrap();
        let hub = [claimed(&koji, "b", Some(origin(2, "v"))), claimed(&koji, "c", Some(origin(3, "v")))];
        assert_eq!(index.insert_claimed("test", &hub).await.unwrap(), 0);
        assert_eq!(history(&index, "b").await.koji, Some(origin(2, "v")));
        assert_eq!(history(&index, "c").await.koji, Some(origin(3, "v")));
        // Adopted by an import of a newer statement.
        let import = Import { koji: Some(origin(4, "w")), ..simple(&mirror, "c-1-1.fc43.x86_64") };
        index.insert("test", &[import]).await.unwrap();
        assert_eq!(history(&index, "c").await.koji, Some(origin(4, "w")));
    });
}

#[test]
fn a_merge_of_two_rows_keeps_the_build_of_one() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        // Two claimed rows of one name that share nothing; the header has what both claim.
        let mut first = claimed(&mirror, "a", None);
        first.claims[0].build_id = build_id("first");
        let mut second = claimed(&koji, "a", Some(origin(1, "v")));
        second.claims[0].build_id = build_id("second");
        assert_eq!(index.insert_claimed("test", &[first, second]).await.unwrap(), 2);
        let mut read = simple(&mirror, "a-1-1.fc43.x86_64");
        read.artifacts[0].build_id = build_id("first");
        read.artifacts.push(crate::builders::artifact(2, "second", Kind::Executable, "/usr/bin/y"));
        index.insert("test", &[read]).await.unwrap();
        let found = index.histories_by_nvra("a-1-1.fc43.x86_64").await.unwrap();
        assert_eq!((found.len(), found[0].state, &found[0].koji), (1, PackageState::Complete, &Some(origin(1, "v"))));
        assert_eq!(found[0].locations.len(), 2);
    });
}

#[test]
fn writers_of_the_same_builds_at_once_lose_nothing() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "koji", Tier::Koji, 0).await;
        let imports: Vec<Import> =
            (0..20).map(|number| package(&koji, number, &format!("p{number}"), "packages/p")).collect();
        index.insert("test", &imports).await.unwrap();
        let write = async |writer: &'static str, at: i64| {
            let index = fresh.open(sql::Access::ReadWrite);
            let updates: Vec<BuildUpdate> = (0..20)
                .map(|number| {
                    let name = format!("p{number}");
                    BuildUpdate { signed: vec![copy(&name, KEY, true)], ..update(&koji, build(number, &name)) }
                })
                .collect();
            index.record_builds(writer, &updates, at).await.unwrap();
        };
        tokio::join!(write("one", 10), write("two", 12), write("three", 11));
        let builds = index.builds_below("primary", None, 100).await.unwrap();
        assert_eq!(builds.len(), 20);
        assert!(builds.iter().all(|found| found.checked_at == 12), "{builds:?}");
        let ids: Vec<i64> = (0..20).collect();
        let packages = index.build_packages("primary", &ids, koji.id).await.unwrap();
        assert!(packages.len() == 20 && packages.iter().all(|package| package.places.len() == 2));
    });
}
