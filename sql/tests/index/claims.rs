//! Packages that are claimed before their header is read: one row for each package in the end.

use std::collections::BTreeSet;

use artifact::{Format, Kind, Nevra};
use sql::{Changes, Checksum, Claim, ClaimedPackage, Heads, Index, NewLocation, NewRepository, Origin, Store, Tier};

use crate::builders::{artifact, build_id, identity, import, store};
use crate::{Fresh, on_both};

fn location(store: &Store, path: &str, checksum: u8) -> NewLocation {
    let mut location = import(store, "x-1-1.x86_64", Vec::new()).location;
    location.path = path.into();
    location.checksum = Some(Checksum { kind: "sha256".into(), bytes: vec![checksum; 32] });
    (location.mtime_ns, location.header, location.signing_key) = (None, None, None);
    location
}

/// As a repository lists it.
fn claimed(nevra: &str, ids: &[&str], location: Option<NewLocation>, repository_id: Option<i64>) -> ClaimedPackage {
    let nevra: Nevra = nevra.parse().unwrap();
    let claim = |id: &&str| Claim {
        build_id: build_id(id),
        kind: Kind::Executable,
        link_path: Some("/usr/lib/.build-id/x".into()),
    };
    ClaimedPackage {
        origin: if location.is_some() { Origin::Repository } else { Origin::Legacy },
        format: Format::Rpm,
        source_rpm: None,
        distro: "fc40".into(),
        claims: ids.iter().map(claim).collect(),
        nevra,
        location,
        repository_id,
        koji: None,
    }
}

async fn hashes_of_all(index: &Index) -> BTreeSet<u64> {
    let (sender, mut pages) = tokio::sync::mpsc::channel(1);
    let (heads, hashes) = tokio::join!(index.send_hashes(sender), async {
        let mut hashes = BTreeSet::new();
        while let Some(page) = pages.recv().await {
            hashes.extend(page);
        }
        hashes
    });
    heads.unwrap();
    hashes
}

/// Packages by NVRA and state; claims; memberships; locations.
async fn rows(fresh: &Fresh) -> [Vec<String>; 4] {
    [
        fresh.rows("select nvra, state from packages order by nvra, state").await,
        fresh.rows("select p.nvra, c.kind from claims c join packages p on p.id = c.package_id order by p.nvra").await,
        fresh
            .rows(
                "select p.nvra, m.repository_id, m.first_seen from memberships m join packages p on p.id = \
                 m.package_id \
                 order by p.nvra, m.repository_id",
            )
            .await,
        fresh
            .rows(
                "select p.nvra, l.path from locations l join packages p on p.id = l.package_id order by p.nvra, \
            l.path",
            )
            .await,
    ]
}

const P: &str = "p-1-1.x86_64";

#[test]
fn a_filter_gets_claims_in_base_and_delta() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let claimed = [
            claimed(P, &["one", "two"], Some(location(&mirror, "p.rpm", 1)), None),
            claimed("old-1-1.x86_64", &["old"], None, None),
        ];
        assert_eq!(index.insert_claimed("repo", &claimed).await.unwrap(), 2);
        let expected: BTreeSet<u64> =
            ["one", "two", "old"].iter().map(|id| sql::hash_build_id(&build_id(id))).collect();
        assert_eq!(hashes_of_all(&index).await, expected);
        let Changes::Since { hashes, is_complete: true, .. } = index.changes(&Heads::new()).await.unwrap() else {
            panic!()
        };
        assert_eq!(hashes.into_iter().collect::<BTreeSet<u64>>(), expected);
        // They are no records until a header was read.
        assert!(index.records_by_build_id(&[build_id("one"), build_id("old")]).await.unwrap().records.is_empty());
        assert!(index.packages_by_nvra(P).await.unwrap().read.is_empty());
        let known = index.known_locations(mirror.id).await.unwrap();
        assert_eq!(known.values().map(|known| known.identity).collect::<Vec<_>>(), [None], "its header has to be read");
        // Again: nothing new.
        assert_eq!(index.insert_claimed("repo", &claimed).await.unwrap(), 0);
        let [packages, claims, ..] = rows(&fresh).await;
        assert_eq!((packages.len(), claims.len()), (2, 3));
    });
}

