//! The filter on disk: `filter` in the cache directory.
//!
//! The file has a first line with the version of its format, the state of the index that was followed, the base, the
//! delta, and the SHA-256 of all that. Numbers are little-endian; a list begins with its length. The file is written
//! under a temporary name and renamed. It may be removed while no gateway runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use sql::{Head, Heads};
use xorf::BinaryFuse8;

use super::base::{Base, Shard};

/// The version of the format.
const FIRST_LINE: &[u8] = b"darkserver filter 1\n";
/// Maximum length of a writer's name, bytes: the index allows 255 characters.
const MAX_NAME_BYTES: usize = 4 * 255;

/// A filter as it is on disk.
#[derive(Debug)]
pub(super) struct SavedFilter {
    /// The state of the index up to which everything is in the filter.
    pub(super) heads: Heads,
    pub(super) base: Arc<Base>,
    /// Hashes that came since the base was made.
    pub(super) delta: Vec<u64>,
}

/// Returns the path of the file.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("filter")
}

/// Replaces the file. A failure leaves the old one.
pub(super) fn write(directory: &Path, saved: &SavedFilter) -> Result<()> {
    let (path, temporary) = (path(directory), directory.join("filter.new"));
    let context = || format!("filter {}", path.display());
    fs::create_dir_all(directory).with_context(context)?;
    // A process that was killed may have left one.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).with_context(context)?;
    let written = write_to(file, saved).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&temporary, &path));
    written.inspect_err(|_| drop(fs::remove_file(&temporary))).with_context(context)
}

/// Reads the file; `None` if there is none.
///
/// # Errors
/// If it cannot be read, belongs to another user, is damaged or of another version.
pub(super) fn read(directory: &Path) -> Result<Option<SavedFilter>> {
    let path = path(directory);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    // A user who can write the file can make build-ids absent.
    ensure!(
        metadata.is_file() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0,
        "expected a file that this user alone can write, found one of user {} with mode {:04o}",
        metadata.uid(),
        metadata.mode() & 0o7777
    );
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len())?);
    file.read_to_end(&mut bytes)?;
    let Some((content, digest)) = bytes.split_last_chunk::<32>() else { bail!("expected a SHA-256, found the end") };
    ensure!(content.starts_with(FIRST_LINE), "expected {:?} in the first line", String::from_utf8_lossy(FIRST_LINE));
    ensure!(Sha256::digest(content).as_slice() == digest, "its SHA-256 is not the one at its end");
    Unread(&content[FIRST_LINE.len()..]).read_filter().map(Some)
}

/// A writer that computes the digest of all bytes written.
struct HashingWriter<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_to(file: File, saved: &SavedFilter) -> io::Result<File> {
    let mut out = HashingWriter { inner: BufWriter::new(file), digest: Sha256::new() };
    out.write_all(FIRST_LINE)?;
    write_number(&mut out, saved.heads.len() as u64)?;
    for (writer, head) in &saved.heads {
        write_bytes(&mut out, writer.as_bytes())?;
        write_number(&mut out, head.sequence.cast_unsigned())?;
        write_number(&mut out, head.mark.is_some().into())?;
        write_number(&mut out, head.mark.unwrap_or_default().cast_unsigned())?;
    }
    write_number(&mut out, saved.base.len() as u64)?;
    write_number(&mut out, saved.base.shards().len() as u64)?;
    for Shard { first, filter } in saved.base.shards() {
        write_number(&mut out, *first)?;
        let of = &filter.descriptor;
        for number in [of.seed, of.segment_length.into(), of.segment_count_length.into()] {
            write_number(&mut out, number)?;
        }
        write_bytes(&mut out, &filter.fingerprints)?;
    }
    write_number(&mut out, saved.delta.len() as u64)?;
    for hash in &saved.delta {
        write_number(&mut out, *hash)?;
    }
    let digest = out.digest.finalize();
    out.inner.write_all(&digest)?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)
}

