//! The debuginfod web API of the gateway, for archives on its own disk: `debuginfod-find` as a client, and requests as bytes on a
//! socket for what no client does.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{Gateway, Sqlite, import_ok};
use compat_tests::debuginfod::Client;
use compat_tests::fixtures::{self, Truth};
use compat_tests::http::{self, Answer};
use compat_tests::process::run;
use compat_tests::rpmbuild;

/// Its `.debug` names dwz's file, its sources are in -debugsource.
const BIDTEST: &str = "bidtest-1.2~rc1-4.fc99";
const SOURCES: &str = "/usr/src/debug/bidtest-1.2~rc1-4.fc99.x86_64";

/// A gateway for these families.
fn gateway(families: &[&str]) -> (Sqlite, Gateway) {
    let folders: Vec<_> = families.iter().map(|family| fixtures::family(family)).collect();
    let index = Sqlite::of(&folders.iter().map(|folder| folder.as_path()).collect::<Vec<_>>());
    let gateway = Gateway::start(&index.url());
    (index, gateway)
}

/// The build-id of a member.
fn build_id(family: &str, path: &str) -> String {
    fixtures::truth(family).into_iter().find(|row| row.path == path).unwrap_or_else(|| panic!("{path} in {family}")).build_id
}

fn member(family: &str, nvra: &str, path: &str) -> Vec<u8> {
    fixtures::member(&fixtures::package(family, nvra), path)
}

fn member_of(row: &Truth) -> Vec<u8> {
    fixtures::member(&fixtures::rpm(&row.rpm), &row.path)
}

/// What a file is good for: is it an executable, is it debuginfo? As binutils sees it.
fn kinds(elf: &[u8]) -> (bool, bool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elf).unwrap();
    let output = run(Command::new("readelf").arg("-SW").arg(file.path()), "binutils");
    let text = String::from_utf8(output.stdout).unwrap();
    let has = |name: &str, kind: &str| {
        text.lines().any(|line| {
            let mut words = line.split(']').nth(1).unwrap_or_default().split_whitespace();
            words.next() == Some(name) && words.next() == Some(kind)
        })
    };
    let executable = has(".text", "PROGBITS");
    (executable, has(".debug_info", "PROGBITS") || (has(".symtab", "SYMTAB") && !executable))
}

/// The bytes of a section, as binutils sees them.
fn section(elf: &[u8], name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("elf"), folder.path().join("section"));
    std::fs::write(&file, elf).unwrap();
    let mut command = Command::new("objcopy");
    command.arg("--dump-section").arg(format!("{name}={}", out.display())).arg(&file).arg("/dev/null");
    let output = run(&mut command, "binutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

#[test]
fn every_build_id_of_every_family_gives_its_members_by_kind() {
    for family in fixtures::families() {
        let (_index, gateway) = gateway(&[&family]);
        let truth = fixtures::truth_with_bytes(&family);
        assert!(!truth.is_empty(), "{family}: expected rows in truth.tsv");
        for build_id in truth.iter().map(|(row, _)| &row.build_id).collect::<BTreeSet<_>>() {
            for (word, is_executable) in [("executable", true), ("debuginfo", false)] {
                let of_kind = |row: &Truth, elf: &[u8]| match (is_executable, kinds(elf)) {
                    (true, (executable, _)) => executable,
                    // The header of a v6 package has MIME types: of a linked program it does not say whether it is stripped.
                    (false, (true, _)) if family == "v6" && row.path.starts_with("/usr/bin/") => false,
                    (false, (_, debuginfo)) => debuginfo,
                };
                let rows: Vec<_> = truth.iter().filter(|(row, bytes)| row.build_id == *build_id && of_kind(row, bytes)).collect();
                let answer = gateway.get(&format!("/buildid/{build_id}/{word}"));
                if rows.is_empty() {
                    assert_eq!(answer.status, 404, "{family}: {build_id}/{word}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{family}: {build_id}/{word}: {}", gateway.log());
                let (row, bytes) = named(&rows, &answer);
                assert!(answer.body == *bytes, "{family}: {build_id}/{word}: other bytes than {} in {}", row.path, row.rpm);
                assert_eq!(answer.header("x-debuginfod-size"), Some(&*bytes.len().to_string()));
            }
        }
    }
}

#[test]
fn a_payload_that_was_read_tells_the_kinds_that_a_header_cannot() {
    let index = Sqlite::empty();
    let folder = fixtures::family("v6");
    import_ok(&index.url(), &["dir", folder.to_str().unwrap(), "--payload", "always"]);
    let gateway = Gateway::start(&index.url());
    let (row, bytes) = fixtures::truth_with_bytes("v6").into_iter().find(|(row, _)| row.path == "/usr/bin/sixpack").unwrap();
    for word in ["executable", "debuginfo"] {
        assert!(gateway.get(&format!("/buildid/{}/{word}", row.build_id)).body == bytes, "{word}: other bytes");
    }
}

/// The row that an answer's headers name.
fn named<'a>(rows: &[&'a (Truth, Vec<u8>)], answer: &Answer) -> &'a (Truth, Vec<u8>) {
    let (file, archive) = (answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"));
    let is_named = |(row, _): &(Truth, _)| Some(&*row.path) == file && Some(&*format!("{}.rpm", row.nvra())) == archive;
    rows.iter()
        .find(|row| is_named(row))
        .unwrap_or_else(|| panic!("expected one of the rows of truth.tsv, found {file:?} in {archive:?}"))
}

