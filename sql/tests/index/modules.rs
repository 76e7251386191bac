//! Compressed kernel modules of RPMs and the debug files that have their build-ids.

use artifact::modules::Module;
use artifact::{Format, Kind};
use sql::{Access, Changes, Claim, ClaimedPackage, Heads, Import, Index, Origin, Store, Tier};

use crate::builders::{artifact, build_id, import, store};
use crate::{Fresh, on_both};

const VERSION: &str = "6.5.6-300.fc39.x86_64";

/// A package of the kernel of `source` that has these compressed modules below the directory of the kernel `version`.
fn modules(store: &Store, source: &str, version: &str, names: &[&str]) -> Import {
    let mut import = import(store, &format!("{source}-modules-1-1.x86_64"), Vec::new());
    import.package.source_rpm = Some(format!("{source}-1-1.src.rpm"));
    let module = |(at, name): (usize, &&str)| Module {
        ordinal: u32::try_from(at).unwrap() + 10,
        path: format!("/lib/modules/{version}/kernel/{name}.ko.xz"),
    };
    import.modules = names.iter().enumerate().map(module).collect();
    import
}

/// The debuginfo package of the same kernel. The build-id of a module is made of its name.
fn debuginfo(store: &Store, source: &str, version: &str, names: &[&str]) -> Import {
    let path = |name: &str| format!("/usr/lib/debug/usr/lib/modules/{version}/kernel/{name}.ko.debug");
    let file = |(at, name): (usize, &&str)| artifact(at as u32, name, Kind::Debuginfo, &path(name));
    let files = names.iter().enumerate().map(file).collect();
    let mut import = import(store, &format!("{source}-debuginfo-1-1.x86_64"), files);
    import.package.source_rpm = Some(format!("{source}-1-1.src.rpm"));
    import
}

/// The packages that have a file with a build-id, and its path and kind there.
async fn found(index: &Index, name: &str) -> Vec<(String, String, Kind)> {
    let records = index.records_by_build_id(&[build_id(name)]).await.unwrap().records;
    let of = |record: &sql::Record| {
        (record.package.package.nevra.name.clone(), record.artifact.path.clone(), record.artifact.kind)
    };
    let mut found: Vec<_> = records.iter().map(of).collect();
    found.sort();
    found
}

fn both(version: &str, name: &str) -> Vec<(String, String, Kind)> {
    let debug = format!("/usr/lib/debug/usr/lib/modules/{version}/kernel/{name}.ko.debug");
    let module = format!("/lib/modules/{version}/kernel/{name}.ko.xz");
    vec![("kernel-debuginfo".into(), debug, Kind::Debuginfo), ("kernel-modules".into(), module, Kind::Executable)]
}

#[test]
fn modules_get_the_build_ids_of_their_debug_files_whichever_package_comes_first() {
    for order in [&[0, 1][..], &[1, 0], &[2]] {
        on_both(async |fresh| {
            let index = fresh.index().await;
            let mirror = store(&index, "m", Tier::Mirror, 0).await;
            let imports = [
                modules(&mirror, "kernel", VERSION, &["fs/a", "fs/b", "fs/alone"]),
                debuginfo(&mirror, "kernel", VERSION, &["fs/a", "fs/b", "fs/built-in"]),
            ];
            let reader = fresh.open(Access::ReadOnly);
            let mut heads = Heads::new();
            for at in order {
                heads = reader.heads().await.unwrap();
                let batch = if *at == 2 { imports.to_vec() } else { vec![imports[*at].clone()] };
                index.insert("test", &batch).await.unwrap();
            }
            for name in ["fs/a", "fs/b"] {
                assert_eq!(found(&index, name).await, both(VERSION, name), "{order:?}");
            }
            assert_eq!(found(&index, "fs/built-in").await.len(), 1);
            // Readers that remember the build-id from the first package learn of the second.
            let Changes::Since { hashes, is_complete: true, .. } = reader.changes(&heads).await.unwrap() else {
                panic!("expected all")
            };
            for name in ["fs/a", "fs/b"] {
                assert!(hashes.contains(&sql::hash_build_id(&build_id(name))), "{order:?}: {name}");
            }
            let records = index.records_by_nvra("kernel-modules-1-1.x86_64").await.unwrap().records;
            assert_eq!(records.len(), 2, "{order:?}");
            // The same again, and in the other order, changes nothing.
            let before = fresh.dump().await;
            for import in imports.iter().chain(imports.iter().rev()) {
                index.insert("test", std::slice::from_ref(import)).await.unwrap();
            }
            assert_eq!(fresh.dump().await, before, "{order:?}");
        });
    }
}

