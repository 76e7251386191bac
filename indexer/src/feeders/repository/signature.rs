//! OpenPGP signatures of metadata, checked by the program `gpgv` (GnuPG), as dnf and apt have GnuPG check them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use super::metadata::RefreshError;
use crate::report::failure::CommandFailure;

/// Maximum size of a file with keys.
const MAX_KEY_BYTES: u64 = 4 << 20;
/// Beginning and end of keys in ASCII armor (RFC 9580, section 6.2).
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Checks a detached signature of a document. One of the keys has to be the signer's.
///
/// # Errors
/// [`RefreshError::Refused`] if the signature is not valid, or not by one of the keys; [`RefreshError::Command`] if a
/// file with keys cannot be read, or there is no `gpgv`.
pub(super) async fn check(keys: &[PathBuf], name: &str, document: &[u8], signature: &[u8]) -> Result<(), RefreshError> {
    let (mut file, mut written) = (tempfile::tempfile()?, document);
    io::copy(&mut written, &mut file)?;
    check_file(keys, name, &file, signature).await
}

/// Checks a detached signature of a file.
///
/// # Errors
/// As [`check`].
pub(super) async fn check_file(
    keys: &[PathBuf],
    name: &str,
    file: &File,
    signature: &[u8],
) -> Result<(), RefreshError> {
    let (keys, name, mut file) = (keys.to_vec(), name.to_owned(), file.try_clone()?);
    let signature = signature.to_vec();
    let checked = tokio::task::spawn_blocking(move || {
        let keyrings = keys.iter().map(keyring).collect::<io::Result<Vec<NamedTempFile>>>()?;
        let signature = temporary(&signature)?;
        file.rewind()?;
        run(&keyrings, &signature, &file)
    });
    match checked.await.map_err(CommandFailure::local)? {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => {
            Err(RefreshError::Refused(format!("{name}: expected a signature by one of the keys, found {reason}")))
        }
        Err(error) => Err(RefreshError::Command(CommandFailure::local(error))),
    }
}

/// Runs gpgv. Returns the reason if the signature is not valid.
fn run(keyrings: &[NamedTempFile], signature: &NamedTempFile, document: &File) -> io::Result<Option<String>> {
    let mut command = Command::new("gpgv");
    // No home: neither its keys nor its options count.
    command.args(["--homedir", "/nonexistent", "--weak-digest", "SHA1", "--weak-digest", "MD5"]);
    for keyring in keyrings {
        command.arg("--keyring").arg(keyring.path());
    }
    let command = command.arg("--").arg(signature.path()).arg("-").env("LC_ALL", "C");
    let command = command.stdin(document.try_clone()?).stdout(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::new(
            ErrorKind::NotFound,
            "gpgv: expected the program that checks signatures, found none: install gpgv or gnupg2",
        ),
        _ => error,
    })?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(|line| line.trim_start_matches("gpgv: ").trim());
    let reason = lines.filter(|line| !line.is_empty()).last().unwrap_or("no reason").to_owned();
    Ok(Some(reason.chars().take(200).collect()))
}

/// Returns a keyring of the keys in a file.
fn keyring(path: &PathBuf) -> io::Result<NamedTempFile> {
    let named = |text: &str| io::Error::new(ErrorKind::InvalidData, format!("{}: {text}", path.display()));
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(named("expected keys of at most 4 MiB, found more"));
    }
    let keys = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains(BEGIN) => {
            dearmored(text).ok_or_else(|| named("expected keys in ASCII armor, found other text"))?
        }
        _ if bytes.first().is_some_and(|first| first & 0x80 != 0) => bytes,
        _ => return Err(named("expected OpenPGP keys, found something else")),
    };
    temporary(&keys)
}

/// Returns the bytes of all keys in a text; `None` if one is not complete.
fn dearmored(text: &str) -> Option<Vec<u8>> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let (block, after) = begun.split_once(END)?;
        // Headers, an empty line, base64, and a checksum that begins with `=`.
        let lines = block.lines().map(str::trim).skip(1);
        let has_headers = block.lines().skip(1).any(|line| line.trim().is_empty());
        let body = lines.skip_while(|line| has_headers && !line.is_empty());
        let digits: String = body.take_while(|line| !line.starts_with('=')).collect();
        keys.extend(STANDARD.decode(digits).ok()?);
        rest = after;
    }
    Some(keys).filter(|keys| !keys.is_empty())
}

fn temporary(bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_armor_are_decoded_with_and_without_headers() {
        let block = |headers: &str| format!("noise\n{BEGIN}\n{headers}AQID\nBAU=\n=abcd\n{END}\n");
        let text = format!("{}{}{}", block("Version: 1\n\n"), block("\n"), block(""));
        assert_eq!(dearmored(&text).unwrap(), [1, 2, 3, 4, 5].repeat(3));
        assert!(dearmored(&format!("{BEGIN}\n\nAQID")).is_none());
        assert!(dearmored("nothing").is_none());
    }
}
