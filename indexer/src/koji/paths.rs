//! Where files are below the topurl (Koji's `PathInfo`).
//!
//! Directories have name, version and release of the *source* package of the build. An RPM has its own ones in its file
//! name: `packages/bidtest/1.2~rc1/4.fc99/x86_64/bidtest-sub-9.9-4.fc99.x86_64.rpm`.

use super::build::{HubBuild, HubRpm};

/// The volume that has no directory of its own.
pub(crate) const DEFAULT_VOLUME: &str = "DEFAULT";

impl HubBuild {
    /// Returns the directory of the build's files: `[vol/VOLUME/]packages/NAME/VERSION/RELEASE`. `None` if one of these
    /// parts is no name of a directory.
    pub(crate) fn directory(&self) -> Option<String> {
        let parts = [&self.volume, &self.name, &self.version, &self.release];
        if !parts.into_iter().all(|part| is_component(part)) {
            return None;
        }
        let below = format!("packages/{}/{}/{}", self.name, self.version, self.release);
        Some(if self.volume == DEFAULT_VOLUME { below } else { format!("vol/{}/{below}", self.volume) })
    }
}

/// Returns the path of the unsigned file of an RPM of `build`. `None` if a part is no name of a directory.
pub(crate) fn plain(build: &HubBuild, rpm: &HubRpm) -> Option<String> {
    Some(format!("{}/{}", build.directory()?, below_build(rpm)?))
}

/// Returns the path of the copy that is signed with `key`, the last eight hex digits of its id in lower case. `None` if
/// a part is no name of a directory.
pub(crate) fn signed(build: &HubBuild, rpm: &HubRpm, key: &str) -> Option<String> {
    let directory = build.directory().filter(|_| is_component(key))?;
    Some(format!("{directory}/data/signed/{key}/{}", below_build(rpm)?))
}

/// The path of an RPM below the directory of its build, or of a key.
fn below_build(rpm: &HubRpm) -> Option<String> {
    let arch = &rpm.nevra.arch;
    let file = format!("{}.rpm", rpm.nevra.nvra());
    (is_component(arch) && is_component(&file)).then(|| format!("{arch}/{file}"))
}

/// True if a text is one name in a path.
fn is_component(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use artifact::Nevra;
    use sql::BuildState;

    use super::*;

    fn build(volume: &str, release: &str) -> HubBuild {
        HubBuild {
            id: 7,
            name: "bidtest".into(),
            version: "1.2~rc1".into(),
            release: release.into(),
            epoch: None,
            state: BuildState::Complete,
            is_draft: false,
            volume: volume.into(),
            completion_time: None,
        }
    }

    fn rpm() -> HubRpm {
        HubRpm {
            id: 70,
            build: 7,
            nevra: Nevra::from_parts("bidtest-sub", Some(3), "9.9", "4.fc99", "x86_64").unwrap(),
            size: None,
            payload_hash: None,
            is_metadata_only: false,
            is_external: false,
        }
    }

    #[test]
    fn directories_are_those_of_the_source_package() {
        assert_eq!(
            plain(&build("DEFAULT", "4.fc99"), &rpm()).unwrap(),
            "packages/bidtest/1.2~rc1/4.fc99/x86_64/bidtest-sub-9.9-4.fc99.x86_64.rpm"
        );
        assert_eq!(
            signed(&build("DEFAULT", "4.fc99"), &rpm(), "6d9f90a6").unwrap(),
            "packages/bidtest/1.2~rc1/4.fc99/data/signed/6d9f90a6/x86_64/bidtest-sub-9.9-4.fc99.x86_64.rpm"
        );
    }

    #[test]
    fn volumes_and_drafts_are_in_the_path() {
        assert_eq!(
            plain(&build("rhel-9", "4.fc99,draft_7"), &rpm()).unwrap(),
            "vol/rhel-9/packages/bidtest/1.2~rc1/4.fc99,draft_7/x86_64/bidtest-sub-9.9-4.fc99.x86_64.rpm"
        );
    }

    #[test]
    fn no_path_leaves_the_directory_of_packages() {
        for part in ["", ".", "..", "a/b", "../x", "a\nb"] {
            assert_eq!(build(part, "1").directory(), None, "{part:?}");
            assert_eq!(build("DEFAULT", part).directory(), None, "{part:?}");
            assert_eq!(signed(&build("DEFAULT", "1"), &rpm(), part), None, "{part:?}");
        }
    }
}
