//! Builds of Koji: the input of [`crate::Index::record_builds`], and what the index has of them.

use std::fmt;
use std::str::FromStr;

use super::import::{check_length, truncate};
use super::rows::decode_error;
use crate::{Error, PackageState, Result};

/// The build of Koji that a package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KojiOrigin {
    /// Name of the Koji.
    pub instance: String,
    /// Id of the build there.
    pub build: i64,
    /// The volume with the build's files.
    pub volume: String,
}

/// The state of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuildState {
    /// It is being built.
    Building,
    /// It was built.
    Complete,
    /// It was deleted after it was built.
    Deleted,
    /// It could not be built.
    Failed,
    /// Its task was canceled.
    Canceled,
}

/// A build as the hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Name of the Koji.
    pub instance: String,
    /// Id of the build there.
    pub build: i64,
    /// Name of the source package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: String,
    /// Its epoch.
    pub epoch: Option<i64>,
    /// Its state.
    pub state: BuildState,
    /// The volume with its files: `DEFAULT`, or a directory of the topurl's `vol/`.
    pub volume: String,
    /// True for a draft build, which was not promoted.
    pub draft: bool,
    /// When it was complete, seconds since 1970.
    pub completed_at: Option<i64>,
}

/// A build that the index has. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBuild {
    /// What the hub said last.
    pub build: Build,
    /// Since when all its packages that are wanted are in the index. `None` while they are not.
    pub imported_at: Option<i64>,
    /// When the hub was asked last.
    pub checked_at: i64,
    /// When it was deleted, or when that was noticed. `None` while it exists.
    pub deleted_at: Option<i64>,
    /// The last time before `deleted_at` when it existed, 0 if no such time is known. `None` if `deleted_at` is exact.
    pub deleted_after: Option<i64>,
}

/// What the hub and the store say of a build: the input of [`crate::Index::record_builds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildUpdate {
    /// What the hub says.
    pub build: Build,
    /// True if all its packages that are wanted are in the index.
    pub is_imported: bool,
    /// The exact time of its deletion, seconds since 1970. `None` if it is not deleted, or nothing states the time.
    pub deleted_at: Option<i64>,
    /// The store of the instance.
    pub store_id: i64,
    /// Directory of its files below the store, without slashes at the ends. Present places of its packages elsewhere in
    /// the store become gone. `None`: they are left alone.
    pub directory: Option<String>,
    /// Signed copies of its packages that were looked for.
    pub signed: Vec<SignedCopy>,
}

/// A signed copy of a package of a build, in the store of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCopy {
    /// Name-version-release.arch of the package.
    pub nvra: String,
    /// Path below the store's base URL; no slash at its start.
    pub path: String,
    /// Key id of the signature, lower-case hex.
    pub key: String,
    /// Size of the archive in bytes, if known.
    pub size: Option<u64>,
    /// False if the store does not have it.
    pub is_present: bool,
}

/// A package of a build, with its places in one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPackage {
    /// Id of the build.
    pub build: i64,
    /// Id of the package.
    pub package_id: i64,
    /// Its name-version-release.arch.
    pub nvra: String,
    /// How much of it is known.
    pub state: PackageState,
    /// The volume that is stored for it.
    pub volume: Option<String>,
    /// Its places in the store, by path.
    pub places: Vec<BuildPlace>,
}

/// A place of a [`BuildPackage`]. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPlace {
    /// Path below the store's base URL.
    pub path: String,
    /// Size of the archive in bytes, if known.
    pub size: Option<u64>,
    /// Key id of the archive's signature.
    pub signing_key: Option<String>,
    /// True if the offsets of its header are known.
    pub has_header: bool,
    /// Since when it is gone. `None` while it is present.
    pub gone_at: Option<i64>,
    /// When it was looked for last. `None` if never.
    pub checked_at: Option<i64>,
}

/// A change of a build's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// It got the tag.
    Tagged,
    /// It lost the tag.
    Untagged,
}

/// A tag that a build has or had. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildTag {
    /// The tag.
    pub tag: String,
    /// When the build got it last. `None` if that is unknown.
    pub tagged_at: Option<i64>,
    /// When the build lost it last. `None` if it did not.
    pub untagged_at: Option<i64>,
}

/// A build and its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildHistory {
    /// The build.
    pub build: StoredBuild,
    /// The tags that it has or had, by name.
    pub tags: Vec<BuildTag>,
}

