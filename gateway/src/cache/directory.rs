//! The cache directory: `files/IDENTITY-ORDINAL-SIZE-DIGEST` for every complete file, in a directory that only this
//! user may enter. Algorithms of digests are told apart by the number of digits; one of SHA3-256 begins with `sha3.`.
//! Files that are being filled are [temporary files](TemporaryFile).

use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use artifact::digest::Algorithm;
use artifact::header;
use rustix::process::geteuid;
use tempfile::SpooledTempFile;

use super::MemberKey;
use super::cost::{cost, write_cost};
use super::entry::MemberInfo;
use super::lock::DirectoryLock;
use super::memory_fallback::MemoryFallback;
use super::sidecar::{self, Told};
use super::temporary_file::{PREFIX, TemporaryFile, free};
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::resolve::outcome::Miss;

/// Before the digits of SHA3-256 in names of files: it has as many as SHA-256.
const SHA3_256: &str = "sha3.";

/// The cache directory.
pub(super) struct Directory {
    path: PathBuf,
    next_number: AtomicU64,
    memory_fallback: MemoryFallback,
    names: Mutex<()>,
    /// Held as long as anything may be written.
    lock: DirectoryLock,
}

impl Directory {
    /// Opens the directory `files` below `path`, and creates both if necessary.
    ///
    /// # Errors
    /// It is not a directory of this user alone, or cannot be written.
    pub(super) fn open(path: &Path, lock: DirectoryLock) -> Result<Self> {
        let context = || format!("cache directory {}", path.display());
        let directory = Self {
            path: path.canonicalize().with_context(context)?.join("files"),
            next_number: AtomicU64::new(0),
            memory_fallback: MemoryFallback::new(),
            names: Mutex::new(()),
            lock,
        };
        directory.create().with_context(context)?;
        directory.check()?;
        Ok(directory)
    }

