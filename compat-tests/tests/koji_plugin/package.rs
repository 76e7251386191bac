//! What an operator of a hub gets: the package, its units, the sample of the configuration, the oldest Python.

use std::process::Command;

use compat_tests::process::run;
use compat_tests::python;

use crate::hub::plugins;

#[test]
fn the_package_has_every_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--nodeps"]);
    command.arg("--define").arg(format!("_topdir {}", directory.path().display()));
    command.arg("--define").arg(format!("_sourcedir {}", plugins().display()));
    command.arg(plugins().join("koji-hub-plugin-darkserver.spec"));
    let output = run(&mut command, "rpm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = directory.path().join("RPMS/noarch");
    let package = std::fs::read_dir(&packages).unwrap().next().unwrap().unwrap().path();
    let listed = run(
        Command::new("rpm").args(["-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILENAMES}\n]"]).arg(&package),
        "rpm",
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    for expected in [
        "-rw-r--r-- root /usr/lib/koji-hub-plugins/darkserver.py",
        "-rwxr-xr-x root /usr/bin/darkserver-koji-flush",
        "-rw-r----- root /etc/koji-hub/plugins/darkserver.conf",
        "-rw-r--r-- root /usr/lib/systemd/system/darkserver-koji-flush.service",
        "-rw-r--r-- root /usr/lib/systemd/system/darkserver-koji-flush.timer",
        "-rw-r--r-- root /usr/share/doc/koji-hub-plugin-darkserver/README.md",
        "drwxr-x--- apache /var/spool/darkserver-koji",
    ] {
        assert!(listed.lines().any(|line| line == expected), "{expected}, in\n{listed}");
    }
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let directory = tempfile::tempdir().unwrap();
    for unit in ["darkserver-koji-flush.service", "darkserver-koji-flush.timer"] {
        let text = std::fs::read_to_string(plugins().join(unit)).unwrap();
        let program = plugins().join("darkserver-koji-flush");
        let text = text.replace("/usr/bin/darkserver-koji-flush", program.to_str().unwrap());
        std::fs::write(directory.path().join(unit), text).unwrap();
    }
    for unit in ["darkserver-koji-flush.service", "darkserver-koji-flush.timer"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["--no-pager", "verify", "--man=no"]).arg(directory.path().join(unit));
        let output = run(&mut command, "systemd");
        let written = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !written.contains("darkserver"), "{unit}: {written}");
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["--no-pager", "security", "--offline=true", "--threshold=20"]);
    let output = run(command.arg(directory.path().join("darkserver-koji-flush.service")), "systemd");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_sample_has_the_defaults_and_every_option() {
    // With its comments made options, it states what the plugin does without them.
    let sample = std::fs::read_to_string(plugins().join("darkserver.conf")).unwrap();
    let options: String = sample
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("all.conf"), options).unwrap();
    let check = "
import configparser, sys
sys.path.insert(0, sys.argv[1])
import darkserver
sample, full = darkserver.Settings(sys.argv[1] + '/darkserver.conf'), darkserver.Settings(sys.argv[2])
for name in ('timeout', 'spool', 'max_spool', 'verify'):
    assert getattr(sample, name) == getattr(full, name), name
options = configparser.ConfigParser()
options.read(sys.argv[2])
derived = {'is_tls', 'host', 'port', 'path', 'authority', 'error'}
known = {name for name in vars(full) if not name.startswith('_')} - derived
assert set(options['darkserver']) == known, (set(options['darkserver']), known)
";
    let mut command = Command::new(python::interpreter());
    command.args(["-B", "-c", check]).arg(plugins()).arg(directory.path().join("all.conf"));
    let output = run(&mut command, "python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn python_3_6_can_read_the_programs() {
    let check = "import ast, sys\nfor path in sys.argv[1:]: ast.parse(open(path).read(), path, feature_version=(3, 6))";
    let mut command = Command::new(python::interpreter());
    command.args(["-B", "-c", check]);
    let output =
        run(command.args(["darkserver.py", "darkserver-koji-flush"].map(|name| plugins().join(name))), "python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
