//! Runs of `darkserver-import repo`, and the contents of an index as text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::darkserver::{Sqlite, import_in};
use compat_tests::fixtures;
use compat_tests::process::run;
use serde_json::Value;

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit status.
    pub(crate) code: Option<i32>,
    /// Its messages.
    pub(crate) stderr: String,
    /// What it printed.
    pub(crate) stdout: String,
}

impl Run {
    /// The object that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects this exit status.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stderr, self.stdout);
        self
    }

    /// Expects that its messages contain each of these texts.
    #[track_caller]
    pub(crate) fn mentions(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "expected {text:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// Runs `darkserver-import` with these arguments and `--json`.
pub(crate) fn run_import(index: &Sqlite, arguments: &[&str]) -> Run {
    run_import_in(&[], index, arguments)
}

/// As [`run_import`], in an environment with these variables.
pub(crate) fn run_import_in(environment: &[(&str, &Path)], index: &Sqlite, arguments: &[&str]) -> Run {
    let output = import_in(environment, &index.url(), &[arguments, &["--json"]].concat());
    Run {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// Runs `darkserver-import repo URL` with these arguments. The repository is called `tested`.
pub(crate) fn repo(index: &Sqlite, url: &str, arguments: &[&str]) -> Run {
    run_import(index, &[&["repo", url, "--name", "tested"], arguments].concat())
}

/// The rows of a statement on an index, values separated by `|`.
pub(crate) fn rows(index: &Sqlite, statement: &str) -> Vec<String> {
    let output = run(Command::new("sqlite3").arg(index.path()).arg(statement), "sqlite3");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The number that a statement on an index gives.
pub(crate) fn number(index: &Sqlite, statement: &str) -> u64 {
    rows(index, statement)[0].parse().unwrap()
}

/// All facts about packages that do not depend on where they were read, nor when.
pub(crate) fn contents(index: &Sqlite) -> BTreeSet<String> {
    const PACKAGE: &str = "p.format || ' ' || coalesce(p.identity, '-') || ' ' || p.nvra";
    let statements = [
        "p.identity_kind, p.name, p.epoch, p.version, p.\"release\", p.arch, p.source_rpm, p.distro, p.built_at, \
         p.state from packages p",
        "'artifact', a.ordinal, a.build_id, a.kind, a.has_dwarf, a.dir, a.file_name, a.size, a.mtime, a.sha256, \
         a.tar_offset from packages p join artifacts a on a.package_id = p.id",
        "'module', m.ordinal, m.dir, m.file_name from packages p join modules m on m.package_id = p.id",
        "'include', i.dir from packages p join includes i on i.package_id = p.id",
        "'claim', c.build_id, c.kind, c.link_path from packages p join claims c on c.package_id = p.id",
        "'location', l.size, l.header_start, l.header_end, l.signing_key, l.gone_at is null from packages p \
         join locations l on l.package_id = p.id where l.derived = 0",
    ];
    statements.iter().flat_map(|rest| rows(index, &format!("select {PACKAGE}, {rest}"))).collect()
}

/// Expects that two indexes have the same contents.
#[track_caller]
pub(crate) fn assert_same(found: &Sqlite, expected: &Sqlite, what: &str) {
    let (found, expected) = (contents(found), contents(expected));
    let missing: Vec<_> = expected.difference(&found).collect();
    let extra: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:#?}, too much {extra:#?}");
}

/// Expects that an index has nothing that a right one does not have.
#[track_caller]
pub(crate) fn assert_nothing_wrong(found: &Sqlite, right: &Sqlite, what: &str) {
    let (found, right) = (contents(found), contents(right));
    let extra: Vec<_> = found.difference(&right).collect();
    assert!(extra.is_empty(), "{what}: too much {extra:#?}");
}

/// The index that `dir` makes of a directory.
pub(crate) fn index_of_directory(directory: &Path) -> Sqlite {
    Sqlite::with_packages(&[directory])
}

/// The names of all families.
pub(crate) fn families() -> Vec<String> {
    fixtures::families()
}

/// The RPMs of `server`, 1.1-RELEASE.
pub(crate) fn server(release: u32) -> Vec<PathBuf> {
    let of_release = |rpm: &PathBuf| rpm.to_string_lossy().contains(&format!("-1.1-{release}.fc99"));
    fixtures::rpms("server").into_iter().filter(of_release).collect()
}

/// The RPMs of several releases of `server`.
pub(crate) fn servers(releases: &[u32]) -> Vec<PathBuf> {
    releases.iter().flat_map(|release| server(*release)).collect()
}
