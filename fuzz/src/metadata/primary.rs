//! `primary.xml`.

use std::ops::ControlFlow;

use repodata::primary::read;

use super::{Trickle, list};

/// Packages are sound, the result does not depend on the size of reads, and a caller that breaks off sees the same
/// packages.
pub fn check(input: &[u8]) {
    let (all, end) = list(|each| read(input, each));
    assert_eq!(list(|each| read(Trickle(input), each)), (all.clone(), end));
    let mut first = None;
    let broken_off = read(input, |listed| {
        first = Some(listed);
        ControlFlow::Break(())
    });
    assert_eq!(first.as_ref(), all.first());
    assert!(first.is_none() || broken_off.is_ok_and(|summary| summary.package_count == 1));
    for listed in &all {
        if let repodata::Listed::Package(package) = listed {
            let nevra = &package.nevra;
            let bare = artifact::Nevra { epoch: None, ..nevra.clone() };
            assert_eq!(nevra.nvra().parse().ok(), Some(bare), "{nevra:?}");
        }
    }
}
