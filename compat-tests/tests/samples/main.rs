//! The samples of the documents work: units, the web server's configuration and commands, each read out of the file it
//! stands in.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod authorities;
mod backup;
mod configuration;
mod contributing;
mod drop_ins;
mod nginx;
mod repositories;
mod requests;
mod restart;
mod units;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use compat_tests::fixtures;
use compat_tests::process::run;
use compat_tests::programs::program;

/// The build-id in the samples.
const SAMPLE_ID: &str = "49f0ee2d4a2b3ab0b1bbd2ca6a1f2c7f3d2b1c77";
const UNKNOWN: &str = "00000000000000000000000000000000000000aa";
const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of a file of the repository.
fn document(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only block of code in this language that contains a text.
fn block(document: &str, language: &str, text: &str) -> String {
    let begin = format!("```{language}\n");
    let blocks = document.split(begin.as_str()).skip(1).filter_map(|block| block.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.contains(text)).collect();
    assert_eq!(found.len(), 1, "expected one block of {language} with {text:?}, found {found:?}");
    // A block in a list is indented as its last line, which has the closing backticks.
    let indentation = found[0].rsplit('\n').next().unwrap();
    found[0].lines().map(|line| format!("{}\n", line.strip_prefix(indentation).unwrap_or(line))).collect()
}

/// A sample with other values in the place of its own, each of which it must contain.
fn with(sample: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(sample.to_owned(), |sample, (from, to)| {
        assert!(sample.contains(from), "expected {from:?} in this sample:\n{sample}");
        sample.replace(from, to)
    })
}

/// Runs commands with `sh` in `directory`, with the programs in `directory/bin` and those of the workspace before all
/// others.
fn shell(script: &str, directory: &Path, environment: &[(&str, &str)]) -> Output {
    let [programs, ..] = ["darkserver", "darkserver-import", "darkclient"].map(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = [directory.join("bin"), programs.parent().unwrap().to_owned()];
    let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(directory).env("PATH", path).envs(environment.iter().copied());
    run(&mut command, "a POSIX shell")
}

/// As [`shell`], and it must succeed: what it wrote.
fn shell_ok(script: &str, directory: &Path, environment: &[(&str, &str)]) -> String {
    let output = shell(script, directory, environment);
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{written}{}", String::from_utf8_lossy(&output.stderr));
    written
}

/// A program in `directory/bin` that appends its arguments to the file `directory/NAME.log`.
fn record_calls(directory: &Path, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    let recorder = directory.join("bin").join(name);
    std::fs::create_dir_all(recorder.parent().unwrap()).unwrap();
    let log = directory.join(format!("{name}.log"));
    std::fs::write(&recorder, format!("#!/bin/sh\necho \"$*\" >> '{}'\n", log.display())).unwrap();
    std::fs::set_permissions(&recorder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The request path of a program in the fixtures, and the program.
fn server() -> (String, Vec<u8>) {
    let path = format!("/buildid/{}/executable", fixtures::build_id(SERVER, "/usr/bin/server"));
    (path, fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server"))
}

/// A program that distributions keep in PATH or in `/usr/sbin`.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = directories.map(|directory| directory.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program}: expected a program; install it (make install-tools)"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
