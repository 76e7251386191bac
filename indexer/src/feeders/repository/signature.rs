//! OpenPGP signatures of metadata: `repomd.xml.asc`, `Release.gpg`, `InRelease`.
//!
//! The program gpgv checks them, with a keyring of its own that holds nothing but the configured keys. Its exit status
//! is not enough: a file with two signatures, one of a key that is not configured, is as good as its other signature.
//! The decision is made from its status lines (GnuPG's doc/DETAILS).

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::download::RefreshError;

mod keys;
mod status;

use status::Status;

/// How long gpgv may take.
const GPGV_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum number of characters of gpgv's own messages in an error.
const MAX_MESSAGE_CHARS: usize = 300;

/// A signature by a configured key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GoodSignature {
    /// Fingerprint of the primary key, uppercase hex. The signature may be one of its subkeys.
    pub(super) fingerprint: String,
    /// A user id of the key, as the key states it.
    pub(super) user: String,
}

/// Why a signature proves nothing.
#[derive(Debug, thiserror::Error)]
enum SignatureError {
    /// A file with keys cannot be used.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What it has to have.
        expected: &'static str,
        /// What it has.
        found: String,
    },
    /// The signature is not one of the configured keys over these bytes.
    #[error("{name}: expected a good signature by one of the keys, found {found}")]
    NotGood {
        /// The signed file.
        name: String,
        /// What gpgv found.
        found: String,
    },
    /// gpgv is not installed.
    #[error("expected the program gpgv to check signatures, found none: install gpgv or gnupg2")]
    NoGpgv,
    /// gpgv could not be run, or the disk failed.
    #[error("gpgv: {0}")]
    Local(#[from] io::Error),
    /// gpgv did not end.
    #[error("expected gpgv to check a signature within 60 s, found it still running")]
    Timeout,
}

impl From<SignatureError> for RefreshError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Local(error) => error.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Checks a detached signature, armored or binary, of a document. Messages call it `name`.
///
/// # Errors
/// [`RefreshError::Refused`] unless one of the keys made it, and neither key nor signature has expired or was revoked,
/// if a file with keys cannot be read, and if there is no gpgv; [`RefreshError::Command`] if the disk fails.
pub(super) async fn check(
    key_files: &[PathBuf],
    name: &str,
    document: &[u8],
    signature: &[u8],
) -> Result<GoodSignature, RefreshError> {
    let mut file = tempfile::tempfile()?;
    file.write_all(document)?;
    check_file(key_files, name, &file, signature).await
}

/// Checks a detached signature of a file.
///
/// # Errors
/// As [`check`].
pub(super) async fn check_file(
    key_files: &[PathBuf],
    name: &str,
    file: &File,
    signature: &[u8],
) -> Result<GoodSignature, RefreshError> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    let check = Check::new(key_files).await?;
    let signature_file = check.path("signature");
    tokio::fs::write(&signature_file, signature).await?;
    Ok(check.run(name, &[&signature_file, Path::new("-")], file.into()).await?)
}

/// Checks a clearsigned file. Returns the text that was signed, as gpgv wrote it: what stands around it in the file is
/// not in it. Its signature is none of the split text: line ends count in another way.
///
/// # Errors
/// As [`check`].
pub(super) async fn check_clearsigned(
    key_files: &[PathBuf],
    name: &str,
    file: &[u8],
) -> Result<(GoodSignature, Vec<u8>), RefreshError> {
    let check = Check::new(key_files).await?;
    let [signed_file, text_file] = [check.path("signed"), check.path("text")];
    tokio::fs::write(&signed_file, file).await?;
    let good = check.run(name, &[Path::new("--output"), &text_file, &signed_file], Stdio::null()).await?;
    Ok((good, tokio::fs::read(&text_file).await?))
}

/// A directory with a keyring, which is gpgv's home for one check.
struct Check {
    home: TempDir,
}

impl Check {
    async fn new(key_files: &[PathBuf]) -> Result<Self, SignatureError> {
        let keyring = keys::keyring(key_files).await?;
        // Readable by its owner alone.
        let check = Self { home: TempDir::with_prefix("darkserver-keys-")? };
        tokio::fs::write(check.path("keyring.gpg"), keyring).await?;
        Ok(check)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn run(&self, name: &str, arguments: &[&Path], input: Stdio) -> Result<GoodSignature, SignatureError> {
        let mut command = Command::new("gpgv");
        command.arg("--homedir").arg(self.home.path()).arg("--keyring").arg(self.path("keyring.gpg"));
        command.args(["--status-fd", "1", "--weak-digest", "SHA1", "--weak-digest", "MD5"]).args(arguments);
        command.env("LC_ALL", "C").env_remove("GNUPGHOME").stdin(input).kill_on_drop(true);
        let output = match tokio::time::timeout(GPGV_TIMEOUT, command.output()).await {
            Err(_) => return Err(SignatureError::Timeout),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(SignatureError::NoGpgv),
            Ok(output) => output?,
        };
        let status = Status::parse(&String::from_utf8_lossy(&output.stdout));
        status.good().map_err(|found| SignatureError::NotGood {
            name: name.into(),
            found: found.unwrap_or_else(|| first_message(&output)),
        })
    }
}

/// The first of gpgv's own messages, where its status lines tell nothing.
fn first_message(output: &Output) -> String {
    let messages = String::from_utf8_lossy(&output.stderr);
    let message = messages.lines().map(|line| line.trim_start_matches("gpgv: ")).find(|line| !line.trim().is_empty());
    match message {
        Some(message) => message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect(),
        None => format!("none ({})", output.status),
    }
}

#[cfg(test)]
mod tests;
