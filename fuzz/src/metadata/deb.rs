//! `Packages`, `Release` and `InRelease`.

use repodata::deb::{Release, read_packages, split_clearsigned};

use super::{Trickle, is_short, list};

/// Packages are sound, index files are found by their paths, and signed text is in the file.
pub fn check(input: &[u8]) {
    let listed = list(|each| read_packages(input, each));
    assert_eq!(list(|each| read_packages(Trickle(input), each)), listed);
    let Ok(text) = str::from_utf8(input) else { return };
    match Release::parse(text) {
        Ok(release) => {
            for file in &release.files {
                assert_eq!(release.find(&file.path), Some(file));
                assert!(file.checksum().is_some(), "{file:?}");
            }
            for list in release.package_lists() {
                assert!(release.find_compressed(list).is_some(), "{list}");
            }
        }
        Err(error) => is_short(&error),
    }
    match split_clearsigned(text) {
        Ok(Some(signed)) => {
            for line in signed.text.lines() {
                assert!(text.contains(line), "{line:?}");
            }
            assert!(signed.signature.starts_with("-----BEGIN PGP SIGNATURE-----\n"));
            let after = text.rsplit("-----END PGP SIGNATURE-----").next().unwrap_or_default();
            assert!(after.trim().is_empty(), "{after:?}");
        }
        Ok(None) => {}
        Err(error) => is_short(&error),
    }
}
