//! Artifacts by path.

use std::time::{Duration, Instant};

use artifact::Kind;
use sql::{Access, Import, Index, PathMatches, PathQuery, Tier};

use crate::builders::{artifact, import, simple, store};
use crate::{Fresh, on_both};

const MAX: usize = 1000;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Returns `NAME KIND PATH` of the artifacts at these paths, in order, and true if these are all.
async fn at(index: &Index, paths: PathQuery) -> (Vec<String>, bool) {
    let PathMatches { records, complete } = index.records_by_path(&paths, MAX, soon()).await.unwrap();
    let row = |record: &sql::Record| {
        format!("{} {} {}", record.package.package.nevra.name, record.artifact.kind.as_str(), record.artifact.path)
    };
    (records.iter().map(row).collect(), complete)
}

fn is(path: &str) -> PathQuery {
    PathQuery::Exact(path.into())
}

fn like(pattern: &str) -> PathQuery {
    PathQuery::Glob(pattern.into())
}

/// An index of a few packages, the first inserted first.
async fn filled(fresh: &Fresh) -> Index {
    let index = fresh.index().await;
    let mirror = store(&index, "m", Tier::Mirror, 0).await;
    for (name, paths) in [
        ("bash", &["/usr/bin/bash", "/usr/bin/bashbug-64"][..]),
        ("bash-static", &["/usr/bin/bash-static-program"]),
        (
            "other",
            &["/opt/other/bash", "/usr/bin/ba\u{e4}h", "/usr/lib64/libother-one.so.1", "/usr/lib64/libother-two.so.1"],
        ),
    ] {
        let artifacts = (0..).zip(paths).map(|(at, path)| artifact(at, path, Kind::Executable, path)).collect();
        index.insert("test", &[import(&mirror, &format!("{name}-1-1.x86_64"), artifacts)]).await.unwrap();
    }
    let both = vec![artifact(300, "both", Kind::Both, "/usr/bin/bash")];
    index.insert("test", &[import(&mirror, "new-1-1.x86_64", both)]).await.unwrap();
    index
}

/// Asserts the results of every kind of path query.
async fn check(index: &Index) {
    let bash = ["new both /usr/bin/bash", "bash executable /usr/bin/bash"];
    let static_bash = "bash-static executable /usr/bin/bash-static-program";
    let others = ["other executable /usr/lib64/libother-one.so.1", "other executable /usr/lib64/libother-two.so.1"];
    for (paths, expected) in [
        (is("/usr/bin/bash"), &bash[..]),
        (is("/usr/bin/bashbug-64"), &["bash executable /usr/bin/bashbug-64"]),
        (is("/usr/bin/bash-static-program"), &[static_bash]),
        (is("/usr/bin/bash-static-programs"), &[]),
        (is("/usr/bin/*"), &[]),
        (is("usr/bin/bash"), &[]),
        (is("/usr/bin/"), &[]),
        (is(""), &[]),
        (like("/usr/bin/bash"), &bash),
        (like("/usr/*/bash"), &bash),
        (like("/*/*/bash"), &[bash[0], "other executable /opt/other/bash", bash[1]]),
        (like("/usr/bin/ba\u{e4}?"), &["other executable /usr/bin/ba\u{e4}h"]),
        (like("/usr/bin/bash-*"), &[static_bash]),
        (like("/usr/bin/bash-static-p*"), &[static_bash]),
        (like("/usr/lib64/libo*.so.[0-9]"), &others),
        (like("/usr/lib64/libother*"), &others),
        (like("/usr/lib64/lib*"), &others),
        (like("/usr/lib64/l*e.so.1"), &others[..1]),
        (like("/usr/lib64/*two*"), &others[1..]),
        (like("/usr/*"), &[]),
        (like("bash"), &[]),
        (like("/usr/bin/"), &[]),
        (like(""), &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|row| row.to_string()).collect();
        assert_eq!(at(index, paths.clone()).await, (expected, true), "{paths:?}");
    }
}

#[test]
fn artifacts_are_found_by_path() {
    on_both(async |fresh| {
        let index = filled(&fresh).await;
        let reader = fresh.open(Access::ReadOnly);
        check(&reader).await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert("test", &[simple(&mirror, "late-1-1.x86_64")]).await.unwrap();
        assert_eq!(at(&reader, is("/usr/bin/x")).await.0, ["late executable /usr/bin/x"]);
    });
}

#[test]
fn a_completed_package_is_found_by_its_new_paths_alone() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut open = import(&mirror, "p-1-1.x86_64", vec![artifact(1, "x", Kind::Executable, "/usr/bin/guessed")]);
        open.open = true;
        index.insert("test", &[open]).await.unwrap();
        assert_eq!(at(&index, is("/usr/bin/guessed")).await.0.len(), 1);
        let complete =
            [artifact(1, "x", Kind::Executable, "/usr/bin/kept"), artifact(2, "y", Kind::Executable, "/usr/bin/new")];
        index.insert("test", &[import(&mirror, "p-1-1.x86_64", complete.to_vec())]).await.unwrap();
        assert_eq!(at(&index, is("/usr/bin/guessed")).await, (vec![], true));
        assert_eq!(at(&index, is("/usr/bin/kept")).await.0.len(), 1);
        assert_eq!(at(&index, like("/usr/bin/ne*")).await.0.len(), 1);
    });
}

