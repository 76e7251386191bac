//! The signature of an extracted file, kept beside it as `NAME.ima`: the archive that it came from may be gone when it is asked for
//! again. It is written before the file gets its name, and removed after it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the names of signatures end.
pub(super) const ENDING: &str = ".ima";

/// The value of `security.ima` that a package has for a file.
pub(crate) type Signature = Arc<[u8]>;

fn path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ENDING);
    path.into()
}

/// Keeps the signature of the file that will be at `file`; `draft` is a free name in the same folder.
pub(super) fn keep(file: &Path, signature: &[u8], draft: &Path) -> io::Result<()> {
    let mut written = File::create(draft)?;
    let whole = written.write_all(signature).and_then(|()| written.sync_data());
    // Nothing is done about a draft that stays: the next start removes it.
    whole.and_then(|()| std::fs::rename(draft, path(file))).inspect_err(|_| drop(std::fs::remove_file(draft)))
}

/// The signature that is kept of a file.
pub(super) fn kept(file: &Path) -> io::Result<Option<Signature>> {
    match std::fs::read(path(file)) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the signature that is kept of a file.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    std::fs::remove_file(path(file))
}
