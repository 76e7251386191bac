//! Walks over the builds of a hub: the reconciler and the backfill.

use std::collections::HashSet;

use compat_tests::koji_hub::Trouble;

use super::*;
use crate::feeders::koji::backfill::{Backfill, BackfillEnd, BackfillPlan, Walk};
use crate::feeders::koji::reconcile::{self, Reconciled};
use crate::koji::build::BuildOrder;
use crate::report::koji::KojiProgress;

const ALL: BackfillPlan = BackfillPlan { after: None, before: None, newest_first: false };

async fn backfill(importer: &BuildImporter, plan: BackfillPlan) -> BackfillEnd {
    let mut progress = KojiProgress::new(true, "primary", &importer.network, None);
    Backfill::new(importer, plan, &mut progress).run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_lacks_becomes_a_job() {
    for tested in on_both().await {
        let [known, lost, building] = [server(5), server(6), server(7)].map(|files| tested.hub.begin_build(&files));
        tested.hub.complete(known);
        tested.hub.complete(lost);
        tested.import(known).await;
        let importer = tested.importer().await;
        let found = reconcile::run(&importer).await.unwrap();
        assert_eq!(found, Reconciled { listed: 2, enqueued: 1, unlisted: 0 });
        assert_eq!(tested.take_jobs().await, [lost]);
        let cursor = tested.index.cursor("koji completed primary").await.unwrap().unwrap();
        assert!(cursor.value.ends_with(&format!(" {lost}")), "{}", cursor.value);
        // Until it is imported.
        assert_eq!(reconcile::run(&importer).await.unwrap().enqueued, 1);
        assert_eq!(tested.take_jobs().await, [lost]);
        tested.import(lost).await;
        assert_eq!(reconcile::run(&importer).await.unwrap().enqueued, 0);
        tested.hub.complete(building);
        assert_eq!(reconcile::run(&importer).await.unwrap().enqueued, 1);
        assert_eq!(tested.take_jobs().await, [building]);
        // A build that appears behind the position, within the overlap.
        let late = tested.hub.add_generated_builds(1).next().unwrap();
        tested.hub.set_completion_time(late, tested.hub.completion_time(known).unwrap() - 1800.0);
        reconcile::run(&importer).await.unwrap();
        assert!(tested.take_jobs().await.contains(&late));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_in_the_future_hides_no_later_build() {
    let [mut tested, _] = on_both().await;
    // Within it, the test itself takes place.
    tested.instance.overlap = Duration::from_secs(600);
    tested.instance.since = Some(1);
    let now = crate::report::time::now() as f64;
    let future = tested.hub.add_generated_builds(1).next().unwrap();
    tested.hub.set_completion_time(future, now + 90.0 * 86_400.0);
    let descend = BackfillPlan { newest_first: true, ..ALL };
    let importer = tested.importer().await;
    reconcile::run(&importer).await.unwrap();
    assert_eq!(tested.take_jobs().await, [future]);
    for plan in [ALL, descend] {
        assert_eq!(backfill(&importer, plan).await, BackfillEnd::Complete);
    }
    for round in ["new cursors", "cursors of an importer that believed the time"] {
        let next = tested.hub.add_generated_builds(1).next().unwrap();
        tested.hub.set_completion_time(next, now);
        reconcile::run(&importer).await.unwrap();
        assert_eq!(tested.take_jobs().await, [next], "{round}");
        // Each direction finds it, and has nothing of the other's.
        let mut found = Vec::new();
        for plan in [ALL, descend] {
            let build = tested.hub.add_generated_builds(1).next().unwrap();
            tested.hub.set_completion_time(build, now);
            assert_eq!(backfill(&importer, plan).await, BackfillEnd::Complete);
            found.push(tested.stored(build).await.is_some_and(|stored| stored.imported_at.is_some()));
        }
        assert_eq!(found, [true, true], "{round}");
        let wrong = now + 90.0 * 86_400.0;
        for (cursor, value) in [
            ("koji completed primary", format!("{wrong:.6} {future}")),
            ("koji backfill primary oldest first", format!("{wrong:.6} {future}")),
            ("koji backfill primary newest first", format!("done {wrong:.6}")),
        ] {
            assert!(tested.index.cursor(cursor).await.unwrap().is_some(), "{cursor}");
            tested.index.set_cursor(cursor, &value).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_that_completed_long_ago_becomes_a_job() {
    let [tested, _] = on_both().await;
    let [past, known] = [5, 6].map(|release| tested.hub.add_build(&server(release)));
    let now = tested.hub.completion_time(known).unwrap();
    tested.hub.set_completion_time(past, now - 30.0 * 86_400.0);
    let importer = tested.importer().await;
    assert_eq!(reconcile::run(&importer).await.unwrap().unlisted, 0, "what was there before");
    assert_eq!(tested.take_jobs().await, [known]);
    tested.import(known).await;
    // A content generator states when it ended.
    let late = tested.hub.add_build(&server(7));
    tested.hub.set_completion_time(late, now - 10.0 * 86_400.0);
    let found = reconcile::run(&importer).await.unwrap();
    assert_eq!((found.enqueued, found.unlisted), (0, 1));
    assert_eq!(tested.take_jobs().await, [late]);
    tested.import(late).await;
    assert_eq!(reconcile::run(&importer).await.unwrap().unlisted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_reconciliation_begins_at_the_configured_time() {
    let [mut tested, _] = on_both().await;
    let [old, new] = [5, 6].map(|release| tested.hub.add_build(&server(release)));
    let now = tested.hub.completion_time(new).unwrap();
    tested.hub.set_completion_time(old, now - 30.0 * 86_400.0);
    assert_eq!(
        reconcile::run(&tested.importer().await).await.unwrap(),
        Reconciled { listed: 1, enqueued: 1, unlisted: 0 }
    );
    assert_eq!(tested.take_jobs().await, [new]);
    tested.instance.name = "other".into();
    tested.instance.since = Some(now as i64 - 40 * 86_400);
    assert_eq!(
        reconcile::run(&tested.importer().await).await.unwrap(),
        Reconciled { listed: 2, enqueued: 2, unlisted: 0 }
    );
    tested.hub.set_trouble(Some(Trouble::Status(503)));
    let error = reconcile::run(&tested.importer().await).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_one_time_are_all_listed_in_both_directions() {
    let [tested, _] = on_both().await;
    let builds: HashSet<i64> = tested.hub.add_generated_builds(1_100).collect();
    let now = tested.hub.completion_time(*builds.iter().next().unwrap()).unwrap();
    for build in &builds {
        // More than a page at one time, the others around it.
        let time = if build % 50 == 0 { now + (build % 7) as f64 - 3.0 } else { now };
        tested.hub.set_completion_time(*build, time);
    }
    let importer = tested.importer().await;
    for order in [BuildOrder::OldestFirst, BuildOrder::NewestFirst] {
        let mut walk = Walk { order, after: None, before: None, position: None, is_complete: false };
        let mut listed = Vec::new();
        loop {
            let page = walk.next_page(&importer).await.unwrap();
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|build| build.id));
        }
        assert_eq!(listed.len(), builds.len(), "{order:?}");
        assert_eq!(listed.into_iter().collect::<HashSet<i64>>(), builds, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_imports_everything_once() {
    for tested in on_both().await {
        for newest_first in [false, true] {
            let count = 70;
            let builds: Vec<i64> = tested.hub.add_generated_builds(count).collect();
            let importer = tested.importer().await;
            tested.hub.forget();
            let plan = BackfillPlan { newest_first, ..ALL };
            assert_eq!(backfill(&importer, plan).await, BackfillEnd::Complete);
            let counts = importer.counts();
            assert_eq!((counts.imported, counts.packages, counts.failed), (70, 140, 0), "{counts:?}");
            assert!(tested.hub.requests() * 5 < u64::from(count), "{} requests", tested.hub.requests());
            for build in builds.iter().step_by(20) {
                assert!(tested.stored(*build).await.unwrap().imported_at.is_some());
            }
            // Again: one list, and nothing is read.
            tested.hub.forget();
            let importer = tested.importer().await;
            assert_eq!(backfill(&importer, plan).await, BackfillEnd::Complete);
            assert_eq!((importer.counts().imported, tested.hub.files.sent().len()), (0, 0));
            assert_eq!(tested.hub.requests(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backfill_continues_where_it_was() {
    for tested in on_both().await {
        for newest_first in [false, true] {
            let builds: Vec<i64> = tested.hub.add_generated_builds(110).collect();
            let plan = BackfillPlan { newest_first, ..ALL };
            let mut runs = 0;
            let mut read = 0;
            loop {
                let stop = Stop::default();
                let importer = tested.importer_with(&stop).await;
                tested.hub.files.at_request(70, move || stop.set());
                let end = backfill(&importer, plan).await;
                read += importer.counts().packages;
                runs += 1;
                assert!(runs < 20, "expected progress in every run");
                match end {
                    BackfillEnd::Complete => break,
                    end => assert_eq!(end, BackfillEnd::Stopped),
                }
                // Builds that complete meanwhile are not forgotten.
                if runs == 1 {
                    tested.hub.add_generated_builds(1);
                }
            }
            assert!(runs > 1, "expected interruptions");
            assert_eq!(read, 2 * 111, "every package once");
            let all = tested.index.builds("primary", &builds).await.unwrap();
            assert!(all.len() == 110 && all.iter().all(|stored| stored.imported_at.is_some()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_waits_for_hub_and_files_and_loses_nothing() {
    for tested in on_both().await {
        let builds: Vec<i64> = tested.hub.add_generated_builds(60).collect();
        let importer = tested.importer().await;
        tested.hub.set_down(true);
        let end = backfill(&importer, ALL).await;
        assert!(matches!(&end, BackfillEnd::GivenUp(reason) if reason.contains("127.0.0.1")), "{end:?}");
        tested.hub.set_down(false);
        assert!(tested.index.builds("primary", &builds).await.unwrap().is_empty());
        assert_eq!(backfill(&tested.importer().await, ALL).await, BackfillEnd::Complete);
        assert_eq!(tested.index.build_count("primary").await.unwrap(), 60);
        // A single build with a broken file is passed over, and found by the sweep.
        let more: Vec<i64> = tested.hub.add_generated_builds(3).collect();
        let broken = tested.hub.paths(more[1]).remove(0);
        tested.hub.files.set(&broken, compat_tests::static_server::Fault::Status(404));
        let importer = tested.importer().await;
        assert_eq!(backfill(&importer, ALL).await, BackfillEnd::Complete);
        assert_eq!((importer.counts().failed, importer.counts().imported), (1, 2));
        tested.hub.files.repair();
        crate::feeders::koji::sweep::run_batch(&importer).await.unwrap();
        assert!(tested.take_jobs().await.contains(&more[1]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_kept() {
    let [tested, _] = on_both().await;
    let builds: Vec<i64> = tested.hub.add_generated_builds(10).collect();
    for (at, build) in builds.iter().enumerate() {
        tested.hub.set_completion_time(*build, 1_000_000.0 + 10.0 * at as f64);
    }
    for newest_first in [false, true] {
        let plan = BackfillPlan { after: Some(1_000_005), before: Some(1_000_045), newest_first };
        assert_eq!(backfill(&tested.importer().await, plan).await, BackfillEnd::Complete);
        let stored = tested.index.builds("primary", &builds).await.unwrap();
        let stored: Vec<i64> = stored.iter().map(|stored| stored.build.build).collect();
        assert_eq!(stored, builds[1..5]);
    }
}
