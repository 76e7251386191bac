use std::path::PathBuf;

use artifact::Identity;

use super::super::entry::MemberInfo;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(ordinal: u32) -> MemberKey {
    MemberKey { identity: Identity::from_bytes([0; 32]), ordinal }
}

/// An entry of `size` bytes, whose path is its number.
fn entry(number: u32, size: u64) -> Arc<Entry> {
    let path = PathBuf::from(number.to_string());
    Arc::new(Entry::published(MemberInfo {
        size,
        mtime: 0,
        digest: String::new(),
        sha256: None,
        signature: None,
        origin: None,
        path,
    }))
}

fn number(entry: &Entry) -> u32 {
    entry.path().to_str().unwrap().parse().unwrap()
}

/// Inserts a published file that was requested once.
fn insert(entries: &mut Entries, ordinal: u32, bytes: u64, cost: Duration) {
    assert!(entries.insert_filling(key(ordinal), entry(ordinal, bytes), bytes).is_none());
    entries.set_evictable(key(ordinal), cost);
}

fn order(entries: &mut Entries) -> Vec<u32> {
    std::iter::from_fn(|| entries.pop()).map(|entry| number(&entry)).collect()
}

#[test]
fn cheap_large_unrequested_and_old_files_are_evicted_first() {
    let mut entries = Entries::new();
    for (ordinal, bytes, cost) in [(0, 1000, SECOND), (1, 4096, SECOND), (2, 1000, SECOND * 5), (3, 40_000, SECOND)] {
        insert(&mut entries, ordinal, bytes, cost);
    }
    entries.insert_published(key(4), entry(4, 1000), SECOND, false);
    entries.count_use(key(0));
    assert_eq!((entries.bytes(), entries.len()), (14 * BLOCK, 5));
    assert_eq!(order(&mut entries), [4, 3, 1, 0, 2]);
    assert_eq!((entries.bytes(), entries.len()), (0, 0));
}

#[test]
fn a_filling_file_takes_space_and_is_not_evicted() {
    let mut entries = Entries::new();
    assert!(entries.insert_filling(key(0), entry(0, 70), 70).is_none());
    entries.count_use(key(0));
    assert!(entries.bytes() == BLOCK && entries.pop().is_none() && entries.pop_unread(1).is_empty());
    entries.set_evictable(key(0), SECOND);
    assert_eq!(number(&entries.pop().unwrap()), 0);
}

#[test]
fn files_with_readers_make_no_space_on_the_disk() {
    let mut entries = Entries::new();
    for ordinal in 0..3 {
        insert(&mut entries, ordinal, BLOCK, SECOND);
    }
    let reader = entries.read(key(1)).unwrap();
    assert!(entries.pop_unread(3 * BLOCK).is_empty() && entries.len() == 3, "none are evicted in vain");
    let popped: Vec<u32> = entries.pop_unread(2 * BLOCK).iter().map(|entry| number(entry)).collect();
    assert_eq!(popped, [0, 2]);
    drop(reader);
    assert_eq!(entries.pop_unread(1).len(), 1);
}

#[test]
fn only_the_present_entry_of_a_member_is_removed() {
    let mut entries = Entries::new();
    let (first, second) = (entry(0, 1), entry(1, 1));
    assert!(entries.insert_filling(key(0), first.clone(), 1).is_none() && entries.remove(key(0), &first));
    assert!(entries.insert_filling(key(0), second.clone(), 1).is_none());
    assert!(!entries.remove(key(0), &first) && entries.has(key(0), &second));
    assert!(entries.remove(key(0), &second) && entries.bytes() == 0);
}

#[test]
fn an_entry_that_a_request_joins_is_not_removed_as_unread() {
    let mut entries = Entries::new();
    let first = entry(0, 1);
    assert!(entries.insert_filling(key(0), first.clone(), 1).is_none());
    let reader = entries.read(key(0)).unwrap();
    assert!(!entries.remove_unread(key(0), &first) && entries.has(key(0), &first));
    drop(reader);
    assert!(entries.remove_unread(key(0), &first) && entries.read(key(0)).is_none());
    assert!(entries.remove_unread(key(0), &first), "it was detached before");
}

#[test]
fn an_entry_that_did_not_fail_is_never_replaced() {
    let mut entries = Entries::new();
    assert!(entries.insert_published(key(0), entry(0, 1), SECOND, true));
    let present = entries.insert_filling(key(0), entry(1, 1), 1).unwrap();
    assert_eq!(number(&present), 0);
    assert!(!entries.insert_published(key(0), entry(2, 1), SECOND, true));
    assert_eq!((entries.bytes(), entries.len()), (BLOCK, 1));
}

#[test]
fn a_file_that_is_requested_no_more_is_evicted_at_last_whatever_its_cost() {
    let mut entries = Entries::new();
    insert(&mut entries, 0, 1000, SECOND * 10);
    for _ in 0..1000 {
        entries.count_use(key(0));
    }
    for ordinal in 1..3000 {
        insert(&mut entries, ordinal, 1000, SECOND);
        if ordinal > 3 && number(&entries.pop().unwrap()) == 0 {
            return;
        }
    }
    panic!("it is still there");
}

/// Seconds of extraction that a cache of a twentieth of all bytes costs over a trace, with `victim` as the rule of
/// eviction.
fn trace(mut victim: impl FnMut(&mut Entries, &mut Vec<u32>) -> u32) -> f64 {
    const FILES: u32 = 3_000;
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    // Sizes over five powers of ten. Seconds depend on the bytes before a file in its archive, little on its own size.
    let files: Vec<(u64, Duration)> = (0..FILES)
        .map(|_| {
            (10_f64.powf(3.0 + 5.0 * random()) as u64, Duration::from_secs_f64(10_f64.powf(-3.0 + 4.0 * random())))
        })
        .collect();
    let max_bytes = files.iter().map(|(bytes, _)| bytes).sum::<u64>() / 20;
    let (mut entries, mut recent, mut seconds) = (Entries::new(), Vec::new(), 0.0);
    for _ in 0..60_000 {
        // Few files are requested often (Zipf).
        let file = (f64::from(FILES).powf(random()) as u32 - 1).min(FILES - 1);
        recent.retain(|other| *other != file);
        recent.push(file);
        let (bytes, cost) = files[file as usize];
        if entries.contains(key(file)) {
            entries.count_use(key(file));
            continue;
        }
        seconds += cost.as_secs_f64();
        insert(&mut entries, file, bytes, cost);
        while entries.bytes() > max_bytes {
            let evicted = victim(&mut entries, &mut recent);
            recent.retain(|other| *other != evicted);
        }
    }
    seconds
}

#[test]
fn it_costs_much_less_than_the_least_recently_used() {
    let ranked = trace(|entries, _| number(&entries.pop().unwrap()));
    let recent = trace(|entries, recent| {
        let oldest = recent[0];
        entries.take(key(oldest));
        oldest
    });
    eprintln!("seconds of extraction: {ranked:.0} by rank, {recent:.0} by time of use");
    assert!(ranked < recent * 0.7, "{ranked} against {recent}");
}
