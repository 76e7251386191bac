//! The drop-ins of docs/operations.md (`systemctl edit UNIT`): systemd reads them, and they change the units as the
//! text states.

use std::collections::BTreeMap;

use compat_tests::programs::program;

use super::units::{systemd_analyze, units};
use super::{document, text, with};

/// The drop-ins in docs/operations.md, each with the units that it is for.
fn drop_ins() -> Vec<(Vec<String>, String)> {
    let operations = document("docs/operations.md");
    let blocks = operations.split("```ini\n").skip(1).filter_map(|block| block.split("```").next());
    let drop_ins = blocks.map(|block| {
        let text: String = block.lines().map(|line| format!("{}\n", line.trim_start())).collect();
        let (title, _) = text.split_once('\n').unwrap();
        let units = title.strip_prefix("# systemctl edit ").unwrap_or_else(|| panic!("expected units, found {title}"));
        (units.split(' ').map(str::to_owned).collect(), text)
    });
    drop_ins.collect()
}

/// The values of a key of a unit and its drop-in. An empty value removes those before it (systemd.syntax(7)).
fn values(unit: &str, drop_in: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in unit.lines().chain(drop_in.lines()) {
        match line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')) {
            Some("") => values.clear(),
            Some(value) => values.push(value.to_owned()),
            None => {}
        }
    }
    values
}

/// The complaints of systemd about a unit with a drop-in, which is a file beside it.
fn complaints(unit: &str, drop_in: &str) -> Vec<String> {
    let (directory, programs) = (units(), program("darkserver").parent().unwrap().to_owned());
    let beside = directory.path().join(format!("{unit}.d"));
    std::fs::create_dir_all(&beside).unwrap();
    let drop_in = drop_in.replace("/usr/local/bin", text(&programs));
    std::fs::write(beside.join("override.conf"), &drop_in).unwrap();
    let written = systemd_analyze(&["verify", "--man=no", text(&directory.path().join(unit))]);
    written.lines().filter(|line| line.contains("darkserver")).map(str::to_owned).collect()
}

#[test]
fn systemd_reads_every_drop_in() {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (names, drop_in) in drop_ins() {
        for unit in names {
            assert_eq!(complaints(&unit, &drop_in), [""; 0], "{unit}");
            all.entry(unit).or_default().push_str(&drop_in);
        }
    }
    assert_eq!(all.len(), 5, "expected drop-ins of four services and of the sockets, found {all:?}");
    // An unknown key is a complaint: drop-ins are read.
    assert_ne!(complaints("darkserver.service", "[Service]\nExecAnother=x\n"), [""; 0]);
}

#[test]
fn the_import_of_another_directory_replaces_that_of_the_unit() {
    let unit = document("packaging/systemd/darkserver-import.service");
    let (_, drop_in) = drop_ins().into_iter().find(|(_, drop_in)| drop_in.contains("ExecStart=")).unwrap();
    let [command] = &values(&unit, &drop_in, "ExecStart")[..] else { panic!("expected one command: {drop_in}") };
    let directory = command.split(' ').nth(2).unwrap();
    assert_ne!(directory, "/srv/rpms");
    assert!(values(&unit, &drop_in, "RequiresMountsFor").iter().any(|path| path == directory), "{drop_in}");
    // Only the directory differs.
    assert_eq!(values(&unit, "", "ExecStart"), [with(command, &[(directory, "/srv/rpms")])]);
}

#[test]
fn an_import_with_a_user_of_its_own_needs_no_directory_of_the_gateway() {
    let unit = document("packaging/systemd/darkserver-import.service");
    let (_, drop_in) = drop_ins().into_iter().find(|(_, drop_in)| drop_in.contains("User=")).unwrap();
    let user = values(&unit, &drop_in, "User").pop().unwrap();
    assert!(document("packaging/systemd/darkserver.sysusers").contains(&format!("u {user} ")), "{user}");
    assert_eq!(values(&unit, &drop_in, "StateDirectory"), [""; 0]);
    assert_eq!(values(&unit, &drop_in, "WorkingDirectory").pop().as_deref(), Some("/"));
}
