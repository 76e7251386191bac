//! Queries return what was inserted, complete and in order.

use artifact::{BuildId, Contents, Kind};
use sql::{Access, Import, Record, Tier};

use crate::builders::{artifact, build_id, identity, import, simple, store};
use crate::{on_both, sequences};

#[test]
fn every_field_is_read_as_it_was_written() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "mirror", Tier::Mirror, 3).await;
        let path = "/usr/bin/ä'\"%_\\\u{1F980} ?#`";
        let mut sent = import(
            &mirror,
            "bidtest-4294967295:1.2~rc1-4.fc99.x86_64",
            vec![
                artifact(0, "a", Kind::Executable, path),
                artifact(1, "a", Kind::Both, "/x"),
                artifact(2, "c", Kind::Unknown, "x"),
                artifact((1 << 23) - 1, "b", Kind::Debuginfo, &"/".repeat(4096)),
            ],
        );
        sent.artifacts[0].dwarf = Some(false);
        sent.artifacts[1].dwarf = Some(true);
        let most = i64::MAX as u64;
        let contents = Contents { size: most, mtime: i64::MIN, sha256: [0xf5; 32], tar_offset: Some(most) };
        sent.artifacts[1].contents = Some(contents);
        sent.artifacts[2].contents = Some(Contents { tar_offset: None, ..contents });
        sent.artifacts[3].build_id = BuildId::from_bytes(&[255; 64]).unwrap();
        sent.distro = Some("größte's \"1\"".into());
        sent.location.path = "b/bïdtest'%_\\.rpm".into();
        sent.location.size = Some(i64::MAX as u64);
        let mut bare = import(&mirror, "bare-1-1.noarch", vec![]);
        bare.package.source_rpm = None;
        bare.package.built_at = None;
        bare.open = true;
        (bare.location.mtime_ns, bare.location.header) = (None, None);
        (bare.location.checksum, bare.location.signing_key) = (None, None);
        index.insert("test", &[sent.clone(), bare.clone()]).await.unwrap();

        let records = index.records_by_nvra("bidtest-1.2~rc1-4.fc99.x86_64").await.unwrap().records;
        assert_eq!(records.iter().map(|record| record.artifact.clone()).collect::<Vec<_>>(), sent.artifacts);
        let stored = &records[0].package;
        assert_eq!((&stored.package, stored.distro.as_str(), stored.open), (&sent.package, "größte's \"1\"", false));
        let [location] = stored.locations.as_slice() else { panic!("{:?}", stored.locations) };
        assert_eq!(*location.store, mirror);
        assert_eq!((&location.path, location.size), (&sent.location.path, sent.location.size));
        assert_eq!((location.mtime_ns, &location.header), (sent.location.mtime_ns, &sent.location.header));
        assert_eq!((location.signing_key.as_deref(), location.gone_at), (Some("a82ba4b7"), None));
        assert!(location.first_seen > Some(1_700_000_000) && location.first_seen == location.last_seen);
        assert_eq!(index.package_by_identity(&sent.package.identity).await.unwrap().as_ref(), Some(&**stored));

        let stored = index.package_by_identity(&bare.package.identity).await.unwrap().unwrap();
        assert_eq!((&stored.package, stored.open, stored.distro.as_str()), (&bare.package, true, ""));
        assert_eq!((stored.locations[0].mtime_ns, stored.locations[0].header.clone()), (None, None));
        assert_eq!(stored.locations[0].signing_key, None);
        assert!(
            fresh.rows("select checksum, checksum_kind from locations order by size desc").await[0].contains("sha256")
        );
    });
}

