//! A hub or topurl that fails: nothing wrong is recorded, and the next try makes it right.

use compat_tests::koji_hub::Trouble;
use compat_tests::static_server::Fault;

use super::*;

#[track_caller]
fn expect_failure(outcome: &BuildOutcome, permanent: bool, expected: &str) {
    match outcome {
        BuildOutcome::Failed { reason, is_permanent } => {
            assert!(*is_permanent == permanent && reason.contains(expected), "{expected}: {outcome:?}");
        }
        other => panic!("{expected}: expected a failure, found {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_fails_is_no_verdict_about_a_build() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        for (trouble, expected) in [
            (Trouble::Status(503), "503"),
            (Trouble::Garbage(b"<html>login</html>".to_vec()), "127.0.0.1"),
            (Trouble::Garbage(Vec::new()), "127.0.0.1"),
            (Trouble::Offline, "1014"),
            (Trouble::Fewer, "127.0.0.1"),
            (Trouble::BreaksOff(100), "127.0.0.1"),
        ] {
            tested.hub.set_trouble(Some(trouble.clone()));
            expect_failure(&tested.import(build).await, false, expected);
            assert_eq!(tested.stored(build).await, None, "{trouble:?}");
        }
        tested.hub.set_trouble(None);
        tested.hub.set_down(true);
        expect_failure(&tested.import(build).await, false, "127.0.0.1");
        tested.hub.set_down(false);
        // One answer that breaks off costs a repetition.
        tested.hub.set_trouble_times(Trouble::Status(502), 1);
        assert_eq!(tested.import(build).await, imported(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_archive_is_permanent_and_the_others_are_imported() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let path = "server-debuginfo-1.1-5.fc99.x86_64.rpm";
        let cut = std::fs::read(&server(5)[1]).unwrap()[..2000].to_vec();
        for (fault, expected) in [
            (Fault::Status(404), "404"),
            (Fault::OtherFile(server(6)[1].clone()), "expected"),
            (Fault::Bytes(cut), "expected"),
        ] {
            tested.hub.files.set(path, fault);
            expect_failure(&tested.import(build).await, true, path);
            expect_failure(&tested.import(build).await, true, expected);
            tested.hub.files.repair();
        }
        assert_eq!(tested.packages(build).await.len(), 2);
        assert_eq!(tested.stored(build).await.unwrap().imported_at, None);
        // Only what is missing is read.
        tested.hub.forget();
        assert_eq!(tested.import(build).await, imported(1));
        assert_eq!(tested.hub.files.sent_for("x86_64/").len(), tested.hub.files.sent_for(path).len());
        assert!(tested.stored(build).await.unwrap().imported_at.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topurl_that_fails_is_asked_again() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        for fault in [Fault::Status(503), Fault::Page, Fault::ResetsAfter(10)] {
            tested.hub.files.set("packages/", fault.clone());
            let outcome = tested.import(build).await;
            assert!(matches!(outcome, BuildOutcome::Failed { .. }), "{fault:?}: {outcome:?}");
            assert_eq!(tested.stored(build).await.unwrap().imported_at, None);
            tested.hub.files.repair();
        }
        assert_eq!(tested.import(build).await, imported(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_import_keeps_what_it_has_read() {
    for tested in on_both().await {
        let build = tested.hub.add_build(&server(5));
        let stop = Stop::default();
        let importer = tested.importer_with(&stop).await;
        tested.hub.files.at_request(2, move || stop.set());
        let outcome = import(&importer, BuildRef::Id(build), None).await;
        // All three may have been on their way.
        if let BuildOutcome::Failed { is_permanent, .. } = outcome {
            assert!(!is_permanent);
        }
        let outcome = tested.import(build).await;
        assert!(!matches!(outcome, BuildOutcome::Failed { .. }), "{outcome:?}");
        assert_eq!(tested.packages(build).await.len(), 3);
        assert!(tested.stored(build).await.unwrap().imported_at.is_some());
    }
}
