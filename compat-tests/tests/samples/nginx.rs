//! `packaging/nginx/darkserver.conf` in a real nginx, with another port, certificate and socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::process::{Process, free_port, run};
use compat_tests::{fixtures, rpmbuild};
use tempfile::TempDir;

use super::{SAMPLE_ID, UNKNOWN, block, document, find, server, shell_ok, text, with};

/// A running nginx.
pub(crate) struct Nginx {
    process: Process,
    pub(crate) port: u16,
    certificates: Certificates,
    directory: TempDir,
}

impl Nginx {
    /// Starts one that passes requests on to the socket of a gateway, as the sample does.
    pub(crate) fn before_gateway(socket: &Path) -> Self {
        Self::start(|port, certificates| {
            with(
                &document("packaging/nginx/darkserver.conf"),
                &[
                    ("unix:/run/darkserver/gateway.sock", &format!("unix:{}", text(socket))),
                    ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
                    ("listen [::]:443 ssl http2;", ""),
                    ("server_name debuginfod.example.org", "server_name localhost"),
                    ("/etc/darkserver/tls/fullchain.pem", text(&certificates.certificate())),
                    ("/etc/darkserver/tls/privkey.pem", text(&certificates.key())),
                ],
            )
        })
    }

    /// Starts one that serves a directory over TLS.
    pub(crate) fn of_directory(archives: &Path) -> Self {
        Self::start(|port, certificates| {
            let [certificate, key] = [certificates.certificate(), certificates.key()];
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; root {}; ssl_certificate {}; ssl_certificate_key {}; }}",
                text(archives),
                text(&certificate),
                text(&key)
            )
        })
    }

    fn start(server: impl Fn(u16, &Certificates) -> String) -> Self {
        let (directory, certificates, port) = (tempfile::tempdir().unwrap(), Certificates::make(), free_port());
        let path = |name: &str| text(&directory.path().join(name)).to_owned();
        std::fs::write(path("server.conf"), server(port, &certificates)).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("    {name}_temp_path {};\n", path(name)))
            .collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\n    access_log off;\n{temporary}    \
             include {};\n}}\n",
            path("pid"),
            path("server.conf")
        );
        std::fs::write(path("nginx.conf"), configuration).unwrap();
        let mut command = Command::new(find("nginx"));
        command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
        let mut process = Process::start(&mut command, &directory.path().join("log"));
        process.wait_for_port(port);
        Self { process, port, certificates, directory }
    }

    /// `https://localhost:PORT`
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The authority to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.certificates.authority()
    }

    /// What curl writes about a request: a format of `--write-out`.
    pub(crate) fn curl(&self, format: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "60"]);
        if !arguments.contains(&"--output") {
            command.args(["--output", "/dev/null"]);
        }
        command.args(["--cacert", text(&self.authority()), "--write-out", format]).args(arguments);
        let output = run(&mut command, "curl");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {arguments:?}: {errors}\n{}", self.process.output());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The temporary files that nginx has open for bodies: it removes their names at once.
    fn temporary_files(&self) -> Vec<PathBuf> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let files = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.unwrap().path()).ok());
        files.filter(|file| file.starts_with(self.directory.path().join("proxy"))).collect()
    }
}

/// A gateway on a socket, and nginx in front of it.
fn behind_nginx(sqlite: &Sqlite, configuration: &str) -> (RunningGateway, Nginx, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let listen = format!("unix:{}", text(&socket));
    let gateway = RunningGateway::start_with(&sqlite.url(), configuration, &["--listen", &listen]);
    let nginx = Nginx::before_gateway(&socket);
    (gateway, nginx, directory)
}

#[test]
fn files_sections_and_ranges_come_through_nginx() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let (gateway, nginx, directory) = behind_nginx(&sqlite, "");
    let (path, bytes) = server();
    let url = format!("{}{path}", nginx.url());
    let file = directory.path().join("file");
    for version in ["--http1.1", "--http2"] {
        assert_eq!(nginx.curl("%{http_code}", &[version, "--output", text(&file), &url]), "200");
        assert!(std::fs::read(&file).unwrap() == bytes, "{version}: expected the program");
    }
    let length = nginx.curl("%{http_code} %header{content-length} %header{etag}", &["--head", &url]);
    assert!(length.starts_with(&format!("200 {} \"", bytes.len())), "{length}");
    assert_eq!(nginx.curl("%{http_code} %{size_download}", &["--range", "16-31", &url]), "206 16");
    // The client is named by nginx; the proxy on the socket is trusted.
    let line = gateway.log().lines().rfind(|line| line.contains(&path)).unwrap().to_owned();
    assert!(line.contains("127.0.0.1") && line.contains("unix"), "{line}");
}

