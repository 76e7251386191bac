//! What becomes of builds later: signatures, moves, promotions, deletions. No message tells of them here.

use compat_tests::repository::SigningKey;

use super::*;
use crate::feeders::koji::sweep;

/// Compares all builds once, and imports those that differ. Returns these.
async fn sweep_and_import(tested: &Tested) -> Vec<i64> {
    let importer = tested.importer().await;
    let swept = sweep::run_batch(&importer).await.unwrap();
    let jobs = tested.take_jobs().await;
    assert_eq!(swept.enqueued, jobs.len() as u64);
    for build in &jobs {
        import(&importer, BuildRef::Id(*build), None).await;
    }
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_copies_are_places_until_koji_drops_them() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        assert_eq!(tested.import(build).await, imported(3));
        // It has no signed copy, and completed lately.
        assert_eq!(sweep_and_import(&tested).await, [build]);
        let key = tested.hub.sign(build, &SigningKey::make());
        assert_eq!(sweep_and_import(&tested).await, [build]);
        let places = tested.places(build).await;
        assert_eq!(places.len(), 6, "{places:?}");
        let signed =
            format!("packages/server/1.1/5.fc99/data/signed/{key}/x86_64/server-debuginfo-1.1-5.fc99.x86_64.rpm");
        assert!(places.contains(&signed), "{places:?}");
        let packages = tested.packages(build).await;
        let place = packages.values().flat_map(|package| &package.places).find(|place| place.path == signed).unwrap();
        let size = std::fs::metadata(tested.hub.directory().join(&signed)).unwrap().len();
        assert_eq!((place.signing_key.as_deref(), place.size), (Some(key.as_str()), Some(size)));
        tested.hub.forget();
        assert_eq!(tested.import(build).await, BuildOutcome::Unchanged);
        assert!(sweep_and_import(&tested).await.is_empty());
        // One look for each key.
        assert_eq!(tested.hub.files.sent_for("data/signed").len(), 1);
        tested.hub.prune_signed(build, &key);
        let swept = sweep::run_batch(&tested.importer().await).await.unwrap();
        assert_eq!((swept.builds, swept.lost_copies), (1, 3));
        assert_eq!(tested.places(build).await, tested.hub.paths(build));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_koji_had_not_written_yet_are_found_later() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.import(build).await;
        let key = tested.hub.sign(build, &SigningKey::make());
        let directory = tested.hub.build_directory(build);
        let signed_path = |path: &String| path.replacen(&directory, &format!("{directory}/data/signed/{key}"), 1);
        let signed: Vec<String> = tested.hub.paths(build).iter().map(signed_path).collect();
        let file = |path: &str| tested.hub.directory().join(path);
        let hidden = |path: &str| file(&format!("{path}.hidden"));
        signed.iter().for_each(|path| std::fs::rename(file(path), hidden(path)).unwrap());
        let show = |path: &str| std::fs::rename(hidden(path), file(path)).unwrap();
        let looks = || -> Vec<String> {
            let sent = tested.hub.files.sent_for("data/signed");
            sent.into_iter().map(|sent| sent.path.trim_start_matches('/').to_owned()).collect()
        };
        // None: one look. One, while Koji writes the others: a look at each.
        tested.hub.forget();
        tested.import(build).await;
        let first = looks();
        assert!(first.len() == 1 && signed.contains(&first[0]), "{first:?} of {signed:?}");
        show(&first[0]);
        tested.import(build).await;
        assert_eq!(tested.places(build).await.len(), 4);
        // Another one is there, and not the first of those that are missing.
        let last = looks().pop().unwrap();
        show(&last);
        tested.import(build).await;
        assert!(tested.places(build).await.contains(&last), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_without_a_message_lies_between_two_checks() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.import(build).await;
        let checked = tested.stored(build).await.unwrap().checked_at;
        tested.hub.delete(build);
        assert_eq!(sweep_and_import(&tested).await, [build]);
        let stored = tested.stored(build).await.unwrap();
        assert_eq!(stored.build.state, BuildState::Deleted);
        assert_eq!(stored.deleted_after, Some(checked));
        assert!(stored.deleted_at.is_some_and(|at| at >= checked));
        assert!(tested.places(build).await.is_empty());
        let histories = tested.index.histories_by_nvra("server-1.1-5.fc99.x86_64").await.unwrap();
        let [history] = histories.as_slice() else { panic!("{histories:?}") };
        assert_eq!(history.deleted_at, stored.deleted_at);
        // Deleted builds are not swept.
        assert_eq!(sweep::run_batch(&tested.importer().await).await.unwrap().builds, 0);
        assert_eq!(tested.import(build).await, BuildOutcome::Deleted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_states_the_time_of_a_deletion_if_the_hub_agrees() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.hub.set_completion_time(build, 1_777_890_000.0);
        let importer = tested.importer().await;
        // Too early, or forged.
        assert_eq!(import(&importer, BuildRef::Id(build), Some(7)).await, imported(3));
        assert_eq!(tested.stored(build).await.unwrap().deleted_at, None);
        tested.hub.delete(build);
        assert_eq!(import(&importer, BuildRef::Id(build), Some(1_777_890_600)).await, BuildOutcome::Deleted);
        let stored = tested.stored(build).await.unwrap();
        assert_eq!((stored.deleted_at, stored.deleted_after), (Some(1_777_890_600), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_build_is_found_at_its_new_place_alone() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let key = tested.hub.sign(build, &SigningKey::make());
        assert_eq!(tested.import(build).await, imported(3));
        assert_eq!(tested.places(build).await.len(), 6);
        tested.hub.move_volume(build, "archive");
        assert_eq!(sweep_and_import(&tested).await, [build]);
        let places = tested.places(build).await;
        assert_eq!(places.len(), 6, "{places:?}");
        let below = "vol/archive/packages/server/1.1/5.fc99/";
        assert!(places.iter().all(|path| path.starts_with(below)), "{places:?}");
        assert!(places.iter().any(|path| path.contains(&key)), "{places:?}");
        let packages = tested.packages(build).await;
        assert!(packages.values().all(|package| package.volume.as_deref() == Some("archive")), "{packages:?}");
        assert!(sweep_and_import(&tested).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_new_place_cannot_be_read_keeps_the_former_one() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.hub.sign(build, &SigningKey::make());
        tested.import(build).await;
        let before = tested.places(build).await;
        tested.hub.move_volume(build, "archive");
        tested.hub.files.set("vol/", compat_tests::static_server::Fault::Status(503));
        let outcome = tested.import(build).await;
        assert!(matches!(outcome, BuildOutcome::Failed { is_permanent: false, .. }), "{outcome:?}");
        assert_eq!(tested.places(build).await, before);
        tested.hub.files.repair();
        // The sweep still sees the difference.
        assert_eq!(sweep_and_import(&tested).await, [build]);
        assert!(tested.places(build).await.iter().all(|path| path.starts_with("vol/archive/")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_built_again_is_read_again() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let importer = tested.importer().await;
        assert_eq!(tested.import(build).await, imported(3));
        // Canceled, and built again.
        tested.hub.set_state(build, 4);
        assert_eq!(tested.import(build).await, BuildOutcome::Skipped("it was canceled"));
        assert!(tested.places(build).await.is_empty());
        assert_eq!(tested.stored(build).await.unwrap().imported_at, None);
        tested.hub.set_state(build, 1);
        let time = tested.hub.completion_time(build).unwrap();
        tested.hub.set_completion_time(build, time + 100.0);
        assert_eq!(tested.import(build).await, imported(3));
        assert_eq!(tested.places(build).await, tested.hub.paths(build));
        assert_eq!(tested.import(build).await, BuildOutcome::Unchanged);
        // The same, while nobody looked.
        tested.hub.set_completion_time(build, time + 200.0);
        tested.hub.files.set("packages/", compat_tests::static_server::Fault::Status(503));
        let outcome = import(&importer, BuildRef::Id(build), None).await;
        assert!(matches!(outcome, BuildOutcome::Failed { is_permanent: false, .. }), "{outcome:?}");
        tested.hub.files.repair();
        assert_eq!(tested.import(build).await, imported(3));
        assert_eq!(tested.import(build).await, BuildOutcome::Unchanged);
        // It is being built again.
        tested.hub.set_state(build, 0);
        assert_eq!(tested.import(build).await, BuildOutcome::Building);
        assert!(tested.places(build).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_build_that_completes_again_is_imported_again() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.import(build).await;
        let copies = tempfile::tempdir().unwrap();
        let paths = tested.hub.paths(build);
        for (at, path) in paths.iter().enumerate() {
            std::fs::copy(tested.hub.directory().join(path), copies.path().join(at.to_string())).unwrap();
        }
        tested.hub.delete(build);
        assert_eq!(tested.import(build).await, BuildOutcome::Deleted);
        // An answer of before changes nothing, and is no work for the reconciler.
        tested.hub.set_state(build, 1);
        tested.hub.forget();
        assert_eq!(tested.import(build).await, BuildOutcome::Deleted);
        assert_eq!(tested.hub.files.sent().len(), 0);
        let importer = tested.importer().await;
        assert_eq!(crate::feeders::koji::reconcile::run(&importer).await.unwrap().enqueued, 0);
        // Imported again under its id.
        for (at, path) in paths.iter().enumerate() {
            let path = tested.hub.directory().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(copies.path().join(at.to_string()), path).unwrap();
        }
        let time = tested.hub.completion_time(build).unwrap();
        tested.hub.set_completion_time(build, time + 100.0);
        assert_eq!(crate::feeders::koji::reconcile::run(&importer).await.unwrap().enqueued, 1);
        assert_eq!(tested.take_jobs().await, [build]);
        assert_eq!(tested.import(build).await, imported(3));
        let stored = tested.stored(build).await.unwrap();
        assert_eq!((stored.deleted_at, stored.build.state), (None, BuildState::Complete));
        assert!(stored.imported_at.is_some());
        assert_eq!(tested.places(build).await, paths);
        let histories = tested.index.histories_by_nvra("server-1.1-5.fc99.x86_64").await.unwrap();
        assert!(histories.iter().all(|history| history.deleted_at.is_none()), "{histories:?}");
        assert_eq!(tested.import(build).await, BuildOutcome::Unchanged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_listed_long_ago_takes_nothing_back() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let importer = tested.importer().await;
        let listed_at = tested.index.now().await.unwrap() - 600;
        let listed = importer.hub.builds(&[BuildRef::Id(build)]).await.unwrap().remove(0).unwrap().unwrap();
        assert_eq!(importer.import_listed(vec![listed.clone()], listed_at).await.unwrap(), [imported(3)]);
        assert_eq!(tested.stored(build).await.unwrap().checked_at, listed_at);
        tested.hub.move_volume(build, "v2");
        assert_eq!(tested.import(build).await, imported(3));
        let places = tested.places(build).await;
        assert!(places.iter().all(|path| path.starts_with("vol/v2/")), "{places:?}");
        assert_eq!(importer.import_listed(vec![listed], listed_at).await.unwrap(), [BuildOutcome::Unchanged]);
        assert_eq!(tested.places(build).await, places);
        assert_eq!(tested.stored(build).await.unwrap().build.volume, "v2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_draft_is_found_at_the_place_of_the_build() {
    for tested in on_both().await {
        let build = tested.hub.add_draft(&server(5));
        assert_eq!(tested.import(build).await, imported(3));
        let stored = tested.stored(build).await.unwrap();
        assert!(stored.build.draft && stored.build.release.ends_with(&format!(",draft_{build}")), "{stored:?}");
        let places = tested.places(build).await;
        assert!(places.iter().all(|path| path.contains(&format!("/5.fc99,draft_{build}/x86_64/"))), "{places:?}");
        tested.hub.promote(build);
        assert_eq!(sweep_and_import(&tested).await, [build]);
        let stored = tested.stored(build).await.unwrap();
        assert_eq!((stored.build.draft, stored.build.release.as_str()), (false, "5.fc99"));
        assert_eq!(tested.places(build).await, tested.hub.paths(build));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpm_that_comes_into_a_build_later_is_found() {
    for mut tested in on_both().await {
        tested.instance.skip_archs = Vec::new();
        let build = tested.hub.add_build(&server(5));
        let time = tested.hub.completion_time(build).unwrap();
        // No look for signed copies.
        tested.hub.set_completion_time(build, time - 60.0 * 86_400.0);
        tested.hub.add_metadata_only(build, "server-described", "x86_64");
        tested.hub.add_external(build, "server-elsewhere", "x86_64");
        assert_eq!(tested.import(build).await, imported(3));
        assert!(sweep_and_import(&tested).await.is_empty());
        tested.hub.add_source_package(build);
        tested.hub.forget();
        assert_eq!(sweep_and_import(&tested).await, [build]);
        assert!(tested.packages(build).await.contains_key("server-1.1-5.fc99.src"));
        assert_eq!(tested.places(build).await.len(), 4);
        assert!(sweep_and_import(&tested).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_of_the_sweep_sees_every_build_once() {
    for tested in on_both().await {
        let builds: Vec<i64> = tested.hub.add_generated_builds(120).collect();
        let importer = tested.importer().await;
        for part in builds.chunks(50) {
            let requests: Vec<BuildRequest> =
                part.iter().map(|build| BuildRequest { reference: BuildRef::Id(*build), deleted_at: None }).collect();
            importer.import(&requests).await.unwrap();
        }
        tested.hub.forget();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sizes.push(sweep::run_batch(&importer).await.unwrap().builds);
        }
        // 50 a batch; then the next pass.
        assert_eq!(sizes, [50, 50, 20, 50]);
        assert_eq!(tested.hub.calls_of("getBuild"), 170);
        let cursor = tested.index.cursor("koji sweep primary").await.unwrap().unwrap();
        assert!(cursor.value.starts_with(&format!("{} ", builds[70])), "{}", cursor.value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_without_the_hub_begins_at_the_same_build_again() {
    let [tested, _] = on_both().await;
    let build = tested.hub.add_build(&server(5));
    tested.hub.sign(build, &SigningKey::make());
    tested.import(build).await;
    let checked = tested.stored(build).await.unwrap().checked_at;
    tested.hub.set_down(true);
    let error = sweep::run_batch(&tested.importer().await).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert_eq!(tested.stored(build).await.unwrap().checked_at, checked);
    assert!(tested.index.cursor("koji sweep primary").await.unwrap().is_none());
    tested.hub.set_down(false);
    assert_eq!(sweep::run_batch(&tested.importer().await).await.unwrap().builds, 1);
}
