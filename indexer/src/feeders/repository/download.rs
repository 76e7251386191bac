//! Downloads metadata: small documents to memory, listings to temporary files, verified before they are read.

use std::fs::File;
use std::io::{self, Read, Seek};

use http_client::begins_page;
use repodata::Checksum;
use repodata::checksum::{Hasher, Kind};

use super::is_of_value;
use crate::fetch::failure::{FetchError, FetchErrorKind};
use crate::fetch::http::{Fetcher, SmallFile};
use crate::report::failure::CommandFailure;

/// Maximum size of a document that is read into memory.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
/// Maximum size of a listing whose size nothing states. Filelists of Fedora have 50 MB.
const MAX_LISTING_BYTES: u64 = 4 << 30;
/// Maximum number of mirrors that are asked for a file with a certain checksum.
const MAX_MIRRORS: usize = 4;
/// Number of bytes that tell whether a page of HTML came.
const PAGE_BYTES: usize = 512;

/// The reason why a refresh ended before the listing was complete.
#[derive(Debug)]
pub(crate) enum RefreshError {
    /// A file is not there, or not what `repomd.xml` states. The repository may have been updated meanwhile.
    Inconsistent(String),
    /// The repository is refused, with the cause.
    Refused(String),
    /// The import was stopped.
    Stopped,
    /// The index, or this machine, failed.
    Command(CommandFailure),
}

impl From<FetchError> for RefreshError {
    fn from(error: FetchError) -> Self {
        match error.kind {
            FetchErrorKind::Stopped => Self::Stopped,
            FetchErrorKind::Absent | FetchErrorKind::Wrong => Self::Inconsistent(error.text),
            FetchErrorKind::Refused | FetchErrorKind::Unavailable | FetchErrorKind::Down => Self::Refused(error.text),
        }
    }
}

impl From<CommandFailure> for RefreshError {
    fn from(failure: CommandFailure) -> Self {
        match failure {
            CommandFailure::Index(error) => error.into(),
            failure => Self::Command(failure),
        }
    }
}

impl From<sql::Error> for RefreshError {
    fn from(error: sql::Error) -> Self {
        if is_of_value(&error) { Self::Refused(error.to_string()) } else { Self::Command(error.into()) }
    }
}

impl From<io::Error> for RefreshError {
    fn from(error: io::Error) -> Self {
        Self::Command(CommandFailure::local(error))
    }
}

impl RefreshError {
    /// Refuses the repository for good, whatever its metadata is next.
    pub(crate) fn into_refused(self) -> Self {
        match self {
            Self::Inconsistent(text) => Self::Refused(text),
            other => other,
        }
    }
}

/// What a listing has to be.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) checksum: &'a Checksum,
    pub(crate) size: Option<u64>,
}

/// A listing in a temporary file, which is removed when it is dropped.
pub(crate) struct Downloaded {
    /// At its start.
    pub(crate) file: File,
    /// SHA-256 in lowercase hex.
    pub(crate) sha256: String,
}

/// Downloads a document to memory.
///
/// # Errors
/// [`RefreshError::Inconsistent`] if it is not there or a page of HTML, [`RefreshError::Refused`] if nothing answers.
pub(crate) async fn document(fetcher: &Fetcher, path: &str) -> Result<Vec<u8>, RefreshError> {
    Ok(document_of(fetcher, path).await?.bytes)
}

/// As [`document`], with where it came from.
///
/// # Errors
/// As [`document`].
pub(crate) async fn document_of(fetcher: &Fetcher, path: &str) -> Result<SmallFile, RefreshError> {
    let file = fetcher.small_file(path, MAX_DOCUMENT_BYTES).await?;
    if begins_page(file.bytes.get(..PAGE_BYTES).unwrap_or(&file.bytes)) {
        // A list of mirrors has no path of its own.
        let shown = fetcher.mirrors().shown().next().filter(|_| path.is_empty());
        let shown = shown.unwrap_or_else(|| path.to_owned());
        return Err(RefreshError::Inconsistent(format!("{shown}: expected metadata, found a page of HTML")));
    }
    Ok(file)
}

/// Downloads a listing, and verifies it if `expected` states its checksum. A mirror with another file is not asked
/// again.
///
/// # Errors
/// As [`document`]; [`RefreshError::Inconsistent`] also if the checksum or the size is another one.
pub(crate) async fn listing(
    fetcher: &Fetcher,
    path: &str,
    expected: Option<Expected<'_>>,
) -> Result<Downloaded, RefreshError> {
    let max_bytes = expected.as_ref().and_then(|expected| expected.size).unwrap_or(MAX_LISTING_BYTES);
    let mut attempts = 0;
    loop {
        let mut file = tempfile::tempfile()?;
        let (received, mirror) = fetcher.download(path, max_bytes, &mut file).await?;
        let kind = expected.as_ref().map_or(Kind::Sha256, |expected| expected.checksum.kind());
        let (file, found) =
            tokio::task::spawn_blocking(move || digest(file, kind)).await.map_err(CommandFailure::local)??;
        let wrong = expected.as_ref().and_then(|expected| match expected.size.filter(|size| *size != received) {
            Some(size) => Some((format!("{size} bytes"), received.to_string())),
            None if found.checksum == *expected.checksum => None,
            None => Some((expected.checksum.to_string(), found.checksum.to_string())),
        });
        let wrong = match wrong {
            Some((expected, _)) if found.is_page => Some((expected, "a page of HTML".to_owned())),
            None if found.is_page => Some(("a listing of packages".to_owned(), "a page of HTML".to_owned())),
            wrong => wrong,
        };
        let Some((expected, found)) = wrong else { return Ok(Downloaded { file, sha256: found.sha256.hex() }) };
        fetcher.mirrors().mark_wrong(mirror);
        attempts += 1;
        if attempts >= MAX_MIRRORS.min(fetcher.mirrors().shown().count()) {
            return Err(RefreshError::Inconsistent(format!("{path}: expected {expected}, found {found}")));
        }
    }
}

struct Digests {
    checksum: Checksum,
    sha256: Checksum,
    is_page: bool,
}

/// Returns a file at its start, with its digests.
fn digest(mut file: File, kind: Kind) -> io::Result<(File, Digests)> {
    file.rewind()?;
    let (mut hasher, mut sha256) = (Hasher::new(kind), Hasher::new(Kind::Sha256));
    let (mut buffer, mut is_page, mut is_first) = (vec![0; 256 << 10], false, true);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if is_first {
            is_page = begins_page(bytes.get(..PAGE_BYTES).unwrap_or(bytes));
            is_first = false;
        }
        sha256.update(bytes);
        if kind != Kind::Sha256 {
            hasher.update(bytes);
        }
    }
    file.rewind()?;
    let sha256 = sha256.finish();
    let checksum = if kind == Kind::Sha256 { sha256.clone() } else { hasher.finish() };
    Ok((file, Digests { checksum, sha256, is_page }))
}