fn write_number(out: &mut impl Write, number: u64) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_number(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

/// The bytes that are not read yet.
struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn read_filter(mut self) -> Result<SavedFilter> {
        let mut heads = Heads::new();
        for _ in 0..self.read_number()? {
            let writer = self.read_bytes(MAX_NAME_BYTES)?;
            let (sequence, marked, mark) =
                (self.read_number()?.cast_signed(), self.read_number()? != 0, self.read_number()?.cast_signed());
            heads.insert(str::from_utf8(writer)?.to_owned(), Head { sequence, mark: marked.then_some(mark) });
        }
        let len = usize::try_from(self.read_number()?)?;
        let mut shards = Vec::new();
        for _ in 0..self.read_number()? {
            shards.push(self.read_shard()?);
        }
        let mut delta = Vec::new();
        for _ in 0..self.read_number()? {
            delta.push(self.read_number()?);
        }
        ensure!(self.0.is_empty(), "expected the end, found {} bytes more", self.0.len());
        ensure!(shards.is_sorted_by(|a: &Shard, b: &Shard| a.first < b.first), "expected shards in order");
        Ok(SavedFilter { heads, base: Arc::new(Base::new(shards, len)), delta })
    }

    fn read_shard(&mut self) -> Result<Shard> {
        let first = self.read_number()?;
        // The type of the descriptor has no public name: the descriptor of another filter is changed.
        let mut filter = BinaryFuse8::try_from([0].as_slice()).map_err(|error| anyhow!(error))?;
        let descriptor = &mut filter.descriptor;
        descriptor.seed = self.read_number()?;
        descriptor.segment_length = self.read_number()?.try_into()?;
        descriptor.segment_count_length = self.read_number()?.try_into()?;
        ensure!(descriptor.segment_length.is_power_of_two(), "expected segments of a power of two");
        descriptor.segment_length_mask = descriptor.segment_length - 1;
        // A look-up reads three segments in a row, the first of them one of the counted.
        let places = u64::from(descriptor.segment_count_length) + 2 * u64::from(descriptor.segment_length);
        filter.fingerprints = self.read_bytes(usize::MAX)?.into();
        ensure!(
            places <= filter.fingerprints.len() as u64,
            "expected {places} fingerprints, found {}",
            filter.fingerprints.len()
        );
        Ok(Shard { first, filter })
    }

    fn read_number(&mut self) -> Result<u64> {
        let Some((number, rest)) = self.0.split_first_chunk() else { bail!("expected a number, found the end") };
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn read_bytes(&mut self, max_bytes: usize) -> Result<&'a [u8]> {
        let length = usize::try_from(self.read_number()?)?;
        ensure!(length <= max_bytes, "expected at most {max_bytes} bytes, found {length}");
        let Some((bytes, rest)) = self.0.split_at_checked(length) else {
            bail!("expected {length} bytes, found {}", self.0.len())
        };
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use artifact::BuildId;

    use super::*;

    fn build_id(number: u32) -> BuildId {
        BuildId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    fn saved() -> SavedFilter {
        let base = Base::from_hashes((0..1000).map(|number| sql::hash_build_id(&build_id(number))).collect()).unwrap();
        let heads =
            [("a".into(), Head { sequence: 5, mark: Some(-7) }), ("b".into(), Head { sequence: 1, mark: None })].into();
        SavedFilter { heads, base: Arc::new(base), delta: vec![1, u64::MAX] }
    }

    #[test]
    fn a_written_filter_is_read_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_none());
        let saved = saved();
        for _ in 0..2 {
            write(directory.path(), &saved).unwrap();
        }
        let found = read(directory.path()).unwrap().unwrap();
        assert_eq!((&found.heads, &found.delta, found.base.len()), (&saved.heads, &saved.delta, 1000));
        assert!((0..1000).map(build_id).all(|id| found.base.may_have(sql::hash_build_id(&id))));
        let false_positives =
            (0..10_000).map(|number| build_id(number + 5000)).filter(|id| found.base.may_have(sql::hash_build_id(id)));
        assert!(false_positives.count() < 200);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_or_truncated_or_writable_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &saved()).unwrap();
        let path = path(directory.path());
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(37) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(read(directory.path()).is_err(), "byte {at} was changed");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read(directory.path()).is_err(), "only {at} bytes are there");
        }
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o620)).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("expected a file that this user alone can write, found"), "{error}");
    }

    #[test]
    fn wrong_lengths_are_refused_without_allocation() {
        let mut bytes = Vec::new();
        for number in [0, 0, u64::MAX] {
            write_number(&mut bytes, number).unwrap();
        }
        assert!(Unread(&bytes).read_filter().is_err());
        bytes.clear();
        write_number(&mut bytes, 1).unwrap();
        write_number(&mut bytes, u64::MAX).unwrap();
        assert!(Unread(&bytes).read_filter().unwrap_err().to_string().contains("at most"));
    }
}
