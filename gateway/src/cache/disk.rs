//! The cache folder: `files/IDENTITY-ORDINAL-SIZE-DIGEST` for every whole file, in a folder that only this user may enter. Those that grow
//! are [drafts](Draft).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use artifact::header;
use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

use super::Key;
use super::cost::cost;
use super::draft::{self, Draft, free, is_left};
use super::entry::{About, Entry};
use super::signature;
use super::stand_in::{Room, StandIn};

/// The cache folder.
pub(crate) struct Folder {
    path: PathBuf,
    temporary: AtomicU64,
    stand_in: StandIn,
}

impl Folder {
    /// Opens the folder `files` below `path`, makes both if need be. What is in it is taken over, so it must be ours alone.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let context = || format!("cache folder {}", path.display());
        std::fs::create_dir_all(path).with_context(context)?;
        let folder = Self {
            path: path.canonicalize().with_context(context)?.join("files"),
            temporary: AtomicU64::new(0),
            stand_in: StandIn::new(),
        };
        folder.make().with_context(context)?;
        folder.check()?;
        Ok(folder)
    }

    /// Makes the folder, and those above it, if need be.
    fn make(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = std::fs::symlink_metadata(&self.path)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            let (shown, mode, user) = (self.path.display(), found.mode() & 0o7777, found.uid());
            return Err(io::Error::other(format!(
                "{shown}: expected a folder of this user with mode 0700, found one of user {user} with mode {mode:04o}"
            )));
        }
        Ok(())
    }

    /// Can files be written?
    pub(super) fn check(&self) -> Result<()> {
        self.draft(0)
            .map(drop)
            .with_context(|| format!("cache folder {}: expected to be able to write", self.path.display()))
    }

    /// Where the whole file of a member is or will be.
    pub(super) fn path(&self, key: Key, size: u64, digest: &str) -> PathBuf {
        self.path.join(format!("{}-{}-{size}-{digest}", key.identity, key.ordinal))
    }

    /// What is known of a member, out of its package's header.
    pub(super) fn about(&self, key: Key, file: &header::File) -> About {
        let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let (path, signature) = (self.path(key, file.size, &digest), file.signature.as_deref().map(Into::into));
        About { size: file.size, mtime: i64::from(file.mtime), digest, signature, path }
    }

    /// Gives a whole file its name, and its signature before that.
    pub(super) fn publish(&self, mut draft: Draft, about: &About) -> io::Result<()> {
        self.within(|| {
            if let Some(signature) = &about.signature {
                signature::keep(&about.path, signature, &self.temporary_name())?;
            }
            draft.publish(&about.path, about.mtime)
        })
    }

    /// Brings everything that was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.path)?)?)
    }

    /// The whole file of a member, if it is there.
    pub(super) fn whole_file(&self, about: &About) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&about.path, flags, Mode::empty()).ok()?);
        file.metadata().is_ok_and(|found| found.is_file() && found.len() == about.size).then_some(file)
    }

    /// A file in memory in the place of a [`Self::draft`] that there is no disk for.
    pub(super) fn stand_in(&self, size: u64) -> io::Result<(Draft, Room)> {
        let (file, room) = self.stand_in.file(size)?;
        Ok((Draft::in_memory(file), room))
    }

    /// A new file without a name, with room for `size` bytes.
    pub(super) fn draft(&self, size: u64) -> io::Result<Draft> {
        let draft = self.within(|| Draft::new(&self.path, || self.temporary_name()))?;
        draft.reserve(size)?;
        Ok(draft)
    }

    /// Does something in the folder; where somebody removed it, in a new one.
    fn within<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make()?;
                act()
            }
            done => done,
        }
    }

    /// How many bytes the disk has room for.
    pub(super) fn free(&self) -> io::Result<u64> {
        Ok(free(rustix::fs::statvfs(&self.path)?))
    }

    fn temporary_name(&self) -> PathBuf {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{}{}-{number}", draft::BEGINNING, std::process::id()))
    }

    /// Removes drafts and signatures that gateways left that are no more.
    pub(super) fn remove_drafts(&self) -> Result<()> {
        let context = || format!("cache folder {}", self.path.display());
        for item in std::fs::read_dir(&self.path).with_context(context)? {
            let path = item.with_context(context)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with(draft::BEGINNING) {
                if is_left(&path) {
                    std::fs::remove_file(&path).with_context(context)?;
                }
            } else if let Some(file) = name.strip_suffix(signature::ENDING).filter(|name| parse_name(name).is_some()) {
                let file = self.path.join(file);
                if !file.exists() {
                    signature::remove(&file).with_context(context)?;
                }
            }
        }
        Ok(())
    }

    /// The whole files that are not known, the least recently read first: of files that cost the same these go first.
    pub(super) fn whole_files(&self, is_known: impl Fn(&Key) -> bool) -> Result<Vec<Found>> {
        let context = || format!("cache folder {}", self.path.display());
        let mut found = Vec::new();
        for item in std::fs::read_dir(&self.path).with_context(context)? {
            let item = item.with_context(context)?;
            let name = item.file_name();
            let Some((key, size, digest)) = name.to_str().and_then(parse_name).filter(|(key, ..)| !is_known(key))
            else {
                continue;
            };
            // Not followed, if it is a link.
            let metadata = match item.metadata() {
                // Another gateway was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.with_context(context)?,
            };
            if !metadata.is_file() || metadata.len() != size {
                tracing::warn!(path = %item.path().display(), "not a file of {size} bytes as its name says: removed");
                std::fs::remove_file(item.path()).with_context(context)?;
                continue;
            }
            let (path, digest) = (item.path(), digest.to_owned());
            let signature = signature::kept(&path).with_context(context)?;
            let cost = cost(&path, size);
            let about = About { size, mtime: metadata.mtime(), digest, signature, path };
            found.push((metadata.accessed().ok(), Found { key, entry: Entry::whole(about), cost }));
        }
        found.sort_by_key(|(used, _)| *used);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }
}