#[test]
fn what_is_unavailable_is_503_behind_nginx_and_never_stored() {
    let upstream = format!("http://127.0.0.1:{}", free_port());
    let sqlite = Sqlite::with_packages(&[]);
    let configuration = format!("[[upstream]]\nname = \"u\"\nurl = \"{upstream}\"\n");
    let (_gateway, nginx, _directory) = behind_nginx(&sqlite, &configuration);
    for (what, status) in [("debuginfo", "503"), ("section/.text", "504")] {
        let url = format!("{}/buildid/{UNKNOWN}/{what}", nginx.url());
        for version in ["--http1.1", "--http2"] {
            assert_eq!(
                nginx.curl("%{http_code} %header{cache-control}", &[version, &url]),
                format!("{status} no-store")
            );
        }
    }
}

#[test]
fn two_thousand_build_ids_are_asked_through_nginx() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let (_gateway, nginx, directory) = behind_nginx(&sqlite, "");
    let known = fixtures::build_id(super::SERVER, "/usr/bin/server");
    let mut ids: Vec<String> = (0..2_000).map(|number| format!("{number:040x}")).collect();
    // One in each of the two requests.
    (ids[3], ids[1_999]) = (known.clone(), known.clone());
    std::fs::write(directory.path().join("build-ids.txt"), ids.join("\n") + "\n").unwrap();
    let sample = block(&document("docs/api.md"), "sh", "build-ids.txt");
    let script = with(&sample, &[("https://debuginfod.example.org", &nginx.url())]);
    let trust = [("CURL_CA_BUNDLE", text(&nginx.authority()).to_owned())];
    let answers = shell_ok(&script, directory.path(), &trust.each_ref().map(|(name, value)| (*name, value.as_str())));
    let records = answers.matches(&format!("\"buildid\":\"{known}\"")).count();
    assert!(records >= 2 && records % 2 == 0, "expected the records of {known} from two requests, found {answers}");
    // As many as the document states fit into one request, over either version of HTTP; all of them do not.
    let ask = |version: &str, ids: &[String]| {
        let path = directory.path().join("url");
        std::fs::write(&path, format!("url = \"{}/buildids/{}\"", nginx.url(), ids.join(","))).unwrap();
        nginx.curl("%{http_code}", &[version, "--config", text(&path)])
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(version, &ids[..1_590]), "200", "{version}");
    }
    assert_eq!(ask("--http1.1", &ids), "414");
}

#[test]
fn large_files_are_not_copied_to_the_disk_of_nginx() {
    let rpms = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(rpms.path(), "large", 48 << 20);
    let sqlite = Sqlite::with_packages(&[rpms.path()]);
    let (_gateway, nginx, directory) = behind_nginx(&sqlite, "");
    let url = format!("{}/buildid/{}/executable", nginx.url(), made.build_id);
    let (file, authority) = (directory.path().join("file"), nginx.authority());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--cacert", text(&authority), "--limit-rate", "1M"]);
    command.args(["--output", text(&file), &url]);
    let mut client = Process::start(&mut command, &directory.path().join("curl.log"));
    client.wait_until("a part of the file", || std::fs::metadata(&file).is_ok_and(|file| file.len() > 1 << 20));
    assert_eq!(nginx.temporary_files(), Vec::<PathBuf>::new());
}

#[test]
fn metrics_are_for_operators_alone() {
    let sqlite = Sqlite::with_packages(&[]);
    let (_gateway, nginx, _directory) = behind_nginx(&sqlite, "");
    for path in ["/metrics", "/readyz", "/upstreams", "//metrics", "//upstreams"] {
        let url = format!("{}{path}", nginx.url());
        assert_eq!(nginx.curl("%{http_code}", &[&url]), "200", "{path}");
        assert_eq!(nginx.curl("%{http_code}", &["--interface", "127.0.0.2", &url]), "403", "{path}");
    }
    let page = format!("{}/buildids/{SAMPLE_ID}", nginx.url());
    assert_eq!(nginx.curl("%{http_code}", &["--interface", "127.0.0.2", &page]), "200");
}
