//! Repositories, their listings and memberships.

use artifact::Format;
use sql::{
    CheckResult, Checksum, ClaimedPackage, CompleteListing, Import, Index, KnownListed, ListingEnd, NewLocation,
    NewRepository, Origin, PackageLocation, PathHash, PlaceCheck, Repository, Store, Tier, Verified,
};

use crate::builders::{simple, store};
use crate::{Fresh, on_both};

fn new(store: &Store, name: &str, path: &str) -> NewRepository {
    NewRepository {
        name: name.into(),
        store_id: store.id,
        path: path.into(),
        url: None,
        format: Format::Rpm,
        distro: None,
    }
}

async fn repository(index: &Index, store: &Store, name: &str, path: &str) -> Repository {
    index.add_repository(&new(store, name, path)).await.unwrap()
}

/// A package that a repository lists in its directory.
fn listed(repository: &Repository, store: &Store, nevra: &str) -> Import {
    let mut import = simple(store, nevra);
    import.location.path = format!("{}/{}", repository.path, import.location.path);
    import.repository_id = Some(repository.id);
    import
}

/// The end of a listing that has these packages and no others.
async fn refresh(index: &Index, repository: &Repository, imports: &[Import]) -> ListingEnd {
    let started_at = index.begin_listing(repository.id).await.unwrap();
    let known = index.known_listing(repository.id).await.unwrap();
    index.insert("test", imports).await.unwrap();
    let paths: Vec<PathHash> = imports.iter().map(|import| PathHash::of_path(&import.location.path)).collect();
    let missing = || known.iter().filter(|(path, _)| !paths.contains(path));
    let here: Vec<i64> =
        known.iter().filter(|(path, _)| paths.contains(path)).map(|(_, known)| known.package_id).collect();
    let ended = missing().filter(|(_, known)| known.is_listed && !here.contains(&known.package_id));
    let listing = CompleteListing {
        revision: Some("7".into()),
        metadata_checksum: Some("ab".repeat(32)),
        verified: Verified::Metalink,
        package_count: imports.len() as u64,
        ended: ended.map(|(_, known)| known.package_id).collect(),
        gone: missing().filter(|(_, known)| !known.is_gone).map(|(path, _)| *path).collect(),
        started_at,
        refused_count: 0,
        refused: None,
    };
    index.complete_listing(repository.id, &listing).await.unwrap()
}

const GONE: &str = "select path from locations where gone_at is not null order by path";
const LISTED: &str = "select p.nvra, r.name from memberships m join packages p on p.id = m.package_id join \
     repositories r on r.id = m.repository_id where m.ended_at is null order by p.nvra, r.name";

async fn gone(fresh: &Fresh) -> Vec<String> {
    let word = |row: &String| row.split('"').nth(1).unwrap_or_default().to_owned();
    fresh.rows(GONE).await.iter().map(word).collect()
}

async fn memberships(fresh: &Fresh) -> Vec<String> {
    let words = |row: &String| row.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
    fresh.rows(LISTED).await.iter().map(words).collect()
}

#[test]
fn a_repository_is_added_changed_listed_and_removed_by_its_name() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let b = repository(&index, &mirror, "b", "/updates/b/").await;
        let a = repository(&index, &mirror, "a", "").await;
        assert_eq!((b.path.as_str(), b.verified, b.refreshed_at), ("updates/b", Verified::No, None));
        assert_eq!(index.repositories().await.unwrap(), [a, b.clone()]);
        refresh(&index, &b, &[]).await;
        let same = repository(&index, &mirror, "b", "updates/b").await;
        assert_eq!((same.id, same.metadata_checksum, same.verified), (b.id, Some("ab".repeat(32)), Verified::Metalink));
        assert_eq!((same.revision.as_deref(), same.package_count, same.error), (Some("7"), Some(0), None));
        let url = Some("https://mirrors.example/metalink?repo=b".to_owned());
        let changed = NewRepository { url: url.clone(), distro: Some("fc44".into()), ..new(&mirror, "b", "updates/b") };
        let changed = index.add_repository(&changed).await.unwrap();
        assert_eq!((changed.id, changed.url, changed.distro), (b.id, url, Some("fc44".into())));
        assert_eq!(changed.metadata_checksum, None, "it has to be read again");

        for (bad, message) in [
            (new(&mirror, "", ""), "name of a repository: expected a name without a blank at its end, found \"\""),
            (new(&mirror, "x ", ""), "name of a repository: expected"),
            (new(&mirror, "x", "a/../b"), "path of a repository: expected a path below its store, found \"a/../b\""),
            (NewRepository { format: Format::Zip, ..new(&mirror, "x", "") }, "format of a repository: expected rpm"),
            (NewRepository { store_id: 99, ..new(&mirror, "x", "") }, "store of a repository: expected the id"),
        ] {
            let error = index.add_repository(&bad).await.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(index.remove_repository("a").await.unwrap());
        assert!(!index.remove_repository("a").await.unwrap());
    });
}

