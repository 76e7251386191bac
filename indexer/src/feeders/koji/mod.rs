//! Koji: every build that is complete, from the hub's record of it.
//!
//! - [`importer`]: builds of one hub become packages of the index. It always asks the hub, so that what a message
//!   or a hook states can be old or wrong without harm.
//! - [`backfill`]: walks all builds by the time of their completion, and imports them.
//! - [`reconcile`]: lists what completed lately, and writes jobs for what the index lacks.
//! - [`sweep`]: compares known builds with the hub, and writes jobs for differences.

use std::time::Duration;

use url::Url;

use crate::koji::fault::HubError;
use crate::report::failure::CommandFailure;

pub(crate) mod backfill;
pub(crate) mod importer;
mod packages;
pub(crate) mod reconcile;
mod signed;
pub(crate) mod sweep;

/// A Koji instance: its hub, where its files are, and how it is followed. A `[[koji]]` of the configuration file, an
/// entry of the original's `koji_info.json`, or options of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KojiInstance {
    /// Its name, as messages have it: `primary`.
    pub(crate) name: String,
    /// The URL of its XML-RPC interface, without a slash at the end.
    pub(crate) hub: Url,
    /// The URL above `packages/` and `vol/`, without a slash at the end.
    pub(crate) topurl: Url,
    /// The name of the store that has its files.
    pub(crate) store: String,
    /// Where the headers of its packages come from.
    pub(crate) headers: HeaderSource,
    /// Architectures whose packages are left out.
    pub(crate) skip_archs: Vec<String>,
    /// Globs of the distributions whose packages are looked for below `topurl` although no build names them there.
    pub(crate) distros: sql::Distros,
    /// How often completed builds are listed.
    pub(crate) reconcile_interval: Duration,
    /// How far before its last position a listing of completed builds begins.
    pub(crate) overlap: Duration,
    /// Maximum time between two comparisons of a known build with the hub.
    pub(crate) sweep_interval: Duration,
    /// Where the first listing of completed builds begins, in seconds since 1970. `None`: a day before.
    pub(crate) since: Option<i64>,
}

/// Where the headers of a build's packages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeaderSource {
    /// From the archives below the topurl, by Range.
    #[default]
    Topurl,
    /// From the hub, by `getRPMHeaders`: build-ids are claims until a gateway reads the archive.
    Hub,
}

/// Why builds could not be compared with a hub.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KojiError {
    /// The hub cannot be asked.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The index or this machine failed.
    #[error(transparent)]
    Command(#[from] CommandFailure),
}

impl From<sql::Error> for KojiError {
    fn from(error: sql::Error) -> Self {
        Self::Command(error.into())
    }
}

#[cfg(test)]
mod tests;
