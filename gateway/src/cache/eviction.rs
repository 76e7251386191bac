//! Which file goes when the cache is full: the one that is the cheapest to have again for its size, and was asked for least and longest ago
//! (GreedyDual-Size-Frequency: Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", 1998).
//!
//! A file's rank is `clock + uses * seconds / bytes`: seconds of its extraction, and as clock the rank of the file that went last. So
//! what nobody asks for any more is overtaken by what comes, and a library that took a minute to unpack stays longer than sources that take
//! a millisecond. docs/adr/0019 compares it with the least recently used.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Key;

/// More uses do not count: a file that everybody wanted once must go at last.
const MOST_USES: u32 = 64;

/// Disks give out room in blocks of so many bytes, on all common file systems: a small file takes one of them.
const BLOCK: u64 = 4096;

/// Bytes of disk that a file takes.
pub(super) fn room(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The files of the cache, in the order in which they go.
pub(super) struct Eviction {
    /// Bytes of disk of all files.
    bytes: u64,
    clock: u64,
    next_number: u64,
    order: BTreeMap<Rank, Key>,
    files: HashMap<Key, Ranked>,
}

/// The lowest goes first; of two with one rank the older.
type Rank = (u64, u64);

struct Ranked {
    bytes: u64,
    /// Nanoseconds for a KiB.
    cost: u64,
    uses: u32,
    /// `None` while it grows: then it does not go.
    rank: Option<Rank>,
}

impl Eviction {
    /// Of no files.
    pub(super) fn new() -> Self {
        Self { bytes: 0, clock: 0, next_number: 0, order: BTreeMap::new(), files: HashMap::new() }
    }

    /// Bytes of disk that all files take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file of so many bytes begins to grow, and takes its room from now on.
    pub(super) fn begin(&mut self, key: Key, bytes: u64) {
        let bytes = room(bytes);
        self.remove(key);
        self.bytes += bytes;
        self.files.insert(key, Ranked { bytes, cost: 0, uses: 1, rank: None });
    }

    /// A file is whole, and was asked for `uses` times: 0 if nobody did. It took so long.
    pub(super) fn settle(&mut self, key: Key, bytes: u64, cost: Duration, uses: u32) {
        let uses = self.files.get(&key).map_or(uses, |file| file.uses.max(uses));
        self.remove(key);
        let bytes = room(bytes);
        let nanoseconds = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        let cost = nanoseconds.saturating_mul(1 << 10) / bytes.max(1);
        self.bytes += bytes;
        self.files.insert(key, Ranked { bytes, cost, uses, rank: None });
        self.rank(key);
    }

    /// A file is asked for.
    pub(super) fn use_now(&mut self, key: Key) {
        let Some(file) = self.files.get_mut(&key) else { return };
        file.uses = (file.uses + 1).min(MOST_USES);
        if file.rank.is_some() {
            self.rank(key);
        }
    }

    /// A file has gone.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(file) = self.files.remove(&key) {
            self.bytes -= file.bytes;
            file.rank.map(|rank| self.order.remove(&rank));
        }
    }

    /// The file that goes first, with its bytes; it has gone then.
    pub(super) fn next(&mut self) -> Option<(Key, u64)> {
        let (rank, key) = self.order.pop_first()?;
        self.clock = rank.0;
        let file = self.files.remove(&key)?;
        self.bytes -= file.bytes;
        Some((key, file.bytes))
    }

    /// Bytes of the files that may go.
    pub(super) fn removable(&self) -> u64 {
        self.order.values().filter_map(|key| self.files.get(key)).map(|file| file.bytes).sum()
    }

    fn rank(&mut self, key: Key) {
        let Some(file) = self.files.get_mut(&key) else { return };
        file.rank.take().map(|rank| self.order.remove(&rank));
        let rank = (self.clock.saturating_add(u64::from(file.uses).saturating_mul(file.cost)), self.next_number);
        self.next_number += 1;
        file.rank = Some(rank);
        self.order.insert(rank, key);
    }
}

#[cfg(test)]
mod tests {
    use artifact::Identity;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(ordinal: u32) -> Key {
        Key { identity: Identity::from_bytes([0; 32]), ordinal }
    }

