//! What an extraction passes on its way to its member, and what is behind that, is unpacked anyway: of files that are likely to be asked for
//! next, those that are nearest are kept. Who looks at one source file looks at others of its package; who reads the debuginfo of one
//! library needs the file that dwz moved its types to.
//!
//! They are in memory until the member is whole and its clients are served; then they are compared with their digests and written. Nobody
//! asked for them, so they are the first to go.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use artifact::Identity;
use artifact::header::{File, Header};
use artifact::payload::{self, Member, Members};

use super::{Entry, Files, Key};
use crate::metrics::METRICS;

/// What debuggers ask for, one file after the other.
const FOLDERS: [&str; 2] = ["/usr/src/debug/", "/usr/lib/debug/"];

/// So much has to be left on the disk for each byte of a neighbour.
const FREE: u64 = 16;

/// What one extraction keeps besides its member.
pub(super) struct Neighbours {
    files: Files,
    /// Of the member. Only what is in the same one is kept.
    folder: Option<&'static str>,
    began: Instant,
    /// The number of the first file that may be near enough.
    first: u32,
    /// In the order of the archive.
    kept: VecDeque<Neighbour>,
    bytes: u64,
}

/// One of them.
struct Neighbour {
    key: Key,
    file: File,
    contents: Vec<u8>,
    /// What it would have taken to extract it alone.
    cost: Duration,
}

impl Neighbours {
    /// Of the member at `path`, whose extraction began at `began`.
    pub(super) fn new(files: &Files, path: String, began: Instant) -> Self {
        let folder =
            FOLDERS.into_iter().find(|folder| path.starts_with(folder)).filter(|_| files.limits.max_bytes.as_u64() > 0);
        Self { files: files.clone(), folder, began, first: 0, kept: VecDeque::new(), bytes: 0 }
    }

    /// The walk begins anew, in another archive.
    pub(super) fn begin(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }

    /// The walk up to the file with number `ordinal` begins. Archives have their files in the header's order, as good as always: what
    /// would only make room for others again is not even taken.
    pub(super) fn expect(&mut self, header: &Header, ordinal: u32) {
        let (most, mut bytes) = (self.most_before(), 0);
        self.first = ordinal;
        while let Some(before) = self.first.checked_sub(1)
            && let Some(file) = header.file_by_ordinal(before)
        {
            bytes += if self.wants(file, file.is_regular(), most) { file.size } else { 0 };
            if bytes > most {
                break;
            }
            self.first = before;
        }
    }

    /// Half of what may be kept lies before the member.
    fn most_before(&self) -> u64 {
        self.files.limits.max_bytes.as_u64() / 2
    }

    /// A member before the wanted one: the nearest are kept.
    pub(super) fn pass<R: Read>(&mut self, identity: Identity, member: &mut Member<'_, '_, R>) -> artifact::Result<()> {
        let most = self.most_before();
        if member.ordinal() >= self.first && self.wants(member.file(), member.has_contents(), most) {
            self.take(identity, member)?;
            while self.bytes > most
                && let Some(farthest) = self.kept.pop_front()
            {
                self.bytes -= farthest.contents.len() as u64;
            }
        }
        Ok(())
    }

    /// Those behind the wanted one, for as long as may be.
    pub(super) fn go_on<R: Read>(&mut self, identity: Identity, members: &mut Members<'_, R>) {
        let (most, ends) = (self.files.limits.max_bytes.as_u64(), Instant::now() + self.files.limits.timeout);
        while self.folder.is_some() && Instant::now() < ends && self.step(identity, members, most, ends).is_continue() {
        }
    }

    fn step<R: Read>(
        &mut self,
        identity: Identity,
        members: &mut Members<'_, R>,
        most: u64,
        ends: Instant,
    ) -> ControlFlow<()> {
        // What is wrong here will be told to whoever asks for it.
        let Ok(Some(mut member)) = members.next() else { return ControlFlow::Break(()) };
        let size = member.file().size;
        if self.wants(member.file(), member.has_contents(), most) {
            if self.bytes + size > most || self.take(identity, &mut member).is_err() {
                return ControlFlow::Break(());
            }
        } else {
            // A long one is passed in pieces, so that it does not take longer than may be.
            let mut piece = [0; 64 << 10];
            while Instant::now() < ends && member.read(&mut piece).is_ok_and(|read| read > 0) {}
        }
        ControlFlow::Continue(())
    }

    fn wants(&self, file: &File, has_contents: bool, most: u64) -> bool {
        let is_near = self.folder.is_some_and(|folder| file.path.starts_with(folder));
        is_near && has_contents && file.size > 0 && file.size <= most && file.digest.is_some()
    }

    fn take<R: Read>(&mut self, identity: Identity, member: &mut Member<'_, '_, R>) -> artifact::Result<()> {
        let key = Key { identity, ordinal: member.ordinal() };
        let mut contents = Vec::with_capacity(usize::try_from(member.file().size).unwrap_or(0));
        let file = member.file().clone();
        member.read_to_end(&mut contents)?;
        self.bytes += contents.len() as u64;
        self.kept.push_back(Neighbour { key, file, contents, cost: self.began.elapsed() });
        Ok(())
    }

    /// Writes those that are right. For threads that may block.
    pub(super) fn keep(self) {
        let Self { files, kept, bytes, .. } = self;
        let is_new = |neighbour: &Neighbour| !files.cache.contains_key(&neighbour.key);
        let kept: Vec<Neighbour> = kept.into_iter().filter(is_new).collect();
        if kept.is_empty() || files.folder.free().is_ok_and(|free| free / FREE < bytes) {
            return;
        }
        if let Err(error) = write(&files, kept) {
            tracing::debug!(%error, "neighbours could not be kept");
        }
    }
}

fn write(files: &Files, kept: Vec<Neighbour>) -> io::Result<()> {
    let mut drafts = Vec::new();
    for Neighbour { key, file, contents, cost } in kept {
        let about = files.folder.about(key, &file);
        if !payload::matches_digest(&file, &contents) || files.folder.whole_file(&about).is_some() {
            continue;
        }
        let mut draft = files.folder.draft(file.size)?;
        draft.file.write_all(&contents)?;
        drafts.push((key, about, draft, cost));
    }
    // Once for all: whoever finds a name after a crash has to find the bytes.
    files.folder.sync()?;
    for (key, about, draft, cost) in drafts {
        files.folder.publish(draft, &about)?;
        METRICS.prefetched_members.inc();
        files.runtime.block_on(files.keep(key, Entry::unmet(about), cost));
    }
    files.runtime.block_on(files.evict());
    Ok(())
}
