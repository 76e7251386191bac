//! The page at `/` in a real browser.

#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

use std::process::Command;

use compat_tests::darkserver::{Gateway, Sqlite};
use compat_tests::process::run;

/// What Chromium made of a page: its document after everything was loaded, and what it complained about.
fn browse(url: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    // Debian's name of it, and Fedora's.
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let mut chromium = Command::new(["chromium", "chromium-browser"].into_iter().find(is_there).unwrap_or("chromium"));
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url);
    let output = run(&mut chromium, "chromium");
    assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_page_explains_every_call_and_breaks_no_policy_of_its_own() {
    let database = Sqlite::of(&[]);
    let gateway = Gateway::start(&database.url());
    for path in ["/", "/darkserver", "/darkserver/"] {
        let (document, said) = browse(&format!("{}{path}", gateway.url()));
        for call in
            ["/buildids/", "/rpm2buildids/", "/package/", "/serverversion", "/buildid/ID/debuginfo", "/metrics", "/readyz"]
        {
            assert!(document.contains(call), "{path}: expected {call} on the page, found {document}");
        }
        assert!(!said.contains("CONSOLE"), "{path}: the browser complained: {said}");
    }
}
