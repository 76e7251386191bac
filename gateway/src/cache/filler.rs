//! Where the bytes of a member come from, and how a fill begins.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use artifact::BuildId;

use super::entry::MemberInfo;
use super::fill::{Fill, fail_when_stalled};
use super::temporary_file::TemporaryFile;
use super::{Entry, MemberCache, MemberKey, Reader, extraction, relay};
use crate::permits::Permit;
use crate::providers::archives::Archive;
use crate::providers::federation::relay_input::RelayInput;
use crate::providers::flow::Flow;
use crate::resolve::outcome::Miss;

/// Where the bytes of a member come from. A filler tells what is known of the member, then runs on a thread of its own:
/// it writes the bytes to a [`FillWriter`](super::writer::FillWriter) and calls its `complete` after the last one, or
/// [`Fill::fail`].
pub(crate) enum Filler {
    /// A member is extracted from an opened archive.
    Extraction(Box<Archive>),
    /// A file of upstreams.
    Relay(Box<RelayInput>),
}

impl Filler {
    /// Begins to fill a member on a thread of its own, and returns the first reader. A member that has an entry
    /// meanwhile is not filled again: it was prefetched. For threads that may block.
    ///
    /// # Errors
    /// The source does not have the member, there is no space for it, or a published file cannot be opened.
    pub(super) fn begin(
        self,
        cache: &MemberCache,
        key: MemberKey,
        build_id: Option<BuildId>,
        permit: Permit,
    ) -> Result<Reader, Miss> {
        let (info, source, path) = self.describe(cache, key)?;
        let size = info.size;
        let file = cache.temporary_file(size)?;
        let flow = Arc::new(Flow::default());
        let entry = Arc::new(Entry::filling(info, file.file.clone(), flow.clone()));
        let reader = Reader::new(entry.clone());
        // Before the entry is listed: whatever happens, its drop removes an entry that is not published.
        let fill = Fill {
            cache: cache.clone(),
            key,
            entry,
            source,
            path,
            build_id,
            must_be_elf: matches!(self, Self::Relay(_)),
            sha256: self.sha256(),
            flow,
            began: Instant::now(),
            abandoned_since: Mutex::new(None),
            permit: Mutex::new(Some(permit)),
        };
        // A file that is larger than the whole cache is not published, and evicts nothing.
        let bytes = if cache.fits(size) { size } else { 0 };
        let present = cache.entries().insert_filling(key, fill.entry.clone(), bytes);
        if let Some(present) = present {
            let opened = present.open();
            opened.map_err(|error| Miss::local(format!("{}: {error}", present.path().display())))?;
            return Ok(present);
        }
        cache.evict();
        let fill = Arc::new(fill);
        cache.runtime.spawn(fail_when_stalled(Arc::downgrade(&fill)));
        cache.runtime.spawn_blocking(move || self.run(&fill, file));
        Ok(reader)
    }

    /// What is known of the member before its bytes, the name of the source, and the path of the member in it.
    fn describe(&self, cache: &MemberCache, key: MemberKey) -> Result<(MemberInfo, String, String), Miss> {
        match self {
            Self::Extraction(archive) => {
                let nvra = archive.inside.nvra();
                let Some(file) = archive.inside.file(key.ordinal) else {
                    let ordinal = key.ordinal;
                    let text = format!("{nvra}: expected a regular file with number {ordinal}, found none");
                    return Err(Miss::Absent(text));
                };
                Ok((cache.directory.info(key, file), nvra, file.path.clone()))
            }
            Self::Relay(input) => {
                let told = input.told();
                let name = format!("upstream {}", told.origin.upstream);
                Ok((cache.directory.relayed_info(key, told), name, told.origin.question.clone()))
            }
        }
    }

    /// Of the contents, if the bytes are not compared with a digest as they come.
    fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::Extraction(_) => None,
            Self::Relay(input) => input.told().sha256,
        }
    }

    fn run(self, fill: &Fill, file: TemporaryFile) {
        match self {
            Self::Extraction(archive) => extraction::run(fill, *archive, file),
            Self::Relay(input) => relay::run(fill, *input, file),
        }
    }
}