#[test]
fn a_failed_and_an_unchanged_refresh_are_recorded() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let a = repository(&index, &mirror, "a", "a").await;
        let read = async || index.repositories().await.unwrap().remove(0);
        index.fail_listing(a.id, "expected 200, found 503", 50).await.unwrap();
        let failed = read().await;
        assert_eq!((failed.error.as_deref(), failed.attempted_at), (Some("expected 200, found 503"), Some(50)));
        assert_eq!(failed.refreshed_at, None);
        index.confirm_unchanged(a.id, Verified::Signature, 60).await.unwrap();
        let confirmed = read().await;
        assert_eq!((confirmed.error, confirmed.verified), (None, Verified::Signature));
        assert_eq!((confirmed.refreshed_at, confirmed.attempted_at), (Some(60), Some(60)));
        index.fail_listing(a.id, &"ä".repeat(5000), 70).await.unwrap();
        assert_eq!(read().await.error.unwrap().chars().count(), 2048);
        // A revision is any text.
        let listing = CompleteListing {
            revision: Some("ä".repeat(300)),
            metadata_checksum: None,
            verified: Verified::No,
            package_count: 0,
            ended: Vec::new(),
            gone: Vec::new(),
            started_at: 70,
            refused_count: 0,
            refused: None,
        };
        index.complete_listing(a.id, &listing).await.unwrap();
        assert_eq!(read().await.revision.unwrap(), "ä".repeat(255));
        // Packages that it refused are stored until the next complete listing.
        let refused = CompleteListing { refused_count: 7, refused: Some("ä".repeat(5000)), ..listing.clone() };
        index.complete_listing(a.id, &refused).await.unwrap();
        index.confirm_unchanged(a.id, Verified::No, 71).await.unwrap();
        index.fail_listing(a.id, "expected 200, found 503", 72).await.unwrap();
        let stored = read().await;
        assert_eq!((stored.refused_count, stored.refused), (7, Some("ä".repeat(2048))));
        index.complete_listing(a.id, &listing).await.unwrap();
        assert_eq!((read().await.refused_count, read().await.refused), (0, None));
        let began = index.begin_listing(a.id).await.unwrap();
        assert!(index.begin_listing(a.id).await.unwrap() > began);
        index.fail_listing(a.id, "an old clock", 80).await.unwrap();
        assert!(read().await.attempted_at > Some(began));
    });
}

