//! Claims in answers, places that follow from patterns and their checks, and the life of packages.

use artifact::{Format, Kind, Nevra};
use sql::{
    CheckResult, Claim, ClaimedPackage, Index, NewLocation, NewRepository, NewStore, Origin, PackageLocation,
    PackageState, PathHash, PlaceCheck, Repository, Store, Tier,
};

use crate::builders::{artifact, build_id, import, simple, store};
use crate::on_both;

async fn koji(index: &Index) -> Store {
    let store = store(index, "koji", Tier::Koji, 0).await;
    let new = NewStore {
        pattern: Some("packages/{name}/{version}/{release}/{arch}/{nvra}.rpm".parse().unwrap()),
        distros: "fc*".parse().unwrap(),
        ..NewStore::from(store)
    };
    index.add_store(&new).await.unwrap()
}

async fn repository(index: &Index, store: &Store, name: &str) -> Repository {
    let new = NewRepository {
        name: name.into(),
        store_id: store.id,
        path: name.into(),
        url: None,
        format: Format::Rpm,
        distro: None,
    };
    index.add_repository(&new).await.unwrap()
}

fn claimed(store: &Store, nevra: &str, kind: Kind, repository_id: Option<i64>) -> ClaimedPackage {
    let nevra: Nevra = nevra.parse().unwrap();
    let location = NewLocation { mtime_ns: None, header: None, ..simple(store, &nevra.to_string()).location };
    let claim = Claim { build_id: build_id("one"), kind, link_path: Some("/usr/lib/.build-id/xx/y".into()) };
    ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Rpm,
        source_rpm: Some(format!("{}-{}-{}.src.rpm", nevra.name, nevra.version, nevra.release)),
        distro: "fc44".into(),
        claims: vec![claim],
        nevra,
        location: Some(location),
        repository_id,
        koji: None,
    }
}

const P: &str = "p-1.1-6.fc44.x86_64";
const KOJI_PATH: &str = "packages/p/1.1/6.fc44/x86_64/p-1.1-6.fc44.x86_64.rpm";

/// When all places are due, whatever the last check found.
const LATE: i64 = 4_000_000_000;

#[test]
fn claims_are_found_until_a_header_answers_them() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut package = claimed(&mirror, P, Kind::Executable, None);
        let mut both = package.claims[0].clone();
        both.kind = Kind::Debuginfo;
        package.claims.push(both);
        let unconfirmed = Claim { build_id: build_id("unconfirmed"), ..package.claims[0].clone() };
        package.claims.push(unconfirmed);
        index.insert_claimed("repo", &[package]).await.unwrap();
        let found = index.records_by_build_id(&[build_id("one"), build_id("nobody")]).await.unwrap();
        assert!(found.records.is_empty());
        let [claim] = found.claims.as_slice() else { panic!("{found:?}") };
        assert_eq!((claim.claim.kind, claim.claim.link_path.as_deref()), (Kind::Both, Some("/usr/lib/.build-id/xx/y")));
        assert_eq!((claim.package.state, claim.package.nevra.nvra().as_str()), (PackageState::Claimed, P));
        assert_eq!(claim.package.locations.len(), 1);
        assert_eq!(index.records_by_nvra(P).await.unwrap().claims.len(), 2);
        let packages = index.packages_by_nvra(P).await.unwrap();
        assert_eq!((packages.read.len(), packages.unread.len()), (0, 1));
        let histories = index.histories_by_build_id(&build_id("one")).await.unwrap();
        assert!(histories[0].files[0].claimed && histories[0].files.len() == 1);

        // Its header is read; first the package is open.
        let mut read = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        read.open = true;
        index.insert("test", &[read.clone()]).await.unwrap();
        let found = index.records_by_nvra(P).await.unwrap();
        assert_eq!((found.records.len(), found.claims.len()), (1, 1), "one is answered, the other is open");
        assert_eq!(found.claims[0].package.state, PackageState::Open);
        assert_eq!(found.records[0].package.id, packages.unread[0].id, "the row stays");
        read.open = false;
        index.insert("test", &[read]).await.unwrap();
        let found = index.records_by_nvra(P).await.unwrap();
        assert_eq!((found.records.len(), found.claims.len()), (1, 0));
        assert!(index.records_by_build_id(&[build_id("unconfirmed")]).await.unwrap().is_empty());
        let history = index.histories_by_nvra(P).await.unwrap().remove(0);
        assert_eq!((history.state, history.files.len(), history.files[0].claimed), (PackageState::Complete, 1, false));
    });
}

