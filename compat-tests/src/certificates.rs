//! A certificate authority for a test, by openssl's own program.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::run;
use crate::unshare::{command, unshare};

/// A private authority, and one certificate of it for `localhost` and 127.0.0.1.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes both.
    pub fn make() -> Self {
        let certificates = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        openssl(
            certificates.directory.path(),
            &["req", "-x509", "-subj", "/CN=a test's authority", "-keyout", "ca.key", "-out", "ca.pem"],
        );
        certificates.renew();
        certificates
    }

    /// Replaces the certificate and its key by new ones.
    pub fn renew(&self) {
        let directory = self.directory.path();
        let sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let own = ["req", "-x509", "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(directory, &[&own[..], &sign, &["-keyout", "new.key", "-out", "new.pem"]].concat());
        for name in ["key", "pem"] {
            std::fs::rename(directory.join(format!("new.{name}")), directory.join(format!("server.{name}")))
                .expect("rename a file");
        }
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("server.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }

    /// `program` in a mount namespace where the system trusts this authority alone. Debian's libcurl with GnuTLS reads
    /// no environment variable for that. Needs the right to mount: root's, or that to make a user namespace.
    pub fn trusting(&self, program: &str) -> Command {
        let script = "for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
            if [ -e $bundle ]; then mount --bind \"$1\" $(readlink -f $bundle) || exit 1; found=yes; fi
        done
        [ -n \"$found\" ] && shift && exec \"$@\"";
        let mut command = command(&unshare("--mount"));
        command.args(["sh", "-c", script, "sh"]).arg(self.authority()).arg(program);
        command
    }
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(arguments).args([
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    let output = run(&mut command, "openssl");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
