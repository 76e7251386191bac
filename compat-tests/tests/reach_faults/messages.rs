//! Genuine messages in a durable queue, and two indexers that are killed at random moments, while broker and database
//! end and come back.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::Duration;

use compat_tests::darkserver::import_ok;
use compat_tests::indexer::RunningIndexer;
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::python;
use compat_tests::rabbitmq::RabbitMq;
use compat_tests::repository::SigningKey;
use compat_tests::{fixtures, scale, wait_within};
use serde_json::{Value, json};

use crate::support::{Database, Seed, etc, expect_equal, instance, koji_ok};

const QUEUE: &str = "q";
/// Number of generated builds.
const BUILDS: u32 = 40;
/// Maximum time until everything is done after the last fault: that of a claim that expires, with room.
const WITHIN: Duration = Duration::from_secs(120);
/// The longest time from the sending of messages to a fault, in milliseconds: about that of their transactions.
const MAX_PAUSE: usize = 100;

/// A fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillIndexer(usize),
    /// The database hangs while the indexer has messages.
    KillBeforeCommit(usize),
    RestartBroker,
    RestartDatabase,
}

fn message(schema: &str, body: Value) -> Value {
    json!({"schema": schema, "body": body})
}

/// A message without a schema of its body.
fn foreign(topic: &str, body: Value) -> Value {
    json!({"schema": "base.message", "topic": topic, "body": body})
}

/// A build has a new state.
fn state(build: i64, new: i64) -> Value {
    message(
        "koji_fedoramessaging.build.BuildStateChangeV1",
        json!({
            "name": "generated", "version": "1.0", "release": "1", "epoch": null, "attribute": "state", "old": 0,
            "new": new, "build_id": build, "task_id": 140_000_001, "owner": "somebody", "instance": "primary",
            "request": null, "creation_time": "2026-05-04T10:11:12.131415+00:00", "completion_time": null,
            "task": null,
        }),
    )
}

fn tag(class: &str, build: i64, tag: &str) -> Value {
    message(
        &format!("koji_fedoramessaging.tag.{class}"),
        json!({"build_id": build, "name": "generated", "version": "1.0", "release": "1", "tag": tag, "tag_id": 9001,
            "user": "bodhi", "owner": "somebody", "instance": "primary"}),
    )
}

fn signed(build: i64, package: i64) -> Value {
    message(
        "koji_fedoramessaging.rpm.SignV1",
        json!({
            "sigkey": "6d9f90a6", "sighash": "0123456789abcdef0123456789abcdef", "instance": "primary",
            "rpm": {"id": package, "build_id": build, "name": format!("package{package}"), "version": "1",
                "release": "1", "epoch": null, "arch": "x86_64", "metadata_only": false, "external_repo_id": 0,
                "extra": null},
            "build": {"id": build, "build_id": build, "name": "package", "nvr": "package-1-1", "epoch": null,
                "state": 1},
        }),
    )
}

fn released(nvr: &str) -> Value {
    let update = json!({"alias": "FEDORA-2026-0123456789", "builds": [{"nvr": nvr}], "release": {"name": "F44"},
        "request": null, "status": "stable", "user": {"name": "somebody"}});
    message("bodhi.update.complete.stable.v1", json!({"update": update}))
}

/// Bodies that are not what their topics promise.
fn poison() -> [Value; 4] {
    [
        foreign("buildsys.tag", json!({"build_id": "many", "tag": "f44"})),
        foreign("buildsys.untag", json!({"build_id": 7, "instance": "primary", "tag": ""})),
        foreign("buildsys.build.state.change", json!({"build_id": -5, "instance": "primary", "new": 1})),
        foreign("bodhi.update.complete.testing", json!({"update": {"builds": [{"nvr": "nothing"}]}})),
    ]
}

/// What is sent to the queue itself, and is no job.
const NO_JOB: &str = "not a job";

struct Bench {
    hub: KojiHub,
    broker: RabbitMq,
    virtual_host: String,
    database: MariaDb,
    indexers: [RunningIndexer; 2],
}

impl Bench {
    /// Starts everything. The indexers have declared their queue, and were killed.
    fn start() -> Self {
        let (hub, mut database) = (KojiHub::start(), None);
        let broker = std::thread::scope(|scope| {
            let broker = scope.spawn(RabbitMq::start);
            database = Some(MariaDb::start());
            broker.join().expect("a broker")
        });
        let (database, virtual_host) = (database.expect("a database"), broker.virtual_host());
        database.create_database("index");
        let url = database.url("index");
        import_ok(&url, &["migrate"]);
        let configuration = format!(
            "{}[[messages]]\nname = \"test\"\nurl = \"{}\"\nqueue = \"{QUEUE}\"\ndurable = true\nauto_delete = false\n\
             prefetch = 4\n",
            instance(&hub),
            broker.url(&virtual_host)
        );
        let indexers = [(); 2].map(|()| RunningIndexer::start(&url, &configuration));
        let connected = "indexer_broker_connected{queue=\"test\"}";
        wait_within(WITHIN, "consumers", || indexers.iter().all(|indexer| indexer.metric(connected) == 1.0));
        let mut bench = Self { hub, broker, virtual_host, database, indexers };
        bench.indexers.iter_mut().for_each(RunningIndexer::kill);
        bench
    }

