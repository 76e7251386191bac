//! `REPO.files`.

use repodata::arch::read;

use super::{Trickle, list};

/// The maximum size of an unpacked database.
const MAX_BYTES: u64 = 1 << 20;

/// Packages are sound, and the result does not depend on the size of reads. Of a broken database it does: a decoder
/// finds what is broken earlier or later.
pub fn check(input: &[u8]) {
    let (all, end) = list(|each| read(input, MAX_BYTES, each));
    let (again, end_again) = list(|each| read(Trickle(input), MAX_BYTES, each));
    assert_eq!(end.is_ok(), end_again.is_ok(), "{end:?} at once, {end_again:?} byte by byte");
    let common = if end.is_ok() { all.len().max(again.len()) } else { all.len().min(again.len()) };
    assert_eq!(all.get(..common), again.get(..common));
}
