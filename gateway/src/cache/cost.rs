//! What the extraction of a file took, kept beside its bytes: what it is worth to the cache.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::XattrFlags;

/// The extended attribute (xattr(7)) that says what a file cost, in microseconds. Not every file system has any.
const COST: &str = "user.darkserver.cost";

/// Keeps what the extraction of a file took.
pub(super) fn keep_cost(file: &File, cost: Duration) -> io::Result<()> {
    let microseconds = cost.as_micros().to_string();
    Ok(rustix::fs::fsetxattr(file, COST, microseconds.as_bytes(), XattrFlags::empty())?)
}

pub(super) fn kept_cost(path: &Path) -> Option<Duration> {
    let mut bytes = [0; 20];
    let length = rustix::fs::lgetxattr(path, COST, &mut bytes[..]).ok()?;
    let microseconds = std::str::from_utf8(bytes.get(..length)?).ok()?.parse().ok()?;
    Some(Duration::from_micros(microseconds))
}

/// What the extraction of a file of `size` bytes took.
pub(super) fn cost(path: &Path, size: u64) -> Duration {
    kept_cost(path).unwrap_or_else(|| guessed_cost(size))
}

/// What is taken for a file that does not say: as if it had come at 100 MB/s, so that all such files are alike.
pub(super) fn guessed_cost(size: u64) -> Duration {
    Duration::from_nanos(size.saturating_mul(10))
}