#[test]
fn debuginfod_find_gets_executables_debuginfo_and_sources_of_old_and_new_packages() {
    for (family, release, debuginfo, source) in [
        ("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug", "src/a.c"),
        ("fedora-alldebug", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug", "src/a.c"),
        ("fedora-none", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug", "src/a.c"),
        ("old-classes", "oldtool-1.0", "/usr/lib/debug/usr/bin/oldtool.debug", "src/oldtool.c"),
        ("old-noclasses", "oldtool-1.0", "/usr/lib/debug/usr/bin/oldtool.debug", "src/oldtool.c"),
    ] {
        let (_index, gateway) = gateway(&[family]);
        let client = Client::of(&gateway.url());
        let truth = fixtures::truth(family);
        let row = truth.iter().find(|row| row.path == debuginfo).unwrap();
        // Copies of one program with one build-id differ in their .gnu_debuglink.
        let executable = client.found(&["executable", &row.build_id]);
        let mut copies = truth.iter().filter(|other| other.build_id == row.build_id && !other.path.ends_with(".debug"));
        assert!(copies.any(|copy| member_of(copy) == executable), "{family}: another executable");
        assert!(client.found(&["debuginfo", &row.build_id]) == member_of(row), "{family}: other debuginfo");
        let source = format!("/usr/src/debug/{release}/{source}");
        let rpms = fixtures::rpms(family);
        let holder = if family.starts_with("old") { "-debuginfo-" } else { "-debugsource-" };
        let rpm = rpms.iter().find(|rpm| rpm.to_string_lossy().contains(holder)).unwrap();
        assert_eq!(client.found(&["source", &row.build_id, &source]), fixtures::member(rpm, &source), "{family}");
        // The second time comes out of the client's cache.
        let before = gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}");
        assert!(client.found(&["debuginfo", &row.build_id]) == member_of(row), "{family}: other debuginfo out of the cache");
        assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}"), before, "{family}");
    }
}

