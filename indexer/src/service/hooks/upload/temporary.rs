//! The temporary file of an upload. It is removed unless it gets its name.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;

use actix_web::web::Bytes;
use artifact::header::{self, Outline};
use rustix::fs::{AtFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::directory::UploadDirectory;
use crate::service::hooks::digest::Sha256Bytes;

/// A file that is being uploaded.
pub(super) struct TemporaryFile {
    directory: UploadDirectory,
    /// Its name; `None` once it has another one.
    name: Option<String>,
    file: File,
    digest: Sha256,
    bytes: u64,
}

/// A file whose bytes are complete.
pub(super) struct CompleteFile {
    file: TemporaryFile,
    pub(super) digest: Sha256Bytes,
}

/// Whether a file got its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It has it.
    New,
    /// Another file has it. Nothing changed.
    Exists,
}

impl TemporaryFile {
    pub(super) fn new(directory: UploadDirectory, name: String, file: File) -> Self {
        Self { directory, name: Some(name), file, digest: Sha256::new(), bytes: 0 }
    }

    /// Locks the file, which shows that a process works on it. Returns false if another process has taken it for one
    /// that was left.
    pub(super) fn lock(&self) -> bool {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => false,
            // Some file systems have no locks.
            Err(_) | Ok(()) => self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0),
        }
    }

    /// Returns its name.
    #[cfg(test)]
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Returns the number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        for chunk in chunks {
            self.file.write_all(chunk)?;
            self.digest.update(chunk);
            self.bytes += chunk.len() as u64;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn complete(mut self) -> CompleteFile {
        let digest = std::mem::take(&mut self.digest).finalize().into();
        CompleteFile { file: self, digest }
    }
}

impl CompleteFile {
    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes
    }

    /// Reads the header of the RPM. Returns NAME-VERSION-RELEASE.ARCH.
    ///
    /// # Errors
    /// It is no RPM, or cut off.
    pub(super) fn nvra(&mut self) -> artifact::Result<String> {
        self.file.file.rewind().map_err(artifact::Error::Io)?;
        let mut buffer = Vec::new();
        let outline = Outline::from_bytes(header::read_ahead(&mut self.file.file, &mut buffer)?)?;
        outline.check_archive_bytes(self.file.bytes)?;
        Ok(outline.package.nevra.nvra())
    }

    /// Gives it its name unless another file has it, once its bytes are durable. The name is durable after
    /// [`UploadDirectory::sync`].
    pub(super) fn place(mut self, name: &str) -> io::Result<Placed> {
        let file = &mut self.file;
        file.file.sync_all()?;
        let (directory, Some(temporary)) = (file.directory.dir(), &file.name) else { return Ok(Placed::Exists) };
        match rustix::fs::renameat_with(directory, temporary, directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                file.name = None;
                Ok(Placed::New)
            }
            Err(Errno::EXIST) => Ok(Placed::Exists),
            // NFS and others cannot do that, but make links, which never replace a file. The temporary name is removed
            // with the file.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match rustix::fs::linkat(directory, temporary, directory, name, AtFlags::empty()) {
                    Ok(()) => Ok(Placed::New),
                    Err(Errno::EXIST) => Ok(Placed::Exists),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Err(error) = self.directory.dir().remove_file(&name)
        {
            tracing::warn!(file = name, %error, "a temporary file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use compat_tests::fixtures;

    use super::*;

    fn upload(directory: &UploadDirectory, bytes: &[u8]) -> CompleteFile {
        let mut file = directory.create().unwrap();
        file.write(&[Bytes::copy_from_slice(bytes)]).unwrap();
        file.complete()
    }

    #[test]
    fn the_first_file_of_a_name_stays() {
        let root = tempfile::tempdir().unwrap();
        let directory = UploadDirectory::open(root.path()).unwrap();
        let first = upload(&directory, b"first");
        assert_eq!((first.bytes(), first.digest), (5, Sha256::digest("first").into()));
        let second = upload(&directory, b"second");
        assert_eq!(first.place("a.rpm").unwrap(), Placed::New);
        assert_eq!(second.place("a.rpm").unwrap(), Placed::Exists);
        directory.sync().unwrap();
        assert_eq!(fs::read(root.path().join("a.rpm")).unwrap(), b"first");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no temporary file is left");
        assert!(directory.free_bytes().unwrap() > 0);
    }

    #[test]
    fn only_a_whole_rpm_has_a_name() {
        let root = tempfile::tempdir().unwrap();
        let directory = UploadDirectory::open(root.path()).unwrap();
        let row = fixtures::truth("fedora-separate").into_iter().next().unwrap();
        let bytes = fs::read(fixtures::rpm(&row.rpm)).unwrap();
        assert_eq!(upload(&directory, &bytes).nvra().unwrap(), row.nvra());
        for cut in [&bytes[..bytes.len() - 1], &bytes[..200], &bytes[..0], b"no package"] {
            assert!(upload(&directory, cut).nvra().is_err(), "{} bytes", cut.len());
        }
        let mut changed = bytes.clone();
        let header = Outline::from_bytes(&bytes).unwrap().range;
        changed[header.end as usize - 1] ^= 1;
        assert!(upload(&directory, &changed).nvra().is_err(), "a changed header");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
