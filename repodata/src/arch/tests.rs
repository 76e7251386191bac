use std::io::Write;

use artifact::Kind;

use super::*;

const DESC: &str = "%FILENAME%\nx-debug-2:1.4-3-x86_64.pkg.tar.zst\n\n%NAME%\nx-debug\n\n%BASE%\nx\n\n\
                    %VERSION%\n2:1.4-3\n\n%DESC%\nDetached debugging symbols for x\n\n\
                    %CSIZE%\n1234\n\n%ISIZE%\n99999\n\n\
                    %SHA256SUM%\nba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\n\
                    %ARCH%\nx86_64\n\n%BUILDDATE%\n1700000000\n\n";
const FILES: &str = "%FILES%\nusr/\nusr/lib/\nusr/lib/debug/\nusr/lib/debug/.build-id/\nusr/lib/debug/.build-id/44/\n\
                     usr/lib/debug/.build-id/44/c0baa66fcb59679412d73d4b5188a6077422e3\n\
                     usr/lib/debug/.build-id/44/c0baa66fcb59679412d73d4b5188a6077422e3.debug\n\
                     usr/lib/debug/usr/bin/x.debug\n";

/// A database with these members.
fn database(members: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn list(database: &[u8]) -> (Result<ListingSummary, String>, Vec<Listed>) {
    let mut listed = Vec::new();
    let summary = read(database, 1 << 20, |one| {
        listed.push(one);
        ControlFlow::Continue(())
    });
    (summary.map_err(|error| error.to_string()), listed)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn packages_and_their_links_are_read() {
    let plain = database(&[
        ("x-1-1/desc", &DESC.replace("x-debug", "x").replace("SHA256SUM%\nba", "SHA256SUM%\nbb")),
        ("x-1-1/files", "%FILES%\nusr/bin/x\n"),
        ("x-debug-2:1.4-3/desc", DESC),
        ("x-debug-2:1.4-3/files", FILES),
    ]);
    for database in [plain.clone(), gzip(&plain)] {
        let (summary, listed) = list(&database);
        assert_eq!(summary, Ok(ListingSummary { package_count: 2, refused_count: 0, stated_count: None }));
        let Listed::Package(debug) = &listed[1] else { panic!("{listed:?}") };
        assert_eq!((debug.nevra.nvra().as_str(), debug.nevra.epoch), ("x-debug-1.4-3.x86_64", Some(2)));
        assert_eq!(debug.source_rpm.as_deref(), Some("x-1.4-3.src.tar.gz"));
        assert_eq!((debug.size, debug.built_at), (Some(1234), Some(1_700_000_000)));
        assert_eq!(debug.href.href, "x-debug-2:1.4-3-x86_64.pkg.tar.zst");
        let path = "/usr/lib/debug/.build-id/44/c0baa66fcb59679412d73d4b5188a6077422e3.debug";
        let build_id = "44c0baa66fcb59679412d73d4b5188a6077422e3".parse().unwrap();
        assert_eq!(debug.links, [ListedLink { build_id, kind: Kind::Debuginfo, path: path.into() }]);
    }
}

#[test]
fn a_package_that_lacks_something_is_refused_and_others_are_listed() {
    let (summary, listed) = list(&database(&[
        ("a/desc", &DESC.replace("%FILENAME%", "%OTHER%")),
        ("b/files", FILES),
        ("c/desc", &DESC.replace("%SHA256SUM%", "%SHA1SUM%")),
        ("d/desc", &DESC.replace("2:1.4-3\n", "v:1.4-3\n")),
        ("e/desc", DESC),
        ("stray", "x"),
    ]));
    assert_eq!(summary, Ok(ListingSummary { package_count: 5, refused_count: 4, stated_count: None }));
    let reasons: Vec<(&str, &str)> = listed
        .iter()
        .filter_map(|one| match one {
            Listed::Refused(refused) => Some((refused.name.as_str(), refused.reason.as_str())),
            Listed::Package(_) => None,
        })
        .collect();
    assert_eq!(reasons[0], ("a", "expected %FILENAME% in desc, found none"));
    assert_eq!(reasons[1], ("b", "expected %NAME% in desc, found none"));
    assert_eq!(reasons[2], ("c", "expected %SHA256SUM% or %MD5SUM% in desc, found neither"));
    assert!(reasons[3].1.contains("a number before the colon"), "{reasons:?}");
}

#[test]
fn broken_databases_are_refused() {
    let whole = gzip(&database(&[("x/desc", DESC), ("x/files", FILES)]));
    for (bytes, message) in [
        (&b"<html>"[..], "files database: expected a tar archive, plain or compressed"),
        (&whole[..whole.len() - 20], "files database: expected a complete gzip stream"),
        (&[], "files database: "),
    ] {
        match list(bytes).0 {
            Err(error) => assert!(error.starts_with(message), "{error}"),
            Ok(summary) => assert!(bytes.is_empty() && summary.package_count == 0),
        }
    }
    let large = gzip(&database(&[("x/desc", DESC), ("x/files", &"usr/bin/x\n".repeat(200_000))]));
    let error = list(&large).0.unwrap_err();
    assert_eq!(error, "files database: expected at most 1048576 bytes in a tar archive, found more");
    let long = database(&[("x/desc", &format!("%NAME%\n{}\n", "a".repeat(100_000)))]);
    assert!(list(&long).0.unwrap_err().contains("desc, line 2: expected at most 65536 bytes of fields"));
}

#[test]
fn a_caller_can_break_off() {
    let database = database(&[("a/desc", DESC), ("b/desc", DESC), ("c/desc", DESC)]);
    let mut count = 0;
    let summary = read(&*database, 1 << 20, |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((summary.unwrap().package_count, count), (1, 1));
}