    fn index(&self) -> Database<'_> {
        Database::MariaDb(&self.database, "index".to_owned())
    }

    fn url(&self) -> String {
        self.broker.url(&self.virtual_host)
    }

    /// Publishes messages, each once the broker has the one before, and lets the faults happen meanwhile.
    fn suffer(&mut self, faults: &[Fault], mut messages: Vec<Value>, seed: &mut Seed) {
        seed.shuffle(&mut messages);
        let mut publisher = Publisher::start(&self.url());
        let mut chunks = messages.chunks(messages.len().div_ceil(faults.len()));
        for fault in faults {
            let chunk = chunks.next().unwrap_or_default();
            let mut pause = || sleep(Duration::from_millis(seed.random.below(MAX_PAUSE) as u64));
            match *fault {
                Fault::KillIndexer(number) => {
                    publisher.send(chunk);
                    pause();
                    self.indexers[number].restart();
                }
                Fault::KillBeforeCommit(number) => {
                    self.database.pause();
                    publisher.send(chunk);
                    pause();
                    self.indexers[number].kill();
                    self.database.resume();
                    self.indexers[number].restart();
                }
                Fault::RestartBroker => {
                    publisher.send(chunk);
                    publisher.close();
                    self.broker.restart();
                    publisher = Publisher::start(&self.url());
                }
                Fault::RestartDatabase => {
                    publisher.send(chunk);
                    pause();
                    self.database.kill();
                    // One indexer ends meanwhile, the other waits.
                    self.indexers[0].kill();
                    self.database.restart();
                    self.indexers[0].restart();
                }
            }
        }
        chunks.for_each(|chunk| publisher.send(chunk));
        publisher.close();
    }

    /// Waits until all messages and jobs are done.
    fn wait_until_done(&self) {
        wait_within(WITHIN, "an empty queue", || {
            sleep(Duration::from_millis(300));
            self.broker.messages(&self.virtual_host, QUEUE) == Some((0, 0))
        });
        let index = self.index();
        let jobs = || index.rows("select `key`, attempts, claimed_by, last_error from jobs");
        let started = std::time::Instant::now();
        while !jobs().is_empty() {
            assert!(started.elapsed() < WITHIN, "jobs that do not end: {:#?}", jobs());
            sleep(Duration::from_millis(100));
        }
    }
}

/// A running fedora-messaging.
struct Publisher {
    child: Child,
    ids: Lines<BufReader<ChildStdout>>,
}

impl Publisher {
    fn start(url: &str) -> Self {
        let mut command = python::script("python/publish.py");
        let mut child = command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start Python");
        let ids = BufReader::new(child.stdout.take().expect("an output")).lines();
        Self { child, ids }
    }

    /// Sends messages, and waits until the broker has them.
    fn send(&mut self, messages: &[Value]) {
        let stdin = self.child.stdin.as_mut().expect("an input");
        for message in messages {
            writeln!(stdin, "{message}").expect("a running publisher");
        }
        messages.iter().for_each(|_| {
            self.ids.next().expect("the id of a message").expect("text");
        });
    }