    fn order(eviction: &mut Eviction) -> Vec<u32> {
        std::iter::from_fn(|| eviction.next()).map(|(key, _)| key.ordinal).collect()
    }

    #[test]
    fn cheap_large_unasked_and_old_files_go_first() {
        let mut eviction = Eviction::new();
        for (ordinal, bytes, cost, uses) in [
            (0, 1000, SECOND, 1),
            (1, 4096, SECOND, 1),
            (2, 1000, SECOND * 5, 1),
            (3, 40_000, SECOND, 1),
            (4, 1000, SECOND, 0),
        ] {
            eviction.begin(key(ordinal), bytes);
            if uses == 0 {
                eviction.remove(key(ordinal));
            }
            eviction.settle(key(ordinal), bytes, cost, uses);
        }
        eviction.use_now(key(0));
        assert_eq!((eviction.bytes(), eviction.len(), eviction.removable()), (14 * BLOCK, 5, 14 * BLOCK));
        assert_eq!(order(&mut eviction), [4, 3, 1, 0, 2]);
        assert_eq!((eviction.bytes(), eviction.len()), (0, 0));
    }

    #[test]
    fn a_growing_file_takes_room_and_stays() {
        let mut eviction = Eviction::new();
        eviction.begin(key(0), 70);
        eviction.use_now(key(0));
        assert_eq!((eviction.bytes(), eviction.removable(), eviction.next()), (BLOCK, 0, None));
        eviction.settle(key(0), 70, SECOND, 0);
        assert_eq!(eviction.next(), Some((key(0), BLOCK)));
    }

    #[test]
    fn what_nobody_asks_for_any_more_goes_at_last_however_dear_it_was() {
        let mut eviction = Eviction::new();
        eviction.settle(key(0), 1000, SECOND * 10, 1);
        for _ in 0..1000 {
            eviction.use_now(key(0));
        }
        for ordinal in 1..3000 {
            eviction.settle(key(ordinal), 1000, SECOND, 1);
            if ordinal > 3 && eviction.next().unwrap().0 == key(0) {
                return;
            }
        }
        panic!("it is still there");
    }

    /// Seconds of extraction that a cache of a twentieth of all bytes costs over a trace, by who is the victim.
    fn trace(mut victim: impl FnMut(&mut Eviction, &mut Vec<u32>) -> u32) -> f64 {
        const FILES: u32 = 3_000;
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        // Sizes over five powers of ten; seconds by what is before a file in its archive, which has little to do with its own size.
        let files: Vec<(u64, Duration)> = (0..FILES)
            .map(|_| {
                (10_f64.powf(3.0 + 5.0 * random()) as u64, Duration::from_secs_f64(10_f64.powf(-3.0 + 4.0 * random())))
            })
            .collect();
        let most = files.iter().map(|(bytes, _)| bytes).sum::<u64>() / 20;
        let (mut eviction, mut recent, mut seconds) = (Eviction::new(), Vec::new(), 0.0);
        for _ in 0..60_000 {
            // Few files are asked for often (Zipf).
            let file = (f64::from(FILES).powf(random()) as u32 - 1).min(FILES - 1);
            recent.retain(|other| *other != file);
            recent.push(file);
            let (bytes, cost) = files[file as usize];
            if eviction.files.contains_key(&key(file)) {
                eviction.use_now(key(file));
                continue;
            }
            seconds += cost.as_secs_f64();
            eviction.settle(key(file), bytes, cost, 1);
            while eviction.bytes() > most {
                let gone = victim(&mut eviction, &mut recent);
                recent.retain(|other| *other != gone);
            }
        }
        seconds
    }

    #[test]
    fn it_costs_much_less_than_the_least_recently_used() {
        let ranked = trace(|eviction, _| eviction.next().unwrap().0.ordinal);
        let recent = trace(|eviction, recent| {
            let oldest = recent[0];
            eviction.remove(key(oldest));
            oldest
        });
        eprintln!("seconds of extraction: {ranked:.0} by rank, {recent:.0} by time of use");
        assert!(ranked < recent * 0.7, "{ranked} against {recent}");
    }
}
