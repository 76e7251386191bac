//! The filter on disk: `filter` in the cache folder.
//!
//! A first line with the version of the form, then the state of the index that the filter is of, the base and what came since it,
//! then the SHA-256 of all that. Numbers are little-endian; a list begins with its length. The file is written under another name
//! and renamed; whoever starts the gateway may remove it.

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

use super::base::{Base, Part};

/// Another form gets another line.
const FIRST_LINE: &[u8] = b"darkserver filter 1\n";
/// A writer's name in the index has at most as many characters.
const MOST_NAME: usize = 4 * 255;

/// A filter as it is on disk.
#[derive(Debug)]
pub(super) struct Saved {
    /// The state of the index up to which everything is in the filter.
    pub(super) heads: Heads,
    pub(super) base: Arc<Base>,
    /// The hashes of what came since the base was made.
    pub(super) delta: Vec<u64>,
}

/// Where the filter is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("filter")
}

/// Writes the file, or leaves what was there.
pub(super) fn write(folder: &Path, saved: &Saved) -> Result<()> {
    let (path, draft) = (path(folder), folder.join("filter.new"));
    let context = || format!("filter {}", path.display());
    fs::create_dir_all(folder).with_context(context)?;
    // Left by a process that was killed.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).with_context(context)?;
    let written = write_to(file, saved).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&draft, &path));
    written.inspect_err(|_| drop(fs::remove_file(&draft))).with_context(context)
}

/// Reads the file; `None` if there is none.
///
/// # Errors
/// It cannot be read, is not this user's, is damaged or of another version. Then it is worth nothing.
pub(super) fn read(folder: &Path) -> Result<Option<Saved>> {
    let path = path(folder);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let about = file.metadata()?;
    // Who can write here can make build-ids absent.
    ensure!(
        about.is_file() && about.uid() == geteuid().as_raw() && about.mode() & 0o022 == 0,
        "expected a file that this user alone can write, found one of user {} with mode {:04o}",
        about.uid(),
        about.mode() & 0o7777
    );
    let mut bytes = Vec::with_capacity(usize::try_from(about.len())?);
    file.read_to_end(&mut bytes)?;
    let Some((content, digest)) = bytes.split_last_chunk::<32>() else { bail!("expected a SHA-256, found the end") };
    ensure!(content.starts_with(FIRST_LINE), "expected {:?} in the first line", String::from_utf8_lossy(FIRST_LINE));
    ensure!(Sha256::digest(content).as_slice() == digest, "its SHA-256 is not the one at its end");
    Input(&content[FIRST_LINE.len()..]).saved().map(Some)
}

/// Writes what it is given, and remembers its digest.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_to(file: File, saved: &Saved) -> io::Result<File> {
    let mut out = Hashing { inner: BufWriter::new(file), digest: Sha256::new() };
    out.write_all(FIRST_LINE)?;
    write_number(&mut out, saved.heads.len() as u64)?;
    for (writer, head) in &saved.heads {
        write_bytes(&mut out, writer.as_bytes())?;
        write_number(&mut out, head.sequence.cast_unsigned())?;
        write_number(&mut out, head.mark.is_some().into())?;
        write_number(&mut out, head.mark.unwrap_or_default().cast_unsigned())?;
    }
    write_number(&mut out, saved.base.len() as u64)?;
    write_number(&mut out, saved.base.parts().len() as u64)?;
    for Part { first, filter } in saved.base.parts() {
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

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn saved(mut self) -> Result<Saved> {
        let mut heads = Heads::new();
        for _ in 0..self.number()? {
            let writer = self.bytes(MOST_NAME)?;
            let (sequence, marked, mark) =
                (self.number()?.cast_signed(), self.number()? != 0, self.number()?.cast_signed());
            heads.insert(str::from_utf8(writer)?.to_owned(), Head { sequence, mark: marked.then_some(mark) });
        }
        let len = usize::try_from(self.number()?)?;
        let mut parts = Vec::new();
        for _ in 0..self.number()? {
            parts.push(self.part()?);
        }
        let mut delta = Vec::new();
        for _ in 0..self.number()? {
            delta.push(self.number()?);
        }
        ensure!(self.0.is_empty(), "expected the end, found {} bytes more", self.0.len());
        ensure!(parts.is_sorted_by(|a: &Part, b: &Part| a.first < b.first), "expected parts in order");
        Ok(Saved { heads, base: Arc::new(Base::new(parts, len)), delta })
    }

    fn part(&mut self) -> Result<Part> {
        let first = self.number()?;
        // Any filter, to be changed into this one: the type of the descriptor has no public name.
        let mut filter = BinaryFuse8::try_from([0].as_slice()).map_err(|error| anyhow!(error))?;
        let descriptor = &mut filter.descriptor;
        descriptor.seed = self.number()?;
        descriptor.segment_length = self.number()?.try_into()?;
        descriptor.segment_count_length = self.number()?.try_into()?;
        ensure!(descriptor.segment_length.is_power_of_two(), "expected segments of a power of two");
        descriptor.segment_length_mask = descriptor.segment_length - 1;
        // A look-up goes to three segments in a row, the first of them one of the counted.
        let places = u64::from(descriptor.segment_count_length) + 2 * u64::from(descriptor.segment_length);
        filter.fingerprints = self.bytes(usize::MAX)?.into();
        ensure!(
            places <= filter.fingerprints.len() as u64,
            "expected {places} fingerprints, found {}",
            filter.fingerprints.len()
        );
        Ok(Part { first, filter })
    }

    fn number(&mut self) -> Result<u64> {
        let Some((number, rest)) = self.0.split_first_chunk() else { bail!("expected a number, found the end") };
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self, most: usize) -> Result<&'a [u8]> {
        let length = usize::try_from(self.number()?)?;
        ensure!(length <= most, "expected at most {most} bytes, found {length}");
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

    fn saved() -> Saved {
        let base = Base::of((0..1000).map(|number| sql::hash_build_id(&build_id(number))).collect()).unwrap();
        let heads =
            [("a".into(), Head { sequence: 5, mark: Some(-7) }), ("b".into(), Head { sequence: 1, mark: None })].into();
        Saved { heads, base: Arc::new(base), delta: vec![1, u64::MAX] }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        let saved = saved();
        for _ in 0..2 {
            write(folder.path(), &saved).unwrap();
        }
        let found = read(folder.path()).unwrap().unwrap();
        assert_eq!((&found.heads, &found.delta, found.base.len()), (&saved.heads, &saved.delta, 1000));
        assert!((0..1000).map(build_id).all(|id| found.base.may_have(sql::hash_build_id(&id))));
        let taken =
            (0..10_000).map(|number| build_id(number + 5000)).filter(|id| found.base.may_have(sql::hash_build_id(id)));
        assert!(taken.count() < 200);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_damaged_cut_off_or_of_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &saved()).unwrap();
        let path = path(folder.path());
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(37) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(read(folder.path()).is_err(), "byte {at} was changed");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read(folder.path()).is_err(), "only {at} bytes are there");
        }
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o620)).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("expected a file that this user alone can write, found"), "{error}");
    }

    #[test]
    fn lengths_that_lie_are_refused_without_taking_memory() {
        let mut bytes = Vec::new();
        for number in [0, 0, u64::MAX] {
            write_number(&mut bytes, number).unwrap();
        }
        assert!(Input(&bytes).saved().is_err());
        bytes.clear();
        write_number(&mut bytes, 1).unwrap();
        write_number(&mut bytes, u64::MAX).unwrap();
        assert!(Input(&bytes).saved().unwrap_err().to_string().contains("at most"));
    }
}
