//! OpenPGP keys, by the real gpg.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::run;

/// A key pair in a home directory of its own.
pub struct SigningKey {
    home: TempDir,
}

impl SigningKey {
    /// Makes one.
    pub fn make() -> Self {
        let key = Self { home: tempfile::tempdir().expect("a temporary directory") };
        let user = "a test <test@example.org>";
        key.gpg(&["--passphrase", "", "--quick-generate-key", user, "rsa2048", "sign", "never"]);
        let public = key.gpg(&["--armor", "--export"]);
        std::fs::write(key.public(), public).expect("write a key");
        key
    }

    /// The armored public key.
    pub fn public(&self) -> PathBuf {
        self.home.path().join("RPM-GPG-KEY-test")
    }

    /// The last 16 hex digits of its fingerprint, lowercase.
    pub fn id(&self) -> String {
        let listed = self.gpg(&["--with-colons", "--list-keys"]);
        let line = listed.lines().find(|line| line.starts_with("pub:")).expect("a key");
        line.split(':').nth(4).expect("a key's id").to_ascii_lowercase()
    }

    /// Writes the armored signature of a file as `FILE.asc`.
    pub fn sign(&self, file: &Path) {
        let signature = file.with_file_name(format!("{}.asc", file.file_name().unwrap_or_default().to_string_lossy()));
        let text = self.gpg(&["--armor", "--detach-sign", "--output", "-", &file.display().to_string()]);
        std::fs::write(signature, text).expect("write a signature");
    }

    /// Signs an RPM in place, by the real rpmsign.
    pub fn sign_rpm(&self, rpm: &Path) {
        // Debian's rpm starts programs by their paths alone.
        let directories = std::env::var_os("PATH").unwrap_or_default();
        let gpg = std::env::split_paths(&directories).map(|directory| directory.join("gpg")).find(|gpg| gpg.is_file());
        let gpg = gpg.expect("gpg (Debian) or gnupg2 (Fedora)");
        let mut command = Command::new("rpmsign");
        command.env("HOME", self.home.path()).env("GNUPGHOME", self.home.path());
        command.args(["--define", "_gpg_name test@example.org", "--define", &format!("__gpg {}", gpg.display())]);
        let output = run(command.arg("--addsign").arg(rpm), "rpm (Debian) or rpm-sign (Fedora)");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args(["--batch", "--yes", "--quiet", "--no-tty"]);
        let output = run(command.args(arguments), "gpg (Debian) or gnupg2 (Fedora)");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a text")
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        // gpg starts an agent for each home directory.
        let mut command = Command::new("gpgconf");
        let _ = command.arg("--homedir").arg(self.home.path()).args(["--kill", "gpg-agent"]).output();
    }
}
