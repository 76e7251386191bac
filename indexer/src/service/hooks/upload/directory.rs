//! The directory of a store that takes uploads. Nothing outside of it is opened, whatever links are in it.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{FlockOperation, Mode, OFlags};
use sha2::{Digest, Sha256};

use super::temporary::TemporaryFile;
use crate::service::hooks::digest::Sha256Bytes;

/// The beginning of names of temporary files. Six letters or digits follow. Imports ignore hidden files of this form.
const PREFIX: &str = ".darkserver-upload.";
/// Number of letters and digits that follow.
const RANDOM_CHARACTERS: usize = 6;
/// Number of names that are tried.
const MAX_NAMES: u32 = 100;
/// Age at which a temporary file is removed where files cannot be locked.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// An open directory of a store.
#[derive(Clone)]
pub(super) struct UploadDirectory(Arc<Dir>);

impl UploadDirectory {
    /// Opens the directory of a store.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(root, ambient_authority()).map(|directory| Self(Arc::new(directory)))
    }

    /// The open directory.
    pub(super) fn dir(&self) -> &Dir {
        &self.0
    }

    /// Returns the bytes of its file system that this user may still use.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&*self.0)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Makes a temporary file, which is locked as long as it is open.
    pub(super) fn create(&self) -> io::Result<TemporaryFile> {
        for _ in 0..MAX_NAMES {
            let name = random_name();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o644);
            let file = match self.0.open_with(&name, &options) {
                Ok(file) => file.into_std(),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            let temporary = TemporaryFile::new(self.clone(), name, file);
            // Another process that starts may have taken it for one that was left, before it was locked.
            if temporary.lock() {
                return Ok(temporary);
            }
        }
        Err(io::Error::other("expected a free name for a temporary file, found none"))
    }

    /// Makes changes of names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        // The directory itself may be open for paths only.
        let directory =
            rustix::fs::openat(&*self.0, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(rustix::fs::fsync(directory)?)
    }

    /// Removes a file, durably.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove_file(name)?;
        self.sync()
    }

    /// True if the file `name` has these bytes. A link that leads out of the directory, and what is no file, has not.
    pub(super) fn has(&self, name: &str, bytes: u64, digest: &Sha256Bytes) -> io::Result<bool> {
        let mut options = OpenOptions::new();
        // A pipe in the place of a file must not be waited for.
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut file = match self.0.open_with(name, &options) {
            Ok(file) => file.into_std(),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file() && metadata.len() == bytes && file_digest(&mut file)? == *digest)
    }

    /// Returns the names of its visible files that are names of RPMs.
    pub(super) fn packages(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.0.entries()? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok();
            let name = name.filter(|name| crate::service::hooks::file_name::check(name).is_ok());
            if let Some(name) = name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Removes temporary files that no process works on: those that are not locked, or, where the file system has no
    /// locks, those older than a day. Returns their number.
    pub(super) fn remove_leftovers(&self) -> io::Result<u64> {
        let mut removed = 0;
        for entry in self.0.entries()? {
            let entry = entry?;
            let Some(name) = entry.file_name().into_string().ok().filter(|name| is_temporary(name)) else { continue };
            if !entry.file_type()?.is_file() {
                continue;
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = match self.0.open_with(&name, &options) {
                Ok(file) => file.into_std(),
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_left = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => true,
                Err(rustix::io::Errno::WOULDBLOCK) => false,
                Err(_) => file.metadata()?.modified()?.elapsed().is_ok_and(|age| age > MAX_AGE),
            };
            if is_left {
                match self.0.remove_file(&name) {
                    Ok(()) => removed += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(removed)
    }
}

/// Returns the SHA-256 of the rest of a file.
pub(crate) fn file_digest(file: &mut File) -> io::Result<Sha256Bytes> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.finalize().into()),
            Ok(read) => digest.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn random_name() -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = RandomState::new().hash_one(std::process::id());
    let mut name = PREFIX.to_owned();
    for _ in 0..RANDOM_CHARACTERS {
        name.push(char::from(CHARACTERS[(random % 36) as usize]));
        random /= 36;
    }
    name
}

/// True for the name of a temporary file.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|random| {
        random.len() == RANDOM_CHARACTERS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_temporary_files_that_no_process_has_open_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = UploadDirectory::open(root.path()).unwrap();
        let open = directory.create().unwrap();
        let left = root.path().join(".darkserver-upload.aB3d5f");
        let others = [".darkserver-upload.aB3d5", ".darkserver-upload.aB3d5f.rpm", "a.rpm", ".a.rpm.aB3d5f"];
        fs::write(&left, "1").unwrap();
        for other in others {
            fs::write(root.path().join(other), "1").unwrap();
        }
        fs::create_dir(root.path().join(".darkserver-upload.aaaaaa")).unwrap();
        symlink(root.path().join("a.rpm"), root.path().join(".darkserver-upload.bbbbbb")).unwrap();
        assert_eq!(directory.remove_leftovers().unwrap(), 1);
        assert!(!left.exists() && others.iter().all(|other| root.path().join(other).exists()));
        assert!(root.path().join(open.name()).exists());
        let name = open.name().to_owned();
        drop(open);
        assert!(!root.path().join(name).exists(), "a file that is dropped");
        assert_eq!(directory.packages().unwrap(), ["a.rpm"]);
    }

    #[test]
    fn a_file_is_compared_inside_of_the_directory_alone() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outside.path().join("a.rpm"), "bytes").unwrap();
        fs::write(root.join("a.rpm"), "bytes").unwrap();
        fs::create_dir(root.join("d.rpm")).unwrap();
        symlink("a.rpm", root.join("inside.rpm")).unwrap();
        symlink(outside.path().join("a.rpm"), root.join("outside.rpm")).unwrap();
        symlink("nowhere", root.join("dangling.rpm")).unwrap();
        let directory = UploadDirectory::open(&root).unwrap();
        let digest: Sha256Bytes = Sha256::digest("bytes").into();
        for (name, is_same) in [
            ("a.rpm", true),
            ("inside.rpm", true),
            ("outside.rpm", false),
            ("dangling.rpm", false),
            ("d.rpm", false),
            ("absent.rpm", false),
        ] {
            assert_eq!(directory.has(name, 5, &digest).unwrap(), is_same, "{name}");
        }
        assert!(!directory.has("a.rpm", 5, &[0; 32]).unwrap() && !directory.has("a.rpm", 4, &digest).unwrap());
    }
}
