//! Uploads: whole or not at all, and answered from then on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use compat_tests::darkserver::RunningGateway;
use compat_tests::unshare::unshare;
use compat_tests::{fixtures, http, wait_until};

use super::support::{
    FAMILY, NAME, OTHER_FAMILY, authorization, build_id, json, large_package, names, package, start, start_through,
};

#[test]
fn an_uploaded_package_answers_from_then_on() {
    let bench = start("");
    let gateway = RunningGateway::start(&bench.sqlite.url());
    let path = format!("/buildid/{}/debuginfo", build_id());
    assert_eq!(gateway.get(&path).status, 404);
    let bytes = package(FAMILY, NAME);
    let response = bench.put(NAME, &[("Content-Type", "application/x-rpm")], &bytes);
    assert_eq!(response.status, 201, "{}", response.text());
    let rows = fixtures::truth(FAMILY).into_iter().filter(|row| row.rpm.ends_with(NAME));
    let build_ids: std::collections::BTreeSet<String> = rows.map(|row| row.build_id).collect();
    let answer = json(&response);
    assert_eq!(answer["nvra"], NAME.trim_end_matches(".rpm"));
    assert_eq!(answer["build_ids"], build_ids.len());
    assert_eq!(bench.names(), [NAME]);
    assert_eq!(fs::read(bench.root().join(NAME)).unwrap(), bytes);
    wait_until("debuginfo of the package", || gateway.get(&path).status == 200);
    let of_build_id = gateway.get(&format!("/buildids/{}", build_id())).text();
    assert!(of_build_id.contains(NAME.trim_end_matches(".rpm")), "{of_build_id}");
    // The same again changes nothing, and another file of that name neither.
    let again = bench.put(NAME, &[], &bytes);
    assert_eq!((again.status, json(&again)), (200, answer));
    let other = bench.put(NAME, &[], &package(OTHER_FAMILY, NAME));
    assert_eq!(other.status, 409, "{}", other.text());
    assert_eq!(fs::read(bench.root().join(NAME)).unwrap(), bytes);
    assert_eq!((bench.names(), bench.packages()), (vec![NAME.to_owned()], vec![NAME.replace(".rpm", "")]));
    assert_eq!(bench.indexer.metric("indexer_hook_requests_total{hook=\"upload\",status=\"201\"}"), 1.0);
}

