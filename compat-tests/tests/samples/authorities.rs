//! Certificates of a private authority: the gateway trusts it for stores and upstreams as docs/operations.md states.

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::process::free_port;

use super::nginx::Nginx;
use super::{block, document, server, shell_ok, text, with};

/// The variable in the sample for systemd, and the file that the sample makes of the system's authorities and one's
/// own.
fn trust(directory: &std::path::Path, authority: &std::path::Path) -> (String, String) {
    let operations = document("docs/operations.md");
    let unit = block(&operations, "ini", "Environment=");
    let line = unit.lines().find_map(|line| line.strip_prefix("Environment=")).unwrap();
    let (name, file) = line.split_once('=').unwrap();
    let bundle = directory.join("authorities.pem");
    let system = directory.join("system.pem");
    std::fs::write(&system, "").unwrap();
    let sample = block(&operations, "sh", "/etc/ssl/certs/ca-certificates.crt");
    let script = with(
        &sample,
        &[
            ("/etc/ssl/certs/ca-certificates.crt", text(&system)),
            ("internal-authority.pem", text(authority)),
            (file, text(&bundle)),
        ],
    );
    shell_ok(&script, directory, &[]);
    (name.to_owned(), text(&bundle).to_owned())
}

#[test]
fn upstreams_of_a_private_authority_are_asked() {
    let (directory, certificates) = (tempfile::tempdir().unwrap(), Certificates::make());
    let indexed = Sqlite::with_packages(&[&fixtures::family("server")]);
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        text(&certificates.certificate()),
        text(&certificates.key())
    );
    let port = free_port();
    let address = format!("tls:127.0.0.1:{port}");
    let _upstream = RunningGateway::start_with(&indexed.url(), &tls, &["--listen", &address]);
    let empty = Sqlite::with_packages(&[]);
    let configuration = format!("[[upstream]]\nname = \"u\"\nurl = \"https://localhost:{port}\"\n");
    let (name, bundle) = trust(directory.path(), &certificates.authority());
    let (path, _) = server();
    for (value, status) in [(bundle.as_str(), Some(302)), ("/nonexistent", None)] {
        let environment = [("DARKSERVER_DATABASE", empty.url()), (&name, value.to_owned())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let gateway = RunningGateway::start_in(&environment, &configuration, &[]);
        // An unavailable answer is a reset.
        let found = http::get(gateway.port, &path).ok().map(|answer| answer.status);
        assert_eq!(found, status, "{name}={value}");
    }
}

#[test]
fn stores_of_a_private_authority_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let archives = fixtures::family("server");
    let mirror = Nginx::of_directory(&archives);
    let sqlite = Sqlite::with_packages(&[]);
    sqlite.add_store("mirror", "mirror", &archives, &mirror.url());
    let (name, bundle) = trust(directory.path(), &mirror.authority());
    let (path, bytes) = server();
    for (value, is_found) in [(bundle.as_str(), true), ("/nonexistent", false)] {
        let environment = [("DARKSERVER_DATABASE", sqlite.url()), (&name, value.to_owned())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let gateway = RunningGateway::start_in(&environment, "", &[]);
        // An unavailable answer is a reset.
        let found = http::get(gateway.port, &path).ok();
        let is_program = found.is_some_and(|answer| answer.status == 200 && answer.body == bytes);
        assert_eq!(is_program, is_found, "{name}={value}");
    }
}