#[test]
fn a_header_merges_the_claimed_row_with_its_locations_memberships_and_claims() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, koji) = (store(&index, "m", Tier::Mirror, 0).await, store(&index, "k", Tier::Koji, 0).await);
        // Two rows that turn out to be one: two repositories list two copies, signed by different keys, with nothing in
        // common.
        let first = claimed(P, &["one"], Some(location(&mirror, "a/p.rpm", 1)), Some(1));
        let second = claimed(P, &[], Some(location(&koji, "b/p.rpm", 2)), Some(2));
        // Another build of the same name.
        let other = claimed(P, &["elsewhere"], Some(location(&mirror, "other/p.rpm", 3)), Some(1));
        assert_eq!(index.insert_claimed("repo", &[first, second, other]).await.unwrap(), 3);
        fresh.execute("update memberships set first_seen = 5").await;
        fresh.execute("update packages set koji_build = 77, koji_volume = 'DEFAULT'").await;

        let mut read = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        read.location = location(&mirror, "a/p.rpm", 1);
        index.insert("test", &[read.clone()]).await.unwrap();
        let [packages, claims, memberships, locations] = rows(&fresh).await;
        let state = |state: &str| format!("nvra=Some({P:?}) state=Some({state:?})");
        assert_eq!(packages, [state("claimed"), state("claimed"), state("complete")]);
        assert_eq!((claims.len(), memberships.len(), locations.len()), (1, 3, 3), "the header answered the claim");
        let package = index.packages_by_nvra(P).await.unwrap().read.remove(0);
        assert_eq!(package.locations.iter().map(|location| location.path.as_str()).collect::<Vec<_>>(), ["a/p.rpm"]);
        assert_eq!(
            fresh.rows("select koji_build, koji_volume from packages where identity is not null").await,
            ["koji_build=Some(77) koji_volume=Some(\"DEFAULT\")"]
        );

        // The second copy's header is read: the same package.
        read.location = location(&koji, "b/p.rpm", 2);
        index.insert("test", &[read.clone()]).await.unwrap();
        let [packages, claims, memberships, locations] = rows(&fresh).await;
        assert_eq!(packages, [state("claimed"), state("complete")]);
        assert_eq!((claims.len(), locations.len()), (1, 3));
        let of = fresh.rows("select package_id from memberships where repository_id = 2").await;
        assert_eq!(of, fresh.rows("select id as package_id from packages where identity is not null").await);
        assert!(memberships.iter().all(|row| row.ends_with("first_seen=Some(5)")), "{memberships:?}");
        let package = index.packages_by_nvra(P).await.unwrap().read.remove(0);
        let paths: Vec<_> = package.locations.iter().map(|location| location.path.as_str()).collect();
        assert_eq!(paths, ["a/p.rpm", "b/p.rpm"]);
        let dump = fresh.dump().await;
        index.insert("test", &[read]).await.unwrap();
        assert_eq!(fresh.dump().await, dump, "again, nothing changes");

        // A path that is listed again is the package that was read; the other build stays another.
        let again = claimed(P, &["one"], Some(location(&mirror, "a/p.rpm", 1)), Some(3));
        assert_eq!(index.insert_claimed("repo", &[again]).await.unwrap(), 0);
        assert_eq!(rows(&fresh).await[1].len(), 1, "no claim of a complete package");
        let records = index.records_by_build_id(&[build_id("one")]).await.unwrap().records;
        assert_eq!(records.len(), 1);
        assert!(index.records_by_build_id(&[build_id("elsewhere")]).await.unwrap().records.is_empty());
    });
}

#[test]
fn a_legacy_row_is_merged_by_its_build_ids() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert_claimed("legacy", &[claimed(P, &["one", "none"], None, None)]).await.unwrap();
        // Another build of the same name was read: no build-id in common.
        let rebuilt = import(&mirror, P, vec![artifact(1, "rebuilt", Kind::Executable, "/usr/bin/p")]);
        index.insert("test", &[rebuilt]).await.unwrap();
        assert_eq!(rows(&fresh).await[0].len(), 2);
        // The right one, still open: it answers the one claim, the other stays.
        let mut open = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        open.package.identity = identity("the right one");
        open.open = true;
        open.location.path = "right/p.rpm".into();
        index.insert("test", &[open.clone()]).await.unwrap();
        let [packages, claims, ..] = rows(&fresh).await;
        assert_eq!((packages.len(), claims.len()), (2, 1));
        assert_eq!(fresh.rows("select count(*) as n from packages where identity is null").await, ["n=Some(0)"]);
        // Complete, it answers everything.
        open.open = false;
        index.insert("test", &[open]).await.unwrap();
        assert_eq!(rows(&fresh).await[1], [""; 0]);
    });
}