    fn close(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // It has ended if it was closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn kills_and_restarts_lose_and_double_no_message() {
    let mut seed = Seed::new();
    let mut bench = Bench::start();
    let hub = &bench.hub;
    let generated: Vec<i64> = hub.add_generated_builds(BUILDS).collect();
    let to_sign = hub.add_build(&fixtures::rpms("fedora-separate"));
    let all: Vec<i64> = generated.iter().copied().chain([to_sign]).collect();
    all.iter().for_each(|build| hub.set_completion_time(*build, 1_600_000_000.0 + *build as f64));
    let [.., deleted_first, deleted_later, tagged_first, tagged_only, slow, released_only, queued] = generated[..]
    else {
        panic!("expected more builds")
    };
    let (plain, later) = generated[..33].split_at(16);
    hub.delete(deleted_first);
    hub.set_state(slow, 0);
    let mut faults: Vec<Fault> = (0..scale(8, 50))
        .map(|number| match number / 2 % 2 {
            0 => Fault::KillIndexer(number % 2),
            _ => Fault::KillBeforeCommit(number % 2),
        })
        .collect();
    faults.extend([Fault::RestartBroker, Fault::RestartDatabase]);
    seed.shuffle(&mut faults);
    eprintln!("{faults:?}");
    let (before, after) = faults.split_at(faults.len() / 2);

    // Each third one three times, the others once; tags before their builds; a deletion before its completion.
    let completed = |builds: &[i64]| -> Vec<Value> {
        let more = builds.iter().step_by(3).flat_map(|build| [*build; 2]);
        builds.iter().copied().chain(more).map(|build| state(build, 1)).collect()
    };
    let mut first = completed(plain);
    first.extend([state(deleted_first, 2), state(deleted_later, 1), state(slow, 1), state(to_sign, 1)]);
    first.extend([tag("TagV1", plain[0], "f44-candidate"), tag("TagV1", tagged_first, "f44")]);
    first.extend([released(&hub.nvr(released_only)), state(plain[1], 0), state(999_999, 3)]);
    first.extend(poison());
    let job = json!({"build_id": queued, "instance": "primary", "release": "fc23"}).to_string();
    python::queue_as_the_original(&bench.url(), QUEUE, &[job, NO_JOB.to_owned(), NO_JOB.to_owned()]);
    bench.indexers.iter_mut().for_each(RunningIndexer::restart);
    bench.suffer(before, first, &mut seed);

    let hub = &bench.hub;
    hub.delete(deleted_later);
    hub.set_state(slow, 1);
    hub.sign(to_sign, &SigningKey::make());
    let mut second = completed(later);
    second.extend((0..scale(20, 400)).map(|package| signed(to_sign, package)));
    second.extend([state(deleted_first, 1), state(deleted_later, 2), state(tagged_first, 1), state(deleted_later, 1)]);
    second.extend([tag("UntagV1", plain[0], "f44-candidate"), tag("TagV1", tagged_only, "f44")]);
    second.extend(poison().into_iter().skip(2));
    bench.suffer(after, second, &mut seed);
    bench.wait_until_done();

    let index = bench.index();
    let deleted = [deleted_first, deleted_later];
    let builds = |of: &[i64]| of.iter().map(i64::to_string).collect::<Vec<_>>();
    let present: Vec<i64> = all.iter().copied().filter(|build| !deleted.contains(build)).collect();
    // The index of one that nothing disturbs, which asks the same hub.
    let (etc, expected, ids) = (etc(&instance(&bench.hub)), Database::sqlite(), builds(&present));
    koji_ok(
        &expected.url(),
        etc.path(),
        &[&["build"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
    );
    assert_eq!(expected.count("select count(*) from builds where imported_at is not null"), present.len() as u64);
    expect_equal(&index, &expected);

    // The times of deletions are those of their messages.
    let rows =
        index.rows("select build, deleted_after is null, deleted_at > 1600000000 from builds where state = 'deleted'");
    assert_eq!(rows, builds(&deleted).iter().map(|build| format!("{build}\t1\t1")).collect::<Vec<_>>());
    let of_deleted = format!("from packages where koji_build in ({})", builds(&deleted).join(", "));
    let count = index.count(&format!("select count(*) {of_deleted}"));
    assert!(count == 0 || count == 2, "{count}");
    assert_eq!(index.count(&format!("select count(*) {of_deleted} and deleted_at is null")), 0);
    let places =
        format!("select count(*) from locations where gone_at is null and package_id in (select id {of_deleted})");
    assert_eq!(index.count(&places), 0);

    let rows = index.rows("select build, tag, tagged_at is null, untagged_at is null from build_tags");
    let mut tags = [(plain[0], "f44-candidate", 0), (tagged_first, "f44", 1), (tagged_only, "f44", 1)]
        .map(|(build, tag, untagged)| format!("{build}\t{tag}\t0\t{untagged}"));
    tags.sort_unstable();
    assert_eq!(rows, tags);

    // Each poison once, and nothing else.
    let mut kept: Vec<Value> = poison().iter().map(|message| message["body"].clone()).collect();
    kept.push(json!(NO_JOB));
    let rows = index.rows("select payload from poison where source = 'messages/test'");
    let mut found: Vec<Value> =
        rows.iter().map(|row| serde_json::from_str(row).unwrap_or_else(|_| json!(row))).collect();
    kept.sort_unstable_by_key(Value::to_string);
    found.sort_unstable_by_key(Value::to_string);
    assert_eq!(found, kept);
    assert_eq!(index.count("select count(*) from poison"), kept.len() as u64);
    for indexer in &mut bench.indexers {
        assert_eq!(indexer.stop(), Some(0));
    }
}
