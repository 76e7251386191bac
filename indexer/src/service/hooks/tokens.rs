//! The bearer tokens of a file.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Maximum size of the file in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// The permission of others to read.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The SHA-256 of a token. Tokens themselves are not kept.
pub(super) type TokenDigest = [u8; 32];

/// Whether a request may do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It has this token.
    Granted(TokenDigest),
    /// It has no token, or another one.
    Denied,
    /// There are no tokens.
    Disabled,
}

/// The tokens of a file, one a line. Blank lines, and those that begin with `#`, are none. The file is read again once
/// it changes.
pub(super) struct Tokens {
    path: Option<PathBuf>,
    known: Mutex<Known>,
}

/// The tokens of a state of the file.
#[derive(Default)]
struct Known {
    state: Option<FileState>,
    digests: Arc<[TokenDigest]>,
    /// True if it was logged that the file cannot be read.
    is_reported: bool,
}

/// What changes with a file: device, inode, size, modification time, change time.
type FileState = (u64, u64, u64, (i64, i64), (i64, i64));

impl Tokens {
    /// Returns the tokens of the file at `path`.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let tokens = Self { path, known: Mutex::default() };
        tokens.digests();
        tokens
    }

    /// Checks the value of Authorization. The time that it takes depends on the number of tokens and the length of the
    /// value, and not on how much of a token is right.
    pub(super) fn check(&self, authorization: Option<&[u8]>) -> Access {
        let digests = self.digests();
        if digests.is_empty() {
            return Access::Disabled;
        }
        let Some(token) = authorization.and_then(bearer_token) else { return Access::Denied };
        let found = digest(token);
        let is_known = digests.iter().fold(false, |is_known, known| {
            let differing = known.iter().zip(&found).fold(0, |differing, (known, found)| differing | (known ^ found));
            is_known | (differing == 0)
        });
        if is_known { Access::Granted(found) } else { Access::Denied }
    }

    /// Returns the digests of the file's tokens. A file that cannot be read has none.
    fn digests(&self) -> Arc<[TokenDigest]> {
        let Some(path) = &self.path else { return Arc::default() };
        let state = fs::metadata(path).map(|metadata| state(&metadata)).ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_some() && known.state == state {
            return Arc::clone(&known.digests);
        }
        match read(path) {
            Ok((metadata, digests)) => {
                if metadata.mode() & READABLE_BY_OTHERS != 0 {
                    tracing::warn!(
                        path = %path.display(),
                        "every user of this machine can read the tokens of hooks: give the file mode 0640"
                    );
                }
                tracing::info!(path = %path.display(), tokens = digests.len(), "read the tokens of hooks");
                *known = Known { state: Some(self::state(&metadata)), digests: digests.into(), is_reported: false };
            }
            Err(error) => {
                if !known.is_reported {
                    tracing::error!(path = %path.display(), %error, "no tokens of hooks: every request is refused");
                }
                *known = Known { is_reported: true, ..Known::default() };
            }
        }
        Arc::clone(&known.digests)
    }
}

/// Reads a file of tokens.
fn read(path: &PathBuf) -> io::Result<(Metadata, Vec<TokenDigest>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("expected a file, found something else"));
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("expected at most {MAX_BYTES} bytes, found more")));
    }
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let tokens = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    Ok((metadata, tokens.map(digest).collect()))
}

fn state(metadata: &Metadata) -> FileState {
    let (mtime, ctime) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    (metadata.dev(), metadata.ino(), metadata.size(), mtime, ctime)
}

fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// Returns the token of `Bearer TOKEN` (RFC 6750, section 2.1). The scheme is in upper or lower case.
fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.trim_ascii().split_at_checked("Bearer".len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_token_until_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let tokens = Tokens::new(Some(path.clone()));
        let check = |authorization: &str| tokens.check(Some(authorization.as_bytes()));
        assert_eq!(check("Bearer one"), Access::Disabled);
        fs::write(&path, "# of the build machines\n\none\n  two \r\n").unwrap();
        assert_eq!(check("Bearer one"), Access::Granted(digest(b"one")));
        assert_eq!(check("bearer  two"), Access::Granted(digest(b"two")));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Bearer # of the build machines", "Basic one"]
        {
            assert_eq!(check(wrong), Access::Denied, "{wrong}");
        }
        assert_eq!(tokens.check(None), Access::Denied);
        fs::write(directory.path().join("new"), "three\n").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!((check("Bearer one"), check("Bearer three")), (Access::Denied, Access::Granted(digest(b"three"))));
        fs::write(&path, "x".repeat(MAX_BYTES as usize + 1)).unwrap();
        assert_eq!(check("Bearer three"), Access::Disabled);
        fs::write(&path, "\n#\n").unwrap();
        assert_eq!(check("Bearer three"), Access::Disabled);
        fs::remove_file(&path).unwrap();
        assert_eq!(check("Bearer three"), Access::Disabled);
        assert_eq!(Tokens::new(None).check(Some(b"Bearer one")), Access::Disabled);
    }
}
