//! Fills an entry from an archive: decompresses it up to the member, and continues from another location if one breaks
//! off.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact::formats;
use artifact::formats::ArchiveBytes;
use artifact::header::Header;
use artifact::payload::{self, Members};

use super::fill::{Fill, FillError};
use super::prefetch::Prefetch;
use super::temporary_file::TemporaryFile;
use super::writer::FillWriter;
use crate::metrics::METRICS;
use crate::providers::archives::{Archive, Inside};
use crate::resolve::outcome::{CauseKind, Miss};

/// Clients give up below this speed over this time; so does an extraction.
const MIN_BYTES_PER_SECOND: u64 = 100 << 10;
const MIN_SPEED_AFTER: Duration = Duration::from_secs(90);

/// Extracts the member of `fill` from `archive`. Prefetched members are written after readers have been told of the
/// end.
pub(super) fn run(fill: &Fill, archive: Archive, file: TemporaryFile) {
    let (nvra, path) = (&fill.source, &fill.path);
    let mut prefetch = Prefetch::new(&fill.cache, path, fill.began);
    let extraction = Extraction { fill, began: Instant::now() };
    match extraction.extract(archive, file, &mut prefetch) {
        Ok(()) => {}
        Err(FillError::Source(failure) | FillError::Differs(failure) | FillError::Final(failure)) => {
            tracing::warn!(%nvra, path, %failure, "extraction failed");
            METRICS.extractions.with_label_values(&["failed"]).inc();
            fill.fail(failure);
        }
        Err(FillError::Cancelled) => {
            tracing::debug!(%nvra, path, "extraction cancelled: no reader is left");
            METRICS.extractions.with_label_values(&["cancelled"]).inc();
            fill.fail(Miss::gateway(CauseKind::Broken, format!("{nvra}: cancelled, since no reader was left")));
        }
    }
    prefetch.write();
}

/// One extraction.
struct Extraction<'f> {
    fill: &'f Fill,
    began: Instant,
}

