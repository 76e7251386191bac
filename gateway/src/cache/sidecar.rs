//! What is stored beside a cached file, because its provider may be unavailable at the next request: its IMA signature
//! as `NAME.ima`, and the origin of a relayed file as `NAME.json`. Both are written before the file gets its name, and
//! removed after it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const SIGNATURE: &str = ".ima";
const ORIGIN: &str = ".json";

/// The value of the extended attribute `security.ima` that a package has for a file.
pub(crate) type Signature = Arc<[u8]>;

/// Where a relayed file comes from, as its upstream told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The path by which it was asked for: `buildid/ID/debuginfo`.
    pub(crate) question: String,
    /// Name of the upstream.
    pub(crate) upstream: String,
    /// Path of the file in its archive.
    pub(crate) file: Option<String>,
    pub(crate) archive: Option<String>,
}

/// What an upstream told of a file before its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// SHA-256 of the contents.
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) signature: Option<Signature>,
    pub(crate) origin: Origin,
}

/// The name of the file that a sidecar with this name belongs to; `None` if it is no name of a sidecar.
pub(super) fn owner(name: &str) -> Option<&str> {
    name.strip_suffix(SIGNATURE).or_else(|| name.strip_suffix(ORIGIN))
}

/// Writes the sidecars of the file that will be at `file`. `temporary` returns free names in the same directory.
///
/// # Errors
/// The directory cannot be written.
pub(super) fn write(
    file: &Path,
    signature: Option<&Signature>,
    origin: Option<&Origin>,
    temporary: impl Fn() -> PathBuf,
) -> io::Result<()> {
    if let Some(signature) = signature {
        write_one(&path(file, SIGNATURE), signature, &temporary())?;
    }
    if let Some(origin) = origin {
        write_one(&path(file, ORIGIN), &serde_json::to_vec(origin)?, &temporary())?;
    }
    Ok(())
}

/// Reads the IMA signature of a file; `None` if it has none.
///
/// # Errors
/// It cannot be read.
pub(super) fn read_signature(file: &Path) -> io::Result<Option<Signature>> {
    Ok(read_one(&path(file, SIGNATURE))?.map(Into::into))
}

/// Reads the origin of a file; `None` if it has none, or an unreadable one.
///
/// # Errors
/// It cannot be read from the disk.
pub(super) fn read_origin(file: &Path) -> io::Result<Option<Origin>> {
    let Some(bytes) = read_one(&path(file, ORIGIN))? else { return Ok(None) };
    let origin = serde_json::from_slice(&bytes);
    Ok(origin
        .inspect_err(|error| tracing::warn!(path = %file.display(), %error, "the origin of a file is unreadable"))
        .ok())
}

/// Removes the sidecars of the file at `file`.
///
/// # Errors
/// One of them cannot be removed.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    for suffix in [SIGNATURE, ORIGIN] {
        match std::fs::remove_file(path(file, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn path(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn write_one(path: &Path, bytes: &[u8], temporary: &Path) -> io::Result<()> {
    let mut written = File::create(temporary)?;
    let synced = written.write_all(bytes).and_then(|()| written.sync_data());
    // The next start removes a temporary file that stays.
    synced.and_then(|()| std::fs::rename(temporary, path)).inspect_err(|_| drop(std::fs::remove_file(temporary)))
}

fn read_one(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
