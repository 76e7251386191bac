//! Repositories of RPMs, made by the real `createrepo_c`; and what stands beside them: signatures, metalinks, lists of
//! mirrors.

mod dnf;
mod keys;
mod metadata;
mod mirrors;
mod others;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use dnf::Dnf;
pub use keys::SigningKey;
pub use metadata::{Compression, replace_metadata, rewrite_metadata, sha256};
pub use mirrors::{Metalink, mirrorlist};
pub use others::{arch_database, deb_packages};

/// A repository in a directory of its own, or below one.
pub struct Repository {
    path: PathBuf,
    _directory: Option<TempDir>,
}

impl Repository {
    /// A repository of copies of these RPMs, all in one directory.
    pub fn of_rpms(rpms: &[PathBuf]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        crate::fixtures::copy(rpms, directory.path());
        let repository = Self { path: directory.path().to_owned(), _directory: Some(directory) };
        repository.update();
        repository
    }

    /// A repository of copies of these families of fixtures, each in a directory `FAMILY`: some have the same names.
    pub fn of_families(families: &[String], compression: Compression) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for family in families {
            crate::fixtures::copy(&crate::fixtures::rpms(family), &directory.path().join(family));
        }
        let repository = Self { path: directory.path().to_owned(), _directory: Some(directory) };
        repository.update_with(compression, &[]);
        repository
    }

    /// A repository of the RPMs that are below a directory.
    pub fn at(path: &Path) -> Self {
        let repository = Self { path: path.to_owned(), _directory: None };
        repository.update();
        repository
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the metadata anew.
    pub fn update(&self) {
        self.update_with(Compression::Gzip, &[]);
    }

    /// Makes the metadata anew, with more options of createrepo_c.
    pub fn update_with(&self, compression: Compression, options: &[&str]) {
        let old = self.path.join("repodata");
        if old.is_dir() {
            std::fs::remove_dir_all(&old).expect("remove old metadata");
        }
        compression.create(&self.path, options);
    }

    /// Its `repomd.xml`.
    pub fn repomd(&self) -> PathBuf {
        self.path.join("repodata/repomd.xml")
    }

    /// The bytes of `repomd.xml` and `primary` together: what an import of headers reads.
    pub fn metadata_bytes(&self) -> u64 {
        let size = |file: &Path| std::fs::metadata(file).expect("a file").len();
        let mut sum = size(&self.repomd());
        for file in std::fs::read_dir(self.path.join("repodata")).expect("repodata") {
            let file = file.expect("a file").path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains("primary.xml") && !name.ends_with(".zck") {
                sum += size(&file);
            }
        }
        sum
    }
}
