//! Changes since a known state: all of them, or none with the reason.

use std::collections::BTreeSet;

use artifact::Kind;
use sql::{Access, Changes, Heads, Index, Tier};

use crate::builders::{artifact, build_id, import, simple, store};
use crate::{Fresh, on_both};

/// Returns the hashes of the changes, sorted, and the state after them.
async fn since(reader: &Index, known: &Heads) -> (Vec<u64>, Heads) {
    match reader.changes(known).await.unwrap() {
        Changes::Since { heads, mut hashes, is_complete: true } => {
            hashes.sort_unstable();
            (hashes, heads)
        }
        other => panic!("{other:?}"),
    }
}

fn hashes(names: &[&str]) -> Vec<u64> {
    let mut hashes: Vec<u64> = names.iter().map(|name| sql::hash_build_id(&build_id(name))).collect();
    hashes.sort_unstable();
    hashes
}

#[test]
fn a_reader_gets_the_build_ids_that_any_writer_inserts() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let reader = fresh.open(Access::ReadOnly);
        let mut known = reader.heads().await.unwrap();
        assert_eq!(known, Heads::new());
        for (writer, name) in [("a", "p-1-1.x86_64"), ("b", "q-1-1.x86_64"), ("a", "r-1-1.x86_64")] {
            index.insert(writer, &[simple(&mirror, name)]).await.unwrap();
            let (came, heads) = since(&reader, &known).await;
            assert_eq!(came, hashes(&[name]));
            known = heads;
            assert_eq!(reader.heads().await.unwrap(), known);
        }
        assert_eq!(
            known.iter().map(|(writer, head)| (writer.as_str(), head.sequence)).collect::<Vec<_>>(),
            [("a", 2), ("b", 1)]
        );
        assert_eq!(since(&reader, &known).await, (Vec::new(), known.clone()));
        // From the beginning, too.
        assert_eq!(since(&reader, &Heads::new()).await.0, hashes(&["p-1-1.x86_64", "q-1-1.x86_64", "r-1-1.x86_64"]));

        // An insert without new build-ids is a change; so is one that completes an open package.
        let mut open = import(&mirror, "open-1-1.x86_64", vec![artifact(1, "seen", Kind::Executable, "/usr/bin/seen")]);
        open.open = true;
        index.insert("a", &[simple(&mirror, "p-1-1.x86_64"), open]).await.unwrap();
        let (came, known) = since(&reader, &known).await;
        assert_eq!(came, hashes(&["seen"]));
        let both =
            ["seen", "hidden"].map(|name| artifact(if name == "seen" { 1 } else { 2 }, name, Kind::Executable, name));
        index.insert("b", &[import(&mirror, "open-1-1.x86_64", both.to_vec())]).await.unwrap();
        assert_eq!(since(&reader, &known).await.0, hashes(&["seen", "hidden"]));
    });
}

#[test]
fn many_changes_are_returned_in_parts() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names: Vec<String> = (0..20).map(|number| format!("p-{number}-1.x86_64")).collect();
        for name in &names {
            index.insert("a", &[simple(&mirror, name)]).await.unwrap();
        }
        index.insert("b", &[simple(&mirror, "q-1-1.x86_64")]).await.unwrap();
        let (mut known, mut came, mut lengths) = (Heads::new(), BTreeSet::new(), Vec::new());
        loop {
            let Changes::Since { heads, hashes, is_complete } = index.changes(&known).await.unwrap() else {
                panic!("expected changes")
            };
            lengths.push(hashes.len());
            came.extend(hashes);
            known = heads;
            if is_complete {
                break;
            }
        }
        assert_eq!(lengths, [10, 8, 3], "nine at first, none of which is known, and the other writer's");
        let all: Vec<&str> = names.iter().map(String::as_str).chain(["q-1-1.x86_64"]).collect();
        assert_eq!(came, hashes(&all).into_iter().collect());
        assert_eq!(known, index.heads().await.unwrap());
    });
}