impl KojiOrigin {
    pub(crate) fn check(&self, subject: &str) -> Result<()> {
        check_length(subject, "name of the Koji", 64, self.instance.len())?;
        check_length(subject, "volume", 64, self.volume.len())
    }
}

impl BuildState {
    /// All states, by their code in Koji.
    pub const ALL: [Self; 5] = [Self::Building, Self::Complete, Self::Deleted, Self::Failed, Self::Canceled];

    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Complete => "complete",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Returns the state with this code in Koji (`koji.BUILD_STATES`).
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code)).copied()
    }

    /// Reads the word in the database.
    pub(crate) fn parse(word: &str) -> sqlx::Result<Self> {
        word.parse().map_err(|error: Error| decode_error(error))
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildState {
    type Err = Error;

    /// Reads the lower-case word.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| Error::Value {
            what: "state of a build",
            expected: "building, complete, deleted, failed or canceled",
            found: text.chars().take(80).collect(),
        })
    }
}

impl StoredBuild {
    /// True if it was deleted, and this answer of the hub is of the same run of it. One that completed later was built
    /// or imported again under its id, which ends the deletion.
    pub fn stays_deleted(&self, now: &Build) -> bool {
        let before = self.build.completed_at.or(self.deleted_at);
        let is_again = now.state == BuildState::Complete && now.completed_at > before;
        self.build.state == BuildState::Deleted && !is_again
    }

    /// True if the index has everything of a build that the hub describes so.
    pub fn is_known(&self, now: &Build) -> bool {
        (self.imported_at.is_some() && self.build == *now) || self.stays_deleted(now)
    }
}

impl Build {
    /// Returns its name-version-release.
    pub fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    /// True if both are complete, and the times when they were do not differ: nothing was built again in between.
    pub fn is_same_run(&self, other: &Self) -> bool {
        let is_complete = self.state == BuildState::Complete && other.state == BuildState::Complete;
        is_complete && self.completed_at.zip(other.completed_at).is_none_or(|(one, another)| one == another)
    }

    /// Checks that every value fits the schema.
    pub(crate) fn check(&self) -> Result<()> {
        let subject = truncate(&format!("build {} of {}", self.build, self.instance));
        for (what, limit, text) in [
            ("name of the Koji", 64, &self.instance),
            ("name", 255, &self.name),
            ("version", 255, &self.version),
            ("release", 255, &self.release),
            ("volume", 64, &self.volume),
        ] {
            check_length(&subject, what, limit, text.len())?;
        }
        Ok(())
    }
}

impl BuildUpdate {
    /// Checks that every value fits the schema.
    pub(crate) fn check(&self) -> Result<()> {
        self.build.check()?;
        for copy in &self.signed {
            let subject = truncate(&copy.nvra);
            check_length(&subject, "path of a signed copy", 4096, copy.path.len())?;
            check_length(&subject, "signing key", 16, copy.key.len())?;
            if let Some(size) = copy.size.filter(|size| i64::try_from(*size).is_err()) {
                let found = size.to_string();
                return Err(Error::Value { what: "size of an archive", expected: "less than 2^63", found });
            }
        }
        Ok(())
    }
}

impl BuildTag {
    /// True if the build has the tag: it was not untagged after it was tagged last.
    pub fn is_current(&self) -> bool {
        match (self.tagged_at, self.untagged_at) {
            (_, None) => true,
            (tagged_at, untagged_at) => tagged_at >= untagged_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_codes_of_koji_and_words_that_are_read_again() {
        let codes: Vec<_> = (-1..6).map(BuildState::from_code).collect();
        let expected = BuildState::ALL.map(Some);
        assert_eq!(codes[1..6], expected);
        assert_eq!((codes[0], codes[6]), (None, None));
        for state in BuildState::ALL {
            assert_eq!(state.to_string().parse::<BuildState>().unwrap(), state);
        }
        assert!("COMPLETE".parse::<BuildState>().is_err());
    }

    #[test]
    fn the_later_change_of_a_tag_tells_if_a_build_has_it() {
        let tag = |tagged_at, untagged_at| BuildTag { tag: "f42".into(), tagged_at, untagged_at };
        assert!(tag(Some(1), None).is_current());
        assert!(tag(Some(2), Some(1)).is_current());
        assert!(!tag(Some(1), Some(2)).is_current());
        assert!(!tag(None, Some(1)).is_current());
    }
}