impl Extraction<'_> {
    fn extract(&self, mut archive: Archive, file: TemporaryFile, prefetch: &mut Prefetch) -> Result<(), FillError> {
        let mut writer = FillWriter::new(self.fill, file);
        while let Err(error) = self.extract_from(&mut archive, &mut writer, prefetch) {
            let (FillError::Source(failure) | FillError::Differs(failure)) = &error else { return Err(error) };
            // Before readers are told, so that the next request has it from elsewhere. All copies of a package with
            // wrong contents are alike.
            if matches!(&error, FillError::Source(miss) if miss.is_of_provider()) {
                archive.place.mark_unhealthy();
            }
            let (nvra, path, written) = (&self.fill.source, &self.fill.path, writer.written);
            match archive.place.elsewhere() {
                Some(next) => archive = next,
                None => return Err(error),
            }
            tracing::warn!(%nvra, path, written, %failure, "extraction continues from another location");
            METRICS.extraction_resumes.inc();
        }
        Ok(())
    }

    /// Extracts all of the member from one archive. `writer` may have a part of it already.
    fn extract_from(
        &self,
        archive: &mut Archive,
        writer: &mut FillWriter<'_>,
        prefetch: &mut Prefetch,
    ) -> Result<(), FillError> {
        writer.restart();
        prefetch.restart();
        let watch = Watch::new(self.fill);
        let watched = |payload| -> Box<dyn Read + Send> { Box::new(Watched { payload, watch: &watch }) };
        let store = archive.place.store().to_owned();
        let end = |writer: &mut FillWriter<'_>, error: artifact::Error| {
            writer.error.take().unwrap_or_else(|| match watch.is_cancelled() {
                true => FillError::Cancelled,
                false => {
                    FillError::Source(Miss::store(&store, CauseKind::Broken, format!("{}: {error}", self.fill.source)))
                }
            })
        };
        match archive.enter(self.fill.key.ordinal, &watched, writer) {
            Ok(true) => return self.verify_and_complete(writer),
            Ok(false) => {}
            Err(error) if writer.error.is_some() || watch.is_cancelled() => {
                return Err(end(writer, error));
            }
            Err(error) => {
                tracing::debug!(%error, nvra = self.fill.source, "a payload is read again from its first byte");
                writer.restart();
            }
        }
        let payload = match archive.take() {
            ArchiveBytes::Stream(payload) => ArchiveBytes::stream(Watched { payload, watch: &watch }),
            ArchiveBytes::Seekable(payload) => ArchiveBytes::seekable(Watched { payload, watch: &watch }),
        };
        match &archive.inside {
            Inside::Rpm(header) => {
                let archive = payload::decompress(payload).map_err(|error| end(writer, error))?;
                let mut members = Members::new(archive, header);
                self.extract_member(header, &mut members, writer, prefetch).map_err(|error| end(writer, error))?;
                self.verify_and_complete(writer)?;
                prefetch.read_following(header.package.identity, &mut members);
            }
            Inside::OtherFormat { format, bytes, ordinal, file, .. } => {
                let extracted = formats::extract_member(payload, *format, *bytes, *ordinal, file, writer);
                extracted.map_err(|error| end(writer, error))?;
                self.verify_and_complete(writer)?;
            }
        }
        Ok(())
    }

    /// Reads up to the member, and writes it.
    fn extract_member<R: Read>(
        &self,
        header: &Header,
        members: &mut Members<'_, R>,
        writer: &mut FillWriter<'_>,
        prefetch: &mut Prefetch,
    ) -> artifact::Result<()> {
        let ordinal = self.fill.key.ordinal;
        prefetch.expect(header, ordinal);
        while let Some(mut member) = members.next()? {
            if member.holds(ordinal) {
                return member.deliver(writer);
            }
            prefetch.read_preceding(header.package.identity, &mut member)?;
        }
        Err(header.file_by_ordinal(ordinal).map_or_else(
            || artifact::Error::Payload { expected: self.fill.path.clone(), found: "no such file".into() },
            payload::missing_member,
        ))
    }

    /// All bytes are written, with the digest of the header.
    fn verify_and_complete(&self, writer: &mut FillWriter<'_>) -> Result<(), FillError> {
        writer.verify()?;
        let (nvra, path, seconds) = (&self.fill.source, &self.fill.path, self.began.elapsed().as_secs_f64());
        METRICS.extraction_duration.observe(seconds);
        METRICS.extractions.with_label_values(&["complete"]).inc();
        tracing::debug!(%nvra, path, bytes = self.fill.entry.size(), seconds, "extracted");
        writer.complete()
    }
}

/// The reads of one archive. An archive that is read in parts has one watch: neither its speed nor the time without
/// readers begins anew with a part.
struct Watch<'f> {
    fill: &'f Fill,
    began: Instant,
    bytes: AtomicU64,
    is_cancelled: AtomicBool,
}

impl<'f> Watch<'f> {
    /// No byte was read.
    fn new(fill: &'f Fill) -> Self {
        Self { fill, began: Instant::now(), bytes: AtomicU64::new(0), is_cancelled: AtomicBool::new(false) }
    }

    /// True once a read failed because the fill is cancelled.
    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Expects that the fill goes on.
    ///
    /// # Errors
    /// It is cancelled, or slower than clients accept.
    fn check(&self) -> io::Result<()> {
        if self.fill.is_cancelled() {
            self.is_cancelled.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the extraction is cancelled"));
        }
        let took = self.began.elapsed();
        if took > MIN_SPEED_AFTER {
            let found = self.bytes.load(Ordering::Relaxed) / took.as_secs();
            if found < MIN_BYTES_PER_SECOND {
                let expected = format!("expected at least {MIN_BYTES_PER_SECOND} bytes of the archive a second");
                return Err(io::Error::other(format!("{expected}, found {found}")));
            }
        }
        Ok(())
    }
}

/// An archive whose reads fail when the fill is cancelled, or when it is slower than clients accept.
struct Watched<'a, P> {
    payload: P,
    watch: &'a Watch<'a>,
}

impl<P: Read> Read for Watched<'_, P> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.watch.check()?;
        let read = self.payload.read(bytes)?;
        self.watch.bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.watch.fill.flow.add(read);
        METRICS.archive_read_bytes.inc_by(read as u64);
        Ok(read)
    }
}

impl<P: Seek> Seek for Watched<'_, P> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.payload.seek(to)
    }
}

#[cfg(test)]
mod tests;
