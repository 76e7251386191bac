//! The index: schema, migrations and every query, on SQLite and on MySQL/MariaDB. No other crate contains SQL.
//!
//! - `connect`: [`DatabaseUrl`], the address of the index; [`configuration`] files, also those of the original
//!   darkserver ([`original`]); [`Index`], the handle; pools, the differences between the databases, and retries;
//! - `schema`: migrations, the checks of readers and writers, `createtable.sql`, the original's tables as views;
//! - `model`: the input ([`Import`], [`ClaimedPackage`]) and the results ([`Record`], [`StoredPackage`], [`Location`],
//!   [`Store`]); `rows`, the rows of queries;
//! - `write`: the transaction of a batch (`insert`, with `packages`, `artifacts`, `modules`, `locations`, `changes`),
//!   packages whose header was not read (`claims`), which of them are one package (`candidates`, `merge`), locations
//!   that are seen or gone (`known_locations`);
//! - `read`: queries by build-id, package and source package (`records`), by path (`paths`, with `glob`), by include
//!   directory (`includes`), changes since a state ([`Changes`]), all build-ids for a filter (`hashes`), the state of
//!   the index (`status`), and random packages (`sample`);
//! - [`legacy`]: the rows of an original darkserver's database, and of dumps of it.

mod connect;
pub mod legacy;
mod model;
mod read;
mod schema;
mod write;

pub use connect::database_url::DatabaseUrl;
pub use connect::db::Index;
pub use connect::error::{Error, Result};
pub use connect::pools::Access;
pub use connect::redact::redact_passwords;
pub use connect::{configuration, original};
pub use model::checksum::Checksum;
pub use model::claim::{Claim, ClaimedPackage, Origin};
pub use model::import::{Import, Inserted, NewLocation, mtime_ns};
pub use model::jobs::{Job, NewJob, Poison};
pub use model::koji::{
    Build, BuildHistory, BuildPackage, BuildPlace, BuildState, BuildTag, BuildUpdate, KojiOrigin, SignedCopy,
    StoredBuild, TagChange,
};
pub use model::life::{History, HistoryFile, Life, Membership, Successor};
pub use model::path_hash::PathHash;
pub use model::pattern::{Distros, PlacePattern};
pub use model::place::{CheckResult, DuePlace, PlaceCheck};
pub use model::record::{Location, Record, StoredPackage};
pub use model::repository::{
    CompleteListing, KnownListed, KnownListing, KnownPackage, ListingEnd, NewRepository, PackageLocation, Repository,
    Verified,
};
pub use model::state::PackageState;
pub use model::status::{
    Age, BuildStatus, Cursor, FailedJob, HeldLease, JobStatus, RepositoryStatus, Status, StoreStatus, Workload,
};
pub use model::store::{AbsentStatuses, NewStore, RedirectHosts, Store, Tier};
pub use model::unread::{ClaimRecord, Packages, Records, UnreadPackage};
pub use read::changes::{Changes, Head, Heads, hash_build_id};
pub use read::paths::{PathMatches, PathQuery};
pub use schema::{Migration, createtable};
pub use write::known_locations::KnownLocation;