#[test]
fn debuginfod_find_says_that_there_is_no_such_file() {
    let (_index, gateway) = gateway(&["server"]);
    let output = Client::of(&gateway.url()).find(&["debuginfo", "00112233445566778899aabbccddeeff00112233"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("No such file or directory"), "{said}");
}

#[test]
fn of_two_files_with_one_build_id_the_one_with_dwarf_is_the_debuginfo() {
    let (_index, gateway) = gateway(&["dwarf-twins"]);
    let path = "/usr/lib/debug/usr/bin/twin.debug";
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", build_id("dwarf-twins", path)));
    assert_eq!(answer.header("x-debuginfod-archive"), Some("twin-full-1.0-1.fc99.x86_64.rpm"));
    assert!(answer.body == member("dwarf-twins", "twin-full-1.0-1.fc99.x86_64", path), "other bytes");
}

#[test]
fn dwz_files_are_found_by_the_id_that_gnu_debugaltlink_names() {
    for (family, debuginfo) in [
        ("fedora-compat", "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug"),
        ("old-classes", "/usr/lib/debug/usr/bin/oldtool.debug"),
    ] {
        let (_index, gateway) = gateway(&[family]);
        let link = gateway.get(&format!("/buildid/{}/section/.gnu_debugaltlink", build_id(family, debuginfo)));
        assert_eq!(link.status, 200, "{family}");
        let name = link.body.split(|byte| *byte == 0).next().unwrap();
        let id: String = link.body[name.len() + 1..].iter().map(|byte| format!("{byte:02x}")).collect();
        let row = fixtures::truth(family).into_iter().find(|row| row.path.contains("/.dwz/")).unwrap();
        assert_eq!(id, row.build_id, "{family}");
        let answer = gateway.get(&format!("/buildid/{id}/debuginfo"));
        assert_eq!((answer.status, answer.header("x-debuginfod-file")), (200, Some(&*row.path)), "{family}");
        assert!(answer.body == member_of(&row), "{family}: other bytes");
        assert_eq!(gateway.get(&format!("/buildid/{id}/executable")).status, 404, "{family}");
    }
}

#[test]
fn a_set_uid_program_is_found_by_its_numbered_link() {
    let folder = tempfile::tempdir().unwrap();
    fixtures::copy(&[fixtures::package("fedora-compat", "bidtest-sub-9.9-4.fc99.x86_64")], folder.path());
    let index = Sqlite::of(&[folder.path()]);
    let gateway = Gateway::start(&index.url());
    let answer = gateway.get(&format!("/buildid/{}/executable", build_id("fedora-compat", "/usr/libexec/asuid")));
    assert_eq!((answer.status, answer.header("x-debuginfod-file")), (200, Some("/usr/libexec/asuid")));
    assert!(answer.body == member("fedora-compat", "bidtest-sub-9.9-4.fc99.x86_64", "/usr/libexec/asuid"), "other bytes");
}

#[test]
fn the_first_of_several_hard_links_has_the_bytes_that_the_last_carries() {
    for (family, nvra, first) in [
        ("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/bin/a"),
        ("v6", "sixpack-6.0-1.fc99.x86_64", "/usr/bin/sixpack"),
        ("largefile", "largefile-6.0-1.fc99.x86_64", "/usr/bin/largefile"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fixtures::copy(&[fixtures::package(family, nvra)], folder.path());
        let index = Sqlite::of(&[folder.path()]);
        let gateway = Gateway::start(&index.url());
        let answer = gateway.get(&format!("/buildid/{}/executable", build_id(family, first)));
        assert_eq!(answer.header("x-debuginfod-file"), Some(first), "{family}");
        assert!(answer.body == member(family, nvra, first) && !answer.body.is_empty(), "{family}: other bytes");
    }
}

#[test]
fn sources_are_found_by_every_form_of_their_path() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let debugsource = format!("{BIDTEST}.x86_64").replace("bidtest-", "bidtest-debugsource-");
    let id = build_id("fedora-compat", "/usr/bin/b");
    let expected = member("fedora-compat", &debugsource, &format!("{SOURCES}/src/a.c"));
    let dots = SOURCES.replace('/', "//");
    for path in [
        format!("{SOURCES}/src/a.c"),
        format!("{SOURCES}/build/../src/a.c"),
        format!("{SOURCES}/build/./../src//a.c"),
        format!("/{SOURCES}/src/a.c"),
        format!("{dots}/src/a.c"),
        format!("/../../..{SOURCES}/src/a.c"),
        SOURCES.replace('/', "%2F") + "%2Fsrc%2Fa.c",
        format!("/%2F{}/src/a.c", &SOURCES[1..]),
        format!("{SOURCES}/nowhere/%2e%2e/src/a.c"),
        format!("{SOURCES}/src/a.c").replace('~', "%7E"),
    ] {
        let answer = gateway.get(&format!("/buildid/{id}/source{path}"));
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body == expected, "{path}: other bytes");
        assert_eq!(answer.header("x-debuginfod-file"), Some(&*format!("{SOURCES}/src/a.c")), "{path}");
        assert_eq!(answer.header("x-debuginfod-archive"), Some(&*format!("{debugsource}.rpm")), "{path}");
    }
    // With the id of dwz's file, too: GDB asks so for units that came through it, and of a subpackage with a version of its own.
    for path in ["/usr/lib/debug/.dwz/bidtest-1.2~rc1-4.fc99.x86_64", "/usr/libexec/asuid"] {
        let answer = gateway.get(&format!("/buildid/{}/source{SOURCES}/include/shapes.h", build_id("fedora-compat", path)));
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.body == member("fedora-compat", &debugsource, &format!("{SOURCES}/include/shapes.h")),
            "{path}: other bytes"
        );
    }
}

