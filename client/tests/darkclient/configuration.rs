//! The server's URL from the option, the environment and files.

use std::fs;

use tempfile::TempDir;

use crate::server::CannedServer;
use crate::{APR, RECORD_LINES, RECORDS, darkclient, run};

#[test]
fn no_configuration_file_exits_5() {
    let configuration = "/etc/darkclient.conf";
    assert!(!fs::exists(configuration).unwrap(), "expected a machine without {configuration}, which darkclient reads");
    let run = run(darkclient(&TempDir::new().unwrap()).args(["-i", "abcd"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""));
    assert!(run.stderr.contains("./darkclient.conf or /etc/darkclient.conf"), "{}", run.stderr);
}

#[test]
fn a_file_in_the_current_directory_names_the_server() {
    let server = CannedServer::answering("200 OK", RECORDS);
    for text in [server.url.clone(), format!("\u{feff} {}/ \r\nhttp://127.0.0.1:1/\n", server.url)] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("darkclient.conf"), text).unwrap();
        let run = run(darkclient(&directory).args(["-i", APR]));
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
    }
    assert_eq!(server.paths(), vec![format!("/buildids/{APR}"); 2]);
}

#[test]
fn file_without_a_url_exits_5() {
    for text in ["", "\nhttp://second.example\n", "darkserver.example.org\n"] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("darkclient.conf"), text).unwrap();
        let run = run(darkclient(&directory).args(["-i", "abcd"]));
        assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""), "{text:?}");
        assert!(run.stderr.starts_with("first line of ./darkclient.conf: expected the server's URL"), "{}", run.stderr);
    }
}

#[test]
fn the_option_precedes_the_environment_and_the_environment_the_file() {
    let servers = [(); 3].map(|()| CannedServer::answering("200 OK", "[]"));
    let [option, environment, file] = &servers;
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("darkclient.conf"), &file.url).unwrap();

    run(darkclient(&directory).env("DARKSERVER_URL", &environment.url).args(["--server", &option.url, "-i", "abcd"]));
    run(darkclient(&directory).env("DARKSERVER_URL", &environment.url).args(["-i", "abcd"]));
    run(darkclient(&directory).env("DARKSERVER_URL", "").args(["-i", "abcd"]));
    assert_eq!(servers.each_ref().map(|server| server.paths().len()), [1, 1, 1]);
}

#[test]
fn environment_without_a_url_exits_5() {
    let run = run(darkclient(&TempDir::new().unwrap()).env("DARKSERVER_URL", "nonsense").args(["-i", "abcd"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""));
    assert!(run.stderr.contains("DARKSERVER_URL"), "{}", run.stderr);
}
