//! The command line: the original's form, where the database comes from, help.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use compat_tests::fixtures;

use crate::support::{ImportFixture, program, run_output};

const RPM: &str = "twin-full-1.0-1.fc99.x86_64";

fn rpm() -> String {
    fixtures::family("dwarf-twins").join(format!("{RPM}.rpm")).display().to_string()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn original(etc: &Path, args: &[&str]) -> Output {
    program().env("DARKSERVER_ETC", etc).args(args).output().unwrap()
}

#[test]
fn the_originals_messages_have_exit_statuses() {
    let etc = tempfile::tempdir().unwrap();
    let rpm = rpm();
    for (args, message) in [
        (vec!["-r", rpm.as_str()], "Please provide a distro name\n"),
        (vec!["-d", "fedora-15-x86_64"], "Please provide path to the rpm\n"),
        (vec!["-r", "nowhere.rpm", "-d", "fedora-15-x86_64"], "Please provide path to the rpm\n"),
        (
            vec!["--rpm", &rpm, "--distro", "fedora-15-x86_64"],
            "Please setup the database config file first at /etc/darkserver\n",
        ),
    ] {
        let output = original(etc.path(), &args);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), message), "{args:?}");
    }
    // Shipped without values.
    fs::write(etc.path().join("darkserver.conf"), "[darkserver]\nhost=\nuser=\npassword=\ndatabase=\n").unwrap();
    let output = original(etc.path(), &["-r", &rpm, "-d", "x"]);
    assert_eq!(stdout(&output), "Please setup the database config file first at /etc/darkserver\n");
}

#[test]
fn a_database_of_the_original_that_is_down_fails_without_showing_its_password() {
    let etc = tempfile::tempdir().unwrap();
    let settings = "[darkserver]\nhost=127.0.0.1\nport=1\nuser=writer\npassword=hidden\ndatabase=darkserver\n";
    fs::write(etc.path().join("darkserver.conf"), settings).unwrap();
    fs::write(etc.path().join("indexer.toml"), "database = \"mysql://other:hidden@127.0.0.1:1/other\"\n").unwrap();
    let output = original(etc.path(), &["-r", &rpm(), "-d", "x"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The own file wins over the original's.
    assert!(stderr.contains("/other") && !stderr.contains("hidden"), "{stderr}");
}

#[tokio::test]
async fn the_originals_form_imports_one_package_and_prints_nothing() {
    let fixture = ImportFixture::new();
    let output = fixture.command(&["migrate"]).output().unwrap();
    assert!(output.status.success());
    for _ in 0..2 {
        let output = fixture.command(&["-r", &rpm(), "-d", "fedora-15-x86_64"]).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output).as_str(), output.stderr.as_slice()), (Some(0), "", &b""[..]));
    }
    let packages = fixture.index().await.packages_by_nvra(RPM).await.unwrap().read;
    assert_eq!(packages[0].distro, "fedora-15-x86_64");
    assert_eq!(packages[0].locations.len(), 1);

    let broken = fixture.directory.path().join("broken.rpm");
    fs::write(&broken, "broken").unwrap();
    let output = fixture.command(&["-r", broken.to_str().unwrap(), "-d", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.rpm: "));
}

#[tokio::test]
async fn importing_single_files_marks_no_others_as_gone() {
    let fixture = ImportFixture::new();
    fixture.copy_family("dwarf-twins");
    fixture.import(&[]);
    let file = fixture.packages().join("dwarf-twins/twin-stripped-1.0-1.fc99.x86_64.rpm");
    fs::remove_file(fixture.packages().join(format!("dwarf-twins/{RPM}.rpm"))).unwrap();
    let args = ["rpm", file.to_str().unwrap(), "nowhere.rpm", "--distro", "mine"];
    let output = fixture.run(&args);
    assert_eq!(output.code, Some(1), "{output:?}");
    output.counts(&[("found", 1), ("imported", 0), ("gone", 0), ("unreadable", 1)]);
    assert!(output.stderr.contains("nowhere.rpm: "), "{output:?}");
    let index = fixture.index().await;
    assert_eq!(index.stores().await.unwrap().len(), 1);
    let packages = index.packages_by_nvra("twin-stripped-1.0-1.fc99.x86_64").await.unwrap().read;
    assert_eq!(packages[0].distro, "mine");
}

#[test]
fn the_database_is_the_first_that_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    let toml = |name: &str| format!("database = \"{}\"\n", url(name));
    fs::write(directory.path().join("indexer.toml"), toml("etc.db")).unwrap();
    fs::write(directory.path().join("other.toml"), toml("config.db")).unwrap();
    let other = directory.path().join("other.toml");
    let migrate = |with: &[&str], environment: Option<&str>| {
        let mut command = program();
        command
            .env("DARKSERVER_ETC", directory.path())
            .current_dir(directory.path())
            .args(with)
            .args(["migrate", "--json"]);
        if let Some(environment) = environment {
            command.env("DARKSERVER_DATABASE", environment);
        }
        run_output(&command.output().unwrap()).json["database"].as_str().unwrap().to_owned()
    };
    let config = ["--config", other.to_str().unwrap()];
    assert_eq!(migrate(&["--database", &url("flag.db")], Some(&url("environment.db"))), url("flag.db"));
    assert_eq!(migrate(&config, Some(&url("environment.db"))), url("environment.db"));
    assert_eq!(migrate(&config, Some("")), url("config.db"));
    assert_eq!(migrate(&[], None), url("etc.db"));
    fs::remove_file(directory.path().join("indexer.toml")).unwrap();
    assert_eq!(migrate(&[], None), "sqlite:darkserver.db");
    assert!(directory.path().join("darkserver.db").is_file());
}

