use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PREFIX: &str = "org.fedoraproject.prod";
/// 2026-05-04T10:30:00Z
const SENT_AT: i64 = 1_777_890_600;

fn reader() -> Reader {
    Reader {
        source: "messages/fedora".into(),
        topic_prefix: PREFIX.into(),
        instances: vec!["primary".into(), "s390".into()],
        default_instance: Some("primary".into()),
    }
}

fn envelope(topic: &str) -> Envelope {
    Envelope {
        routing_key: format!("{PREFIX}.{topic}"),
        exchange: "amq.topic".into(),
        schema: Some("a.schema".into()),
        id: Some("3a7c".into()),
        sent_at: Some(SENT_AT),
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn read(topic: &str, body: &Value) -> Reading {
    reader().read(&envelope(topic), body.to_string().as_bytes(), now())
}

fn job(instance: &str, build: BuildName, deleted_at: Option<i64>) -> Work {
    let (instance, source) = (instance.to_owned(), "messages/fedora".to_owned());
    Work::Build(BuildWork { instance, build, deleted_at, source, sent_at: Some(SENT_AT) })
}

fn jobs<const N: usize>(jobs: [(Work, Duration); N]) -> Reading {
    Reading::Wanted(Wanted { jobs: jobs.into(), tags: Vec::new() })
}

/// A whole `BuildStateChangeV1` with these keys changed.
fn state_change(changes: Value) -> Value {
    let mut body = json!({
        "name": "hello", "version": "2.12.1", "release": "5.fc44", "epoch": null, "attribute": "state", "old": 0,
        "new": 1, "build_id": 2_900_001, "task_id": 140_000_001, "owner": "somebody", "instance": "primary",
        "url": "https://koji.example.org/koji/buildinfo?buildID=2900001",
        "request": ["git+https://src.example.org/rpms/hello.git#0123abcd", "f44-candidate", {}],
        "creation_time": "2026-05-04T10:11:12.131415+00:00", "completion_time": "2026-05-04T10:20:00.000001+00:00",
        "task": {"id": 140_000_001, "method": "build", "arch": "noarch", "host_id": 400, "state": 2, "result": null,
            "children": [{"id": 140_000_004, "method": "buildArch", "arch": "x86_64", "host_id": 401, "children": [],
                "result": {"rpms": ["tasks/4/140000004/hello-2.12.1-5.fc44.x86_64.rpm"], "brootid": 5}}]},
    });
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn a_complete_build_becomes_a_job_and_a_deleted_one_carries_the_time() {
    let topic = "buildsys.build.state.change";
    let id = || BuildName::Id(2_900_001);
    let nvr = |nvr: &str| BuildName::Nvr(nvr.into());
    for (changes, build, deleted_at) in [
        (json!({}), id(), None),
        (json!({"epoch": 1}), id(), None),
        (json!({"epoch": "1"}), id(), None),
        (json!({"old": null}), id(), None),
        (json!({"new": 2, "old": 1}), id(), Some(SENT_AT)),
        (json!({"attribute": "volume_id", "old": 0, "new": 7}), id(), None),
        (json!({"build_id": null}), nvr("hello-2.12.1-5.fc44"), None),
        (json!({"build_id": null, "new": 2}), nvr("hello-2.12.1-5.fc44"), Some(SENT_AT)),
        // An image, whose task has no packages.
        (
            json!({"build_id": null, "name": "Fedora-Cloud-Base", "version": "Rawhide", "release": "20260504.n.0",
                "task": {"id": 1, "method": "image", "arch": "noarch", "host_id": null, "result": "a text"}}),
            nvr("Fedora-Cloud-Base-Rawhide-20260504.n.0"),
            None,
        ),
        (json!({"task": null, "task_id": null, "request": null, "owner": null}), id(), None),
    ] {
        let found = read(topic, &state_change(changes.clone()));
        assert_eq!(found, jobs([(job("primary", build, deleted_at), Duration::ZERO)]), "{changes}");
    }
}

#[test]
fn states_that_end_in_no_package_are_ignored() {
    for new in [0, 3, 4, 5, -1] {
        let found = read("buildsys.build.state.change", &state_change(json!({"new": new})));
        assert!(matches!(found, Reading::Ignored(_)), "{new}: {found:?}");
    }
    let found = read("buildsys.build.state.change", &state_change(json!({"attribute": "owner_id"})));
    assert!(matches!(found, Reading::Ignored(_)), "{found:?}");
}

#[test]
fn a_deletion_is_never_in_the_future_and_has_no_time_without_one() {
    let body = state_change(json!({"new": 2})).to_string();
    for (sent_at, deleted_at) in [(Some(i64::MAX), Some(1_800_000_000)), (None, None)] {
        let envelope = Envelope { sent_at, ..envelope("buildsys.build.state.change") };
        let Reading::Wanted(wanted) = reader().read(&envelope, body.as_bytes(), now()) else { panic!("{sent_at:?}") };
        let [(Work::Build(work), _)] = &wanted.jobs[..] else { panic!("{wanted:?}") };
        assert_eq!(work.deleted_at, deleted_at);
    }
}

#[test]
fn the_job_of_a_signed_package_waits_for_those_of_its_build() {
    let wanted = |instance| jobs([(job(instance, BuildName::Id(7), None), SIGNED_DELAY)]);
    for (body, found) in [
        (
            json!({"sigkey": "6d9f90a6", "sighash": "ab", "instance": "s390", "rpm": {"id": 1, "build_id": 7},
                "build": {"id": 7, "build_id": 7, "epoch": null}}),
            wanted("s390"),
        ),
        (json!({"sigkey": "6d9f90a6", "rpm": {"build_id": 7}}), wanted("primary")),
        (json!({"sigkey": "6d9f90a6", "build": {"build_id": 7}, "rpm": null}), wanted("primary")),
        (json!({"sigkey": "", "build": {"id": 7}}), Reading::Ignored("the package was not signed")),
        (json!({"sigkey": "6d9f90a6"}), Reading::Ignored("it names no build")),
        (json!({}), Reading::Ignored("the package was not signed")),
    ] {
        assert_eq!(read("buildsys.rpm.sign", &body), found, "{body}");
    }
}

#[test]
fn tags_have_the_time_of_their_message() {
    let body = json!({"build_id": 7, "name": "hello", "version": "2.12.1", "release": "5.fc44",
        "tag": "f44-updates-testing", "tag_id": 9001, "user": "bodhi", "owner": "somebody", "instance": "primary"});
    for (topic, change) in [("buildsys.tag", TagChange::Tagged), ("buildsys.untag", TagChange::Untagged)] {
        let Reading::Wanted(wanted) = read(topic, &body) else { panic!("{topic}") };
        let [tag] = &wanted.tags[..] else { panic!("{wanted:?}") };
        assert!(wanted.jobs.is_empty());
        assert_eq!((tag.build, tag.tag.as_str(), tag.change, tag.at), (7, "f44-updates-testing", change, SENT_AT));
        assert_eq!(tag.job, job("primary", BuildName::Id(7), None));
    }
    let nothing = Reading::Ignored("it names no build or no tag");
    assert_eq!(read("buildsys.tag", &json!({"build_id": 7, "tag": null})), nothing);
    assert_eq!(read("buildsys.untag", &json!({})), nothing);
}

#[test]
fn updates_name_builds_of_the_default_instance() {
    let update = json!({"alias": "FEDORA-2026-0123456789", "request": null, "status": "stable",
        "builds": [{"nvr": "hello-2.12.1-5.fc44", "epoch": 0}, {"nvr": "bash-5.2-6.fc44"}], "release": {"name": "F44"},
        "user": {"name": "somebody"}, "more": [1, 2]});
    let named = |nvr: &str| (job("primary", BuildName::Nvr(nvr.into()), None), Duration::ZERO);
    for topic in ["bodhi.update.complete.stable", "bodhi.update.complete.testing"] {
        let found = read(topic, &json!({"update": update, "agent": "bodhi"}));
        assert_eq!(found, jobs([named("hello-2.12.1-5.fc44"), named("bash-5.2-6.fc44")]), "{topic}");
    }
    let artifact = json!({"type": "koji-build-group", "id": "FEDORA-x", "builds": [
        {"type": "koji-build", "id": 7, "task_id": null, "nvr": "hello-2.12.1-5.fc44"}, {"nvr": "bash-5.2-6.fc44"}]});
    assert_eq!(
        read(
            "bodhi.update.status.testing.koji-build-group.build.complete",
            &json!({"agent": "bodhi", "re-trigger": false, "artifact": artifact, "update": update})
        ),
        jobs([(job("primary", BuildName::Id(7), None), Duration::ZERO), named("bash-5.2-6.fc44")])
    );
}

#[test]
fn a_promotion_is_a_job_if_it_names_its_build() {
    let topic = "buildsys.build.promote";
    let nothing = Reading::Ignored("it names no build: the sweep finds promotions");
    assert_eq!(read(topic, &json!({"base_url": "https://koji.example.org", "instance": "primary"})), nothing);
    let found = read(topic, &json!({"instance": "primary", "build": {"id": 7}}));
    assert_eq!(found, jobs([(job("primary", BuildName::Id(7), None), Duration::ZERO)]));
}

#[test]
fn the_payload_of_the_original_is_understood_on_any_queue() {
    let body = json!({"build_id": 614_503, "instance": "primary", "release": "fc23"}).to_string();
    let mut envelope = Envelope { routing_key: "darkserver_importer".into(), ..Envelope::default() };
    for exchange in ["", "amq.topic", "other"] {
        envelope.exchange = exchange.into();
        let Reading::Wanted(wanted) = reader().read(&envelope, body.as_bytes(), now()) else { panic!("{exchange}") };
        let [(work, delay)] = &wanted.jobs[..] else { panic!("{wanted:?}") };
        assert_eq!((work.key(), *delay), ("build primary 614503".to_owned(), Duration::ZERO));
    }
    // Elsewhere it is another program's message.
    assert!(matches!(reader().read(&envelope, b"{}", now()), Reading::Ignored(_)));
    envelope.exchange.clear();
    let Reading::Poison(reason) = reader().read(&envelope, b"{}", now()) else { panic!("expected poison") };
    assert!(reason.starts_with("darkserver_importer, message without an id: expected {\"build_id\""), "{reason}");
}

#[test]
fn other_topics_and_instances_are_ignored() {
    let body = state_change(json!({}));
    for key in ["org.fedoraproject.stg.buildsys.tag", "org.fedoraproject.prod.buildsys.repo.done", "", "buildsys.tag"] {
        let envelope = Envelope { routing_key: key.into(), ..envelope("") };
        let found = reader().read(&envelope, body.to_string().as_bytes(), now());
        assert_eq!(found, Reading::Ignored("nothing follows from its topic"), "{key}");
    }
    let unknown = state_change(json!({"instance": "ppc"}));
    let expected = Reading::Ignored("no [[koji]] has the name of its instance");
    assert_eq!(read("buildsys.build.state.change", &unknown), expected);
    let reader = Reader { default_instance: None, instances: Vec::new(), ..reader() };
    let update = json!({"update": {"builds": [{"nvr": "a-1-1"}]}}).to_string();
    let found = reader.read(&envelope("bodhi.update.complete.stable"), update.as_bytes(), now());
    assert_eq!(found, Reading::Ignored("no [[koji]] is configured"));
}

#[test]
fn poison_states_what_was_expected_and_found() {
    let state = "buildsys.build.state.change";
    let stable = "bodhi.update.complete.stable";
    let builds = |nvr: &str| json!({"update": {"builds": [{"nvr": nvr}]}});
    for (topic, body, expected) in [
        (state, json!("text"), "expected a change of a build's state in JSON, found another body: invalid type"),
        (state, state_change(json!({"new": "1"})), "found another body: invalid type: string \"1\""),
        (state, state_change(json!({"new": null})), "expected a state in `new`, found none"),
        (state, state_change(json!({"build_id": 0})), "expected the id of a build, a number from 1, found 0"),
        (state, state_change(json!({"build_id": 1e30})), "found another body"),
        (state, json!({"new": 1, "instance": "primary"}), "expected build_id, or name, version and release"),
        (state, state_change(json!({"build_id": null, "release": "1/2"})), "NAME-VERSION-RELEASE of at most 170 bytes"),
        ("buildsys.tag", json!({"build_id": 7, "tag": ""}), "expected a tag of 1 to 255 bytes, found \"\""),
        ("buildsys.tag", json!({"build_id": -7, "tag": "f44"}), "found -7"),
        ("buildsys.untag", json!({"build_id": 7, "tag": "x".repeat(256)}), "expected a tag of 1 to 255 bytes"),
        ("buildsys.rpm.sign", json!([]), "expected a signed package"),
        (stable, json!({}), "missing field `update`"),
        (stable, json!({"update": {"builds": [{}]}}), "expected the nvr of each build, found none"),
        (stable, builds("bash"), "NAME-VERSION-RELEASE of at most 170 bytes, found \"bash\""),
        (stable, builds("bash--1"), "found \"bash--1\""),
        (stable, builds("a b-1-1"), "found \"a b-1-1\""),
        (stable, builds(&format!("{}-1-1", "x".repeat(300))), "xxx...\""),
        (stable, json!({"update": {"builds": vec![json!({"nvr": "a-1-1"}); 5_001]}}), "expected at most 5000 builds"),
    ] {
        let Reading::Poison(reason) = read(topic, &body) else { panic!("{topic} {body}: expected poison") };
        assert!(reason.contains(expected), "{topic}: {reason}");
        assert!(reason.starts_with(&format!("{PREFIX}.{topic}, message 3a7c: expected ")), "{reason}");
    }
    let large = vec![b' '; bodies::MAX_BODY_BYTES + 1];
    let found = reader().read(&envelope(state), &large, now());
    assert!(matches!(&found, Reading::Poison(reason) if reason.contains("at most 16 MiB")), "{found:?}");
}

/// JSON of the keys that are read, with any values.
fn any_body() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "instance",
        "attribute",
        "new",
        "build_id",
        "name",
        "version",
        "release",
        "sigkey",
        "rpm",
        "build",
        "id",
        "tag",
        "update",
        "builds",
        "artifact",
        "nvr",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("primary")),
        Just(json!("state")),
        Just(json!("hello-1-2")),
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|keys| Value::Object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn any_topic() -> impl Strategy<Value = String> {
    let known = prop::sample::select(TOPICS.map(|(topic, _)| topic).to_vec());
    prop_oneof![8 => known.prop_map(|topic| format!("{PREFIX}.{topic}")), 1 => "\\PC{0,30}", 1 => Just(String::new())]
}

/// What holds for every message.
fn check(routing_key: String, exchange: String, body: &[u8]) -> Result<(), TestCaseError> {
    let envelope = Envelope { routing_key, exchange, ..envelope("") };
    for schema in [None, Some("a.schema".to_owned())] {
        match reader().read(&Envelope { schema, ..envelope.clone() }, body, now()) {
            Reading::Ignored(_) => {}
            Reading::Poison(reason) => {
                prop_assert!(reason.len() < 2_000, "{}", reason);
                prop_assert!(reason.contains("expected ") && reason.contains("found "), "{}", reason);
            }
            Reading::Wanted(wanted) => {
                let works = wanted.jobs.iter().map(|(work, _)| work).chain(wanted.tags.iter().map(|tag| &tag.job));
                for work in works {
                    let Work::Build(build) = work else { return Err(TestCaseError::fail("an archive")) };
                    prop_assert!(reader().instances.contains(&build.instance));
                    prop_assert!(work.key().len() <= 255 - 64);
                    prop_assert_eq!(&Work::parse(work.kind(), &work.payload()).map_err(TestCaseError::fail)?, work);
                }
                prop_assert!(!wanted.jobs.is_empty() || !wanted.tags.is_empty());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(compat_tests::scale(400, 100_000)))]

    #[test]
    fn any_json_is_read(topic in any_topic(), exchange in prop_oneof!["", "amq.topic"], body in any_body()) {
        check(topic, exchange, body.to_string().as_bytes())?;
    }

    #[test]
    fn any_bytes_are_read(topic in any_topic(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(topic, String::new(), &body)?;
    }

    #[test]
    fn a_damaged_message_is_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = state_change(json!({})).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        check(format!("{PREFIX}.buildsys.build.state.change"), "amq.topic".into(), &body)?;
        body.truncate(at);
        check(format!("{PREFIX}.buildsys.build.state.change"), "amq.topic".into(), &body)?;
    }
}
