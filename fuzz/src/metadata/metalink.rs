//! Metalinks and mirrorlists.

use repodata::metalink::Metalink;
use repodata::mirrorlist;

use super::{Trickle, is_short};

/// There is a checksum and a mirror, the best ones first, and the result does not depend on the size of reads.
pub fn check(input: &[u8]) {
    match mirrorlist::read(&String::from_utf8_lossy(input)) {
        Ok(urls) => {
            assert!(!urls.is_empty());
            for url in urls {
                assert!(matches!(url.scheme(), "http" | "https") && url.path().ends_with('/'), "{url}");
            }
        }
        Err(error) => is_short(&error),
    }
    let metalink = match (Metalink::read(input), Metalink::read(Trickle(input))) {
        (Ok(metalink), Ok(again)) => {
            assert_eq!(metalink, again);
            metalink
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            return is_short(&error);
        }
        (read, again) => panic!("{read:?} at once, {again:?} byte by byte"),
    };
    assert!(metalink.newest.checksum().is_some() && !metalink.mirrors.is_empty());
    for version in std::iter::once(&metalink.newest).chain(&metalink.alternates) {
        assert!(version.checksums.is_sorted_by(|one, next| one.kind() > next.kind()), "{version:?}");
        assert!(version.checksum().is_some() || !version.is_version(input));
    }
    assert!(metalink.mirrors.is_sorted_by(|one, next| one.preference >= next.preference), "{:?}", metalink.mirrors);
    for mirror in &metalink.mirrors {
        assert!(matches!(mirror.url.scheme(), "http" | "https"), "{mirror:?}");
        assert!(mirror.base().is_none_or(|base| base.path().ends_with('/')), "{mirror:?}");
    }
}
