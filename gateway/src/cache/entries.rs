//! What is cached: the entries of all members, their sizes, costs and use, and the order in which they are evicted.
//!
//! Eviction weighs the cost of extracting a file again (GreedyDual-Size-Frequency: Cherkasova, "Improving WWW Proxies
//! Performance with Greedy-Dual-Size-Frequency Caching Policy", 1998). The rank of a file is
//! `clock + uses * seconds / bytes`: seconds of its extraction, and as clock the rank of the file that was evicted
//! last. A file that is not requested any more is overtaken by newer ones. A library that took a minute to extract
//! stays longer than sources that take a millisecond. docs/adr/0019 compares it with the least recently used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Entry, MemberKey, Opening, Reader};
use crate::metrics::METRICS;

/// Maximum of uses that count, so that a file that was popular once is evicted at last.
const MAX_USES: u32 = 64;

/// Block size in bytes of all common file systems: a small file takes one block.
const BLOCK: u64 = 4096;

/// Bytes of disk that a file of `bytes` bytes takes.
pub(super) fn disk_bytes(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The entries of the cache.
pub(super) struct Entries {
    /// Bytes of disk of all files.
    bytes: u64,
    clock: u64,
    next_number: u64,
    order: BTreeMap<Rank, MemberKey>,
    files: HashMap<MemberKey, CachedFile>,
    /// Members whose source is being opened.
    openings: HashMap<MemberKey, Opening>,
}

/// The lowest is evicted first; of two with one rank the older.
type Rank = (u64, u64);

struct CachedFile {
    entry: Arc<Entry>,
    /// Bytes of disk.
    bytes: u64,
    /// Nanoseconds of extraction for a KiB.
    cost: u64,
    uses: u32,
    /// When it was used last, seconds since 1970.
    used_at: u64,
    /// True for a prefetched member that was not requested yet.
    is_prefetched: bool,
    /// `None` until it is published: until then it is not evicted.
    rank: Option<Rank>,
}

impl Entries {
    /// No entries.
    pub(super) fn new() -> Self {
        let (order, files, openings) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { bytes: 0, clock: 0, next_number: 0, order, files, openings }
    }

    /// Bytes of disk that all files take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A reader of a member, unless it failed. Counts one use in each second.
    pub(super) fn read(&mut self, key: MemberKey) -> Option<Reader> {
        let file = self.files.get_mut(&key).filter(|file| !file.entry.has_failed())?;
        let reader = Reader::new(file.entry.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if std::mem::replace(&mut file.used_at, now) != now {
            self.count_use(key);
        }
        Some(reader)
    }

    /// Counts a use of a file.
    pub(super) fn count_use(&mut self, key: MemberKey) {
        let Some(file) = self.files.get_mut(&key) else { return };
        if std::mem::take(&mut file.is_prefetched) {
            METRICS.prefetched_members_used.inc();
        }
        file.uses = (file.uses + 1).min(MAX_USES);
        if file.rank.is_some() {
            self.rank(key);
        }
    }

    /// True if a member has an entry that did not fail.
    pub(super) fn contains(&self, key: MemberKey) -> bool {
        self.files.get(&key).is_some_and(|file| !file.entry.has_failed())
    }

    /// True if this is the entry of the member.
    pub(super) fn has(&self, key: MemberKey, entry: &Arc<Entry>) -> bool {
        self.files.get(&key).is_some_and(|file| Arc::ptr_eq(&file.entry, entry))
    }

    /// The opening of a member's source, if it is under way.
    pub(super) fn opening(&self, key: MemberKey) -> Option<&Opening> {
        self.openings.get(&key)
    }

    /// The source of a member is being opened.
    pub(super) fn insert_opening(&mut self, key: MemberKey, opening: Opening) {
        self.openings.insert(key, opening);
    }

    /// The source of a member was opened, or could not be.
    pub(super) fn remove_opening(&mut self, key: MemberKey) {
        self.openings.remove(&key);
    }

    /// Inserts an entry that is being filled, unless the member has one: returns a reader of that. From now on its file
    /// takes `bytes` bytes of the cache.
    pub(super) fn insert_filling(&mut self, key: MemberKey, entry: Arc<Entry>, bytes: u64) -> Option<Reader> {
        let present = self.read(key);
        if present.is_none() {
            self.insert(key, CachedFile { uses: 1, ..CachedFile::new(entry, bytes) });
        }
        present
    }

    /// Inserts a published file that was not requested: of an earlier run, or a prefetched one. It took `cost` to
    /// extract. False if the member has an entry.
    pub(super) fn insert_published(
        &mut self,
        key: MemberKey,
        entry: Arc<Entry>,
        cost: Duration,
        is_prefetched: bool,
    ) -> bool {
        if self.contains(key) {
            return false;
        }
        let bytes = entry.size();
        self.insert(key, CachedFile { is_prefetched, ..CachedFile::new(entry, bytes) });
        self.set_evictable(key, cost);
        true
    }

    /// Replaces at most a failed entry, which has no file.
    fn insert(&mut self, key: MemberKey, file: CachedFile) {
        self.take(key);
        self.bytes += file.bytes;
        self.files.insert(key, file);
    }

    /// The file of a member is published and took `cost` to extract. From now on it can be evicted.
    pub(super) fn set_evictable(&mut self, key: MemberKey, cost: Duration) {
        let Some(file) = self.files.get_mut(&key) else { return };
        let nanoseconds = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        file.cost = nanoseconds.saturating_mul(1 << 10) / file.bytes.max(1);
        self.rank(key);
    }

    /// Removes an entry. False if the member has another one, or none.
    pub(super) fn remove(&mut self, key: MemberKey, entry: &Arc<Entry>) -> bool {
        self.has(key, entry) && self.take(key).is_some()
    }

    /// Removes an entry, if it is listed, unless it has readers: it gets none from now on. False if it has some.
    pub(super) fn remove_unread(&mut self, key: MemberKey, entry: &Arc<Entry>) -> bool {
        let is_unread = entry.readers() == 0;
        if is_unread {
            self.remove(key, entry);
        }
        is_unread
    }

    fn take(&mut self, key: MemberKey) -> Option<CachedFile> {
        let file = self.files.remove(&key)?;
        self.bytes -= file.bytes;
        file.rank.map(|rank| self.order.remove(&rank));
        Some(file)
    }

    /// Removes and returns the file that is evicted first.
    pub(super) fn pop(&mut self) -> Option<Arc<Entry>> {
        let (rank, key) = self.order.first_key_value().map(|(rank, key)| (*rank, *key))?;
        self.clock = rank.0;
        Some(self.take(key)?.entry)
    }

    /// Removes the files that are evicted first until they take `bytes` bytes of disk, or none if all of them take
    /// less. Files with readers stay: the disk has their blocks back only when they are closed.
    pub(super) fn pop_unread(&mut self, bytes: u64) -> Vec<Arc<Entry>> {
        if self.bytes < bytes {
            return Vec::new();
        }
        let (mut keys, mut found) = (Vec::new(), 0);
        for key in self.order.values() {
            if found >= bytes {
                break;
            }
            if let Some(file) = self.files.get(key).filter(|file| file.entry.readers() == 0) {
                found += file.bytes;
                keys.push(*key);
            }
        }
        if found < bytes {
            return Vec::new();
        }
        keys.into_iter().filter_map(|key| Some(self.take(key)?.entry)).collect()
    }

    fn rank(&mut self, key: MemberKey) {
        let Some(file) = self.files.get_mut(&key) else { return };
        file.rank.take().map(|rank| self.order.remove(&rank));
        let rank = (self.clock.saturating_add(u64::from(file.uses).saturating_mul(file.cost)), self.next_number);
        self.next_number += 1;
        file.rank = Some(rank);
        self.order.insert(rank, key);
    }
}

impl CachedFile {
    /// A file of `bytes` bytes that was not used.
    fn new(entry: Arc<Entry>, bytes: u64) -> Self {
        let bytes = disk_bytes(bytes);
        Self { entry, bytes, cost: 0, uses: 0, used_at: 0, is_prefetched: false, rank: None }
    }
}

#[cfg(test)]
mod tests;
