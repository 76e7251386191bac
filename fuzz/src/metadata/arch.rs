//! `REPO.files`.

use repodata::arch::read;

use super::{Trickle, list};

/// The maximum size of an unpacked database.
const MAX_BYTES: u64 = 1 << 20;

/// Packages are sound, and the result does not depend on the size of reads.
pub fn check(input: &[u8]) {
    let listed = list(|each| read(input, MAX_BYTES, each));
    assert_eq!(list(|each| read(Trickle(input), MAX_BYTES, each)), listed);
}
