//! Plain files under several names: copies, names that are gone, names that come back.

use std::time::{Duration, Instant};

use artifact::{Artifact, Contents, Format, Kind};
use sql::{Import, Index, NewStore, PathHash, PathQuery, Store, Tier};

use crate::builders::{artifact, build_id, import, store};
use crate::on_both;

/// A plain file, which is found at a path below `/srv/s`.
fn file(store: &Store, contents: &str, path: &str) -> Import {
    let mut import = import(store, &format!("{contents}-1-0.x86_64"), Vec::new());
    let of_file = Contents { size: 7, mtime: 1, sha256: *import.package.identity.as_bytes(), tar_offset: None };
    let artifact = artifact(0, contents, Kind::Both, &format!("/srv/s/{path}"));
    import.artifacts = vec![Artifact { contents: Some(of_file), ..artifact }];
    import.package.format = Format::File;
    import.location.path = path.into();
    import
}

/// Paths of all files with the build-id, and of those, which are found by their path.
async fn paths(index: &Index, name: &str) -> (Vec<String>, Vec<String>) {
    let records = index.records_by_build_id(&[build_id(name)]).await.unwrap().records;
    let all: Vec<String> = records.iter().map(|record| record.artifact.path.clone()).collect();
    let mut found = Vec::new();
    for path in ["/srv/s/a/prog", "/srv/s/b/copy", "/srv/s/prog", "/srv/s/c/copy"] {
        let at = index
            .records_by_path(&PathQuery::Exact(path.into()), 10, Instant::now() + Duration::from_secs(20))
            .await
            .unwrap();
        assert!(at.complete);
        found.extend(at.records.iter().map(|record| record.artifact.path.clone()));
    }
    (all, found)
}

#[test]
fn a_file_is_found_by_every_name_that_it_has_now_and_by_no_other() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let store = store(&index, "s", Tier::Local, 0).await;
        let at = |path: &str| file(&store, "prog", path);
        let both = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| format!("/srv/s/{path}")).collect();
            (paths.clone(), paths)
        };
        // Two names in one batch, one of them twice.
        index.insert("test", &[at("a/prog"), at("prog"), at("a/prog")]).await.unwrap();
        assert_eq!(paths(&index, "prog").await, both(&["a/prog", "prog"]));
        // A third one later; again, nothing is added.
        for artifacts in [1, 0] {
            assert_eq!(index.insert("test", &[at("b/copy")]).await.unwrap().artifacts, artifacts);
        }
        let (all, found) = paths(&index, "prog").await;
        assert_eq!((all.len(), found.len()), (3, 3));
        let gone = [PathHash::of_path("a/prog")];
        index.mark_gone(store.id, &gone, 5).await.unwrap();
        assert_eq!(
            paths(&index, "prog").await,
            (vec!["/srv/s/prog".into(), "/srv/s/b/copy".into()], {
                vec!["/srv/s/b/copy".into(), "/srv/s/prog".into()]
            })
        );
        // All gone: records by build-id still state what it was, and no path finds it.
        index.mark_gone(store.id, &["prog", "b/copy"].map(PathHash::of_path), 6).await.unwrap();
        let (all, found) = paths(&index, "prog").await;
        assert_eq!((all.len(), found.len()), (3, 0));
        // One comes back.
        index.insert("test", &[at("a/prog")]).await.unwrap();
        assert_eq!(paths(&index, "prog").await, both(&["a/prog"]));
        // Another file replaces it.
        index.insert("test", &[file(&store, "other", "a/prog")]).await.unwrap();
        assert_eq!(paths(&index, "other").await.0, ["/srv/s/a/prog"]);
        let (all, found) = paths(&index, "prog").await;
        assert_eq!((all.len(), found), (3, vec!["/srv/s/a/prog".to_owned()]), "that is the other");
    });
}

#[test]
fn importers_that_find_copies_at_the_same_time_neither_lose_nor_repeat_names() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let store = store(&index, "s", Tier::Local, 0).await;
        let writer = async |name: &'static str| {
            let index = fresh.open(sql::Access::ReadWrite);
            for copy in 0..10 {
                index
                    .insert(name, &[file(&store, "prog", &format!("{name}/{copy}")), file(&store, "prog", "same")])
                    .await
                    .unwrap();
            }
        };
        tokio::join!(writer("a"), writer("b"), writer("c"));
        let records = index.records_by_build_id(&[build_id("prog")]).await.unwrap().records;
        let mut found: Vec<&str> = records.iter().map(|record| record.artifact.path.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!((records.len(), found.len()), (31, 31));
    });
}

#[test]
fn the_same_name_in_another_store_is_another_name() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (s, t) = (store(&index, "s", Tier::Local, 0).await, store(&index, "t", Tier::Local, 0).await);
        let mut other = file(&t, "prog", "a/prog");
        other.artifacts[0].path = "/srv/t/a/prog".into();
        index.insert("test", &[file(&s, "prog", "a/prog"), other]).await.unwrap();
        assert_eq!(paths(&index, "prog").await.0, ["/srv/s/a/prog", "/srv/t/a/prog"]);
        index.mark_gone(s.id, &[PathHash::of_path("a/prog")], 5).await.unwrap();
        assert_eq!(paths(&index, "prog").await, (vec!["/srv/t/a/prog".to_owned()], vec![]));
        // The directory of a store is another one: so are the paths below it.
        let root = Some("/mnt/ä".into());
        let moved = NewStore { root, ..NewStore::from(t.clone()) };
        index.add_store(&moved).await.unwrap();
        assert_eq!(paths(&index, "prog").await.0, ["/mnt/ä/a/prog"]);
        index.remove_store("t").await.unwrap();
        assert_eq!(paths(&index, "prog").await.1, [""; 0], "no place has it");
    });
}
