//! Files get their names in the cache directory, and lose them when they are evicted.

use std::sync::Arc;
use std::time::Duration;

use super::directory::PublishedFile;
use super::entries::Entries;
use super::temporary_file::TemporaryFile;
use super::{Entry, MemberCache, MemberKey};
use crate::metrics::METRICS;

/// Bytes that are made free at once for a file whose size is not known.
const SPACE_STEP: u64 = 16 << 20;

impl MemberCache {
    /// Gives the complete file of an entry its name, unless the entry was removed meanwhile. It took `cost` to extract.
    /// For threads that may block.
    pub(super) fn publish(
        &self,
        key: MemberKey,
        entry: &Arc<Entry>,
        file: TemporaryFile,
        cost: Duration,
    ) -> std::io::Result<()> {
        let _names = self.directory.lock_names();
        if self.entries().has(key, entry) {
            self.directory.publish(file, entry.info(), cost)?;
            entry.set_published();
            self.entries().set_evictable(key, cost);
        } else {
            entry.discard();
        }
        Ok(())
    }

    /// Publishes a prefetched member, unless it has an entry. For threads that may block.
    pub(super) fn publish_prefetched(&self, prefetched: PublishedFile, file: TemporaryFile) -> std::io::Result<()> {
        let _names = self.directory.lock_names();
        let PublishedFile { key, info, cost } = prefetched;
        if !self.entries().contains(key) {
            self.directory.publish(file, &info, cost)?;
            let entry = Arc::new(Entry::published(info));
            if self.entries().insert_published(key, entry.clone(), cost, true) {
                METRICS.prefetched_members.inc();
            } else {
                // A fill of the member began meanwhile. It names its file after this one.
                self.directory.unlink(entry.info());
            }
        }
        Ok(())
    }

    /// Evicts files until the cache is no larger than its limit. For threads that may block.
    pub(super) fn evict(&self) {
        if self.entries().bytes() <= self.max_bytes {
            return self.show();
        }
        let evicted = self.remove_files(|entries| {
            let next = || if entries.bytes() > self.max_bytes { entries.pop() } else { None };
            std::iter::from_fn(next).collect()
        });
        METRICS.cache_evictions.inc_by(evicted);
    }

    /// Evicts files if the disk has less than `size` bytes free. None, if that would not be enough.
    pub(super) fn make_space(&self, size: u64) {
        // If this cannot be told, writing the file tells why.
        let missing = size.saturating_sub(self.directory.free().unwrap_or(u64::MAX));
        if missing == 0 {
            return;
        }
        let evicted = self.remove_files(|entries| entries.pop_unread(missing));
        if evicted > 0 {
            METRICS.cache_evictions.inc_by(evicted);
            tracing::warn!(
                missing,
                evicted,
                "the cache directory's disk is full before the cache is: files were evicted early"
            );
        }
    }

    /// True if the disk has `size` bytes free, perhaps after files were evicted. For threads that may block.
    pub(crate) fn has_space(&self, size: u64) -> bool {
        // If this cannot be told, writing tells why.
        let has = |size| self.directory.free().map_or(true, |free| free >= size);
        if !has(size) {
            self.make_space(size.max(SPACE_STEP));
        }
        has(size)
    }

    /// Removes the entries that `select` removes from the list, with their files, and returns how many. For threads
    /// that may block.
    pub(super) fn remove_files(&self, select: impl FnOnce(&mut Entries) -> Vec<Arc<Entry>>) -> u64 {
        let _names = self.directory.lock_names();
        let removed = select(&mut self.entries());
        for entry in &removed {
            entry.set_removed();
            self.directory.unlink(entry.info());
        }
        self.show();
        removed.len() as u64
    }
}
