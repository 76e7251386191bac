//! The options of `store`.

use std::ffi::OsString;
use std::str::FromStr;

use clap::{Args, Subcommand};
use sql::{AbsentStatuses, Distros, PlacePattern, RedirectHosts};

use super::CheckArgs;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Add a store, or change what is given of the one with that name
    #[command(after_help = ADD_EXAMPLES)]
    Add(StoreArgs),
    /// List the stores
    List,
    /// Probe stores: what works, how fast they are, where they redirect to
    Check(CheckArgs),
    /// Remove a store from the index, with its locations, its repositories and their memberships; the packages stay
    Remove {
        /// Name of the store
        name: String,
    },
}

/// Examples of `store add`.
const ADD_EXAMPLES: &str = "\
Of a store that exists, options that are not given stay as they are. An empty value clears one: --url ''

Examples:
  Koji, for packages of Fedora and EPEL that mirrors have dropped:
    darkserver-import store add koji --tier koji --url https://kojipkgs.fedoraproject.org \\
        --pattern '{volume}packages/{name}/{version}/{release}/{arch}/{nvra}.rpm' \\
        --distros 'fc*,epel*'

  It is asked after other stores of its tier from now on:
    darkserver-import store add koji --priority 10";

/// Options of `store add`, or keys of a `[[store]]`. `None`: not given.
#[derive(Args)]
pub(crate) struct StoreArgs {
    /// Name of the store
    pub(crate) name: String,
    /// Kind of store, in the order in which stores are asked; a new store needs it
    #[arg(long, value_parser = ["local", "mirror", "koji", "archive", "retrace"])]
    pub(crate) tier: Option<String>,
    /// URL under which its archives can be downloaded
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Directory on this machine (tier local)
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<OsString>,
    /// Priority among stores of one tier; lower is asked first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// HTTP statuses that prove that the store does not have an archive [default: 403,404,410]
    #[arg(long, value_name = "STATUS,...")]
    pub(crate) absent_statuses: Option<OrNone<AbsentStatuses>>,
    /// Hosts that the store may redirect to besides itself, without port; * for every host
    #[arg(long, value_name = "HOST,...")]
    pub(crate) redirect_hosts: Option<OrNone<RedirectHosts>>,
    /// Follow redirects to private addresses too, where * allows the host; also for mirrors that metalinks name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_private: Option<bool>,
    /// Path of a package below URL, for packages that no listing names there:
    /// {volume}packages/{name}/{version}/{release}/{signed}{arch}/{nvra}.rpm is Koji's. {name}, {version} and {release}
    /// are those of the source package, {arch} and {nvra} those of the package; {volume} is vol/VOLUME/ if known,
    /// {signed} is data/signed/KEY/. Needs --distros
    #[arg(long, value_name = "PATTERN")]
    pub(crate) pattern: Option<OrNone<PlacePattern>>,
    /// Distributions whose packages the pattern is valid for, like 'fc*,el9*'
    #[arg(long, value_name = "GLOB,...")]
    pub(crate) distros: Option<OrNone<Distros>>,
}

/// A value; `None` for an empty text, which clears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}