#[test]
fn sources_never_come_from_outside_a_package() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/a");
    assert!(Path::new("/etc/passwd").is_file());
    for path in [
        "/../../etc/passwd",
        "/../../../../../../../../etc/passwd",
        "/etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "%2Fetc%2Fpasswd",
        "//etc/passwd",
        "/proc/self/environ",
        // Members, but no sources: a folder, and files of packages without sources.
        SOURCES,
        &format!("{SOURCES}/build"),
        "/usr/bin/a",
    ] {
        let answer = gateway.get(&format!("/buildid/{id}/source{path}"));
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("root:"), "{path}");
    }
    assert_eq!(gateway.get(&format!("/buildid/{id}/source{SOURCES}/src/missing.c")).status, 404);
}

#[test]
fn names_of_code_without_a_file_cost_nothing() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/a");
    for name in ["<built-in>", "<unknown>", "<command-line>"].map(|name| name.replace('<', "%3C").replace('>', "%3E")) {
        assert_eq!(gateway.get(&format!("/buildid/{id}/source{SOURCES}/build/{name}")).status, 404, "{name}");
    }
    for answer in ["database", "memory", "error"] {
        assert_eq!(gateway.metric(&format!("gateway_index_lookups_total{{answer=\"{answer}\"}}")), 0.0, "{answer}");
    }
}

#[test]
fn sections_equal_those_that_binutils_cuts_out() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let debuginfo = "/usr/lib/debug/usr/bin/b-1.2~rc1-4.fc99.x86_64.debug";
    let id = build_id("fedora-compat", debuginfo);
    let main = member("fedora-compat", &format!("{BIDTEST}.x86_64"), "/usr/bin/b");
    let debug = member("fedora-compat", "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64", debuginfo);
    // .text is NOBITS in the debuginfo: it comes from the executable.
    for (name, elf, file) in [
        (".debug_info", &debug, debuginfo),
        (".gnu_debugaltlink", &debug, debuginfo),
        (".text", &main, "/usr/bin/b"),
        (".rodata", &main, "/usr/bin/b"),
    ] {
        let expected = section(elf, name);
        assert!(!expected.is_empty(), "{name}");
        // The second time as the first: the reference server answers 404 then.
        for _ in 0..2 {
            let answer = gateway.get(&format!("/buildid/{id}/section/{name}"));
            assert_eq!(answer.status, 200, "{name}");
            assert!(answer.body == expected, "{name}: other bytes");
            assert_eq!(answer.header("x-debuginfod-size"), Some(&*expected.len().to_string()), "{name}");
            assert_eq!(answer.header("x-debuginfod-file"), Some(file), "{name}");
        }
    }
    for name in [".bss", ".no_such_section", ".debug_inf", ".debug_info2"] {
        assert_eq!(gateway.get(&format!("/buildid/{id}/section/{name}")).status, 404, "{name}");
    }
    assert_eq!(gateway.get(&format!("/buildid/{id}/section/%2e%2e")).status, 400, "no name of a section");
    // Two sections of one file are two contents.
    let etags = [".text", ".rodata"].map(|name| etag(&gateway.get(&format!("/buildid/{id}/section/{name}"))));
    assert_ne!(etags[0], etags[1]);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    for path in ["executable", "debuginfo", "section/.text", &format!("source{SOURCES}/src/b.c"), "section/.bss", "source/none"] {
        // HEAD first: it must not depend on an earlier GET.
        let path = format!("/buildid/{id}/{path}");
        let head = http::request(gateway.port, "HEAD", &path, &[]).unwrap();
        let get = gateway.get(&path);
        let without_date = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            headers
        };
        assert_eq!((head.status, without_date(&head)), (get.status, without_date(&get)), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        assert_eq!(head.header("content-length"), Some(&*get.body.len().to_string()), "{path}");
    }
}