#[test]
fn a_place_follows_from_a_pattern_until_a_row_replaces_it() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, koji) = (store(&index, "m", Tier::Mirror, 0).await, koji(&index).await);
        let other_koji = store(&index, "other", Tier::Koji, 9).await;
        let package = simple(&mirror, P);
        let mut elsewhere = package.clone();
        elsewhere.location.store_id = other_koji.id;
        index.insert("test", &[package, elsewhere, simple(&mirror, "q-1-1.el9.x86_64")]).await.unwrap();
        let locations = async || {
            let package = index.packages_by_nvra(P).await.unwrap().read.remove(0);
            package.locations.into_iter().map(|at| (at.store.name.clone(), at)).collect::<Vec<_>>()
        };
        let names = |at: &[(String, sql::Location)]| at.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let found = locations().await;
        assert_eq!(names(&found), ["m", "other", "koji"], "never checked, it is the last of its tier");
        let (_, derived) = &found[2];
        assert!(derived.derived && derived.size.is_none() && derived.last_seen.is_none());
        assert_eq!(derived.path, KOJI_PATH);
        assert_eq!(index.packages_by_nvra("q-1-1.el9.x86_64").await.unwrap().read[0].locations.len(), 1);

        let due = index.due_places(Some(koji.id), 10, LATE).await.unwrap();
        assert_eq!(due.iter().map(|due| due.location.path.as_str()).collect::<Vec<_>>(), [KOJI_PATH]);
        let check = |at: i64, result: CheckResult| PlaceCheck {
            package_id: due[0].package_id,
            store_id: koji.id,
            path: KOJI_PATH.into(),
            at,
            result,
            derived: true,
        };
        for _ in 0..2 {
            index.record_check(&[check(50, CheckResult::Gone)]).await.unwrap();
            let (_, gone) = locations().await.remove(2);
            assert_eq!((gone.gone_at, gone.checked_at, gone.last_seen), (Some(50), Some(50), None));
            assert_eq!((gone.derived, gone.check_result.as_deref()), (true, Some("gone")));
        }
        assert!(index.due_places(Some(koji.id), 10, LATE).await.unwrap()[0].location.checked_at == Some(50));
        index.record_check(&[check(60, CheckResult::Failed("expected 200, found 503".into()))]).await.unwrap();
        assert_eq!(locations().await[2].1.check_result.as_deref(), Some("failed: expected 200, found 503"));
        // No archive is empty, whatever a server states.
        index.record_check(&[check(61, CheckResult::Present { size: Some(0) })]).await.unwrap();
        let present = locations().await.into_iter().find(|(_, location)| location.path == KOJI_PATH).unwrap().1;
        assert_eq!((present.gone_at, present.size), (None, None));
        // An older result that arrives late changes nothing; the last one of several counts.
        let present = check(70, CheckResult::Present { size: Some(7) });
        index.record_check(&[present, check(65, CheckResult::Gone)]).await.unwrap();
        index.record_check(&[check(66, CheckResult::Gone)]).await.unwrap();
        let found = locations().await;
        assert_eq!(names(&found), ["m", "koji", "other"], "seen, it has the priority of its store");
        let (_, present) = &found[1];
        assert_eq!((present.gone_at, present.first_seen, present.size), (None, Some(61), Some(7)));
        // Another pattern: another place.
        let new = NewStore { pattern: Some("{nvra}.rpm".parse().unwrap()), ..NewStore::from(koji) };
        index.add_store(&new).await.unwrap();
        assert_eq!(locations().await[2].1.path, format!("{P}.rpm"));
    });
}