#[test]
fn names_and_paths_differ_by_case_and_by_trailing_blanks() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut batch =
            vec![simple(&mirror, "Abc-1-1.x86_64"), simple(&mirror, "abc-1-1.x86_64"), simple(&mirror, "c-1-1.x86_64")];
        batch[2].location.path = "ABC-1-1.x86_64.rpm".into();
        index.insert("test", &batch).await.unwrap();
        for import in &batch {
            let found = index.packages_by_nvra(&import.package.nevra.nvra()).await.unwrap().read;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].locations[0].path, import.location.path);
        }
        for nobody in ["ABC-1-1.x86_64", "abc-1-1.x86_64 ", "abc%", ""] {
            assert!(index.packages_by_nvra(nobody).await.unwrap().read.is_empty(), "{nobody}");
            assert!(index.records_by_nvra(nobody).await.unwrap().records.is_empty(), "{nobody}");
        }
    });
}

#[test]
fn unknown_build_ids_have_no_records() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        assert!(index.records_by_build_id(&[]).await.unwrap().records.is_empty());
        assert!(index.records_by_build_id(&[build_id("nobody")]).await.unwrap().records.is_empty());
        assert_eq!(index.package_by_identity(&identity("nobody")).await.unwrap(), None);
    });
}

#[test]
fn a_thousand_build_ids_are_returned_in_order_each_once() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names: Vec<String> = (0..1000).map(|number| format!("p{number}")).collect();
        let batch: Vec<Import> = names
            .iter()
            .map(|name| {
                import(&mirror, &format!("{name}-1-1.fc1.x86_64"), vec![artifact(3, name, Kind::Executable, "/bin/x")])
            })
            .collect();
        for batch in batch.chunks(300) {
            index.insert("test", batch).await.unwrap();
        }
        let mut ids: Vec<BuildId> = names.iter().map(|name| build_id(name)).collect();
        ids.extend(ids.clone());
        ids.push(build_id("nobody"));
        let records = index.records_by_build_id(&ids).await.unwrap().records;
        assert_eq!(records.len(), 1000);
        assert!(records.is_sorted_by_key(|record| record.package.id));
        assert!(records.iter().all(|record| record.package.locations.len() == 1));
    });
}

#[test]
fn one_build_id_in_several_packages_and_several_times_in_one_is_ordered() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let twice = vec![
            artifact(9, "same", Kind::Both, "/b"),
            artifact(9, "same", Kind::Both, "/b"),
            artifact(2, "same", Kind::Executable, "/a"),
            artifact(5, "other", Kind::Executable, "/c"),
        ];
        index.insert("test", &[import(&mirror, "one-1-1.x86_64", twice.clone())]).await.unwrap();
        index.insert("test", &[import(&mirror, "two-1-1.x86_64", twice)]).await.unwrap();
        let shown = |records: Vec<Record>| -> Vec<String> {
            let show = |record: &Record| {
                let Record { package, artifact } = record;
                format!("{} {} {}", package.package.nevra.name, artifact.path, artifact.kind.as_str())
            };
            records.iter().map(show).collect()
        };
        let of_one = |name: &str| ["/a executable", "/b both"].map(|rest| format!("{name} {rest}"));
        let found = shown(index.records_by_build_id(&[build_id("same")]).await.unwrap().records);
        assert_eq!(found, [of_one("one"), of_one("two")].concat());
        let found = shown(index.records_by_nvra("two-1-1.x86_64").await.unwrap().records);
        assert_eq!(found, ["two /a executable", "two /c executable", "two /b both"]);
    });
}

#[test]
fn a_package_with_many_files_of_one_build_id_and_two_locations_has_each_once() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let near = store(&index, "near", Tier::Mirror, 0).await;
        let far = store(&index, "far", Tier::Mirror, 1).await;
        // In several lists, together with another that is asked for at the same time.
        let file = |ordinal| artifact(ordinal, "same", Kind::Executable, &format!("/{ordinal:04}"));
        let mut artifacts: Vec<_> = (0..400).map(file).collect();
        artifacts.push(artifact(400, "other", Kind::Executable, "/other"));
        let batch = [&near, &far].map(|store| import(store, "p-1-1.x86_64", artifacts.clone()));
        index.insert("test", &batch).await.unwrap();
        let records = index.records_by_build_id(&[build_id("same"), build_id("other")]).await.unwrap().records;
        assert_eq!(
            records.iter().map(|record| record.artifact.ordinal).collect::<Vec<_>>(),
            (0..=400).collect::<Vec<_>>()
        );
        for record in &records {
            let stores: Vec<_> = record.package.locations.iter().map(|location| location.store.name.as_str()).collect();
            assert_eq!(stores, ["near", "far"]);
        }
    });
}