#[test]
fn headers_name_the_member_its_time_its_digest_and_its_archive() {
    let (_index, gateway) = gateway(&["fedora-compat", "v3"]);
    let of = |family: &str, path: &str, word: &str| gateway.get(&format!("/buildid/{}/{word}", build_id(family, path)));
    let answer = of("fedora-compat", "/usr/bin/b", "executable");
    assert_eq!(answer.header("x-debuginfod-file"), Some("/usr/bin/b"));
    assert_eq!(answer.header("x-debuginfod-archive"), Some("bidtest-1.2~rc1-4.fc99.x86_64.rpm"));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    let cached = answer.header("cache-control").unwrap();
    assert!(cached.contains("public") && cached.contains("max-age="), "{cached}");
    let folder = tempfile::tempdir().unwrap();
    for (family, nvra, path) in
        [("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/bin/b"), ("v3", "ancient-1.0-1.x86_64", "/usr/bin/ancient")]
    {
        fixtures::unpack(&fixtures::package(family, nvra), folder.path());
        let file = folder.path().join(&path[1..]);
        let output =
            run(Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT", "-r"]).arg(file), "coreutils");
        let expected = String::from_utf8(output.stdout).unwrap();
        assert_eq!(of(family, path, "executable").header("last-modified"), Some(expected.trim()), "{path}");
    }
    // The digest in the header: SHA-256, or MD5 in a package of format 3.
    for (family, path, word, tool) in [
        ("fedora-compat", "/usr/bin/b", "executable", "sha256sum"),
        ("fedora-compat", "/usr/bin/b", "debuginfo", "sha256sum"),
        ("v3", "/usr/bin/ancient", "executable", "md5sum"),
    ] {
        let answer = of(family, path, word);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &answer.body).unwrap();
        let output = run(Command::new(tool).arg(file.path()), "coreutils");
        let sum = String::from_utf8(output.stdout).unwrap();
        let etag = etag(&answer);
        assert!(etag.trim_matches('"').ends_with(sum.split(' ').next().unwrap()), "{path}: {etag} {sum}");
    }
}

fn etag(answer: &Answer) -> String {
    let etag = answer.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "expected a strong ETag, found {etag}");
    etag.to_owned()
}