#[test]
fn places_that_were_not_looked_at_for_longest_are_due() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, koji) = (store(&index, "m", Tier::Mirror, 0).await, koji(&index).await);
        let names: Vec<String> = (0..6).map(|number| format!("p{number}-1-1.fc44.x86_64")).collect();
        let batch: Vec<_> = names.iter().map(|name| simple(&mirror, name)).collect();
        index.insert("test", &batch).await.unwrap();
        let gone = PathHash::of_path("p5-1-1.fc44.x86_64.rpm");
        index.mark_gone(mirror.id, &[gone], 5).await.unwrap();
        // Half of each, until every place was looked at once; then the oldest first. What a listing lacks is not due.
        let mut seen = Vec::new();
        for round in 0..6 {
            let due = index.due_places(None, 2, LATE).await.unwrap();
            let results = due.iter().map(|due| PlaceCheck {
                package_id: due.package_id,
                store_id: due.location.store.id,
                path: due.location.path.clone(),
                at: 100 + round,
                result: CheckResult::Present { size: None },
                derived: due.location.derived,
            });
            index.record_check(&results.collect::<Vec<_>>()).await.unwrap();
            seen.extend(due.into_iter().map(|due| (due.location.store.name.clone(), due.location.path)));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.iter().filter(|(name, _)| name == "m").count(), 5);
        assert_eq!(seen.iter().filter(|(name, _)| name == "koji").count(), 6);
        assert_eq!(index.due_places(None, 100, LATE).await.unwrap().len(), 11);
        assert_eq!(index.due_places(Some(koji.id), 100, LATE).await.unwrap().len(), 6);
        assert!(index.due_places(None, 1, LATE).await.unwrap()[0].location.checked_at.is_some());
    });
}

#[test]
fn places_in_directories_are_due_and_counted_too() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let here = store(&index, "here", Tier::Local, 0).await;
        let imports = ["a-1-1.x86_64", "b-1-1.x86_64", "gone-1-1.x86_64"].map(|nevra| simple(&here, nevra));
        index.insert("test", &imports).await.unwrap();
        index.mark_gone(here.id, &[PathHash::of_path("gone-1-1.x86_64.rpm")], i64::MAX / 2).await.unwrap();
        let due = index.due_places(Some(here.id), 10, LATE).await.unwrap();
        assert_eq!((due.len(), index.due_count(here.id, 0).await.unwrap()), (2, 2));
        let check = PlaceCheck {
            package_id: due[0].package_id,
            store_id: here.id,
            path: due[0].location.path.clone(),
            at: 100,
            result: CheckResult::Gone,
            derived: false,
        };
        index.record_check(&[check]).await.unwrap();
        let days = |days: i64| 100 + days * 24 * 60 * 60;
        for (at, result, is_due) in [
            (days(0), "gone", [1, 1]),
            (days(7) - 1, "gone", [1, 1]),
            (days(7), "gone", [2, 2]),
            (days(1) - 1, "present", [1, 1]),
            (days(1), "present", [2, 2]),
            (100 + 3599, "failed: x", [1, 1]),
            (100 + 3600, "failed: x", [2, 2]),
        ] {
            let state = match result {
                "gone" => "update locations set check_result = 'gone' where checked_at = 100",
                "present" => "update locations set check_result = 'present', gone_at = null where checked_at = 100",
                _ => "update locations set check_result = 'failed: x' where checked_at = 100",
            };
            fresh.execute(state).await;
            let places = index.due_places(Some(here.id), 10, at).await.unwrap().len() as u64;
            assert_eq!([places, index.due_count(here.id, at).await.unwrap()], is_due, "{result} at {at}");
        }
    });
}

#[test]
fn successors_are_higher_and_began_later_in_the_same_repository() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let (ga, updates) = (repository(&index, &mirror, "ga").await, repository(&index, &mirror, "updates").await);
        let member = |nevra: &str, repository: &Repository| {
            let mut import = simple(&mirror, nevra);
            import.repository_id = Some(repository.id);
            import
        };
        let batch = [
            member("p-1.1-5.x86_64", &ga),
            member("p-1.1-6.x86_64", &updates),
            member("p-1.1-7~rc1.x86_64", &updates),
            member("p-1.1-7.x86_64", &updates),
            member("p-1:1.0-1.x86_64", &updates),
            member("p-1.0-1.x86_64", &updates),
            member("p-1.1-7.i686", &updates),
            member("q-9-9.x86_64", &updates),
        ];
        index.insert("test", &batch).await.unwrap();
        fresh.execute("update memberships set first_seen = 100 + package_id, last_seen = 100 + package_id").await;
        // In the order of their import.
        let order = "update memberships set first_seen = case when package_id in (select id from packages where nvra \
             in ('p-1.1-5.x86_64', 'p-1.1-6.x86_64')) then 10 when package_id in (select id from packages where nvra = \
             'p-1.1-7~rc1.x86_64') then 20 when package_id in (select id from packages where nvra = 'p-1.1-7.x86_64') \
             then 30 else 40 end, last_seen = 40";
        fresh.execute(order).await;
        index.confirm_unchanged(updates.id, sql::Verified::No, 50).await.unwrap();
        let life = async |nvra: &str| index.histories_by_nvra(nvra).await.unwrap().remove(0).life;
        let names = |life: &sql::Life| life.successors.iter().map(|next| next.nvra.clone()).collect::<Vec<_>>();
        let of_6 = life("p-1.1-6.x86_64").await;
        assert_eq!(names(&of_6), ["p-1.1-7~rc1.x86_64", "p-1.1-7.x86_64", "p-1.0-1.x86_64"]);
        assert_eq!((of_6.successors[0].first_seen, of_6.successors[0].repository.as_str()), (20, "updates"));
        let [membership] = of_6.memberships.as_slice() else { panic!("{of_6:?}") };
        assert_eq!((membership.first_seen, membership.last_seen, membership.ended_at), (10, 50, None));
        assert_eq!(names(&life("p-1.1-5.x86_64").await), [""; 0], "no other repository");
        assert_eq!(names(&life("p-1.1-7.x86_64").await), ["p-1.0-1.x86_64"], "which has an epoch");
        assert!(index.lives(&[99_999]).await.unwrap().is_empty());
    });
}

