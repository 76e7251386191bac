//! Where files are below the topurl, as Koji's `PathInfo` has it.

use super::state::{Build, Rpm};

/// The directory of a build.
pub(super) fn directory(build: &Build) -> String {
    let below = format!("packages/{}/{}/{}", build.name, build.version, build.release);
    if build.volume == "DEFAULT" { below } else { format!("vol/{}/{below}", build.volume) }
}

/// The unsigned file of an RPM.
pub(super) fn plain(build: &Build, rpm: &Rpm) -> String {
    format!("{}/{}", directory(build), below(rpm))
}

/// The directory of the copies that are signed with a key.
pub(super) fn signed_directory(build: &Build, key: &str) -> String {
    format!("{}/data/signed/{key}", directory(build))
}

/// The copy of an RPM that is signed with a key.
pub(super) fn signed(build: &Build, rpm: &Rpm, key: &str) -> String {
    format!("{}/{}", signed_directory(build, key), below(rpm))
}

/// The signature header of that copy.
pub(super) fn signature(build: &Build, rpm: &Rpm, key: &str) -> String {
    format!("{}/data/sigcache/{key}/{}.sig", directory(build), below(rpm))
}

fn below(rpm: &Rpm) -> String {
    format!("{}/{}.rpm", rpm.arch, rpm.nvra())
}
