//! All build-ids of one moment, in nine bits each: binary fuse filters over their hashes ([`sql::hash_build_id`]), one for each million of hashes in
//! their order, so that making them takes little beside the hashes themselves.

use anyhow::{Result, anyhow};
use xorf::{BinaryFuse8, Filter as _};

/// Hashes of a part.
const PART: usize = 1_000_000;

/// An immutable filter.
#[derive(Debug, Default)]
pub(super) struct Base {
    parts: Vec<Part>,
    len: usize,
}

/// A filter of the hashes from `first` up to the next part's.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) filter: BinaryFuse8,
}

impl Base {
    /// A base of these hashes, which may be repeated.
    ///
    /// # Errors
    /// A filter could not be made of them: the chance of it is next to none.
    pub(super) fn of(mut hashes: Vec<u64>) -> Result<Self> {
        hashes.sort_unstable();
        hashes.dedup();
        let parts = hashes.chunks(PART).map(|hashes| {
            let filter = BinaryFuse8::try_from(hashes).map_err(|error| anyhow!("part of the filter: {error}"))?;
            Ok(Part { first: hashes.first().copied().unwrap_or_default(), filter })
        });
        Ok(Self { parts: parts.collect::<Result<_>>()?, len: hashes.len() })
    }

    /// A base that was made before: parts in order, and how many hashes they have.
    pub(super) fn new(parts: Vec<Part>, len: usize) -> Self {
        Self { parts, len }
    }

    /// Whether a build-id with this hash may be one of them. Never `false` for one that is.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let after = self.parts.partition_point(|part| part.first <= hash);
        after.checked_sub(1).and_then(|at| self.parts.get(at)).is_some_and(|part| part.filter.contains(&hash))
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How many hashes there are: build-ids, but for those few that share one.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What they take in memory.
    pub(super) fn size_bytes(&self) -> usize {
        self.parts.iter().map(|part| size_of::<Part>() + part.filter.len()).sum()
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
        Base::of(build_ids.iter().chain(build_ids).map(sql::hash_build_id).collect()).unwrap()
    }

    fn may_have(base: &Base, build_id: &BuildId) -> bool {
        base.may_have(sql::hash_build_id(build_id))
    }

    proptest! {
        #[test]
        fn a_member_is_never_denied(bytes in btree_set(proptest::collection::vec(any::<u8>(), 1..=64), 0..2000)) {
            let build_ids = bytes.iter().map(|bytes| BuildId::from_bytes(bytes).unwrap()).collect();
            let base = base_of(&build_ids);
            prop_assert_eq!(base.len(), build_ids.len());
            for build_id in &build_ids {
                prop_assert!(may_have(&base, build_id), "{} is denied", build_id);
            }
        }
    }

    #[test]
    fn parts_border_on_each_other_and_few_others_are_taken_for_members() {
        let count: u64 = compat_tests::scale(PART as u64 * 5 / 4, 10_000_000);
        // As like each other as they can be: the hash has to make them different.
        let id = |number: u64| BuildId::from_bytes(&[&number.to_be_bytes()[..], &[0; 12]].concat()).unwrap();
        let started = Instant::now();
        let base = Base::of((0..count).map(|number| sql::hash_build_id(&id(2 * number))).collect()).unwrap();
        let took = started.elapsed();
        assert_eq!((base.parts().len(), base.len() as u64), (count.div_ceil(PART as u64) as usize, count));
        assert!((0..count).all(|number| may_have(&base, &id(2 * number))));
        let bits = base.size_bytes() as f64 * 8.0 / count as f64;
        assert!(bits < 9.6, "{bits} bits a build-id");
        let taken = (0..count).filter(|number| may_have(&base, &id(2 * number + 1))).count() as f64 / count as f64;
        assert!(taken < 1.0 / 200.0, "one of {} is taken for a member", 1.0 / taken);
        eprintln!(
            "{count} build-ids: {} bytes, {bits:.2} bits each, made in {took:.2?}, {:.3} % false",
            base.size_bytes(),
            100.0 * taken
        );
    }

    #[test]
    fn an_empty_index_has_nothing() {
        let base = base_of(&BTreeSet::new());
        assert_eq!((base.len(), base.size_bytes()), (0, 0));
        assert!(!may_have(&base, &BuildId::from_bytes(&[0]).unwrap()));
    }
}