    /// Creates the directory, and those above it, if necessary.
    fn create(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = std::fs::symlink_metadata(&self.path)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            let (shown, mode, user) = (self.path.display(), found.mode() & 0o7777, found.uid());
            return Err(io::Error::other(format!(
                "{shown}: expected a directory of this user with mode 0700, \
                 found one of user {user} with mode {mode:04o}"
            )));
        }
        Ok(())
    }

    /// Expects that files can be written, and that no other gateway has locked the directory meanwhile.
    ///
    /// # Errors
    /// They cannot, with the reason; another gateway has.
    pub(super) fn check(&self) -> Result<()> {
        self.temporary_file(0)
            .map(drop)
            .with_context(|| format!("cache directory {}: expected to be able to write", self.path.display()))?;
        self.lock.check()
    }

    /// Locks the names of files: they are given and removed under this lock, so that the removal of an entry's file
    /// never meets that of the next entry of the same member. For threads that may block.
    pub(super) fn lock_names(&self) -> MutexGuard<'_, ()> {
        locked(&self.names)
    }

    /// Path of the published file of a member.
    fn published_path(&self, key: MemberKey, size: u64, digest_name: &str) -> PathBuf {
        self.path.join(format!("{}-{}-{size}-{digest_name}", key.identity, key.ordinal))
    }

    /// What the header of its package states of a member.
    pub(super) fn info(&self, key: MemberKey, file: &header::File) -> MemberInfo {
        let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let is_sha3 = file.digest.as_ref().is_some_and(|digest| digest.algorithm() == Algorithm::Sha3_256);
        let name = format!("{}{digest}", if is_sha3 { SHA3_256 } else { "" });
        let path = self.published_path(key, file.size, &name);
        let signature = file.signature.as_deref().map(Into::into);
        let (size, mtime) = (file.size, i64::from(file.mtime));
        MemberInfo { size, mtime, sha256: sha256(&name), digest, signature, origin: None, path }
    }

    /// What an upstream told of a file that is relayed from it.
    pub(super) fn relayed_info(&self, key: MemberKey, told: &Told) -> MemberInfo {
        let digest = told.sha256.map(|sha256| faster_hex::hex_string(&sha256)).unwrap_or_default();
        let path = self.published_path(key, told.size, &digest);
        let (signature, origin) = (told.signature.clone(), Some(told.origin.clone()));
        MemberInfo { size: told.size, mtime: told.mtime, digest, sha256: told.sha256, signature, origin, path }
    }

    /// Gives a complete file its name, and before that its cost and its sidecars. The caller holds
    /// [`Self::lock_names`].
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn publish(&self, mut file: TemporaryFile, info: &MemberInfo, cost: Duration) -> io::Result<()> {
        if let Err(error) = write_cost(&file.file, cost) {
            tracing::debug!(path = %info.path.display(), %error, "the cost of a file will be guessed after a restart");
        }
        self.with_directory(|| {
            sidecar::write(&info.path, info.signature.as_ref(), info.origin.as_ref(), || self.temporary_name())?;
            file.publish(&info.path, info.mtime)
        })
        .inspect_err(|_| {
            // The next start removes them if this fails.
            let _ = info.has_sidecars().then(|| sidecar::remove(&info.path));
        })
    }

    /// Removes the name of a file and its sidecars. Readers that have it open read on. The caller holds
    /// [`Self::lock_names`].
    pub(super) fn unlink(&self, info: &MemberInfo) {
        // The file first: the next start removes sidecars without one.
        let removed_file = std::fs::remove_file(&info.path);
        let removed_sidecars = if info.has_sidecars() { sidecar::remove(&info.path) } else { Ok(()) };
        for removed in [removed_file, removed_sidecars] {
            if let Err(error) = removed
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(path = %info.path.display(), %error, "an evicted file could not be removed");
            }
        }
    }

    /// Writes everything to the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(std::fs::File::open(&self.path)?)?)
    }

    /// A file in memory in the place of a [`Self::temporary_file`].
    ///
    /// # Errors
    /// Less memory is free.
    pub(super) fn memory_fallback(&self, size: u64) -> io::Result<TemporaryFile> {
        let (file, reservation) = self.memory_fallback.create(size)?;
        Ok(TemporaryFile::in_memory(file, reservation))
    }

    /// A file without a name that no member has yet, which is in memory up to `memory_bytes`.
    pub(super) fn scratch_file(&self, memory_bytes: usize) -> SpooledTempFile {
        tempfile::spooled_tempfile_in(memory_bytes, &self.path)
    }

    /// A new file without a name, with space for `size` bytes.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk has less space.
    pub(super) fn temporary_file(&self, size: u64) -> io::Result<TemporaryFile> {
        let file = self.with_directory(|| TemporaryFile::create(&self.path, || self.temporary_name()))?;
        file.reserve(size)?;
        Ok(file)
    }

    /// Does something in the directory. If the directory was removed, in a new one.
    fn with_directory<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.create()?;
                act()
            }
            done => done,
        }
    }

    /// Counts a failed write, and returns it as the failure of a request.
    pub(super) fn write_failure(&self, error: &io::Error) -> Miss {
        let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        METRICS.cache_write_failures.with_label_values(&[if is_full { "disk_full" } else { "error" }]).inc();
        Miss::local(format!("cache directory {}: {error}", self.path.display()))
    }

    /// Bytes that the disk has free.
    ///
    /// # Errors
    /// The directory was removed, or the disk fails.
    pub(super) fn free(&self) -> io::Result<u64> {
        Ok(free(rustix::fs::statvfs(&self.path)?))
    }

    fn temporary_name(&self) -> PathBuf {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{PREFIX}{number}"))
    }

    /// Removes temporary files of an earlier run, and sidecars whose file is missing.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub(super) fn remove_temporary_files(&self) -> Result<()> {
        let context = || format!("cache directory {}", self.path.display());
        for item in std::fs::read_dir(&self.path).with_context(context)? {
            let path = item.with_context(context)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with(PREFIX) {
                std::fs::remove_file(&path).with_context(context)?;
            } else if let Some(file) = sidecar::owner(name).filter(|name| parse_name(name).is_some()) {
                let file = self.path.join(file);
                if !file.exists() {
                    sidecar::remove(&file).with_context(context)?;
                }
            }
        }
        Ok(())
    }

    /// Lists the published files, the least recently read first: of files with the same cost these are evicted first.
    /// Files of the wrong size are removed.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub(super) fn published_files(&self) -> Result<Vec<PublishedFile>> {
        let context = || format!("cache directory {}", self.path.display());
        let mut found = Vec::new();
        for item in std::fs::read_dir(&self.path).with_context(context)? {
            let item = item.with_context(context)?;
            let name = item.file_name();
            let Some((key, size, digest_name)) = name.to_str().and_then(parse_name) else { continue };
            // A link is not followed.
            let metadata = item.metadata().with_context(context)?;
            if !metadata.is_file() || metadata.len() != size {
                tracing::warn!(path = %item.path().display(), "expected a file of {size} bytes: removed");
                std::fs::remove_file(item.path()).with_context(context)?;
                continue;
            }
            let (path, digest) = (item.path(), hex_digits(digest_name).to_owned());
            let signature = sidecar::read_signature(&path).with_context(context)?;
            let origin = sidecar::read_origin(&path).with_context(context)?;
            let cost = cost(&path, size);
            let (mtime, sha256) = (metadata.mtime(), sha256(digest_name));
            let info = MemberInfo { size, mtime, digest, sha256, signature, origin, path };
            found.push((metadata.accessed().ok(), PublishedFile { key, info, cost }));
        }
        found.sort_by_key(|(used, _)| *used);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }
}

/// A published file.
pub(super) struct PublishedFile {
    pub(super) key: MemberKey,
    pub(super) info: MemberInfo,
    /// How long its extraction took.
    pub(super) cost: Duration,
}

/// The member, its size, and the name of its digest.
fn parse_name(name: &str) -> Option<(MemberKey, u64, &str)> {
    let mut parts = name.splitn(4, '-');
    let identity = parts.next()?.parse().ok()?;
    let ordinal = parts.next()?.parse().ok()?;
    let size = parts.next()?.parse().ok()?;
    let digest_name = parts.next().filter(|name| hex_digits(name).bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((MemberKey { identity, ordinal }, size, digest_name))
}

/// The digits of a digest with this name.
fn hex_digits(digest_name: &str) -> &str {
    digest_name.strip_prefix(SHA3_256).unwrap_or(digest_name)
}

/// The digest with this name, if it is SHA-256.
fn sha256(digest_name: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    let is_decoded =
        digest_name.len() == 2 * sha256.len() && faster_hex::hex_decode(digest_name.as_bytes(), &mut sha256).is_ok();
    is_decoded.then_some(sha256)
}

#[cfg(test)]
mod tests;
