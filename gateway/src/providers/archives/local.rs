//! Archives on a disk of the gateway: opened below their store's directory and nowhere else, symbolic links included.

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::Duration;

use artifact::{Format, formats};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use sql::{Location, Store};

use super::local_file::{Gate, LocalFile};
use super::parts::Parts;
use super::{Archives, Bytes, Expected, READ_BYTES, ended_early, place, read_header};
use crate::providers::{StoreError, sigcache};
use crate::resolve::outcome::CauseKind;

/// The longest wait for a directory that is also published.
const DIRECTORY_TIMEOUT: Duration = Duration::from_millis(500);

impl Archives {
    pub(super) async fn open_local(&self, expected: Expected, location: &Location) -> Result<Bytes, StoreError> {
        let (Expected { format, identity }, location) = (expected, location.clone());
        let gate = Gate { threads: self.stores.of(&location.store).threads.clone(), runtime: self.runtime.clone() };
        let store = location.store.clone();
        let open = move || -> Result<Bytes, StoreError> {
            let file = Arc::new(open_below_root(&location)?);
            let gated = LocalFile { file: file.clone(), gate: Some(gate) };
            let parts = Parts::of_file(gated.clone()).map_err(|error| unreadable(&location, &error))?;
            if format != Format::Rpm {
                expect_unchanged(&file, &location)?;
                let whole = formats::ArchiveBytes::Seekable(Box::new(BufReader::with_capacity(READ_BYTES, gated)));
                return Ok(Bytes { header: None, rest: whole, parts: Some(parts) });
            }
            // This thread has its permit already.
            let mut file = BufReader::new(LocalFile { file, gate: None });
            let mut header = read_header(&mut file, identity, &place(&location))?;
            sigcache::complete(Arc::make_mut(&mut header), &location);
            file.get_mut().gate = gated.gate;
            Ok(Bytes { header: Some(header), rest: formats::ArchiveBytes::Stream(Box::new(file)), parts: Some(parts) })
        };
        self.on_disk(&store, open).await.flatten()
    }

    /// Runs `read`, which reads the directory of a local store, on a thread that may block. A directory that hangs
    /// blocks at most [`MAX_BLOCKED_THREADS`](super::local_file::MAX_BLOCKED_THREADS): the permit of a thread is
    /// released when `read` ends, however long the caller waited.
    ///
    /// # Errors
    /// It panicked.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        store: &Store,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.stores.of(store).threads.clone().acquire_owned().await;
        let read = move || {
            let done = read();
            drop(permit);
            done
        };
        self.runtime.spawn_blocking(read).await.map_err(|error| ended_early(&error))
    }
}

/// What `local` gives of a directory that is also published: one that hangs is given up for its URL.
pub(super) async fn soon<T>(
    location: &Location,
    local: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(DIRECTORY_TIMEOUT, local).await.unwrap_or_else(|_| {
        let text = format!("{}: expected it within {DIRECTORY_TIMEOUT:?}, found nothing", place(location));
        Err(StoreError::failed(CauseKind::Timeout, text))
    })
}

/// Expects the file at a location to have the size and time that the index knows.
pub(crate) fn expect_unchanged(file: &File, location: &Location) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|error| unreadable(location, &error))?;
    let mtime_ns = sql::mtime_ns(&metadata);
    let has_size = location.size.is_none_or(|size| metadata.len() == size);
    if has_size && (location.mtime_ns.is_none() || location.mtime_ns == mtime_ns) {
        return Ok(());
    }
    let (size, time) = (location.size.unwrap_or_default(), location.mtime_ns);
    let found = format!("{} bytes of {mtime_ns:?}", metadata.len());
    Err(StoreError::Absent(format!("{}: expected {size:?} bytes of {time:?}, found {found}", place(location))))
}

/// Opens the file of a local location; a path or link that leads out of the store's directory is refused by cap-std. A
/// directory that is not there is a disk that is not mounted: unknown, not absent.
pub(crate) fn open_below_root(location: &Location) -> Result<File, StoreError> {
    let root = location
        .store
        .root
        .as_deref()
        .ok_or_else(|| StoreError::Absent(format!("{}: not on a disk", place(location))))?;
    let directory = Dir::open_ambient_dir(root, ambient_authority()).map_err(|error| {
        let name = &location.store.name;
        StoreError::failed(CauseKind::of_io(&error), format!("store {name}: {}: {error}", root.display()))
    })?;
    // A pipe in the place of an archive must not be waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file =
        directory.open_with(location.path.trim_start_matches('/'), &options).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                StoreError::Absent(format!("{}: {error}", place(location)))
            }
            _ => unreadable(location, &error),
        })?;
    let file = file.into_std();
    let is_file = file.metadata().map_err(|error| unreadable(location, &error))?.is_file();
    if is_file { Ok(file) } else { Err(StoreError::Absent(format!("{}: expected a file", place(location)))) }
}

/// The file at a location cannot be read.
pub(crate) fn unreadable(location: &Location, error: &io::Error) -> StoreError {
    StoreError::failed(CauseKind::of_io(error), format!("{}: {error}", place(location)))
}