#[test]
fn siblings_share_source_package_and_arch() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let of_source = |nevra: &str, source: &str| {
            let mut import = simple(&mirror, nevra);
            import.package.source_rpm = Some(source.into());
            import
        };
        let batch = [
            of_source("a-1-1.x86_64", "a-1-1.src.rpm"),
            of_source("a-debugsource-1-1.x86_64", "a-1-1.src.rpm"),
            of_source("a-1-1.i686", "a-1-1.src.rpm"),
            of_source("a-debuginfo-common-1-1.i386", "a-1-1.src.rpm"),
            of_source("a-1-1.ppc64", "a-1-1.src.rpm"),
            of_source("b-1-1.x86_64", "A-1-1.src.rpm"),
        ];
        index.insert("test", &batch).await.unwrap();
        let names = async |arches: &[&str]| {
            let siblings = index.packages_by_source("a-1-1.src.rpm", arches).await.unwrap();
            let mut names: Vec<String> = siblings.iter().map(|sibling| sibling.package.nevra.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&["x86_64"]).await, ["a-1-1.x86_64", "a-debugsource-1-1.x86_64"]);
        assert_eq!(names(&["i686", "i386", "i586"]).await, ["a-1-1.i686", "a-debuginfo-common-1-1.i386"]);
        assert_eq!(names(&[]).await, [""; 0]);
    });
}

#[test]
fn locations_come_best_first() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mut batch = Vec::new();
        for (name, tier, priority) in [
            ("gone", Tier::Local, 0),
            ("retrace", Tier::Retrace, 0),
            ("far", Tier::Mirror, 9),
            ("koji", Tier::Koji, -1),
            ("b-near", Tier::Mirror, 1),
            ("a-near", Tier::Mirror, 1),
            ("archive", Tier::Archive, 0),
            ("local", Tier::Local, 5),
        ] {
            let store = store(&index, name, tier, priority).await;
            batch.push(simple(&store, "p-1-1.x86_64"));
        }
        let mut second = batch[1].clone();
        second.location.path = "a/p.rpm".into();
        batch.push(second);
        index.insert("test", &batch).await.unwrap();
        let gone = batch[0].location.clone();
        assert_eq!(index.mark_gone(gone.store_id, &[sql::PathHash::of_path(&gone.path)], 5).await.unwrap(), 1);
        let package = index.packages_by_nvra("p-1-1.x86_64").await.unwrap().read.remove(0);
        let order: Vec<_> =
            package.locations.iter().map(|location| (location.store.name.as_str(), location.path.as_str())).collect();
        let rpm = "p-1-1.x86_64.rpm";
        let expected = ["local", "a-near", "b-near", "far", "koji", "archive"].map(|name| (name, rpm)).to_vec();
        assert_eq!(order, [expected, vec![("retrace", "a/p.rpm"), ("retrace", rpm), ("gone", rpm)]].concat());
        assert_eq!(package.locations[8].gone_at, Some(5));
        assert!(package.present_locations().eq(&package.locations[..8]));
    });
}

#[test]
fn a_reader_finds_what_a_writer_inserted_and_cannot_write() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let reader = fresh.open(Access::ReadOnly);
        reader.check_schema().await.unwrap();
        index.insert("test", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
        assert_eq!(reader.records_by_build_id(&[build_id("p-1-1.x86_64")]).await.unwrap().records.len(), 1);
        assert_eq!(sequences(&reader).await, [("test".into(), 1)].into());
    });
}
