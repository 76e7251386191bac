//! Members out of archives that are entered in the middle.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use artifact::formats;
use artifact::header::Header;
use artifact::payload::{BlockIndex, ReadRange};
use artifact::{Format, Identity, Result};
use moka::future::Cache;

use super::parts::Parts;
use super::{Archive, Archives, Inside};

/// What is put around everything that is read.
type Through<'t, 'r> = &'t dyn Fn(Box<dyn Read + Send>) -> Box<dyn Read + Send + 'r>;

impl Archive {
    /// Writes a member to `out`, which sees its bytes before they are known to be right, if the archive can be entered
    /// behind what is before it; `false`, and nothing is written, where not. `through` is put around everything that is
    /// read. For threads that may block.
    ///
    /// # Errors
    /// As [`artifact::payload::extract_member`] and [`formats::extract_member`].
    pub(crate) fn enter(&self, ordinal: u32, through: Through<'_, '_>, out: &mut (impl Write + Send)) -> Result<bool> {
        let Some(parts) = &self.parts else { return Ok(false) };
        let mut begun = Begun { out, bytes: 0 };
        let archives = &self.place.archives;
        let entered = match &self.inside {
            Inside::Rpm(header) if BlockIndex::may_help(header, ordinal) => {
                let start = header.range.end;
                let part = |range: Range<u64>| Ok(through(parts.read(start + range.start..start + range.end)?));
                let bytes = parts.bytes().saturating_sub(start);
                let index = archives.block_indexes(header, bytes, &part);
                index.and_then(|index| index.extract_member(header, ordinal, &part, &mut begun))
            }
            Inside::OtherFormat { format, file, tar_offset: Some(tar_offset), .. }
                if formats::TarBlockIndex::may_help(*format, *tar_offset) =>
            {
                let part = |range: Range<u64>| Ok(through(parts.read(range)?));
                let index = archives.tar_block_indexes(self.place.package.package.identity, *format, parts, &part);
                index.and_then(|index| index.extract_member((ordinal, *tar_offset), file, &part, &mut begun))
            }
            Inside::Rpm(_) | Inside::OtherFormat { .. } => return Ok(false),
        };
        match entered {
            Err(error) if begun.bytes > 0 => Err(error),
            Err(error) => {
                tracing::debug!(%error, nvra = self.inside.nvra(), "the archive is read from its first byte");
                Ok(false)
            }
            Ok(entered) => Ok(entered),
        }
    }
}

impl Archives {
    /// Where the payload of a package can be entered; looked for once. For threads that may block.
    fn block_indexes(&self, header: &Header, bytes: u64, part: ReadRange<'_, '_>) -> Result<Arc<BlockIndex>> {
        self.once(&self.block_indexes, header.package.identity, || BlockIndex::read(bytes, part))
    }

    /// Where the tar archive in a package without a header can be entered; looked for once. For threads that may block.
    fn tar_block_indexes(
        &self,
        identity: Identity,
        format: Format,
        parts: &Parts,
        part: ReadRange<'_, '_>,
    ) -> Result<Arc<formats::TarBlockIndex>> {
        self.once(&self.tar_block_indexes, identity, || formats::TarBlockIndex::read(format, parts.bytes(), part))
    }

    fn once<E: Send + Sync + 'static>(
        &self,
        cache: &Cache<Identity, Arc<E>>,
        identity: Identity,
        read: impl FnOnce() -> Result<E>,
    ) -> Result<Arc<E>> {
        if let Some(block_indexes) = self.runtime.block_on(cache.get(&identity)) {
            return Ok(block_indexes);
        }
        let block_indexes = Arc::new(read()?);
        self.runtime.block_on(cache.insert(identity, block_indexes.clone()));
        Ok(block_indexes)
    }
}

/// Counts what is written.
struct Begun<'o, W> {
    out: &'o mut W,
    bytes: u64,
}

impl<W: Write> Write for Begun<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
