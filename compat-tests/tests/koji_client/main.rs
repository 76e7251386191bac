//! The Koji of the tests answers as Koji does: its own client library calls every method, and finds the files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use compat_tests::koji_hub::{KojiHub, Trouble};
use compat_tests::repository::SigningKey;
use compat_tests::{fixtures, http, python};
use serde_json::{Value, json};

fn server(release: u32) -> Vec<PathBuf> {
    let rpms = fixtures::rpms("server");
    rpms.into_iter().filter(|rpm| rpm.display().to_string().contains(&format!("-1.1-{release}."))).collect()
}

fn run(hub: &KojiHub, known: &Value) -> std::process::Output {
    let mut command = python::script("tests/koji_client/client.py");
    command.arg(hub.url()).arg(hub.directory()).arg(known.to_string());
    command.output().unwrap_or_else(|error| panic!("expected to run Python, found {error}"))
}

#[test]
fn the_hub_speaks_to_kojis_own_client() {
    let hub = KojiHub::start();
    let key = SigningKey::make();
    let build = hub.add_build(&server(6));
    let (metadata_only, external) =
        (hub.add_metadata_only(build, "server-doc", "noarch"), hub.add_external(build, "other", "x86_64"));
    hub.add_source_package(build);
    let key = hub.sign(build, &key);
    let moved = hub.add_build(&server(7));
    hub.move_volume(moved, "other");
    let deleted = hub.add_build(&server(5));
    hub.delete(deleted);
    let draft = hub.add_draft(&fixtures::rpms("old-classes"));
    let promoted = hub.add_draft(&fixtures::rpms("old-noclasses"));
    hub.promote(promoted);
    let image = hub.add_image_build("image", "44", "1");
    let building = hub.begin_build(&fixtures::rpms("fedora-separate"));
    let generated: Vec<i64> = hub.add_generated_builds(2).collect();
    let rpms = hub.rpms(build);
    let program = rpms.iter().find(|(_, nvra)| nvra.starts_with("server-1.1")).map(|(id, _)| *id);
    let build_id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let complete = [&[build, moved, draft, promoted][..], &generated].concat();
    let known = json!({
        "version": "1.36.1",
        "build": build,
        "nvr": "server-1.1-6.fc99",
        "name": "server",
        "build_version": "1.1",
        "release": "6.fc99",
        "epoch": null,
        "completion_ts": hub.completion_time(build),
        "rpms": rpms,
        "program": program,
        "link": format!("/usr/lib/.build-id/{}/{}", &build_id[..2], &build_id[2..]),
        "target": "../../../../usr/bin/server",
        "metadata_only": metadata_only,
        "external": external,
        "key": key,
        "moved": moved,
        "deleted": deleted,
        "draft": draft,
        "promoted": promoted,
        "image": image,
        "building": building,
        "complete": complete,
    });
    let output = run(&hub, &known);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(text.lines().count(), 8, "{text}");
    // Generated packages are whole for rpm and Koji.
    for build in generated {
        assert_eq!(hub.paths(build).len(), 2);
        for path in hub.paths(build) {
            let mut command = std::process::Command::new("rpm");
            command.args(["-qp", "--nosignature", "--qf", "%{NVRA}.rpm"]).arg(hub.directory().join(&path));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(path.ends_with(&format!("/{}", String::from_utf8(output.stdout).unwrap())), "{path}");
        }
    }
    assert!(hub.calls_of("getBuild") > 10 && hub.calls_of("nonsense") == 2, "{:?}", hub.calls());
}

#[test]
fn files_are_served_by_range_and_the_hub_can_be_down() {
    let hub = KojiHub::start();
    let build = hub.add_build(&server(6));
    let paths = hub.paths(build);
    assert_eq!(paths.len(), 3);
    let bytes = std::fs::read(hub.directory().join(&paths[0])).unwrap();
    let range = http::request(hub.files.port, "GET", &format!("/{}", paths[0]), &[("Range", "bytes=96-111")]).unwrap();
    assert_eq!((range.status, &*range.body), (206, &bytes[96..112]));
    let port = hub.url().split(':').nth(2).unwrap().split('/').next().unwrap().parse().unwrap();
    let status = || http::get(port, "/kojihub").map(|answer| answer.status);
    assert_eq!(status().unwrap(), 405);
    hub.set_trouble_times(Trouble::Slow(Duration::from_millis(50)), 1);
    for _ in 0..3 {
        hub.set_down(true);
        assert_eq!(status().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        hub.set_down(false);
        assert_eq!(status().unwrap(), 405);
    }
    // A client that keeps its connection open does not keep the hub from its end.
    let _open = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let started = Instant::now();
    drop(hub);
    assert!(started.elapsed() < Duration::from_secs(5));
}
