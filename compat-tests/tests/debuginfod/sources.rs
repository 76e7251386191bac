//! `/source/PATH`.

use std::path::Path;

use crate::{BIDTEST, SOURCES, build_id, gateway, member};

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
    // With the id of dwz's file, too: GDB asks so for units that came through it, and of a subpackage with a version of
    // its own.
    for path in ["/usr/lib/debug/.dwz/bidtest-1.2~rc1-4.fc99.x86_64", "/usr/libexec/asuid"] {
        let answer =
            gateway.get(&format!("/buildid/{}/source{SOURCES}/include/shapes.h", build_id("fedora-compat", path)));
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
        // Members, but no sources: a directory, and files of packages without sources.
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
fn names_of_generated_code_open_no_archive() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/a");
    for name in ["<built-in>", "<unknown>", "<command-line>"].map(|name| name.replace('<', "%3C").replace('>', "%3E")) {
        assert_eq!(gateway.get(&format!("/buildid/{id}/source{SOURCES}/build/{name}")).status, 404, "{name}");
    }
    for answer in ["database", "cache", "error"] {
        assert_eq!(gateway.metric(&format!("gateway_index_lookups_total{{result=\"{answer}\"}}")), 0.0, "{answer}");
    }
}