#[test]
fn one_archive_that_two_repositories_list_is_one_row() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let at =
            |path: &str, checksum| claimed(P, &[], Some(location(&mirror, path, checksum)), Some(i64::from(checksum)));
        assert_eq!(index.insert_claimed("repo", &[at("a/p.rpm", 1), at("b/p.rpm", 1)]).await.unwrap(), 1);
        assert_eq!(index.insert_claimed("repo", &[at("c/p.rpm", 1)]).await.unwrap(), 0);
        // Replaced at its place by another build of the same name.
        assert_eq!(index.insert_claimed("repo", &[at("a/p.rpm", 2)]).await.unwrap(), 1);
        let gone = fresh.rows("select path from locations where gone_at is not null").await;
        assert_eq!(gone, ["path=Some(\"a/p.rpm\")"]);
        assert_eq!(rows(&fresh).await[0].len(), 2);
    });
}

#[test]
fn of_two_packages_at_one_path_in_a_batch_the_last_is_present() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let new = NewRepository {
            name: "all".into(),
            store_id: mirror.id,
            path: String::new(),
            url: None,
            format: Format::Rpm,
            distro: None,
        };
        let all = index.add_repository(&new).await.unwrap();
        let at = |nevra: &str| claimed(nevra, &[], Some(location(&mirror, "latest.rpm", 1)), Some(all.id));
        index.insert_claimed("repo", &[at("a-1-1.x86_64"), at("b-1-1.x86_64")]).await.unwrap();
        let there = "select p.nvra from locations l join packages p on p.id = l.package_id where l.gone_at is null";
        assert_eq!(fresh.rows(there).await, ["nvra=Some(\"b-1-1.x86_64\")"]);
        index.insert_claimed("repo", &[at("a-1-1.x86_64")]).await.unwrap();
        assert_eq!(fresh.rows(there).await, ["nvra=Some(\"a-1-1.x86_64\")"]);
        // Nothing comes of nothing.
        let heads = index.heads().await.unwrap();
        assert_eq!(index.insert_claimed("repo", &[]).await.unwrap(), 0);
        assert_eq!(index.heads().await.unwrap(), heads);
    });
}

#[test]
fn what_a_listing_does_not_state_of_a_known_archive_stays() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let read = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        index.insert("test", std::slice::from_ref(&read)).await.unwrap();
        let listed = |size: Option<u64>| {
            let mut bare = location(&mirror, &read.location.path, 7);
            bare.size = size;
            claimed(P, &[], Some(bare), None)
        };
        let columns = "select mtime_ns, header_start, header_end, signing_key from locations";
        let known = fresh.rows(columns).await;
        index.insert_claimed("repo", &[listed(read.location.size)]).await.unwrap();
        assert_eq!(fresh.rows(columns).await, known);
        // Of another size it is another archive, and so it may be where nothing states a size.
        index.insert_claimed("repo", &[listed(Some(7))]).await.unwrap();
        assert_ne!(fresh.rows(columns).await, known);
        index.insert_claimed("repo", &[listed(None)]).await.unwrap();
        assert_eq!(fresh.rows("select size from locations").await, ["size=None"]);
    });
}

