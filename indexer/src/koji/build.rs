//! Builds, RPMs and headers as a hub describes them, and what they are asked by.

use artifact::Nevra;
use sql::BuildState;

/// What a build is asked by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BuildRef {
    /// Koji's number.
    Id(i64),
    /// Name-version-release of the source package.
    Nvr(String),
}

/// A build as the hub knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HubBuild {
    pub(crate) id: i64,
    /// Name, version and release of the source package. The release of a draft ends in `,draft_ID`.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release: String,
    pub(crate) epoch: Option<i64>,
    pub(crate) state: BuildState,
    /// True until a draft build is promoted.
    pub(crate) is_draft: bool,
    /// Name of the volume that has the files; `DEFAULT` is the topurl itself.
    pub(crate) volume: String,
    /// Seconds since 1970. `None` while it is being built, and of some failed builds.
    pub(crate) completion_time: Option<f64>,
}

/// An RPM of a build, as the hub knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubRpm {
    pub(crate) id: i64,
    /// The build's number.
    pub(crate) build: i64,
    /// The arch of a source package is `src`.
    pub(crate) nevra: Nevra,
    /// Bytes of the unsigned file.
    pub(crate) size: Option<u64>,
    /// The MD5 of header and payload (`SIGMD5`), which all signed copies have, in lower-case hex.
    pub(crate) payload_hash: Option<String>,
    /// True if the hub has the RPM's description and not its file.
    pub(crate) is_metadata_only: bool,
    /// True if the RPM is one of a repository outside of this Koji.
    pub(crate) is_external: bool,
}

/// What the header of an RPM states, by the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubHeader {
    /// File name of the source package; `None` of a source package.
    pub(crate) source_rpm: Option<String>,
    /// Seconds since 1970.
    pub(crate) built_at: Option<i64>,
    /// The build-id links, in the order of the header.
    pub(crate) links: Vec<HubLink>,
}

/// A build-id link of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubLink {
    /// `/usr/lib/.build-id/xx/yyyy`, for instance.
    pub(crate) path: String,
    pub(crate) target: String,
}

/// Which builds a list has. Lists have builds with RPMs alone: no images, modules and containers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BuildQuery {
    pub(crate) state: BuildState,
    /// Seconds since 1970. Builds that completed at this time are not listed.
    pub(crate) complete_after: Option<f64>,
    /// Seconds since 1970. Builds that completed at this time are not listed.
    pub(crate) complete_before: Option<f64>,
    pub(crate) order: BuildOrder,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

/// The order of a list of builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildOrder {
    /// By time of completion, the oldest first. Builds of one time are in the order of their numbers.
    OldestFirst,
    /// By time of completion, the newest first. Builds of one time have the highest number first.
    NewestFirst,
    /// By number, the highest first: whatever time of completion they have.
    HighestNumber,
}

impl BuildOrder {
    /// The value of `order` among Koji's query options.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OldestFirst => "completion_time,build_id",
            Self::NewestFirst => "-completion_time,-build_id",
            Self::HighestNumber => "-build_id",
        }
    }
}

impl HubBuild {
    /// Returns name-version-release.
    pub(crate) fn nvr(&self) -> String {
        let Self { name, version, release, .. } = self;
        format!("{name}-{version}-{release}")
    }
}
