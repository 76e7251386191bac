//! The IMA signature of a cached file, stored beside it as `NAME.ima`: its archive may be unavailable at the next
//! request. It is written before the file gets its name, and removed after it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the names of signatures end.
pub(super) const SUFFIX: &str = ".ima";

/// The value of the extended attribute `security.ima` that a package has for a file.
pub(crate) type Signature = Arc<[u8]>;

fn path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// Writes the signature of the file that will be at `file`. `temporary` is a free name in the same directory.
pub(super) fn write(file: &Path, signature: &[u8], temporary: &Path) -> io::Result<()> {
    let mut written = File::create(temporary)?;
    let synced = written.write_all(signature).and_then(|()| written.sync_data());
    // The next start removes a temporary file that stays.
    synced.and_then(|()| std::fs::rename(temporary, path(file))).inspect_err(|_| drop(std::fs::remove_file(temporary)))
}

/// Reads the signature of a file; `None` if it has none.
pub(super) fn read(file: &Path) -> io::Result<Option<Signature>> {
    match std::fs::read(path(file)) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the signature of a file.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    std::fs::remove_file(path(file))
}