#[test]
fn writers_that_claim_and_read_the_same_packages_at_once_leave_one_row_for_each() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names: Vec<String> = (0..30).map(|number| format!("p{number}-1-1.x86_64")).collect();
        let claim = async |writer: &'static str| {
            let index = fresh.open(sql::Access::ReadWrite);
            for name in &names {
                let claimed = claimed(name, &[name], Some(location(&mirror, &format!("{name}.rpm"), 1)), Some(1));
                index.insert_claimed(writer, &[claimed]).await.unwrap();
            }
        };
        let read = async || {
            let index = fresh.open(sql::Access::ReadWrite);
            for name in &names {
                let read = import(&mirror, name, vec![artifact(1, name, Kind::Executable, "/usr/bin/p")]);
                index.insert("read", &[read]).await.unwrap();
            }
        };
        tokio::join!(claim("a"), claim("b"), read());
        let packages =
            fresh.rows("select nvra, state from packages where state <> 'complete' or identity is null").await;
        assert_eq!(packages, [""; 0]);
        for table in ["select count(*) as n from packages", "select count(*) as n from locations where gone_at is null"]
        {
            assert_eq!(fresh.rows(table).await, ["n=Some(30)"]);
        }
        assert_eq!(fresh.rows("select count(*) as n from claims").await, ["n=Some(0)"]);
    });
}

#[test]
fn another_build_with_one_of_the_build_ids_stays_another() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let rebuilt = claimed(P, &["one", "two"], Some(location(&mirror, "b/p.rpm", 2)), None);
        index.insert_claimed("repo", &[rebuilt]).await.unwrap();
        let mut read = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        read.location = location(&mirror, "a/p.rpm", 1);
        index.insert("test", &[read]).await.unwrap();
        let [packages, claims, ..] = rows(&fresh).await;
        assert_eq!((packages.len(), claims.len()), (2, 2), "the header has no build-id two");
        assert!(hashes_of_all(&index).await.contains(&sql::hash_build_id(&build_id("two"))));
    });
}

#[test]
fn a_gone_archive_that_is_listed_again_is_the_same_package() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let listed = |path: &str| claimed(P, &[], Some(location(&mirror, path, 1)), None);
        for _ in 0..3 {
            index.insert_claimed("repo", &[listed("p.rpm")]).await.unwrap();
            index.mark_gone(mirror.id, &[sql::PathHash::of_path("p.rpm")], 5).await.unwrap();
        }
        assert_eq!(rows(&fresh).await[0].len(), 1);
        // Nothing but its name: whichever it is, it is known.
        for _ in 0..2 {
            index.insert_claimed("legacy", &[claimed(P, &[], None, None)]).await.unwrap();
        }
        assert_eq!(rows(&fresh).await[0].len(), 1);
        // Another kind of checksum states nothing about an archive at the same path.
        index.insert_claimed("repo", &[listed("p.rpm")]).await.unwrap();
        let mut other = location(&mirror, "p.rpm", 9);
        other.checksum = Some(Checksum { kind: "sha1".into(), bytes: vec![9; 20] });
        index.insert_claimed("repo", &[claimed(P, &[], Some(other), None)]).await.unwrap();
        assert_eq!(rows(&fresh).await[0].len(), 1);
    });
}

#[test]
fn of_two_locations_at_one_path_the_present_one_stays() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut read = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        read.location = location(&mirror, "q.rpm", 1);
        index.insert("test", &[read.clone()]).await.unwrap();
        index.mark_gone(mirror.id, &[sql::PathHash::of_path("q.rpm")], 5).await.unwrap();
        // A listing without a checksum of it, and the same header elsewhere.
        let mut bare = location(&mirror, "q.rpm", 1);
        (bare.checksum, bare.size) = (None, Some(77));
        index.insert_claimed("repo", &[claimed(P, &["one"], Some(bare), None)]).await.unwrap();
        read.location = location(&mirror, "r.rpm", 2);
        index.insert("test", &[read]).await.unwrap();
        let there = "select path, size from locations where gone_at is null order by path";
        assert_eq!(
            fresh.rows(there).await,
            ["path=Some(\"q.rpm\") size=Some(77)", "path=Some(\"r.rpm\") size=Some(1000)"]
        );
        assert_eq!(rows(&fresh).await[0].len(), 1);
    });
}

#[test]
fn an_open_package_gets_the_claims_that_its_artifacts_lack() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut open = import(&mirror, P, vec![artifact(1, "one", Kind::Executable, "/usr/bin/p")]);
        open.open = true;
        index.insert("test", &[open]).await.unwrap();
        index.insert_claimed("repo", &[claimed(P, &["one", "two"], None, Some(1))]).await.unwrap();
        let claims = fresh.rows("select build_id from claims").await;
        assert_eq!(claims, [format!("build_id=Some(\"{}\")", build_id("two"))]);
    });
}
