//! What goes into the index.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use artifact::{Artifact, Package};

use crate::{Error, Result, members, short};

/// A package as found in one archive: what [`crate::Index::insert`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What the header says.
    pub package: Package,
    /// The distribution, if the importer was told: wins over a stored one. `None`: [`Package::dist_tag`], or what is stored.
    pub distro: Option<String>,
    /// The files with a build-id.
    pub artifacts: Vec<Artifact>,
    /// The places of its include files ([`artifact::includes`]).
    pub includes: Vec<String>,
    /// May the package hold build-ids that are not among `artifacts`?
    pub open: bool,
    /// Where the archive is.
    pub location: NewLocation,
}

/// Where an archive was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLocation {
    /// The store.
    pub store_id: i64,
    /// The archive's path below the store's base URL or root; no slash at its start.
    pub path: String,
    /// Size of the archive in bytes.
    pub size: u64,
    /// The archive's modification time, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// The main header's bytes inside the archive.
    pub header: Option<Range<u64>>,
    /// A checksum of the archive, as (name of the algorithm, bytes): `("sha256", ...)`.
    pub checksum: Option<(String, Vec<u8>)>,
    /// Key id of the archive's signature, lower-case hex.
    pub signing_key: Option<String>,
}

/// What one [`crate::Index::insert`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Packages that the index did not know.
    pub packages_new: u64,
    /// Packages that were open and are complete now.
    pub packages_refined: u64,
    /// Artifacts written for these packages.
    pub artifacts: u64,
    /// Locations written, new or seen again.
    pub locations: u64,
}

impl Import {
    /// Does every value fit the schema? [`crate::Index::insert`] asks too, but refuses the whole batch then.
    ///
    /// # Errors
    /// [`Error::TooLong`] names the package, the value and its limit.
    pub fn check(&self) -> Result<()> {
        let nevra = &self.package.nevra;
        let nvra = nevra.nvra();
        let subject = shown(&nvra);
        let check = |what, limit, length| check_length(&subject, what, limit, length);
        check("name", 255, nevra.name.len())?;
        check("version", 255, nevra.version.len())?;
        check("release", 255, nevra.release.len())?;
        check("arch", 64, nevra.arch.len())?;
        check("source package", 255, self.package.source_rpm.as_deref().unwrap_or_default().len())?;
        check("distro", 255, self.distro.as_deref().unwrap_or_default().len())?;
        for artifact in &self.artifacts {
            check("path of a file", 4096, artifact.path.len())?;
            if artifact.path.contains('\0') {
                let found = shown(&artifact.path);
                return Err(Error::Value { what: "path of a file", expected: "no NUL", found });
            }
            if artifact.ordinal >= 1 << 23 {
                return Err(Error::Value { what: "ordinal", expected: "less than 2^23", found: artifact.ordinal.to_string() });
            }
        }
        let mut texts: BTreeMap<u32, usize> = BTreeMap::new();
        for artifact in &self.artifacts {
            let text = texts.entry(members::part(artifact.ordinal)).or_default();
            *text += members::text_bytes(artifact);
            check("list of members", members::MOST_TEXT, *text)?;
        }
        if let Some(found) = self.package.source_rpm.as_deref().filter(|source| source.ends_with('-')) {
            return Err(Error::Value { what: "source package", expected: "no hyphen at its end", found: shown(found) });
        }
        let location = &self.location;
        if short::is_short_path(&location.path) {
            return Err(Error::Value {
                what: "path of the archive",
                expected: "the name of a file",
                found: shown(&location.path),
            });
        }
        check("path of the archive", 4096, location.path.len())?;
        check("signing key", 16, location.signing_key.as_deref().unwrap_or_default().len())?;
        if let Some((kind, bytes)) = &location.checksum {
            check("name of the checksum", 8, kind.len())?;
            check("checksum", 64, bytes.len())?;
        }
        if i64::try_from(location.size).is_err() {
            let found = location.size.to_string();
            return Err(Error::Value { what: "size of an archive", expected: "less than 2^63", found });
        }
        if let Some(header) = &location.header
            && i32::try_from(header.start.max(header.end)).is_err()
        {
            return Err(Error::Value { what: "end of a header", expected: "less than 2^31", found: header.end.to_string() });
        }
        Ok(())
    }
}

/// The time of an archive's last modification, as locations have it: nanoseconds since 1970. `None` if that is beyond what they can say.
pub fn mtime_ns(archive: &Metadata) -> Option<i64> {
    archive.mtime().checked_mul(1_000_000_000)?.checked_add(archive.mtime_nsec())
}

pub(crate) fn check_length(subject: &str, what: &'static str, expected: usize, found: usize) -> Result<()> {
    if found > expected { Err(Error::TooLong { subject: subject.into(), what, expected, found }) } else { Ok(()) }
}

/// A name that may be of any length, for a message.
fn shown(name: &str) -> String {
    name.chars().take(300).collect()
}
