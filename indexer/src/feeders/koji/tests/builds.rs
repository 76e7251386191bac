//! What is imported of a build, and what is left out.

use artifact::BuildId;
use sql::PackageState;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_build_has_its_sub_packages_at_the_paths_of_its_source_package() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let importer = tested.importer().await;
        assert_eq!(import(&importer, BuildRef::Nvr(tested.hub.nvr(build)), None).await, imported(3));
        let packages = tested.packages(build).await;
        assert_eq!(packages.len(), 3);
        for (name, nvra) in [("server", "server-1.1-5.fc99.x86_64"), ("server", "server-debuginfo-1.1-5.fc99.x86_64")] {
            let package = packages.get(nvra).unwrap();
            assert_eq!((package.state, package.volume.as_deref()), (PackageState::Complete, Some("DEFAULT")));
            let [place] = package.places.as_slice() else { panic!("{package:?}") };
            assert_eq!(place.path, format!("packages/{name}/1.1/5.fc99/x86_64/{nvra}.rpm"));
            assert!(place.has_header && place.signing_key.is_none());
        }
        assert_eq!(tested.places(build).await, tested.hub.paths(build));
        // Its build-ids are found, debug files included.
        let row = fixtures::truth("server").into_iter().find(|row| row.rpm.contains("debuginfo-1.1-5")).unwrap();
        let build_id: BuildId = row.build_id.parse().unwrap();
        let histories = tested.index.histories_by_build_id(&build_id).await.unwrap();
        assert!(histories.iter().any(|history| history.nevra.nvra() == row.nvra()), "{histories:?}");
        let stored = tested.stored(build).await.unwrap();
        assert!(stored.imported_at.is_some());
        assert_eq!((stored.build.nvr(), stored.build.state), ("server-1.1-5.fc99".to_owned(), BuildState::Complete));
        assert_eq!(stored.build.completed_at, tested.hub.completion_time(build).map(|time| time as i64));
        // Again by its number: nothing is read.
        tested.hub.forget();
        assert_eq!(import(&importer, BuildRef::Id(build), None).await, BuildOutcome::Unchanged);
        assert_eq!(tested.hub.files.sent().len(), 0);
        assert_eq!((tested.hub.requests(), importer.counts().known), (3, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_builds_share_the_requests_of_the_hub() {
    for tested in on_both().await {
        let builds: Vec<i64> = tested.hub.add_generated_builds(50).collect();
        let importer = tested.importer().await;
        let requests: Vec<BuildRequest> =
            builds.iter().map(|build| BuildRequest { reference: BuildRef::Id(*build), deleted_at: None }).collect();
        tested.hub.forget();
        let outcomes = importer.import(&requests).await.unwrap();
        assert_eq!(outcomes, vec![imported(2); 50]);
        assert_eq!(tested.hub.requests(), 3);
        assert_eq!((importer.counts().imported, importer.counts().packages), (50, 100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_package_to_import_is_counted() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        tested.hub.add_metadata_only(build, "server-described", "x86_64");
        tested.hub.add_external(build, "server-elsewhere", "x86_64");
        tested.hub.add_source_package(build);
        let image = tested.hub.add_image_build("Fedora-Cloud-Base", "44", "20260504.0");
        let importer = tested.importer().await;
        assert_eq!(import(&importer, BuildRef::Id(build), None).await, imported(3));
        let counts = importer.counts();
        assert_eq!((counts.metadata_only, counts.external, counts.skipped_arch), (1, 1, 1));
        assert_eq!(tested.packages(build).await.len(), 3);
        let skipped = BuildOutcome::Skipped("it has no RPMs");
        assert_eq!(import(&importer, BuildRef::Id(image), None).await, skipped);
        // It is recorded, so that the reconciler asks for it once.
        assert!(tested.stored(image).await.is_some_and(|stored| stored.imported_at.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_package_is_imported_if_its_architecture_is_wanted() {
    let [mut tested, _] = on_both().await;
    tested.instance.skip_archs = vec!["x86_64".into()];
    let build = tested.hub.add_build(&server(5));
    let only = tested.hub.add_build(&server(6));
    tested.hub.add_source_package(build);
    assert_eq!(tested.import(build).await, imported(1));
    assert_eq!(tested.packages(build).await.keys().collect::<Vec<_>>(), ["server-1.1-5.fc99.src"]);
    // A build without any wanted package is imported, so that nobody asks for it again.
    let skipped = BuildOutcome::Skipped("it has no packages of wanted architectures");
    assert_eq!(tested.import(only).await, skipped);
    assert!(tested.stored(only).await.unwrap().imported_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_build_decides() {
    for tested in on_both().await {
        let building = tested.hub.begin_build(&server(5));
        let [failed, canceled] = [6, 7].map(|release| tested.hub.begin_build(&server(release)));
        tested.hub.set_state(failed, 3);
        tested.hub.set_state(canceled, 4);
        let importer = tested.importer().await;
        let requests = [BuildRef::Id(building), BuildRef::Id(failed), BuildRef::Id(canceled), BuildRef::Id(987_654)]
            .map(|reference| BuildRequest { reference, deleted_at: None });
        let outcomes = importer.import(&requests).await.unwrap();
        let skipped = ["it failed", "it was canceled"].map(BuildOutcome::Skipped);
        let [failed_outcome, canceled_outcome] = skipped;
        assert_eq!(outcomes, [BuildOutcome::Building, failed_outcome, canceled_outcome, BuildOutcome::Unknown]);
        for build in [building, failed, canceled] {
            assert_eq!(tested.stored(build).await, None);
        }
        tested.hub.complete(building);
        assert_eq!(tested.import(building).await, imported(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_hub_are_claims_without_a_request_for_the_files() {
    for mut tested in on_both().await {
        tested.instance.headers = HeaderSource::Hub;
        let build = tested.hub.add_build(&server(5));
        tested.hub.forget();
        assert_eq!(tested.import(build).await, imported(3));
        assert_eq!(tested.hub.files.sent().len(), 0);
        let packages = tested.packages(build).await;
        assert!(packages.values().all(|package| package.state == PackageState::Claimed), "{packages:?}");
        assert_eq!(tested.places(build).await, tested.hub.paths(build));
        let build_id: BuildId =
            fixtures::build_id("server/server-1.1-5.fc99.x86_64.rpm", "/usr/bin/server").parse().unwrap();
        let histories = tested.index.histories_by_build_id(&build_id).await.unwrap();
        assert!(histories.iter().flat_map(|history| &history.files).any(|file| file.claimed), "{histories:?}");
        assert_eq!(tested.import(build).await, BuildOutcome::Unchanged);
        // The archives tell more, once they are read.
        tested.instance.headers = HeaderSource::Topurl;
        assert_eq!(tested.import(build).await, imported(3));
        let packages = tested.packages(build).await;
        assert_eq!(packages.len(), 3);
        assert!(packages.values().all(|package| package.state == PackageState::Complete), "{packages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_another_url_is_refused() {
    let [tested, _] = on_both().await;
    drop(tested.importer().await);
    let mut other = tested.instance.clone();
    other.topurl = "http://127.0.0.1:1".parse().unwrap();
    let network = Network::new(None, NetworkLimits::default(), Stop::default());
    let refused = BuildImporter::new(tested.index.clone(), network, Arc::new(other), Stop::default()).await;
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("store koji-primary") && message.contains(&tested.hub.topurl()), "{message}");
}
