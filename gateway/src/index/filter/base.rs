//! All build-ids of one moment, in nine bits each.
//!
//! A base has a binary fuse filter for each million of hashes ([`sql::hash_build_id`]) in their order, so that making
//! it takes little memory beside the hashes themselves.

use anyhow::{Result, anyhow};
use xorf::{BinaryFuse8, Filter as _};

/// Number of hashes of a shard.
const SHARD: usize = 1_000_000;

/// An immutable filter.
#[derive(Debug, Default)]
pub(super) struct Base {
    shards: Vec<Shard>,
    len: usize,
}

/// A filter of the hashes from `first` up to the first of the next shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) first: u64,
    pub(super) filter: BinaryFuse8,
}

impl Base {
    /// Makes a base of these hashes, which may be repeated.
    ///
    /// # Errors
    /// If the construction of a fuse filter fails, which is very improbable.
    pub(super) fn from_hashes(mut hashes: Vec<u64>) -> Result<Self> {
        hashes.sort_unstable();
        hashes.dedup();
        let shards = hashes.chunks(SHARD).map(|hashes| {
            let filter = BinaryFuse8::try_from(hashes).map_err(|error| anyhow!("shard of the filter: {error}"))?;
            Ok(Shard { first: hashes.first().copied().unwrap_or_default(), filter })
        });
        Ok(Self { shards: shards.collect::<Result<_>>()?, len: hashes.len() })
    }

    /// A base that was read from disk: shards in order, and their number of hashes.
    pub(super) fn new(shards: Vec<Shard>, len: usize) -> Self {
        Self { shards, len }
    }

    /// True if a build-id with this hash may be in the base. Never false for one that is.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let after = self.shards.partition_point(|shard| shard.first <= hash);
        after.checked_sub(1).and_then(|at| self.shards.get(at)).is_some_and(|shard| shard.filter.contains(&hash))
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The number of hashes: that of build-ids, but for the few that share one.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that the shards take.
    pub(super) fn size_bytes(&self) -> usize {
        self.shards.iter().map(|shard| size_of::<Shard>() + shard.filter.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use artifact::BuildId;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn base_of(build_ids: &BTreeSet<BuildId>) -> Base {
        // Every one twice, as a program and its debuginfo are sent.
        Base::from_hashes(build_ids.iter().chain(build_ids).map(sql::hash_build_id).collect()).unwrap()
    }

    fn may_have(base: &Base, build_id: &BuildId) -> bool {
        base.may_have(sql::hash_build_id(build_id))
    }

    proptest! {
        #[test]
        fn no_member_is_absent(bytes in btree_set(proptest::collection::vec(any::<u8>(), 1..=64), 0..2000)) {
            let build_ids = bytes.iter().map(|bytes| BuildId::from_bytes(bytes).unwrap()).collect();
            let base = base_of(&build_ids);
            prop_assert_eq!(base.len(), build_ids.len());
            for build_id in &build_ids {
                prop_assert!(may_have(&base, build_id), "{} is absent", build_id);
            }
        }
    }

    #[test]
    fn shards_cover_all_hashes_and_few_others_are_false_positives() {
        let count: u64 = compat_tests::scale(SHARD as u64 * 5 / 4, 10_000_000);
        // They differ in a few bits only: the hash spreads them.
        let id = |number: u64| BuildId::from_bytes(&[&number.to_be_bytes()[..], &[0; 12]].concat()).unwrap();
        let started = Instant::now();
        let base = Base::from_hashes((0..count).map(|number| sql::hash_build_id(&id(2 * number))).collect()).unwrap();
        let took = started.elapsed();
        assert_eq!((base.shards().len(), base.len() as u64), (count.div_ceil(SHARD as u64) as usize, count));
        assert!((0..count).all(|number| may_have(&base, &id(2 * number))));
        let bits = base.size_bytes() as f64 * 8.0 / count as f64;
        assert!(bits < 9.6, "{bits} bits a build-id");
        let false_positives =
            (0..count).filter(|number| may_have(&base, &id(2 * number + 1))).count() as f64 / count as f64;
        assert!(false_positives < 1.0 / 200.0, "one of {} is a false positive", 1.0 / false_positives);
        eprintln!(
            "{count} build-ids: {} bytes, {bits:.2} bits each, made in {took:.2?}, {:.3} % false",
            base.size_bytes(),
            100.0 * false_positives
        );
    }

    #[test]
    fn the_base_of_an_empty_index_is_empty() {
        let base = base_of(&BTreeSet::new());
        assert_eq!((base.len(), base.size_bytes()), (0, 0));
        assert!(!may_have(&base, &BuildId::from_bytes(&[0]).unwrap()));
    }
}
