//! The input of the index.

use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use artifact::modules::Module;
use artifact::{Artifact, Nevra, Package};

use crate::{Checksum, Error, KojiOrigin, Result};

/// Maximum length of a path in bytes: PATH_MAX of Linux.
const MAX_PATH_BYTES: usize = 4096;
/// Maximum length of a file name in bytes: NAME_MAX of Linux. A file with a longer one cannot be installed.
const MAX_FILE_NAME_BYTES: usize = 255;

/// A package as found in one archive: the input of [`crate::Index::insert`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The contents of the header.
    pub package: Package,
    /// The distribution that the operator gave: replaces a stored one. `None`: [`Package::dist_tag`], or the stored
    /// one.
    pub distro: Option<String>,
    /// The files with a build-id.
    pub artifacts: Vec<Artifact>,
    /// Of an RPM: compressed kernel modules without build-ids among `artifacts`. Debug files of the same build have
    /// their build-ids.
    pub modules: Vec<Module>,
    /// The directories of its include files ([`artifact::includes`]).
    pub includes: Vec<String>,
    /// True if the package can have build-ids that are not among `artifacts`.
    pub open: bool,
    /// The location of the archive.
    pub location: NewLocation,
    /// The repository ([`crate::Repository::id`]) that lists it there.
    pub repository_id: Option<i64>,
    /// The build of Koji that it comes from. `None` if nothing states it: then a stored one stays.
    pub koji: Option<KojiOrigin>,
}

/// The location of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLocation {
    /// The store.
    pub store_id: i64,
    /// The archive's path below the store's base URL or root; no slash at its start.
    pub path: String,
    /// Size of the archive in bytes; `None` if nothing states it.
    pub size: Option<u64>,
    /// The archive's modification time, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// The main header's bytes inside the archive.
    pub header: Option<Range<u64>>,
    /// A checksum of the archive.
    pub checksum: Option<Checksum>,
    /// Key id of the archive's signature, lower-case hex.
    pub signing_key: Option<String>,
}

/// The counts of one [`crate::Index::insert`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Packages that are new in the index.
    pub packages_new: u64,
    /// Packages that were open and are complete now.
    pub packages_completed: u64,
    /// Artifacts written, including those of modules whose debug files these packages have.
    pub artifacts: u64,
    /// Locations written, new or updated.
    pub locations: u64,
}

impl Import {
    /// Checks that every value fits the schema. [`crate::Index::insert`] does so too, and refuses the whole batch on an
    /// error.
    ///
    /// # Errors
    /// [`Error::TooLong`] states the package, the value and its limit; [`Error::Value`] an invalid value.
    pub fn check(&self) -> Result<()> {
        let nvra = self.package.nevra.nvra();
        let source_rpm = self.package.source_rpm.as_deref();
        let subject = truncate(&nvra);
        check_names(&subject, &self.package.nevra, source_rpm, self.distro.as_deref().unwrap_or_default())?;
        self.koji.as_ref().map_or(Ok(()), |koji| koji.check(&subject))?;
        let artifacts = self.artifacts.iter().map(|artifact| (artifact.ordinal, &artifact.path));
        for (ordinal, path) in artifacts.chain(self.modules.iter().map(|module| (module.ordinal, &module.path))) {
            check_length(&subject, "path of a file", MAX_PATH_BYTES, path.len())?;
            check_length(&subject, "name of a file", MAX_FILE_NAME_BYTES, split_path(path).1.len())?;
            if path.contains('\0') {
                return Err(Error::Value { what: "path of a file", expected: "no NUL", found: truncate(path) });
            }
            if ordinal >= 1 << 23 {
                return Err(Error::Value { what: "ordinal", expected: "less than 2^23", found: ordinal.to_string() });
            }
        }
        check_location(&subject, &self.location)
    }
}

/// Checks the lengths of a package's names.
pub(crate) fn check_names(subject: &str, nevra: &Nevra, source_rpm: Option<&str>, distro: &str) -> Result<()> {
    for (what, limit, text) in [
        ("name", 255, nevra.name.as_str()),
        ("version", 255, &nevra.version),
        ("release", 255, &nevra.release),
        ("arch", 64, &nevra.arch),
        ("source package", 255, source_rpm.unwrap_or_default()),
        ("distro", 255, distro),
    ] {
        check_length(subject, what, limit, text.len())?;
    }
    Ok(())
}

/// Checks the location of an archive.
pub(crate) fn check_location(subject: &str, location: &NewLocation) -> Result<()> {
    if location.path.is_empty() || location.path.ends_with('/') {
        let found = truncate(&location.path);
        return Err(Error::Value { what: "path of the archive", expected: "the name of a file", found });
    }
    let check = |what, limit, length| check_length(subject, what, limit, length);
    check("path of the archive", MAX_PATH_BYTES, location.path.len())?;
    check("signing key", 16, location.signing_key.as_deref().unwrap_or_default().len())?;
    if let Some(Checksum { kind, bytes }) = &location.checksum {
        check("name of the checksum", 8, kind.len())?;
        check("checksum", 64, bytes.len())?;
    }
    if let Some(size) = location.size.filter(|size| i64::try_from(*size).is_err()) {
        let found = size.to_string();
        return Err(Error::Value { what: "size of an archive", expected: "less than 2^63", found });
    }
    if let Some(header) = &location.header
        && i32::try_from(header.start.max(header.end)).is_err()
    {
        return Err(Error::Value {
            what: "end of a header",
            expected: "less than 2^31",
            found: header.end.to_string(),
        });
    }
    Ok(())
}

/// Splits a path into `dir` and `file_name`: `/usr/bin/bash` is `/usr/bin` and `bash`, `/x` is `/` and `x`, `x` is
/// empty and `x`.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((dir, name)) => (dir, name),
        None => ("", path),
    }
}

/// Joins what [`split_path`] split.
pub(crate) fn join_path(dir: String, file_name: &str) -> String {
    let mut path = dir;
    if !path.is_empty() && path != "/" {
        path.push('/');
    }
    path.push_str(file_name);
    path
}

/// Returns the modification time of an archive in nanoseconds since 1970. `None` if it is out of range.
pub fn mtime_ns(archive: &Metadata) -> Option<i64> {
    archive.mtime().checked_mul(1_000_000_000)?.checked_add(archive.mtime_nsec())
}

pub(crate) fn check_length(subject: &str, what: &'static str, expected: usize, found: usize) -> Result<()> {
    if found > expected { Err(Error::TooLong { subject: subject.into(), what, expected, found }) } else { Ok(()) }
}

/// Truncates a name for a message.
pub(crate) fn truncate(name: &str) -> String {
    name.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_path_is_joined_unchanged() {
        for (path, dir, name) in [
            ("/usr/bin/bash", "/usr/bin", "bash"),
            ("/x", "/", "x"),
            ("x", "", "x"),
            ("a/x", "a", "x"),
            ("/usr/", "/usr", ""),
            ("/", "/", ""),
            ("", "", ""),
            ("/a//x", "/a/", "x"),
        ] {
            assert_eq!(split_path(path), (dir, name), "{path}");
            assert_eq!(join_path(dir.to_owned(), name), path, "{path}");
        }
        let (dir, name) = split_path("//x");
        assert_eq!(join_path(dir.to_owned(), name), "/x", "two slashes at the beginning mean one");
    }
}