/// The hash of every build-id that is sent, once, and the state that comes back.
async fn sent(reader: &Index) -> (BTreeSet<u64>, Heads) {
    let (sender, mut pages) = tokio::sync::mpsc::channel(1);
    let (heads, found) = tokio::join!(reader.send_hashes(sender), async {
        let mut found = BTreeSet::new();
        while let Some(page) = pages.recv().await {
            found.extend(page);
        }
        found
    });
    (found, heads.unwrap())
}

#[test]
fn the_hashes_of_all_build_ids_are_sent() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        assert_eq!(sent(&index).await, (BTreeSet::new(), Heads::new()));
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        // More than a page, a page to the last of them, and less.
        let mut expected = BTreeSet::new();
        for (package, files) in [("p-1-1.x86_64", 1), ("q-1-1.x86_64", 9_999), ("r-1-1.x86_64", 12_000)] {
            let file = |at: u32| artifact(at, &format!("{package}{at}"), Kind::Executable, &format!("/{at}"));
            let artifacts: Vec<_> = (0..files).map(file).collect();
            expected.extend(artifacts.iter().map(|artifact| sql::hash_build_id(&artifact.build_id)));
            index.insert("a", &[import(&mirror, package, artifacts)]).await.unwrap();
            assert!(sent(&index).await.0 == expected, "{package}");
        }
        let (found, heads) = sent(&fresh.open(Access::ReadOnly)).await;
        assert!(found == expected, "{} of {}", found.len(), expected.len());
        assert_eq!(heads, index.heads().await.unwrap());
        // A receiver that is dropped is no error.
        let (sender, pages) = tokio::sync::mpsc::channel(1);
        drop(pages);
        index.send_hashes(sender).await.unwrap();
    });
}

#[test]
fn a_writer_keeps_a_bounded_number_of_changes() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let early = {
            index.insert("a", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
            index.heads().await.unwrap()
        };
        for _ in 0..1000 {
            index.insert("a", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
        }
        assert_eq!(fresh.rows("select count(*) as n from changes").await, ["n=Some(1000)"]);
        let Changes::Unavailable(reason) = index.changes(&early).await.unwrap() else { panic!("expected no changes") };
        assert_eq!(reason, "a: changes since transaction 1 were pruned");
        let before = index.heads().await.unwrap();
        // As if each of the last ten had brought half a MiB.
        fresh.execute("update changes set total = (sequence - 990) * 524288 where sequence > 990").await;
        index.insert("a", &[simple(&mirror, "q-1-1.x86_64")]).await.unwrap();
        assert_eq!(fresh.rows("select count(*) as n from changes").await, ["n=Some(9)"], "4 MiB and the last");
        assert_eq!(since(&index, &before).await.0, hashes(&["q-1-1.x86_64"]));
    });
}

#[test]
fn another_index_and_an_older_copy_are_recognized() {
    let other = |fresh: fn() -> Fresh| async move {
        let (one, other) = (fresh(), fresh());
        let mut states = Vec::new();
        for fresh in [&one, &other] {
            let index = fresh.index().await;
            let mirror = store(&index, "m", Tier::Mirror, 0).await;
            index.insert("a", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
            states.push((index.heads().await.unwrap(), index, mirror));
        }
        let [(known, ..), (_, other, mirror)] = states.as_slice() else { panic!("two") };
        assert!(
            matches!(other.changes(known).await.unwrap(), Changes::Unavailable(_)),
            "the same numbers, of another index"
        );
        other.insert("a", &[simple(mirror, "q-1-1.x86_64")]).await.unwrap();
        assert!(
            matches!(other.changes(known).await.unwrap(), Changes::Unavailable(_)),
            "later numbers of another index"
        );
        let later = other.heads().await.unwrap();
        assert!(matches!(states[0].1.changes(&later).await.unwrap(), Changes::Lagging(_)), "an older one");
        let (empty, unknown) = (fresh(), states[0].0.clone());
        assert!(matches!(empty.index().await.changes(&unknown).await.unwrap(), Changes::Lagging(_)), "an empty one");
    };
    crate::run(other(Fresh::sqlite));
    crate::run(other(Fresh::mariadb));
}