#[test]
fn only_debug_files_of_the_same_source_package_arch_and_kernel_count() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut other_arch = modules(&mirror, "kernel", VERSION, &["a"]);
        other_arch.package.nevra.arch = "aarch64".into();
        let mut deb = modules(&mirror, "linux", VERSION, &["a"]);
        deb.package.format = Format::Deb;
        deb.package.source_rpm = Some("kernel-1-1.src.rpm".into());
        let mut unknown_source = modules(&mirror, "lost", VERSION, &["a"]);
        unknown_source.package.source_rpm = None;
        let others = [
            other_arch,
            modules(&mirror, "kernel-rt", VERSION, &["a"]),
            modules(&mirror, "kernel", &format!("{VERSION}+debug"), &["a"]),
            unknown_source,
        ];
        for import in &others {
            index.insert("test", std::slice::from_ref(import)).await.unwrap();
        }
        index.insert("test", &[debuginfo(&mirror, "kernel", VERSION, &["a"])]).await.unwrap();
        assert_eq!(found(&index, "a").await.len(), 1);
    });
}

#[test]
fn an_open_package_whose_payload_is_read_has_what_the_payload_states() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let open = Import { open: true, ..modules(&mirror, "kernel", VERSION, &["a", "b"]) };
        index.insert("test", &[open.clone(), debuginfo(&mirror, "kernel", VERSION, &["a", "b"])]).await.unwrap();
        assert_eq!(found(&index, "a").await, both(VERSION, "a"));
        // Another build of the same name: the debug file is not the module's.
        let read = artifact(10, "other", Kind::Executable, &open.modules[0].path);
        let complete = Import { open: false, modules: Vec::new(), artifacts: vec![read], ..open };
        index.insert("test", &[complete]).await.unwrap();
        assert_eq!(found(&index, "a").await.len(), 1);
        assert_eq!(found(&index, "b").await.len(), 1);
        assert_eq!(found(&index, "other").await.len(), 1);
        index.insert("test", &[debuginfo(&mirror, "kernel", VERSION, &["a", "b"])]).await.unwrap();
        assert_eq!(found(&index, "a").await.len(), 1);
    });
}

#[test]
fn a_claimed_package_whose_header_is_read_keeps_the_build_ids_of_its_modules() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let import = modules(&mirror, "kernel", VERSION, &["a"]);
        let claim = Claim { build_id: build_id("a"), kind: Kind::Unknown, link_path: None };
        let claimed = ClaimedPackage {
            format: Format::Rpm,
            nevra: import.package.nevra.clone(),
            source_rpm: import.package.source_rpm.clone(),
            distro: String::new(),
            origin: Origin::Repository,
            claims: vec![claim],
            location: Some(import.location.clone()),
            repository_id: None,
            koji: None,
        };
        index.insert_claimed("test", &[claimed]).await.unwrap();
        index.insert("test", &[debuginfo(&mirror, "kernel", VERSION, &["a"])]).await.unwrap();
        index.insert("test", &[import]).await.unwrap();
        assert_eq!(found(&index, "a").await, both(VERSION, "a"));
        let count = fresh.rows("select count(*) as count from packages").await;
        assert_eq!(count, ["count=Some(2)"]);
    });
}

#[test]
fn two_writers_at_the_same_time_miss_no_pair() {
    const KERNELS: usize = 30;
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let names = |kernel: usize| format!("k{kernel}");
        let write = async |writer: &str, make: fn(&Store, &str, &str, &[&str]) -> Import| {
            let index = fresh.open(Access::ReadWrite);
            for kernel in 0..KERNELS {
                let name = names(kernel);
                index.insert(writer, &[make(&mirror, &name, VERSION, &[&name])]).await.unwrap();
            }
        };
        tokio::join!(write("a", modules), write("b", debuginfo));
        for kernel in 0..KERNELS {
            assert_eq!(found(&index, &names(kernel)).await.len(), 2, "{kernel}");
        }
    });
}