#[test]
fn a_complete_listing_ends_what_it_lacks_and_a_package_can_come_back() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let [a, b] = ["a-1-1.x86_64", "b-1-1.x86_64"].map(|nevra| listed(&updates, &mirror, nevra));
        // Below another path of the store: none of its business.
        index.insert("test", &[simple(&mirror, "beside-1-1.x86_64")]).await.unwrap();
        assert_eq!(refresh(&index, &updates, &[a.clone(), b.clone()]).await, ListingEnd { ended: 0, gone: 0 });
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates", "b-1-1.x86_64 updates"]);
        let known = index.known_listing(updates.id).await.unwrap();
        let KnownListed { checksum, is_read, is_open, is_gone, is_listed, .. } =
            known[&PathHash::of_path("updates/a-1-1.x86_64.rpm")].clone();
        assert_eq!((known.len(), checksum), (2, Some(Checksum { kind: "sha256".into(), bytes: vec![7; 32] })));
        assert_eq!((is_read, is_open, is_gone, is_listed), (true, false, false, true));
        fresh.execute("update memberships set first_seen = 5, last_seen = 6").await;
        fresh.execute("update repositories set refreshed_at = 7").await;

        assert_eq!(refresh(&index, &updates, std::slice::from_ref(&a)).await, ListingEnd { ended: 1, gone: 1 });
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        assert_eq!(gone(&fresh).await, ["updates/b-1-1.x86_64.rpm"]);
        let ended = fresh.rows("select first_seen, last_seen from memberships where ended_at is not null").await;
        assert_eq!(ended, ["first_seen=Some(5) last_seen=Some(7)"], "listed at every refresh until then");
        let known = index.known_listing(updates.id).await.unwrap();
        let b_path = PathHash::of_path("updates/b-1-1.x86_64.rpm");
        assert_eq!((known[&b_path].is_gone, known[&b_path].is_listed), (true, false));
        // Again: nothing changes.
        assert_eq!(refresh(&index, &updates, std::slice::from_ref(&a)).await, ListingEnd::default());

        // It comes back as the same archive: known by its path and checksum, it is not imported again.
        let at = index.begin_listing(updates.id).await.unwrap();
        for _ in 0..2 {
            index.mark_listed(updates.id, &[known[&b_path].package_id], &[b_path], at).await.unwrap();
            assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates", "b-1-1.x86_64 updates"]);
            assert_eq!(gone(&fresh).await, [""; 0]);
            assert_eq!(fresh.rows("select first_seen from memberships").await, ["first_seen=Some(5)"; 2]);
        }
        assert_eq!(fresh.rows("select count(*) as n from packages").await, ["n=Some(3)"]);
    });
}

#[test]
fn what_was_written_since_a_refresh_began_stays() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let a = listed(&updates, &mirror, "a-1-1.x86_64");
        refresh(&index, &updates, std::slice::from_ref(&a)).await;
        let started_at = index.begin_listing(updates.id).await.unwrap();
        let known = index.known_listing(updates.id).await.unwrap();
        let listing = CompleteListing {
            revision: None,
            metadata_checksum: Some("cd".repeat(32)),
            verified: Verified::No,
            package_count: 0,
            ended: known.values().map(|known| known.package_id).collect(),
            gone: known.keys().copied().collect(),
            started_at,
            refused_count: 0,
            refused: None,
        };
        // Another process imports it, and another refresh ends before this one.
        index.insert("other", std::slice::from_ref(&a)).await.unwrap();
        refresh(&index, &updates, std::slice::from_ref(&a)).await;
        assert_eq!(index.complete_listing(updates.id, &listing).await.unwrap(), ListingEnd::default());
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        assert_eq!(index.repositories().await.unwrap()[0].metadata_checksum, None, "the next refresh reads everything");
    });
}

#[test]
fn two_repositories_over_one_tree_keep_what_one_of_them_lists() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let all = repository(&index, &mirror, "all", "").await;
        let part = repository(&index, &mirror, "part", "tree").await;
        let name = "a-1-1.x86_64";
        let a = listed(&part, &mirror, name);
        let of_all = Import { repository_id: Some(all.id), ..a.clone() };
        refresh(&index, &part, &[a, listed(&part, &mirror, "b-1-1.x86_64")]).await;
        refresh(&index, &all, std::slice::from_ref(&of_all)).await;
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 all", "a-1-1.x86_64 part", "b-1-1.x86_64 part"]);
        assert_eq!(gone(&fresh).await, [""; 0], "the other repository lists b");
        // One listing lacks both: the one that the other has stays.
        assert_eq!(refresh(&index, &part, &[]).await, ListingEnd { ended: 2, gone: 1 });
        assert_eq!(gone(&fresh).await, ["tree/b-1-1.x86_64.rpm"]);
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 all"]);
        // A repository beside it in the same store lists nothing in the tree.
        let beside = repository(&index, &mirror, "beside", "tree2").await;
        index.insert("test", &[Import { repository_id: Some(beside.id), ..of_all }]).await.unwrap();
        assert_eq!(refresh(&index, &all, &[]).await, ListingEnd { ended: 1, gone: 1 });
        assert_eq!(gone(&fresh).await.len(), 2);
        assert!(index.remove_repository("beside").await.unwrap());
        assert_eq!(memberships(&fresh).await, [""; 0]);
        assert_eq!(fresh.rows("select count(*) as n from packages").await, ["n=Some(2)"], "packages stay");
    });
}