#[test]
fn a_known_package_gets_a_further_location_and_membership() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, other) = (store(&index, "m", Tier::Mirror, 0).await, store(&index, "o", Tier::Archive, 0).await);
        let archive = repository(&index, &other, "archive").await;
        let package = simple(&mirror, P);
        index.insert("test", std::slice::from_ref(&package)).await.unwrap();
        let package_id = index.packages_by_nvra(P).await.unwrap().read[0].id;
        let location = NewLocation { store_id: other.id, path: "archive/p.rpm".into(), ..package.location };
        let further = PackageLocation { package_id, location, repository_id: Some(archive.id) };
        let unknown = PackageLocation { package_id: 99_999, ..further.clone() };
        for _ in 0..2 {
            assert_eq!(index.insert_locations("test", &[unknown.clone(), further.clone()]).await.unwrap(), 1);
            let package = index.packages_by_nvra(P).await.unwrap().read.remove(0);
            assert_eq!(package.locations.iter().map(|at| at.store.name.as_str()).collect::<Vec<_>>(), ["m", "o"]);
            assert_eq!(index.lives(&[package_id]).await.unwrap()[&package_id].memberships.len(), 1);
        }
        assert_eq!(fresh.rows("select count(*) as n from memberships").await, ["n=Some(1)"]);
    });
}

#[test]
fn parallel_refreshes_and_imports_leave_one_membership_for_each_package() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates").await;
        let names: Vec<String> = (0..20).map(|number| format!("p{number}-1-1.fc44.x86_64")).collect();
        let claim = async |writer: &'static str| {
            let index = fresh.open(sql::Access::ReadWrite);
            for names in names.chunks(5) {
                let batch: Vec<_> =
                    names.iter().map(|name| claimed(&mirror, name, Kind::Executable, Some(updates.id))).collect();
                index.insert_claimed(writer, &batch).await.unwrap();
            }
        };
        let read = async || {
            let index = fresh.open(sql::Access::ReadWrite);
            for names in names.chunks(7) {
                let mut batch: Vec<_> = names
                    .iter()
                    .map(|name| import(&mirror, name, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]))
                    .collect();
                batch.iter_mut().for_each(|import| import.repository_id = Some(updates.id));
                index.insert("read", &batch).await.unwrap();
            }
        };
        let mark = async || {
            let index = fresh.open(sql::Access::ReadWrite);
            for _ in 0..5 {
                let at = index.begin_listing(updates.id).await.unwrap();
                let known = index.known_listing(updates.id).await.unwrap();
                let ids: Vec<i64> = known.values().map(|known| known.package_id).collect();
                let paths: Vec<PathHash> = known.keys().copied().collect();
                index.mark_listed(updates.id, &ids, &paths, at).await.unwrap();
            }
        };
        tokio::join!(claim("a"), claim("b"), read(), mark());
        let count = async |table| fresh.rows(table).await.remove(0);
        assert_eq!(count("select count(*) as n from packages where state = 'complete'").await, "n=Some(20)");
        assert_eq!(count("select count(*) as n from packages").await, "n=Some(20)");
        assert_eq!(count("select count(*) as n from locations where gone_at is null").await, "n=Some(20)");
        assert_eq!(count("select count(*) as n from claims").await, "n=Some(0)");
    });
}
