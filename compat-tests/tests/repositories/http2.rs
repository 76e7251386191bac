//! HTTP/2 where the server has it: the real nginx with TLS.

use std::path::Path;
use std::process::Command;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::process::{Process, free_port};
use compat_tests::repository::Repository;

use crate::support::{assert_same, index_of_directory, run_import_in};

#[test]
fn one_connection_carries_all_requests_to_a_server_with_http2() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let (own, certificates, port) = (tempfile::tempdir().unwrap(), Certificates::make(), free_port());
    let path = |name: &str| own.path().join(name).display().to_string();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\n  log_format short '$connection \
         $server_protocol $status $request_uri';\n  access_log {} short;\n  client_body_temp_path {};\n  \
         proxy_temp_path {};\n  fastcgi_temp_path {};\n  uwsgi_temp_path {};\n  scgi_temp_path {};\n  server {{\n    \
         listen 127.0.0.1:{port} ssl http2;\n    root {};\n    ssl_certificate {};\n    ssl_certificate_key {};\n  \
         }}\n}}\n",
        path("pid"),
        path("access"),
        path("body"),
        path("proxy"),
        path("fastcgi"),
        path("uwsgi"),
        path("scgi"),
        repository.path().display(),
        certificates.certificate().display(),
        certificates.key().display()
    );
    std::fs::write(path("nginx.conf"), configuration).unwrap();
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.expect("nginx-light (Debian) or nginx (Fedora)"));
    command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
    let mut nginx = Process::start(&mut command, &own.path().join("log"));
    nginx.wait_for_port(port);

    let (index, authority) = (Sqlite::empty(), certificates.authority());
    let url = format!("https://localhost:{port}");
    run_import_in(&[("SSL_CERT_FILE", &authority)], &index, &["repo", &url, "--name", "tested"]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "by HTTP/2");
    let log = std::fs::read_to_string(path("access")).unwrap();
    assert!(log.lines().all(|line| line.contains(" HTTP/2.0 20")), "{log}");
    assert!(log.lines().count() >= 11, "{log}");
    let mut connections: Vec<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    connections.sort_unstable();
    connections.dedup();
    assert!(connections.len() <= 2, "{log}");
}
