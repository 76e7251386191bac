//! A package as its repository lists it, whatever the format of the listing.

use std::ops::Range;

use artifact::links::LinkName;
use artifact::{BuildId, Kind, Nevra};

use crate::error::shown;
use crate::{Checksum, Href};

/// The minimum size of a build-id in a listing. Shorter ones are rubbish: rpm itself makes links of 16 bytes or more,
/// and the shortest that linkers make have 8.
pub const MIN_BUILD_ID_BYTES: usize = 8;
/// The maximum number of build-ids, and of links, of one package.
pub(crate) const MAX_BUILD_IDS: usize = 1 << 20;

/// A package as its repository lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPackage {
    /// Name, epoch, version, release and arch. RPM's listings write epoch 0 for none, so it is `None` here.
    pub nevra: Nevra,
    /// Of the package as published, which is the signed copy. Filelists name the package by it (`pkgid`).
    pub checksum: Checksum,
    /// Where it is.
    pub href: Href,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was built, seconds since 1970.
    pub built_at: Option<i64>,
    /// File name of its source package; `None` for source packages.
    pub source_rpm: Option<String>,
    /// The bytes of its main header, of an RPM. Lead and signature header stand before it.
    pub header_range: Option<Range<u64>>,
    /// The build-ids of debug files that it is said to have: `debuginfo(build-id)` provides, `Build-Ids`. Sorted, each
    /// once.
    pub build_ids: Vec<BuildId>,
    /// The build-id links that its listing names. RPM's are in [`filelists`](crate::filelists).
    pub links: Vec<ListedLink>,
    /// The number of texts that stand for a build-id and are none, like `nilnil`.
    pub rubbish_count: u32,
}

/// A build-id link in a list of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLink {
    /// The build-id in its name.
    pub build_id: BuildId,
    /// Executable or debuginfo.
    pub kind: Kind,
    /// Its whole path. Its target is not in the listing.
    pub path: String,
}

/// One package of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A package with all that is needed.
    Package(Box<ListedPackage>),
    /// A package that is refused.
    Refused(RefusedPackage),
}

/// A package without name, version, checksum or location, or with one that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPackage {
    /// Its NVRA, or what there is of it.
    pub name: String,
    /// What was expected and what was found.
    pub reason: String,
    /// Where it is, if the listing states that.
    pub href: Option<Href>,
}

/// What a listing had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListingSummary {
    /// The number of packages, refused ones included.
    pub package_count: u64,
    /// The number of packages that were refused.
    pub refused_count: u64,
    /// The number of packages that the listing states (`packages="N"`); some writers state 0 or a wrong number.
    pub stated_count: Option<u64>,
}

impl ListingSummary {
    pub(crate) fn count(&mut self, listed: &Listed) {
        self.package_count += 1;
        self.refused_count += u64::from(matches!(listed, Listed::Refused(_)));
    }
}

impl Listed {
    pub(crate) fn refused(name: &str, href: Option<Href>, reason: String) -> Self {
        Self::Refused(RefusedPackage { name: shown(name), reason, href })
    }
}

impl ListedLink {
    /// The link with this path; `None` for other files, and for links that claim no file of their package
    /// ([`LinkName::claims`]).
    pub fn parse(path: &str) -> Option<Self> {
        let LinkName { build_id, claims } = LinkName::parse(path)?;
        if build_id.as_bytes().len() < MIN_BUILD_ID_BYTES {
            return None;
        }
        Some(Self { build_id, kind: claims?, path: path.into() })
    }
}

/// A build-id that a listing can name; `None` for rubbish.
pub(crate) fn build_id(text: &str) -> Option<BuildId> {
    text.parse().ok().filter(|id: &BuildId| id.as_bytes().len() >= MIN_BUILD_ID_BYTES)
}