#[test]
fn results_cut_off_by_time_or_size_are_marked_incomplete() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let batch: Vec<_> = (0..300)
            .map(|number| {
                let artifacts = (0..2)
                    .map(|at| artifact(at, &format!("{number}.{at}"), Kind::Executable, &format!("/bin/prog{at}")));
                import(&mirror, &format!("p{number}-1-1.x86_64"), artifacts.collect())
            })
            .collect();
        index.insert("test", &batch).await.unwrap();
        for paths in [is("/bin/prog1"), like("/bin/p*1"), like("/bin/*1")] {
            let all = index.records_by_path(&paths, 300, soon()).await.unwrap();
            assert_eq!((all.records.len(), all.complete), (300, true), "{paths:?}");
            assert!(all.records.is_sorted_by_key(|record| std::cmp::Reverse(record.package.id)));
            let some = index.records_by_path(&paths, 299, soon()).await.unwrap();
            assert_eq!((some.records.len(), some.complete), (299, false), "{paths:?}");
            assert_eq!(some.records[..], all.records[..299], "the newest");
            let none = index.records_by_path(&paths, 300, Instant::now()).await.unwrap();
            assert_eq!((none.records.len(), none.complete), (0, false), "{paths:?}");
        }
        // A query without candidates needs no time.
        let none = index.records_by_path(&is("/bin/absent"), 300, Instant::now()).await.unwrap();
        assert_eq!((none.records.len(), none.complete), (0, true));
    });
}

#[test]
fn packages_are_found_by_the_directories_of_their_include_files() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let places = |places: &[&str]| places.iter().map(|place| place.to_string()).collect::<Vec<_>>();
        // Several in one transaction, several transactions, one without artifacts, the same again.
        let a = Import {
            includes: places(&["/usr/include/a", "/usr/include/x.h"]),
            ..import(&mirror, "a-1-1.x86_64", Vec::new())
        };
        let b = Import { includes: places(&["/usr/include/a"]), ..simple(&mirror, "b-1-1.x86_64") };
        let c = Import { includes: places(&["/usr/include/c"]), ..simple(&mirror, "c-1-1.x86_64") };
        let later = Import { includes: places(&["/usr/include/a"]), ..simple(&mirror, "d-1-1.x86_64") };
        index.insert("test", &[a.clone(), b, c]).await.unwrap();
        index.insert("test", &[later]).await.unwrap();
        index.insert("test", &[a]).await.unwrap();
        let reader = fresh.open(Access::ReadOnly);
        let with = async |place: &str| {
            let found = reader.packages_by_include_dir(place).await.unwrap();
            found.into_iter().map(|package| package.package.nevra.name).collect::<Vec<_>>()
        };
        assert_eq!(with("/usr/include/a").await, ["d", "b", "a"]);
        assert_eq!(with("/usr/include/x.h").await, ["a"]);
        assert_eq!(with("/usr/include/c").await, ["c"]);
        assert_eq!(with("/usr/include").await, [""; 0]);
        // They do not affect queries by name.
        assert_eq!(at(&reader, like("/usr/bin/[a-z]*")).await.0.len(), 3);
    });
}

#[test]
fn trailing_control_characters_and_blanks_are_significant() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names = ["ab", "ab\n", "ab\t", "ab\u{1}", "ab \n", "ab ", "ab\u{7f}", "abc", "ac", "ac\n", "aa"];
        let file = |(at, name): (u32, &&str)| artifact(at, name, Kind::Executable, &format!("/d/{name}"));
        let artifacts: Vec<_> = (0..).zip(&names).map(file).collect();
        let mut import = import(&mirror, "p-1-1.x86_64", artifacts);
        import.includes = vec!["/usr/include/a".into(), "/usr/include/a ".into()];
        index.insert("test", &[import]).await.unwrap();
        let found = async |paths: PathQuery| {
            let (rows, complete) = at(&index, paths).await;
            assert!(complete);
            rows.len()
        };
        assert_eq!(found(like("/d/ab*")).await, 8);
        assert_eq!(found(like("/d/ab?")).await, 6);
        assert_eq!(found(like("/d/ab *")).await, 2);
        assert_eq!(found(like("/d/a*")).await, 11);
        for name in names {
            assert_eq!(found(is(&format!("/d/{name}"))).await, 1, "{name:?}");
        }
        assert_eq!(index.packages_by_include_dir("/usr/include/a").await.unwrap().len(), 1);
    });
}
