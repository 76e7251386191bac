//! Prefetched members: files beside the requested one in an archive, which its extraction decompresses anyway. A client
//! that reads one source file reads others of its package; a client that reads the debuginfo of one library needs the
//! file that dwz moved its types to.
//!
//! They stay in memory until the requested member is complete. Then their digests are verified, and they are published.
//! They were not requested, so they are evicted first.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use artifact::Identity;
use artifact::header::{File, Header};
use artifact::payload::{self, Member, Members};

use super::directory::PublishedFile;
use super::{MemberCache, MemberKey};

/// Directories whose files debuggers request one after the other.
const DIRECTORIES: [&str; 2] = ["/usr/src/debug/", "/usr/lib/debug/"];

/// Bytes that the disk must have free for each prefetched byte.
const MIN_FREE_RATIO: u64 = 16;

/// The members that one extraction prefetches.
pub(super) struct Prefetch {
    cache: MemberCache,
    /// The one of [`DIRECTORIES`] with the requested member. Only members in the same one are prefetched.
    directory: Option<&'static str>,
    began: Instant,
    /// The number of the first file that is near enough.
    first: u32,
    /// In the order of the archive.
    members: VecDeque<PrefetchedMember>,
    bytes: u64,
}

struct PrefetchedMember {
    key: MemberKey,
    file: File,
    contents: Vec<u8>,
    /// How long it would have taken to extract it alone.
    cost: Duration,
}

impl Prefetch {
    /// For the member at `path`, whose extraction began at `began`.
    pub(super) fn new(cache: &MemberCache, path: &str, began: Instant) -> Self {
        let is_enabled = cache.prefetch.max_bytes.as_u64() > 0;
        let directory = DIRECTORIES.into_iter().find(|directory| is_enabled && path.starts_with(directory));
        Self { cache: cache.clone(), directory, began, first: 0, members: VecDeque::new(), bytes: 0 }
    }

    /// Forgets what was read: another archive is read from its first member.
    pub(super) fn restart(&mut self) {
        self.members.clear();
        self.bytes = 0;
    }

    /// Finds the first file near enough to the one with number `ordinal`. Archives have their files in the header's
    /// order, almost always: files that nearer ones would replace are not read at all.
    pub(super) fn expect(&mut self, header: &Header, ordinal: u32) {
        let (max, mut bytes) = (self.max_preceding_bytes(), 0);
        self.first = ordinal;
        if self.directory.is_none() {
            return;
        }
        while let Some(before) = self.first.checked_sub(1)
            && let Some(file) = header.file_by_ordinal(before)
        {
            bytes += if self.is_eligible(file, file.is_regular(), max) { file.size } else { 0 };
            if bytes > max {
                break;
            }
            self.first = before;
        }
    }

    /// Half of the limit is for members before the requested one.
    fn max_preceding_bytes(&self) -> u64 {
        self.cache.prefetch.max_bytes.as_u64() / 2
    }

    /// Reads a member before the requested one, if it is eligible. The nearest ones are kept.
    ///
    /// # Errors
    /// The archive is broken.
    pub(super) fn read_preceding<R: Read>(
        &mut self,
        identity: Identity,
        member: &mut Member<'_, '_, R>,
    ) -> artifact::Result<()> {
        let max = self.max_preceding_bytes();
        if member.ordinal() >= self.first && self.is_eligible(member.file(), member.has_contents(), max) {
            self.read(identity, member)?;
            while self.bytes > max
                && let Some(farthest) = self.members.pop_front()
            {
                self.bytes -= farthest.contents.len() as u64;
            }
        }
        Ok(())
    }

    /// Reads members behind the requested one, until the timeout or the limit.
    pub(super) fn read_following<R: Read>(&mut self, identity: Identity, members: &mut Members<'_, R>) {
        let ends = Instant::now() + self.cache.prefetch.timeout;
        while self.directory.is_some() && Instant::now() < ends && self.read_next(identity, members, ends).is_continue()
        {
        }
    }

    fn read_next<R: Read>(
        &mut self,
        identity: Identity,
        members: &mut Members<'_, R>,
        ends: Instant,
    ) -> ControlFlow<()> {
        let max = self.cache.prefetch.max_bytes.as_u64();
        // A broken archive is reported to the request that needs its member.
        let Ok(Some(mut member)) = members.next() else { return ControlFlow::Break(()) };
        let size = member.file().size;
        if self.is_eligible(member.file(), member.has_contents(), max) {
            if self.bytes + size > max || self.read(identity, &mut member).is_err() {
                return ControlFlow::Break(());
            }
        } else {
            // In pieces, so that a long one does not take longer than the timeout.
            let mut piece = [0; 64 << 10];
            while Instant::now() < ends && member.read(&mut piece).is_ok_and(|read| read > 0) {}
        }
        ControlFlow::Continue(())
    }

    fn is_eligible(&self, file: &File, has_contents: bool, max: u64) -> bool {
        let is_near = self.directory.is_some_and(|directory| file.path.starts_with(directory));
        is_near && has_contents && file.size > 0 && file.size <= max && file.digest.is_some()
    }

    fn read<R: Read>(&mut self, identity: Identity, member: &mut Member<'_, '_, R>) -> artifact::Result<()> {
        let key = MemberKey { identity, ordinal: member.ordinal() };
        let mut contents = Vec::with_capacity(usize::try_from(member.file().size).unwrap_or(0));
        let file = member.file().clone();
        member.read_to_end(&mut contents)?;
        self.bytes += contents.len() as u64;
        self.members.push_back(PrefetchedMember { key, file, contents, cost: self.began.elapsed() });
        Ok(())
    }

    /// Publishes the members whose digest is right and that are not cached. For threads that may block.
    pub(super) fn write(self) {
        let Self { cache, members, bytes, .. } = self;
        let is_new = |member: &PrefetchedMember| !cache.entries().contains(member.key);
        let members: Vec<PrefetchedMember> = members.into_iter().filter(is_new).collect();
        if members.is_empty() || cache.directory.free().is_ok_and(|free| free / MIN_FREE_RATIO < bytes) {
            return;
        }
        if let Err(error) = publish(&cache, members) {
            tracing::debug!(%error, "prefetched members could not be written");
        }
        cache.evict();
    }
}

fn publish(cache: &MemberCache, members: Vec<PrefetchedMember>) -> io::Result<()> {
    let mut written = Vec::new();
    for PrefetchedMember { key, file, contents, cost } in members {
        if payload::matches_digest(&file, &contents) {
            let info = cache.directory.info(key, &file);
            let temporary = cache.directory.temporary_file(file.size)?;
            temporary.file.write_all_at(&contents, 0)?;
            written.push((PublishedFile { key, info, cost }, temporary));
        }
    }
    // Once for all: a name that is found after a crash must have its bytes.
    cache.directory.sync()?;
    for (member, temporary) in written {
        cache.publish_prefetched(member, temporary)?;
    }
    Ok(())
}