#[test]
fn a_package_listed_twice_has_one_membership_and_two_locations() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let first = listed(&updates, &mirror, "a-1-1.x86_64");
        let mut second = first.clone();
        second.location.path = "updates/a/copy.rpm".into();
        refresh(&index, &updates, &[first.clone(), second]).await;
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        assert_eq!(refresh(&index, &updates, &[first]).await, ListingEnd { ended: 0, gone: 1 });
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        assert_eq!(gone(&fresh).await, ["updates/a/copy.rpm"]);
    });
}

#[test]
fn a_package_that_is_replaced_at_its_path_is_not_listed_any_more() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let old = listed(&updates, &mirror, "a-1-1.x86_64");
        refresh(&index, &updates, std::slice::from_ref(&old)).await;
        // It stays present beside the repository.
        let mut beside = old.clone();
        (beside.location.path, beside.repository_id) = ("elsewhere.rpm".into(), None);
        index.insert("test", &[beside]).await.unwrap();
        let mut rebuilt = old;
        rebuilt.package.identity = crate::builders::identity("rebuilt");
        assert_eq!(refresh(&index, &updates, &[rebuilt]).await, ListingEnd { ended: 1, gone: 0 });
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        let new = "select p.id from memberships m join packages p on p.id = m.package_id where m.ended_at is null and \
             p.identity = (select max(identity) from packages)";
        let other = "select p.id from memberships m join packages p on p.id = m.package_id where m.ended_at is null \
             and p.identity = (select min(identity) from packages)";
        assert_eq!(fresh.rows(new).await.len() + fresh.rows(other).await.len(), 1);
    });
}

#[test]
fn packages_are_found_by_the_checksum_of_an_archive() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let checksum = |byte: u8| Checksum { kind: "sha512".into(), bytes: vec![byte; 64] };
        let mut a = simple(&mirror, "a-3:1-1.x86_64");
        a.location.checksum = Some(checksum(1));
        a.open = true;
        index.insert("test", &[a.clone()]).await.unwrap();
        index.mark_gone(mirror.id, &[PathHash::of_path(&a.location.path)], 5).await.unwrap();
        let known = index.packages_by_checksum(&[checksum(1), checksum(2), checksum(1)]).await.unwrap();
        let package = &known[&checksum(1)];
        assert_eq!((known.len(), &package.nevra, package.is_open), (1, &a.package.nevra, true));
        assert_eq!((&package.header, &package.signing_key), (&a.location.header, &a.location.signing_key));
        assert!(index.packages_by_checksum(&[]).await.unwrap().is_empty());
    });
}

/// A repository may name packages in another store, where no path is below it.
#[test]
fn a_membership_of_a_package_in_another_store_ends_and_its_location_stays() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let pool = store(&index, "pool", Tier::Mirror, 1).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let here = listed(&updates, &mirror, "a-1-1.x86_64");
        let mut there = simple(&pool, "b-1-1.x86_64");
        there.repository_id = Some(updates.id);
        refresh(&index, &updates, &[here, there]).await;
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates", "b-1-1.x86_64 updates"]);
        assert_eq!(index.known_listing(updates.id).await.unwrap().len(), 1);
        let members = index.listed_packages(updates.id).await.unwrap();
        assert_eq!(members.len(), 2);

        let kept = &index.packages_by_nvra("a-1-1.x86_64").await.unwrap().read[0];
        let started_at = index.begin_listing(updates.id).await.unwrap();
        let listing = CompleteListing {
            revision: None,
            metadata_checksum: None,
            verified: Verified::No,
            package_count: 1,
            ended: members.into_iter().filter(|member| *member != kept.id).collect(),
            gone: Vec::new(),
            started_at,
            refused_count: 0,
            refused: None,
        };
        let end = index.complete_listing(updates.id, &listing).await.unwrap();
        assert_eq!((end.ended, end.gone), (1, 0));
        assert_eq!(memberships(&fresh).await, ["a-1-1.x86_64 updates"]);
        assert_eq!(gone(&fresh).await, [""; 0]);
    });
}