#[test]
fn what_is_no_whole_package_of_that_name_leaves_nothing() {
    let bench = start("max_upload = '1MiB'");
    let bytes = package(FAMILY, NAME);
    let wrong = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    for (what, name, headers, body, status) in [
        ("a wrong digest", NAME, &[("Content-Digest", wrong)][..], &bytes[..], 400),
        ("a wrong digest", NAME, &[("Repr-Digest", wrong)], &bytes, 400),
        ("no digest", NAME, &[("Content-Digest", "sha-256=x")], &bytes, 400),
        ("a part", NAME, &[("Content-Range", "bytes 0-1/2")], &bytes, 400),
        ("another type", NAME, &[("Content-Type", "text/html")], &bytes, 415),
        ("an encoding", NAME, &[("Content-Type", "application/x-rpm"), ("Content-Encoding", "gzip")], &bytes, 415),
        ("another name", "other-1-1.noarch.rpm", &[], &bytes, 422),
        ("a package without its end", NAME, &[], &bytes[..bytes.len() - 1], 422),
        ("a part of a header", NAME, &[], &bytes[..500], 422),
        ("no package", NAME, &[], b"no package", 422),
        ("nothing", NAME, &[], b"", 422),
        ("too much", NAME, &[], &large_package((1 << 20) + 1), 413),
    ] {
        let response = bench.put(name, headers, body);
        assert_eq!(response.status, status, "{what}: {}", response.text());
        assert!(!json(&response)["error"].as_str().unwrap().is_empty(), "{what}");
        assert!(bench.names().is_empty(), "{what}: {:?}", bench.names());
    }
    // Too much in chunks, whose number nothing states.
    let headers = [("Authorization", authorization()), ("Transfer-Encoding", "chunked".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let path = format!("/hooks/upload/uploads/{NAME}");
    let mut stream = http::send(bench.indexer.port, "PUT", &path, &headers).unwrap();
    let large = large_package((1 << 20) + 1);
    // It is not read to its end.
    let _ = write!(stream, "{:x}\r\n", large.len()).and_then(|()| stream.write_all(&large));
    assert_eq!(http::receive(&mut stream, "PUT").unwrap().status, 413);
    assert!(bench.packages().is_empty());
    // In chunks that fit it is a package as any other.
    let mut stream = http::send(bench.indexer.port, "PUT", &path, &headers).unwrap();
    for chunk in bytes.chunks(1000) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let response = http::receive(&mut stream, "PUT").unwrap();
    assert_eq!((response.status, bench.names()), (201, vec![NAME.to_owned()]), "{}", response.text());
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let bench = start("");
    let bytes = large_package(8 << 20);
    let (authorization, length) = (authorization(), bytes.len().to_string());
    let headers = [("Authorization", authorization.as_str()), ("Content-Length", length.as_str())];
    let path = format!("/hooks/upload/uploads/{NAME}");
    for part in [0, 1, 500, 1 << 20, 5 << 20, bytes.len() - 1] {
        let mut stream = http::send(bench.indexer.port, "PUT", &path, &headers).unwrap();
        stream.write_all(&bytes[..part]).unwrap();
        wait_until("a temporary file", || !bench.names().is_empty());
        drop(stream);
        wait_until("no file", || bench.names().is_empty());
    }
    assert!(bench.packages().is_empty());
    assert_eq!(bench.put(NAME, &[], &bytes).status, 201);
}

#[test]
fn hostile_names_never_leave_the_directory() {
    let bench = start("");
    let bytes = package(FAMILY, NAME);
    let outside = bench.directory.path().join("outside.rpm");
    fs::write(&outside, "outside").unwrap();
    let before = names(bench.directory.path());
    for name in [
        "..%2Foutside.rpm",
        "%2e%2e/outside.rpm",
        "../outside.rpm",
        "%2Fetc%2Fx.rpm",
        "a%00.rpm",
        "a%0A.rpm",
        "a%5C..%5Cb.rpm",
        ".hidden.rpm",
        ".darkserver-upload.aaaaaa",
        "-rf.rpm",
        "a.deb",
        "a%20b.rpm",
        "%ff.rpm",
        "",
        "..",
        "%2e",
        &format!("{}.rpm", "a".repeat(252)),
    ] {
        let response = bench.put(name, &[], &bytes);
        assert!(matches!(response.status, 400 | 404), "{name}: {} {}", response.status, response.text());
    }
    for store in ["other", "..", "uploads%2F..", "UPLOADS"] {
        let path = format!("/hooks/upload/{store}/{NAME}");
        let headers = [("Authorization", authorization())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let response = http::request_with(bench.indexer.port, "PUT", &path, &headers, &bytes).unwrap();
        assert_eq!(response.status, 404, "{store}: {}", response.text());
    }
    let path = format!("/hooks/upload/nowhere/{NAME}");
    let authorization = authorization();
    let response =
        http::request_with(bench.indexer.port, "PUT", &path, &[("Authorization", &authorization)], &bytes).unwrap();
    assert_eq!(response.status, 422, "a store that the index does not have: {}", response.text());
    assert!(bench.names().is_empty() && names(bench.directory.path()) == before);
    // Links of that name are files of that name, and lead nowhere.
    for target in [outside.clone(), PathBuf::from("../outside.rpm"), PathBuf::from("nowhere")] {
        symlink(&target, bench.root().join(NAME)).unwrap();
        assert_eq!(bench.put(NAME, &[], &bytes).status, 409, "{}", target.display());
        assert_eq!(fs::read(&outside).unwrap(), b"outside");
        assert_eq!(bench.names(), [NAME]);
        fs::remove_file(bench.root().join(NAME)).unwrap();
    }
    fs::create_dir(bench.root().join(NAME)).unwrap();
    assert_eq!(bench.put(NAME, &[], &bytes).status, 409, "a directory");
    assert!(bench.packages().is_empty());
}

#[test]
fn of_uploads_of_one_name_at_once_one_wins() {
    for _ in 0..compat_tests::scale(3, 50) {
        let bench = start("");
        let [one, other] = [FAMILY, OTHER_FAMILY].map(|family| package(family, NAME));
        let statuses: Vec<(bool, u16)> = std::thread::scope(|scope| {
            let put = |at: usize| {
                let bytes = if at.is_multiple_of(2) { &one } else { &other };
                (at.is_multiple_of(2), bench.put(NAME, &[], bytes).status)
            };
            let uploads: Vec<_> = (0..8).map(|at| scope.spawn(move || put(at))).collect();
            uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
        });
        let stored = fs::read(bench.root().join(NAME)).unwrap();
        let is_one = stored == one;
        assert!(is_one || stored == other);
        assert_eq!(statuses.iter().filter(|(_, status)| *status == 201).count(), 1, "{statuses:?}");
        for (of_one, status) in &statuses {
            let expected: &[u16] = if *of_one == is_one { &[200, 201] } else { &[409] };
            assert!(expected.contains(status), "{statuses:?}");
        }
        assert_eq!((bench.names(), bench.packages().len()), (vec![NAME.to_owned()], 1));
    }
}

#[test]
fn a_full_disk_refuses_uploads_and_leaves_nothing() {
    let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" && shift && exec \"$@\"";
    let mut through = unshare("--mount");
    through.extend(["sh", "-c", script, "sh", "{root}"]);
    let mut bench = start_through(&through, "");
    let disk = format!("/proc/{}/root", bench.indexer.process().id());
    let disk = PathBuf::from(disk).join(bench.root().strip_prefix("/").unwrap());
    let response = bench.put(NAME, &[], &large_package(5 << 20));
    assert_eq!((response.status, names(&disk)), (507, vec![]), "{}", response.text());
    // In chunks, the disk is full in the middle.
    let headers = [("Authorization", authorization()), ("Transfer-Encoding", "chunked".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let path = format!("/hooks/upload/uploads/{NAME}");
    let mut stream = http::send(bench.indexer.port, "PUT", &path, &headers).unwrap();
    let large = large_package(6 << 20);
    let _ = write!(stream, "{:x}\r\n", large.len()).and_then(|()| stream.write_all(&large));
    assert_eq!(http::receive(&mut stream, "PUT").unwrap().status, 507);
    wait_until("no file", || names(&disk).is_empty());
    let response = bench.put(NAME, &[], &large_package(3 << 20));
    assert_eq!((response.status, names(&disk)), (201, vec![NAME.to_owned()]), "{}", response.text());
}

#[test]
fn space_is_left_free() {
    let bench = start("");
    let configuration = fs::read_to_string(bench.indexer.configuration()).unwrap();
    let mut bench = bench;
    bench.indexer.configure(&configuration.replace("min_free = 0", "min_free = '900PiB'"));
    bench.indexer.restart();
    let response = bench.put(NAME, &[], &package(FAMILY, NAME));
    assert_eq!((response.status, bench.names()), (507, vec![]), "{}", response.text());
}
