//! Stores and their locations.

use sql::{AbsentStatuses, NewStore, PathHash, RedirectHosts, Tier};

use crate::builders::{simple, store};
use crate::on_both;

#[test]
fn a_store_is_added_changed_listed_and_removed_by_its_name() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let second = store(&index, "second", Tier::Koji, 0).await;
        let first = store(&index, "first", Tier::Local, -3).await;
        assert_eq!(second.base_url.as_deref(), Some("https://second.example/packages"), "no slash at the end");
        assert_eq!(first.root.as_deref(), Some("/srv/first".as_ref()));
        assert_eq!(index.stores().await.unwrap(), [first.clone(), second.clone()]);

        let absent_statuses: AbsentStatuses = "401,404".parse().unwrap();
        let (name, tier) = ("first".into(), Tier::Archive);
        let redirect_hosts: RedirectHosts = "*,cdn.example".parse().unwrap();
        let changed = NewStore {
            name,
            tier,
            base_url: None,
            root: None,
            priority: 8,
            pattern: Some("{arch}/{nvra}.rpm".parse().unwrap()),
            distros: "fc*,el9*".parse().unwrap(),
            absent_statuses,
            redirect_hosts,
            allow_private: true,
        };
        let new = changed.clone();
        let changed = index.add_store(&changed).await.unwrap();
        assert_eq!((&first.redirect_hosts, first.allow_private), (&RedirectHosts::default(), false));
        assert_eq!((&changed.pattern, &changed.distros), (&new.pattern, &new.distros));
        assert_eq!((&changed.redirect_hosts, changed.allow_private), (&new.redirect_hosts, true));
        let row = fresh.rows("select redirect_hosts, allow_private from stores where name = 'first'").await;
        assert_eq!(row, ["redirect_hosts=Some(\"*,cdn.example\") allow_private=Some(1)"]);
        assert_eq!(
            (changed.absent_statuses.as_slice(), first.absent_statuses.as_slice()),
            (&[401, 404][..], &[403, 404, 410][..])
        );
        assert_eq!((changed.id, changed.tier, &changed.root, changed.priority), (first.id, Tier::Archive, &None, 8));

        index.insert("test", &[simple(&second, "p-1-1.x86_64")]).await.unwrap();
        fresh
            .execute("insert into repositories (name, store_id, path, format) select name, id, '', 'rpm' from stores")
            .await;
        fresh.execute("insert into memberships select p.id, r.id, 1, 1, null from packages p, repositories r").await;
        assert!(index.remove_store("second").await.unwrap());
        let left = "select r.name from repositories r join memberships m on m.repository_id = r.id";
        assert_eq!(fresh.rows(left).await, ["name=Some(\"first\")"]);
        assert_eq!(fresh.rows("select count(*) as n from memberships").await, ["n=Some(1)"]);
        assert!(!index.remove_store("second").await.unwrap());
        assert_eq!(index.stores().await.unwrap(), [changed]);
        let package = index.packages_by_nvra("p-1-1.x86_64").await.unwrap().read.remove(0);
        assert!(package.locations.is_empty());
        assert_eq!(index.records_by_nvra("p-1-1.x86_64").await.unwrap().records.len(), 1);
        assert!(fresh.rows("select * from locations").await.is_empty());
        let absent_statuses = AbsentStatuses::default();
        let (name, tier) = ("first ".into(), Tier::Local);
        let blank = NewStore { name, tier, absent_statuses, allow_private: false, ..new };
        let error = index.add_store(&blank).await.unwrap_err().to_string();
        assert_eq!(error, "name of a store: expected no blank at its end, found \"first \"");
    });
}

#[test]
fn locations_are_marked_as_seen_and_gone() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, other) = (store(&index, "m", Tier::Mirror, 0).await, store(&index, "o", Tier::Mirror, 0).await);
        let mut batch =
            vec![simple(&mirror, "a-1-1.x86_64"), simple(&mirror, "b-1-1.x86_64"), simple(&other, "a-1-1.x86_64")];
        batch[1].open = true;
        index.insert("test", &batch).await.unwrap();
        let [a, b] = ["a-1-1.x86_64.rpm", "b-1-1.x86_64.rpm"].map(PathHash::of_path);
        let nobody = PathHash::of_path("nobody");

        let known = index.known_locations(mirror.id).await.unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!((known[&a].open, known[&b].open, known[&a].gone), (false, true, false));
        assert_eq!((known[&a].size, known[&a].mtime_ns), (Some(1000), Some(1_320_000_000_123_456_789)));
        assert_eq!(known[&a].identity, Some(batch[0].package.identity));

        let later = 4_000_000_000;
        assert_eq!(index.mark_seen(mirror.id, &[a, a, nobody], later).await.unwrap(), 1);
        assert_eq!(index.mark_gone(mirror.id, &[b, nobody], later + 1).await.unwrap(), 1);
        assert_eq!(index.mark_gone(mirror.id, &[b], later + 2).await.unwrap(), 0, "gone already");
        assert_eq!(
            index.mark_seen(mirror.id, &[b], later + 3).await.unwrap(),
            0,
            "what is gone has to be imported again"
        );
        assert_eq!(index.mark_seen(mirror.id, &[], later).await.unwrap(), 0);
        let package = index.packages_by_nvra("a-1-1.x86_64").await.unwrap().read.remove(0);
        let seen: Vec<_> = package.locations.iter().map(|location| location.last_seen == Some(later)).collect();
        assert_eq!(seen, [true, false], "only in one store");
        let gone = index.packages_by_nvra("b-1-1.x86_64").await.unwrap().read.remove(0).locations.remove(0);
        assert_eq!((gone.gone_at, gone.last_seen), (Some(later + 1), gone.first_seen));
        assert!(index.known_locations(mirror.id).await.unwrap()[&b].gone);

        index.insert("test", &[batch[1].clone()]).await.unwrap();
        let back = index.packages_by_nvra("b-1-1.x86_64").await.unwrap().read.remove(0).locations.remove(0);
        assert_eq!((back.gone_at, back.first_seen), (None, gone.first_seen));
    });
}

