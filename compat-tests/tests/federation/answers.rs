//! What an answer is made of: slices of relayed files, what the index knows, and the trace that states it.

use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};
use compat_tests::wait_within;

use crate::client::{Ended, ask};
use crate::{Mode, configuration, debug_file_with_headers, debuginfo, federated};

/// How long a change of an upstream's state may stay unnoticed.
const NOTICED: Duration = Duration::from_secs(30);

fn section(build_id: &str, name: &str) -> String {
    format!("/buildid/{build_id}/section/{name}")
}

/// The number of requests of an upstream for sections.
fn sections_asked(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| request.head.contains("/section/")).count()
}

#[test]
fn a_section_is_a_slice_of_what_was_relayed() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(70).build_id();
    let (path, file) = (debuginfo(&build_id), debug_file_with_headers(&build_id, 1000));
    let text = UpstreamFile::new(b"the code".to_vec());
    let upstream = Upstream::with_files(Fault::None, [(&*path, &file), (&*section(&build_id, ".text"), &text)]);
    let gateway = federated(&index, Mode::Relay, "", &[&upstream]);
    assert!(ask(&gateway, &path).has_right_bytes("relayed", &file.bytes));

    let reply = ask(&gateway, &section(&build_id, ".debug_info"));
    let Ended::File(bytes) = &reply.ended else { panic!("expected a section, found {reply:?}") };
    assert!(!bytes.is_empty() && file.bytes.windows(bytes.len()).any(|part| part == bytes), "{} bytes", bytes.len());
    let absent = ask(&gateway, &section(&build_id, ".debug_nonsense"));
    assert_eq!(absent.ended, Ended::Absent("public, max-age=10".into()), "debuginfo without it settles it");
    assert_eq!(sections_asked(&upstream), 0, "{:#?}", upstream.requests());

    // Debuginfo has no code: the executable does, and only the upstream has that.
    assert!(ask(&gateway, &section(&build_id, ".text")).has_right_bytes(".text", &text.bytes));
    assert_eq!(sections_asked(&upstream), 1, "{:#?}", upstream.requests());
    let wholes = upstream.requests().len() - sections_asked(&upstream);
    assert_eq!(wholes, 1, "no whole file is asked for because of a section: {:#?}", upstream.requests());
}

#[test]
fn a_section_of_what_was_not_relayed_is_asked_as_a_section() {
    let index = Sqlite::with_packages(&[]);
    for mode in Mode::BOTH {
        let build_id = Random::new(71).build_id();
        let (path, bytes) = (section(&build_id, ".debug_line"), UpstreamFile::new(b"lines".to_vec()));
        let upstream = Upstream::with_files(Fault::None, [(&*path, &bytes)]);
        let gateway = federated(&index, mode, "", &[&upstream]);
        let reply = ask(&gateway, &path);
        match &reply.ended {
            Ended::Redirect(to) if mode == Mode::Redirect => assert_eq!(*to, format!("{}{path}", upstream.url())),
            _ => assert!(reply.has_right_bytes("a section", &bytes.bytes), "{mode:?}"),
        }
        let asked = upstream.requests();
        assert!(asked.iter().all(|request| request.head.contains("/section/")), "{mode:?}: {asked:#?}");
    }
}

#[test]
fn what_the_index_knows_is_not_absent_while_an_upstream_is_away() {
    let packages = tempfile::tempdir().unwrap();
    fixtures::copy(&fixtures::rpms("server"), packages.path());
    let index = Sqlite::with_packages(&[packages.path()]);
    for entry in std::fs::read_dir(packages.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let gone = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let known = format!("/buildid/{gone}/executable");
    let mut random = Random::new(72);
    for prefer in ["extract", "redirect"] {
        let (honest, away) = (Upstream::start(Fault::None), Upstream::start(Fault::Hangs));
        let federation = format!("unreachable_after = \"1s\"\nprefer = \"{prefer}\"");
        let gateway = federated(&index, Mode::Redirect, &federation, &[&honest, &away]);
        let began = Instant::now();
        loop {
            let reply = ask(&gateway, &debuginfo(&random.build_id()));
            if let Ended::Absent(lifetime) = reply.ended {
                assert_eq!(lifetime, "no-store", "{prefer}");
                break;
            }
            assert!(began.elapsed() < NOTICED, "{prefer}: expected an absence without the upstream that hangs");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(ask(&gateway, &known).ended, Ended::Unavailable, "{prefer}");
        away.set(Fault::None);
        wait_within(NOTICED, "a word of both upstreams", || {
            ask(&gateway, &known).ended == Ended::Absent("public, max-age=10".into())
        });
    }
}

/// The header of an answer that states why it is what it is.
fn trace(gateway: &RunningGateway, path: &str) -> Option<String> {
    gateway.get(path).header("x-darkserver-trace").map(str::to_owned)
}

#[test]
fn a_trace_states_why_an_answer_is_what_it_is() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(73).build_id();
    let (path, file) = (debuginfo(&build_id), debug_file_with_headers(&build_id, 0));
    let having = Upstream::with_files(Fault::None, [(&*path, &file)]);
    let text = configuration("trace = true", &[(Mode::Redirect, having.url())]);
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    let other = debuginfo(&Random::new(75).build_id());
    let has_filter = || trace(&gateway, &other).is_some_and(|trace| trace.starts_with("filter=absent"));
    wait_within(NOTICED, "the filter of the index", has_filter);
    let found = trace(&gateway, &path).unwrap();
    assert!(found.starts_with("filter=absent; u0=found ") && found.ends_with("; answer=redirect"), "{found}");
    let unknown = debuginfo(&Random::new(74).build_id());
    let absent = trace(&gateway, &unknown).unwrap();
    assert!(absent.starts_with("filter=absent; u0=absent ") && absent.ends_with("; answer=absence"), "{absent}");
    assert_eq!(trace(&gateway, &unknown).unwrap(), "filter=absent; u0=remembered; answer=absence");
    let is_logged = |line: &str| line.contains("access") && line.contains("u0=remembered; answer=absence");
    assert!(gateway.log().lines().any(is_logged), "{}", gateway.log());

    let plain = federated(&index, Mode::Redirect, "", &[&having]);
    assert_eq!(trace(&plain, &path), None, "it is told only where the configuration asks for it");
}
