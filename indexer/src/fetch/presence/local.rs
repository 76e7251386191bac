//! Whether a directory of this machine has an archive.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path};

use super::Finding;

/// Looks for the file `path` below `root`. A root that is missing or empty proves nothing: it may not be mounted.
pub(super) fn look(root: &Path, path: &str) -> Finding {
    let failed = |reason: String| Finding::Failed { reason, is_overloaded: false };
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return failed(format!("expected a path below the store, found {path:?}"));
    }
    let canonical_root = match root.canonicalize() {
        Ok(root) => root,
        Err(error) => return failed(format!("expected the directory {}, found: {error}", root.display())),
    };
    let file = canonical_root.join(path);
    let metadata = match fs::metadata(&file) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return match fs::read_dir(&canonical_root).map(|mut entries| entries.next().is_none()) {
                Ok(false) => Finding::Gone { reason: "found no such file".to_owned() },
                Ok(true) => {
                    failed(format!("expected archives in {}, found an empty directory: is it mounted?", root.display()))
                }
                Err(error) => failed(format!("{}: {error}", root.display())),
            };
        }
        Err(error) => return failed(error.to_string()),
    };
    // Gateways open nothing outside of a store's directory.
    match file.canonicalize() {
        Ok(target) if !target.starts_with(&canonical_root) => {
            failed("expected a file below the store's directory, found a link that leads out of it".to_owned())
        }
        Ok(_) if metadata.is_file() => Finding::Present { size: Some(metadata.len()) },
        Ok(_) => Finding::Gone { reason: "expected a file, found something else".to_owned() },
        Err(error) => failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_missing_file_is_gone_unless_its_directory_may_not_be_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let is_failed = |finding: Finding| matches!(finding, Finding::Failed { .. });
        assert!(is_failed(look(&root, "a/b.rpm")), "no root");
        fs::create_dir(&root).unwrap();
        assert!(is_failed(look(&root, "a/b.rpm")), "an empty root");
        fs::create_dir(root.join("a")).unwrap();
        assert!(matches!(look(&root, "a/b.rpm"), Finding::Gone { .. }));
        fs::write(root.join("a/b.rpm"), "12345").unwrap();
        assert!(matches!(look(&root, "a/b.rpm"), Finding::Present { size: Some(5) }));
        assert!(matches!(look(&root, "a/b.rpm/c"), Finding::Gone { .. }));
        assert!(matches!(look(&root, "a"), Finding::Gone { .. }));
        fs::write(directory.path().join("outside"), "1").unwrap();
        symlink(directory.path().join("outside"), root.join("link")).unwrap();
        for outside in ["link", "../outside", "/etc/passwd"] {
            assert!(is_failed(look(&root, outside)), "{outside}");
        }
    }
}