/// A whole file that the folder has.
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) entry: Entry,
    /// What its extraction took.
    pub(super) cost: Duration,
}

fn parse_name(name: &str) -> Option<(Key, u64, &str)> {
    let mut parts = name.splitn(4, '-');
    let identity = parts.next()?.parse().ok()?;
    let ordinal = parts.next()?.parse().ok()?;
    let size = parts.next()?.parse().ok()?;
    let digest = parts.next().filter(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((Key { identity, ordinal }, size, digest))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::FlockOperation;

    use super::super::cost::{guessed_cost, keep_cost, kept_cost};
    use super::*;

    #[test]
    fn a_file_has_a_name_only_when_it_is_published() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let key = Key { identity: artifact::Identity::from_bytes([7; 32]), ordinal: 3 };
        let path = folder.path(key, 5, "ab12");
        let mut draft = folder.draft(5).unwrap();
        draft.file.write_all(b"hello").unwrap();
        assert!(!path.exists());
        draft.publish(&path, 1_000_000_000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        let found = folder.whole_files(|_| false).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, key);
        let Found { entry, cost, .. } = &found[0];
        assert_eq!((entry.size(), entry.mtime(), entry.digest()), (5, 1_000_000_000, "ab12"));
        assert_eq!(*cost, guessed_cost(5));
        // Where the file system can keep it, what it cost comes back.
        if keep_cost(&File::open(&path).unwrap(), Duration::from_millis(1500)).is_ok() {
            assert_eq!(kept_cost(&path), Some(Duration::from_millis(1500)));
        }
    }

    #[test]
    fn a_signature_stays_as_long_as_its_file() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let key = Key { identity: artifact::Identity::from_bytes([7; 32]), ordinal: 3 };
        let (path, lost) = (folder.path(key, 5, "ab12"), folder.path(Key { ordinal: 4, ..key }, 5, "ab12"));
        std::fs::write(&path, b"hello").unwrap();
        let keep = |file: &Path| folder.within(|| signature::keep(file, &[3, 2, 4], &folder.temporary_name())).unwrap();
        keep(&path);
        keep(&lost);
        let Found { entry, .. } = folder.whole_files(|_| false).unwrap().pop().unwrap();
        assert_eq!(entry.signature().map(|signature| &signature[..]), Some(&[3, 2, 4][..]));
        folder.remove_drafts().unwrap();
        let names = || std::fs::read_dir(&folder.path).unwrap().count();
        assert_eq!(names(), 2, "a signature without its file stays");
        entry.remove();
        assert_eq!(names(), 0);
        std::fs::remove_dir(&folder.path).unwrap();
        keep(&path);
        assert_eq!(names(), 1, "in a new folder");
    }

    #[test]
    fn drafts_of_an_earlier_run_are_removed_and_foreign_files_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        std::fs::write(folder.path.join(".draft-1-1"), "x").unwrap();
        std::fs::write(folder.path.join("README"), "x").unwrap();
        // One that lives.
        let alive = File::create(folder.path.join(".draft-1-2")).unwrap();
        rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive).unwrap();
        folder.remove_drafts().unwrap();
        assert!(folder.path.join(".draft-1-2").exists());
        assert!(folder.whole_files(|_| false).unwrap().is_empty());
        assert!(!folder.path.join(".draft-1-1").exists());
        assert!(folder.path.join("README").exists());
    }

    #[test]
    fn only_whole_files_are_taken_over_and_links_never() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let key = Key { identity: artifact::Identity::from_bytes([7; 32]), ordinal: 3 };
        let (short, link) = (folder.path(key, 5, "ab12"), folder.path(Key { ordinal: 4, ..key }, 11, "ab12"));
        std::fs::write(&short, "hell").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(folder.whole_files(|_| false).unwrap().is_empty());
        assert!(!short.exists() && std::fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let files = temporary.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let error = format!("{:#}", Folder::open(temporary.path()).err().unwrap());
        assert!(error.contains("expected a folder of this user with mode 0700, found"), "{error}");
    }
}
