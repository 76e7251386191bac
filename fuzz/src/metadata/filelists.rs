//! `filelists.xml`.

use std::io::Read;
use std::ops::ControlFlow;

use repodata::filelists::{PackageLinks, read};
use repodata::{ListingSummary, Result};

use super::{Trickle, is_link, is_short};

/// Links have their build-ids in their paths, and the result does not depend on the size of reads.
pub fn check(input: &[u8]) {
    let (all, end) = list(input);
    let (again, end_again) = list(Trickle(input));
    assert_eq!(all, again);
    match (end, end_again) {
        (Ok(summary), Ok(again)) => {
            assert_eq!(summary, again);
            assert!(all.len() as u64 + summary.refused_count <= summary.package_count);
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            is_short(&error);
        }
        (end, again) => panic!("{end:?} at once, {again:?} byte by byte"),
    }
    for package in &all {
        assert!((16..=64).contains(&package.pkgid.len()) && !package.links.is_empty(), "{package:?}");
        package.links.iter().for_each(is_link);
    }
}

fn list(input: impl Read) -> (Vec<PackageLinks>, Result<ListingSummary>) {
    let mut all = Vec::new();
    let end = read(input, |package| {
        all.push(package);
        ControlFlow::Continue(())
    });
    (all, end)
}
