//! Signatures of single files, by the programs of ima-evm-utils.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fixtures;
use crate::process::run;

/// A key that signs files, with its certificate.
pub struct Signer {
    directory: TempDir,
}

impl Signer {
    /// Makes a key of a kind that distributions use: `rsa:2048`, or `ec` for a NIST curve.
    pub fn make(kind: &str) -> Self {
        let signer = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let (key, certificate) = (signer.key(), signer.certificate());
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-subj", "/CN=a test's signer", "-outform", "DER", "-newkey", kind]);
        if kind == "ec" {
            command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        }
        succeed(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate), "openssl");
        signer
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.der")
    }

    /// The directory of the certificate, for DEBUGINFOD_IMA_CERT_PATH.
    pub fn certificates(&self) -> &Path {
        self.directory.path()
    }

    /// A copy of `rpm` in the directory `into`, with every file signed.
    pub fn sign(&self, rpm: &Path, into: &Path) -> PathBuf {
        std::fs::create_dir_all(into).expect("make a directory");
        let signed = into.join(rpm.file_name().expect("a file's name"));
        self.make_ima(rpm, &signed, "package");
        signed
    }

    /// The signature header of such a copy alone, as Koji keeps it, at `file`.
    pub fn sign_header(&self, rpm: &Path, file: &Path) {
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("make a directory");
        self.make_ima(rpm, file, "header");
    }

    fn make_ima(&self, from: &Path, to: &Path, kind: &str) {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(fixtures::directory().join("make/ima.py"));
        succeed(command.arg(self.key()).arg(from).arg(to).arg(kind), "python3, zstd and ima-evm-utils");
    }

    /// True if `evmctl` verifies `signature` (hex) as this key's signature of a file with these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        let file = self.directory.path().join("file");
        std::fs::write(&file, bytes).expect("write a file");
        std::fs::write(file.with_extension("sig"), from_hex(signature)).expect("write a signature");
        let mut command = Command::new("evmctl");
        command.args(["ima_verify", "--sigfile", "--key"]).arg(self.certificate()).arg(&file);
        run(&mut command, "ima-evm-utils").status.success()
    }
}

/// The signatures of a package's files, as `rpm` prints them: path and lowercase hex, `""` without one.
pub fn signatures(rpm: &Path) -> Vec<(String, String)> {
    let mut command = Command::new("rpm");
    command.args(["-qp", "--nosignature", "--qf", "[%{FILENAMES}\\t%{FILESIGNATURES}\\n]"]).arg(rpm);
    let text = String::from_utf8(succeed(&mut command, "rpm")).expect("UTF-8");
    let rows = text.lines().map(|line| line.split_once('\t').expect("two cells"));
    rows.map(|(path, signature)| (path.to_owned(), signature.replace("(none)", ""))).collect()
}

fn succeed(command: &mut Command, package: &str) -> Vec<u8> {
    let output = run(command, package);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
