//! `repomd.xml`.

use repodata::repomd::Repomd;

use super::{Trickle, is_below, is_short};

/// There is a primary, and the result does not depend on the size of reads.
pub fn check(input: &[u8]) {
    let read = Repomd::read(input);
    let again = Repomd::read(Trickle(input));
    let repomd = match (read, again) {
        (Ok(repomd), Ok(again)) => {
            assert_eq!(repomd, again);
            repomd
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            return is_short(&error);
        }
        (read, again) => panic!("{read:?} at once, {again:?} byte by byte"),
    };
    assert_eq!(repomd.find("primary"), Some(&repomd.primary));
    assert!(repomd.entries.len() <= 1024);
    for entry in &repomd.entries {
        is_below(&entry.href);
    }
}