#[test]
fn help_has_examples_and_no_password() {
    let output =
        program().env("DARKSERVER_DATABASE", "mysql://writer:hidden@db/darkserver").arg("--help").output().unwrap();
    let help = stdout(&output);
    assert_eq!(output.status.code(), Some(0));
    for word in ["Examples:", "Exit status:", "darkserver-import -r ", "DARKSERVER_DATABASE", "sqlite:darkserver.db"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains("hidden"));
}

#[test]
fn wrong_usage_ends_with_2() {
    let fixture = ImportFixture::new();
    let directory = fixture.packages();
    let directory = directory.to_str().unwrap();
    for args in [
        vec![],
        vec!["dir"],
        vec!["dir", directory, directory, "--store", "x"],
        vec!["dir", directory, "--url", "ftp://mirror.example.org"],
        vec!["dir", directory, "--jobs", "0"],
        vec!["-d", "x", "migrate"],
        vec!["--config", "/nonexistent", "migrate", "--database", ""],
        vec!["--database", "postgres://u:hidden@h/d", "migrate"],
        vec!["--database", "hidden", "migrate"],
    ] {
        let output = fixture.command(&args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(!stderr.is_empty() && !stderr.contains("hidden"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_the_error() {
    let etc = tempfile::tempdir().unwrap();
    let [own, other] = ["indexer.toml", "darkserver.conf"].map(|name| etc.path().join(name));
    let migrate = |args: &[&str]| {
        // A FIFO would be waited for.
        let mut command = Command::new("timeout");
        command
            .arg("20")
            .arg(program().get_program())
            .env_remove("DARKSERVER_DATABASE")
            .env("DARKSERVER_ETC", etc.path());
        run_output(&command.args(args).arg("migrate").current_dir(etc.path()).output().unwrap())
    };
    let fifo = |path: &Path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let make: [(Make<'_>, &str); 4] = [
        (
            &|path| symlink("/nonexistent/darkserver.toml", path).unwrap(),
            "found a link to /nonexistent/darkserver.toml",
        ),
        (
            &|path| fs::write(path, b"database = \"sqlite:\xff.db\"").unwrap(),
            "expected text in UTF-8, found other bytes from byte 19 on",
        ),
        (&|path| fifo(path), "expected a regular file, found a pipe"),
        (&|path| fs::create_dir(path).unwrap(), "expected a regular file, found a directory"),
    ];
    for (make, expected) in make {
        make(&own);
        for args in [&[][..], &["--config", own.to_str().unwrap()]] {
            let output = migrate(args);
            assert_eq!(output.code, Some(2), "{expected}: {output:?}");
            assert!(
                output.stderr.contains("indexer.toml") && output.stderr.contains(expected),
                "{expected}: {output:?}"
            );
            assert!(!output.stderr.contains("let the importer's user read it"), "{expected}: {output:?}");
            assert_eq!(
                output.stderr.contains("name another file with --config"),
                args.is_empty(),
                "{expected}: {output:?}"
            );
        }
        if own.is_dir() { fs::remove_dir(&own).unwrap() } else { fs::remove_file(&own).unwrap() }
    }
    // The original's, too.
    fifo(&other);
    let output = migrate(&[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("darkserver.conf: expected a regular file"), "{output:?}");
}