#[test]
fn a_store_at_another_host_forgets_what_checks_found() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names = ["kept", "checked", "listed", "dropped", "former", "latter"];
        let batch: Vec<_> = names.iter().map(|name| simple(&mirror, &format!("{name}-1-1.x86_64"))).collect();
        index.insert("test", &batch).await.unwrap();
        for statement in [
            "insert into repositories (name, store_id, path, format) select 'r', id, '', 'rpm' from stores",
            "insert into memberships select p.id, r.id, 1, 1, case when p.name = 'dropped' then 9 end from packages p, \
             repositories r where p.name in ('listed', 'dropped')",
            "update locations set checked_at = 7, check_result = 'present' where path like 'kept%'",
            "update locations set gone_at = 7, checked_at = 8, check_result = 'gone' where path not like 'kept%'",
            "update locations set check_result = 'present' where path like 'checked%'",
            "update locations set path_hash = 'p', last_seen = 2 where path like 'former%'",
            "update locations set path_hash = 'p' where path like 'latter%'",
            "insert into locations (store_id, path_hash, package_id, path, gone_at, checked_at, check_result, derived) \
             select store_id, 'a', package_id, 'a', 3, 3, 'gone', 1 from locations where path like 'kept%'",
        ] {
            fresh.execute(statement).await;
        }
        let rows = "select path from locations where gone_at is null or checked_at is not null order by path";
        let before = fresh.rows("select path, gone_at, checked_at from locations order by path").await;
        let moved = |base_url: Option<&str>, root: Option<&str>| NewStore {
            name: "m".into(),
            tier: Tier::Archive,
            base_url: base_url.map(Into::into),
            root: root.map(Into::into),
            priority: 0,
            pattern: None,
            distros: mirror.distros.clone(),
            absent_statuses: mirror.absent_statuses.clone(),
            redirect_hosts: mirror.redirect_hosts.clone(),
            allow_private: false,
        };
        let url = mirror.base_url.clone().unwrap();
        for same in [format!("{url}/"), format!("{url}?token=b")] {
            index.add_store(&moved(Some(&same), None)).await.unwrap();
        }
        let after = fresh.rows("select path, gone_at, checked_at from locations order by path").await;
        assert_eq!(after, before, "the same host");

        index.add_store(&moved(Some("https://archive.example/m"), None)).await.unwrap();
        let present = ["kept", "latter", "listed"].map(|name| format!("path=Some(\"{name}-1-1.x86_64.rpm\")"));
        assert_eq!(fresh.rows(rows).await, present, "not what a listing lacks, a check did not set, or was replaced");
        assert_eq!(
            fresh.rows("select count(*) as n from locations where check_result is not null").await,
            ["n=Some(0)"]
        );
        assert_eq!(fresh.rows("select count(*) as n from locations where derived = 1").await, ["n=Some(0)"]);

        fresh.execute("update locations set gone_at = 7, checked_at = 7, check_result = 'gone'").await;
        index.add_store(&moved(Some("https://archive.example/m"), Some("/srv/m"))).await.unwrap();
        assert!(fresh.rows(rows).await.len() > 3, "a directory besides the URL");
    });
}

#[test]
fn thousands_of_locations_are_marked_at_once() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let batch: Vec<_> = (0..1234).map(|number| simple(&mirror, &format!("p{number}-1-1.x86_64"))).collect();
        index.insert("test", &batch).await.unwrap();
        let paths: Vec<PathHash> = batch.iter().map(|import| PathHash::of_path(&import.location.path)).collect();
        assert_eq!(index.mark_seen(mirror.id, &paths, 9).await.unwrap(), 1234);
        assert_eq!(index.mark_gone(mirror.id, &paths[..1001], 10).await.unwrap(), 1001);
        let known = index.known_locations(mirror.id).await.unwrap();
        assert_eq!(known.values().filter(|known| known.gone).count(), 1001);
    });
}

#[test]
fn known_locations_of_one_directory_are_those_below_it() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let paths = [
            "a/1.rpm",
            "a/b/2.rpm",
            "a%/3.rpm",
            "ab/4.rpm",
            "a.rpm",
            "A/5.rpm",
            "a0/6.rpm",
            "ä/7.rpm",
            "a/\t.rpm",
            "ä/\n.rpm",
        ];
        let batch: Vec<_> = paths
            .iter()
            .map(|path| {
                let mut import =
                    simple(&mirror, &format!("p-{}-1.x86_64", path.escape_default().to_string().replace('/', "_")));
                import.location.path = (*path).into();
                import
            })
            .collect();
        index.insert("test", &batch).await.unwrap();
        for (directory, below) in
            [("a", vec![0, 1, 8]), ("a/b", vec![1]), ("a%", vec![2]), ("ä", vec![7, 9]), ("nobody", vec![])]
        {
            let known = index.known_locations_below(mirror.id, directory).await.unwrap();
            let mut found: Vec<PathHash> = known.into_keys().collect();
            let mut expected: Vec<PathHash> = below.into_iter().map(|at: usize| PathHash::of_path(paths[at])).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{directory}");
        }
    });
}
