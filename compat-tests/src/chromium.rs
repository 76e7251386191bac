//! A real browser.

use std::process::Command;

use crate::process::run;

/// Opens a page in Chromium. Returns its document after everything was loaded, and Chromium's messages.
///
/// # Panics
/// If Chromium fails.
pub fn browse(url: &str) -> (String, String) {
    let profile = tempfile::tempdir().expect("a temporary directory");
    // Debian's name of it, and Fedora's.
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let mut chromium = Command::new(["chromium", "chromium-browser"].into_iter().find(is_there).unwrap_or("chromium"));
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        // Maximum time that scripts may wait for answers, in milliseconds of the page's own time.
        .arg("--virtual-time-budget=20000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url);
    let output = run(&mut chromium, "chromium");
    assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}