#[test]
fn what_nobody_read_replaces_packages_below_its_own_repository_alone() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, other) = (store(&index, "m", Tier::Mirror, 0).await, store(&index, "o", Tier::Mirror, 0).await);
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let hostile = repository(&index, &other, "hostile", "x").await;
        let all = repository(&index, &mirror, "all", "").await;
        let real = listed(&updates, &mirror, "a-1-1.x86_64");
        let beside = simple(&mirror, "beside-1-1.x86_64");
        let away = simple(&other, "away-1-1.x86_64");
        refresh(&index, &updates, std::slice::from_ref(&real)).await;
        index.insert("test", &[beside.clone(), away.clone()]).await.unwrap();
        let claim = |repository: &Repository, location: &NewLocation| ClaimedPackage {
            origin: Origin::Repository,
            format: Format::Rpm,
            nevra: "evil-1-1.x86_64".parse().unwrap(),
            source_rpm: None,
            distro: String::new(),
            claims: Vec::new(),
            location: Some(NewLocation {
                checksum: Some(Checksum { kind: "sha256".into(), bytes: vec![9; 32] }),
                ..location.clone()
            }),
            repository_id: Some(repository.id),
            koji: None,
        };
        // At a place in another store, beside the repository, and where another repository lists a package.
        let claims = [
            claim(&hostile, &real.location),
            claim(&hostile, &away.location),
            claim(&updates, &beside.location),
            claim(&all, &real.location),
        ];
        let ids = "select id from packages where nvra = 'away-1-1.x86_64'";
        let away_id: i64 = fresh.rows(ids).await[0].split(['(', ')']).nth(1).unwrap().parse().unwrap();
        let located = |repository: &Repository, location: &NewLocation| PackageLocation {
            package_id: away_id,
            location: location.clone(),
            repository_id: Some(repository.id),
        };
        let of_others = "select count(*) as n from locations l join packages p on p.id = l.package_id where l.gone_at \
             is null and p.nvra in ('a-1-1.x86_64', 'beside-1-1.x86_64', 'away-1-1.x86_64')";
        for _ in 0..2 {
            index.insert_claimed("test", &claims).await.unwrap();
            let located = [located(&hostile, &real.location), located(&updates, &beside.location)];
            assert_eq!(index.insert_locations("test", &located).await.unwrap(), 0);
            assert_eq!(fresh.rows(of_others).await, ["n=Some(3)"]);
            let evil = fresh.rows("select id from packages where nvra = 'evil-1-1.x86_64'").await;
            assert_eq!(evil.len(), 1, "listed again it is the same package");
        }
        assert_eq!(gone(&fresh).await.len(), 3, "{:?}", gone(&fresh).await);
        // Below its own repository, where no other one lists it.
        index.insert_claimed("test", &[claim(&updates, &real.location)]).await.unwrap();
        assert_eq!(fresh.rows(of_others).await, ["n=Some(2)"]);
        // And who reads a header saw what is there.
        let mut rebuilt = beside;
        rebuilt.package = crate::builders::package("rebuilt-1-1.x86_64");
        index.insert("test", &[Import { repository_id: Some(hostile.id), ..rebuilt }]).await.unwrap();
        assert_eq!(fresh.rows(of_others).await, ["n=Some(1)"]);
    });
}

