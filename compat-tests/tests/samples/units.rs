//! `packaging/systemd`: systemd reads the units without a complaint, and the services have few rights.

use std::process::Command;

use compat_tests::process::run;
use compat_tests::programs::program;
use tempfile::TempDir;

use super::{document, root, text, with};

const SERVICES: [&str; 4] = ["darkserver", "darkserver-import", "darkserver-listen", "darkserver-repositories"];

/// The units with the programs of the workspace, as `make install` puts them below another prefix.
pub(crate) fn units() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let programs = program("darkserver").parent().unwrap().to_owned();
    for entry in std::fs::read_dir(root().join("packaging/systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mut unit = document(&format!("packaging/systemd/{name}"));
        if name.ends_with(".service") {
            unit = with(&unit, &[("/usr/local/bin", text(&programs))]);
        }
        std::fs::write(directory.path().join(name), unit).unwrap();
    }
    directory
}

pub(crate) fn systemd_analyze(arguments: &[&str]) -> String {
    let output = run(Command::new("systemd-analyze").args(["--no-pager"]).args(arguments), "systemd");
    let written = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {written}");
    written
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let directory = units();
    let services = SERVICES.map(|service| format!("{service}.service"));
    let others = ["darkserver.socket", "darkserver-import.timer", "darkserver-repositories.timer"].map(str::to_owned);
    for unit in services.into_iter().chain(others) {
        let written = systemd_analyze(&["verify", "--man=no", text(&directory.path().join(&unit))]);
        let ours: Vec<&str> = written.lines().filter(|line| line.contains("darkserver")).collect();
        assert!(ours.is_empty(), "{unit}: {written}");
    }
}

#[test]
fn the_services_have_few_rights() {
    let directory = units();
    for service in SERVICES {
        let path = directory.path().join(format!("{service}.service"));
        // In tenths. What remains is access to the network, to sockets and to files that are readable for everybody.
        systemd_analyze(&["security", "--offline=true", "--threshold=15", text(&path)]);
    }
}

#[test]
fn the_services_have_a_user_of_their_own() {
    let directory = units();
    let mut command = Command::new("systemd-sysusers");
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    command.arg(format!("--root={}", text(&root))).arg(directory.path().join("darkserver.sysusers"));
    let output = run(&mut command, "systemd");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let users = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(
        users.lines().any(|line| line.starts_with("darkserver:") && line.contains(":/var/lib/darkserver:")),
        "{users}"
    );
    assert!(users.lines().any(|line| line.starts_with("darkserver-import:")), "{users}");
    for service in SERVICES {
        let unit = document(&format!("packaging/systemd/{service}.service"));
        assert!(unit.lines().any(|line| line == "User=darkserver"), "{service}");
    }
}
