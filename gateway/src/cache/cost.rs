//! The extraction cost of a file: how long it took. It is stored in an extended attribute of the file, for eviction
//! after a restart.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::XattrFlags;

/// The extended attribute (xattr(7)) with the cost in microseconds. Not every file system has extended attributes.
const ATTRIBUTE: &str = "user.darkserver.cost";

/// Stores the cost of a file.
///
/// # Errors
/// The file system has no extended attributes, or no room for one.
pub(super) fn write_cost(file: &File, cost: Duration) -> io::Result<()> {
    let microseconds = cost.as_micros().to_string();
    Ok(rustix::fs::fsetxattr(file, ATTRIBUTE, microseconds.as_bytes(), XattrFlags::empty())?)
}

/// Reads the stored cost of a file.
pub(super) fn read_cost(path: &Path) -> Option<Duration> {
    let mut bytes = [0; 20];
    let length = rustix::fs::lgetxattr(path, ATTRIBUTE, &mut bytes[..]).ok()?;
    let microseconds = std::str::from_utf8(bytes.get(..length)?).ok()?.parse().ok()?;
    Some(Duration::from_micros(microseconds))
}

/// The cost of a file of `size` bytes, guessed if none is stored.
pub(super) fn cost(path: &Path, size: u64) -> Duration {
    read_cost(path).unwrap_or_else(|| guessed_cost(size))
}

/// The guessed cost of a file of `size` bytes: extraction at 100 MB/s.
pub(super) fn guessed_cost(size: u64) -> Duration {
    Duration::from_nanos(size.saturating_mul(10))
}