#[test]
fn ranges_and_validators_follow_rfc_9110() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let path = format!("/buildid/{id}/debuginfo");
    let ask = |headers: &[(&str, &str)]| http::request(gateway.port, "GET", &path, headers).unwrap();
    let whole = gateway.get(&path);
    let size = whole.body.len();
    let last = size - 1;
    for (range, first, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-199".to_owned(), 100, 200),
        ("bytes=100-".to_owned(), 100, size),
        (format!("bytes=100-{}", size + 100), 100, size),
        ("bytes=-64".to_owned(), size - 64, size),
        (format!("bytes=-{}", size + 1), 0, size),
        (format!("bytes={last}-{last}"), last, size),
    ] {
        let answer = ask(&[("Range", &range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == whole.body[first..end], "{range}: other bytes");
        assert_eq!(answer.header("content-range"), Some(&*format!("bytes {first}-{}/{size}", end - 1)), "{range}");
    }
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let answer = ask(&[("Range", &range)]);
        assert_eq!((answer.status, answer.header("content-range")), (416, Some(&*format!("bytes */{size}"))), "{range}");
        assert!(answer.body.is_empty(), "{range}");
    }
    for range in ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1"] {
        let answer = ask(&[("Range", range)]);
        assert_eq!((answer.status, answer.body.len()), (200, size), "{range}");
    }
    let (etag, modified) = (etag(&whole), whole.header("last-modified").unwrap());
    let earlier = "Fri, 31 Dec 1999 23:59:59 GMT";
    for (headers, status) in [
        (vec![("If-None-Match", etag.as_str())], 304),
        (vec![("If-None-Match", "\"other\"")], 200),
        (vec![("If-None-Match", "*")], 304),
        (vec![("If-Modified-Since", modified)], 304),
        (vec![("If-Modified-Since", earlier)], 200),
        // The stronger validator decides.
        (vec![("If-None-Match", "\"other\""), ("If-Modified-Since", modified)], 200),
        (vec![("If-Range", etag.as_str()), ("Range", "bytes=0-9")], 206),
        (vec![("If-Range", modified), ("Range", "bytes=0-9")], 206),
        (vec![("If-Range", "\"other\""), ("Range", "bytes=0-9")], 200),
        (vec![("If-Range", earlier), ("Range", "bytes=0-9")], 200),
    ] {
        let answer = ask(&headers);
        assert_eq!(answer.status, status, "{headers:?}");
        let length = [(200, size), (206, 10), (304, 0)].iter().find(|(known, _)| *known == status).unwrap().1;
        assert_eq!(answer.body.len(), length, "{headers:?}");
    }
    let other = gateway.get(&format!("/buildid/{id}/executable"));
    assert_ne!(other.header("etag"), Some(&*etag));
}

#[test]
fn a_file_beyond_what_the_client_wants_is_refused() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let path = format!("/buildid/{}/executable", build_id("fedora-compat", "/usr/bin/b"));
    let size = gateway.get(&path).body.len();
    for (most, status) in [(size, 200), (size - 1, 406), (1, 406)] {
        let answer = http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", &most.to_string())]).unwrap();
        assert_eq!(answer.status, status, "{most}");
    }
}

#[test]
fn concurrent_cold_requests_extract_once() {
    let (_index, gateway) = gateway(&["payloads"]);
    let path = format!("/buildid/{}/executable", build_id("payloads", "/usr/bin/payload-xz"));
    let expected = member("payloads", "payload-xz-1.0-1.fc99.x86_64", "/usr/bin/payload-xz");
    std::thread::scope(|scope| {
        let ask = || assert!(gateway.get(&path).body == expected, "other bytes");
        let asked: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().for_each(|asked| asked.join().unwrap());
    });
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"whole\"}"), 1.0);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"failed\"}"), 0.0);
    assert_eq!(gateway.metric("gateway_files"), 1.0);
    assert_eq!(gateway.metric("gateway_files_bytes"), expected.len() as f64);
}

#[test]
fn a_new_gateway_takes_over_the_files_of_the_one_before() {
    let (_index, mut gateway) = gateway(&["payloads"]);
    let rows = fixtures::truth("payloads");
    let ask = |gateway: &Gateway| {
        for row in &rows {
            assert!(gateway.get(&format!("/buildid/{}/executable", row.build_id)).body == member_of(row), "{}", row.path);
        }
        rows.iter().map(|row| etag(&gateway.get(&format!("/buildid/{}/executable", row.build_id)))).collect::<Vec<_>>()
    };
    let etags = ask(&gateway);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"whole\"}"), rows.len() as f64);
    gateway.restart();
    assert_eq!(gateway.metric("gateway_files"), rows.len() as f64);
    assert_eq!(ask(&gateway), etags);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"whole\"}"), 0.0);
}