#[test]
fn packages_that_are_listed_together_began_together() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let [old, new, newest] =
            ["a-1-1.x86_64", "a-1-2.x86_64", "a-1-3.x86_64"].map(|nevra| listed(&updates, &mirror, nevra));
        // A refresh that is interrupted, long ago.
        index.begin_listing(updates.id).await.unwrap();
        index.insert("test", std::slice::from_ref(&old)).await.unwrap();
        fresh.execute("update memberships set first_seen = 5, last_seen = 6").await;
        refresh(&index, &updates, &[old.clone(), new.clone()]).await;
        let first = "select distinct m.first_seen from memberships m";
        assert_eq!(fresh.rows(first).await.len(), 1);
        // In two batches, some time after the refresh began.
        let began = index.begin_listing(updates.id).await.unwrap();
        index.insert("test", std::slice::from_ref(&newest)).await.unwrap();
        let last = "select m.first_seen from memberships m order by m.first_seen desc limit 1";
        assert_eq!(fresh.rows(last).await, [format!("first_seen=Some({began})")]);
        refresh(&index, &updates, &[old, new, newest]).await;
        let ids: Vec<i64> = index.listed_packages(updates.id).await.unwrap().into_iter().collect();
        let mut successors: Vec<usize> =
            index.lives(&ids).await.unwrap().values().map(|life| life.successors.len()).collect();
        successors.sort_unstable();
        assert_eq!(successors, [0, 1, 1], "the newest alone came later");
    });
}

#[test]
fn packages_get_the_distribution_that_their_repository_gets_later() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let [a, b] = ["a-1-1.fc40.x86_64", "b-1-1.fc40.x86_64"].map(|nevra| listed(&updates, &mirror, nevra));
        refresh(&index, &updates, &[a.clone(), b]).await;
        refresh(&index, &updates, &[a]).await;
        let given = NewRepository { distro: Some("el9".into()), ..new(&mirror, "updates", "updates") };
        index.add_repository(&given).await.unwrap();
        let distros = fresh.rows("select nvra, distro from packages order by nvra").await;
        assert!(distros[0].contains("el9") && distros[1].contains("fc40"), "{distros:?}");
    });
}

#[test]
fn a_place_that_a_check_found_gone_stays_gone_until_its_header_is_read() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let updates = repository(&index, &mirror, "updates", "updates").await;
        let a = listed(&updates, &mirror, "a-1-1.x86_64");
        refresh(&index, &updates, std::slice::from_ref(&a)).await;
        let path = PathHash::of_path(&a.location.path);
        let known = async || index.known_listing(updates.id).await.unwrap()[&path].clone();
        let package_id = known().await.package_id;
        assert!(!known().await.is_found_gone);
        let at = index.begin_listing(updates.id).await.unwrap() + 9;
        let check = |at: i64, result: CheckResult| PlaceCheck {
            package_id,
            store_id: mirror.id,
            path: a.location.path.clone(),
            at,
            result,
            derived: false,
        };
        index.record_check(&[check(at, CheckResult::Gone)]).await.unwrap();
        assert!(known().await.is_found_gone);
        let located = PackageLocation { package_id, location: a.location.clone(), repository_id: Some(updates.id) };
        assert_eq!(index.insert_locations("test", &[located]).await.unwrap(), 0);
        index.mark_listed(updates.id, &[package_id], &[path], at + 1).await.unwrap();
        let since = fresh.rows("select gone_at from locations").await;
        assert_eq!(since, [format!("gone_at=Some({at})")], "and the time stays");
        index.insert("test", std::slice::from_ref(&a)).await.unwrap();
        assert!(!known().await.is_gone && !known().await.is_found_gone);
        // A listing that lacked it meanwhile and has it again is believed.
        index.mark_gone(mirror.id, &[path], at + 5).await.unwrap();
        assert!(known().await.is_gone && !known().await.is_found_gone);
        index.mark_listed(updates.id, &[package_id], &[path], at + 6).await.unwrap();
        assert!(!known().await.is_gone);
        index.record_check(&[check(at + 7, CheckResult::Gone)]).await.unwrap();
        index.record_check(&[check(at + 8, CheckResult::Present { size: None })]).await.unwrap();
        assert!(!known().await.is_gone);
    });
}
