//! The index: schema, migrations and every query, on SQLite and on MySQL/MariaDB. No other crate writes SQL.
//!
//! - `connect`: [`DatabaseUrl`], where the index is, also out of the original darkserver's files ([`original`]); [`Index`], the
//!   handle; connections, the few words in which the databases differ, and what is tried again;
//! - `schema`: migrations, the check that a reader makes, `createtable.sql`, the original's tables as views;
//! - `model`: what goes in ([`Import`], [`ClaimedPackage`]) and what comes out ([`Record`], [`StoredPackage`], [`Location`], [`Store`]);
//!   `rows`, what the queries select;
//! - `write`: the transaction of a batch (`insert`, with `artifacts`, `modules`, `locations`, `includes`, `changes`), claims of packages whose
//!   header was not read (`claims`), which of them are one package (`candidates`, `merge`), what a store no longer holds (`seen`);
//! - `read`: queries by build-id, package and source package (`records`), by path (`paths`, with `glob`), by include directory
//!   (`includes`), what came since ([`Changes`]), and all build-ids for a filter (`hashes`).

mod connect;
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
pub use model::claim::{Claim, ClaimedPackage, Origin};
pub use model::import::{Import, Inserted, NewLocation, mtime_ns};
pub use model::path_hash::PathHash;
pub use model::record::{Location, Record, StoredPackage};
pub use model::store::{AbsentStatuses, NewStore, Store, Tier};
pub use read::changes::{Changes, Head, Heads, hash_build_id};
pub use read::paths::{PathMatches, PathQuery};
pub use schema::{Migration, createtable};
pub use write::known_locations::KnownLocation;