#[test]
fn a_cached_file_that_somebody_removed_is_extracted_again_unless_it_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(folder.path(), "removed", 200 << 10);
    let index = Sqlite::of(&[folder.path(), &fixtures::family("payloads")]);
    let gateway = Gateway::start(&index.url());
    // Of all packages with this build-id the one that was built last.
    let large = format!("/buildid/{}/executable", rpmbuild::build_id());
    let row = fixtures::truth("payloads").into_iter().find(|row| row.build_id != rpmbuild::build_id()).unwrap();
    let small = format!("/buildid/{}/executable", row.build_id);
    // A small one is in memory once it was asked for.
    for extractions in [2.0, 3.0] {
        assert!(gateway.get(&large).body == made.bytes, "other bytes");
        assert!(gateway.get(&small).body == member_of(&row), "other bytes");
        assert_eq!(gateway.metric("gateway_extractions_total{result=\"whole\"}"), extractions);
        for file in std::fs::read_dir(gateway.cache()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// Bytes of all files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    // A file may be evicted between the two looks.
    files.filter_map(|file| Some(file.unwrap().metadata().ok()?.len())).sum()
}

#[test]
fn the_cache_stays_below_its_size_and_answers_stay_right() {
    const LIMIT: u64 = 48 << 10;
    let folders = ["payloads", "fedora-compat", "server"].map(fixtures::family);
    let index = Sqlite::of(&folders.each_ref().map(|folder| folder.as_path()));
    let gateway = Gateway::start_with(&index.url(), "", &["--cache-size", "48KiB"]);
    let rows = ["payloads", "server"].iter().flat_map(|family| fixtures::truth_with_bytes(family));
    let path = |(row, bytes): (Truth, Vec<u8>)| {
        let word = if kinds(&bytes).0 { "executable" } else { "debuginfo" };
        (format!("/buildid/{}/{word}", row.build_id), bytes)
    };
    let rows: Vec<(String, Vec<u8>)> = rows.map(path).collect();
    assert!(rows.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() > 2 * LIMIT, "expected files beyond the limit");
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (rows, gateway) = (&rows, &gateway);
            scope.spawn(move || {
                for at in 0..3 * rows.len() {
                    let (path, bytes) = &rows[(at * (turn + 1) + turn) % rows.len()];
                    assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
                }
            });
        }
    });
    // A file is evicted right after the answer that it made too much.
    let started = Instant::now();
    while bytes_in(&gateway.cache()) > LIMIT {
        assert!(started.elapsed() < Duration::from_secs(10), "{} bytes in the cache", bytes_in(&gateway.cache()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(bytes_in(&gateway.cache()) > 0);
    assert!(gateway.metric("gateway_files_bytes") <= LIMIT as f64);
}

#[test]
fn a_file_larger_than_the_whole_cache_is_served() {
    let index = Sqlite::of(&[&fixtures::family("payloads")]);
    let gateway = Gateway::start_with(&index.url(), "", &["--cache-size", "2KiB"]);
    let row = &fixtures::truth("payloads")[0];
    let (path, expected) = (format!("/buildid/{}/executable", row.build_id), member_of(row));
    // Each answer's file is evicted while it is being sent.
    for _ in 0..200 {
        assert!(gateway.get(&path).body == expected, "other bytes");
    }
    let started = Instant::now();
    while bytes_in(&gateway.cache()) > 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "{} bytes in the cache", bytes_in(&gateway.cache()));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn with_all_families_in_one_index_every_answer_is_a_right_one() {
    let families = fixtures::families();
    let (_index, gateway) = gateway(&families.iter().map(String::as_str).collect::<Vec<_>>());
    let truth: Vec<_> = families.iter().flat_map(|family| fixtures::truth_with_bytes(family)).collect();
    for build_id in truth.iter().map(|(row, _)| &row.build_id).collect::<BTreeSet<_>>() {
        let mut answered = 0;
        for word in ["executable", "debuginfo"] {
            let answer = gateway.get(&format!("/buildid/{build_id}/{word}"));
            if answer.status == 404 {
                continue;
            }
            assert_eq!(answer.status, 200, "{build_id}/{word}");
            let is_right = |(row, bytes): &(Truth, Vec<u8>)| {
                row.build_id == *build_id && Some(&*row.path) == answer.header("x-debuginfod-file") && *bytes == answer.body
            };
            assert!(truth.iter().any(is_right), "{build_id}/{word}: other bytes");
            answered += 1;
        }
        assert!(answered > 0, "{build_id}");
    }
}
