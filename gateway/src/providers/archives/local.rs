//! Archives on a disk of the gateway: opened below their store's folder and nowhere else, symbolic links included.

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;

use artifact::{Format, formats};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use sql::{Location, StoredPackage};

use super::parts::Parts;
use super::{Archives, Bytes, READ_BYTES, ended_early, place, read_header};
use crate::providers::sigcache;
use crate::resolve::failure::Failure;

impl Archives {
    pub(super) async fn open_local(&self, package: &StoredPackage, location: &Location) -> Result<Bytes, Failure> {
        let (identity, format, location) = (package.package.identity, package.package.format, location.clone());
        let open = move || -> Result<Bytes, Failure> {
            let file = open_below_root(&location)?;
            let file = Arc::new(file);
            let parts = Parts::of_file(file.clone())
                .map_err(|error| Failure::Unknown(format!("{}: {error}", place(&location))))?;
            if format != Format::Rpm {
                expect_unchanged(&file, &location)?;
                let whole = formats::ArchiveBytes::Seekable(Box::new(BufReader::with_capacity(READ_BYTES, file)));
                return Ok(Bytes { header: None, rest: whole, parts: Some(parts) });
            }
            let mut file = BufReader::new(file);
            let mut header = read_header(&mut file, identity, &place(&location))?;
            sigcache::complete(Arc::make_mut(&mut header), &location);
            Ok(Bytes { header: Some(header), rest: formats::ArchiveBytes::Stream(Box::new(file)), parts: Some(parts) })
        };
        self.runtime.spawn_blocking(open).await.unwrap_or_else(|error| Err(ended_early(error)))
    }
}

/// Expects the file at a location to have the size and time that the index knows.
pub(crate) fn expect_unchanged(file: &File, location: &Location) -> Result<(), Failure> {
    let metadata = file.metadata().map_err(|error| Failure::Unknown(format!("{}: {error}", place(location))))?;
    let mtime_ns = sql::mtime_ns(&metadata);
    if metadata.len() == location.size && (location.mtime_ns.is_none() || location.mtime_ns == mtime_ns) {
        return Ok(());
    }
    let (size, time) = (location.size, location.mtime_ns);
    let found = format!("{} bytes of {mtime_ns:?}", metadata.len());
    Err(Failure::Absent(format!("{}: expected {size} bytes of {time:?}, found {found}", place(location))))
}

/// Opens the file of a local location; a path or link that leads out of the store's folder is refused by cap-std. A folder that is
/// not there is a disk that is not mounted: unknown, not absent.
pub(crate) fn open_below_root(location: &Location) -> Result<File, Failure> {
    let text = |error: io::Error| format!("{}: {error}", place(location));
    let root =
        location.store.root.as_deref().ok_or_else(|| Failure::Absent(format!("{}: not on a disk", place(location))))?;
    let folder = Dir::open_ambient_dir(root, ambient_authority())
        .map_err(|error| Failure::Unknown(format!("store {}: {}: {error}", location.store.name, root.display())))?;
    // A pipe in the place of an archive must not be waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file =
        folder.open_with(location.path.trim_start_matches('/'), &options).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Absent(text(error)),
            _ => Failure::Unknown(text(error)),
        })?;
    let file = file.into_std();
    let is_file = file.metadata().map_err(|error| Failure::Unknown(text(error)))?.is_file();
    if is_file { Ok(file) } else { Err(Failure::Absent(format!("{}: expected a file", place(location)))) }
}
