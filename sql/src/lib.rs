//! The index: schema, migrations and every query, on SQLite and on MySQL/MariaDB. Nobody else writes SQL.
//!
//! In reading order:
//! - [`DatabaseUrl`]: where the index is; [`original`]: the same out of the original darkserver's configuration files;
//!   [`without_passwords`]: a text that may quote such a URL;
//! - [`Index`]: the handle (`db`: the handle and two macros; `pools`: connections; `dialect`: the few words in which the databases differ;
//!   `patience`: waiting for other writers and for a database that is away; `error`);
//! - `schema`: migrations, the check that a reader makes, `createtable.sql`; `views`: the original's tables as views;
//! - [`Store`], [`Location`], [`StoredPackage`], [`Record`]: what comes out (`store`, `record`; `read`, the queries, and `rows`,
//!   what they select; `members`, the lists of a package's artifacts; `short`, what rows leave out);
//! - [`Import`]: what goes in (`import`; `packed`, what is done before; `insert`, the transaction, `locations`, its part about places,
//!   and `pieces`, its statements); [`Changes`]: what came since; `seen`: what a store holds, and no longer holds;
//! - [`Paths`]: what is asked by the paths of files (`paths`, with `glob` for patterns), and [`FileNames`], the table that makes it cheap.

mod changes;
mod database_url;
mod db;
mod dialect;
mod error;
mod file_names;
mod glob;
mod import;
mod includes;
mod insert;
mod locations;
mod members;
pub mod original;
mod packed;
mod passwords;
mod paths;
mod patience;
mod pieces;
mod pools;
mod read;
mod record;
mod rows;
mod schema;
mod seen;
mod short;
mod store;
mod views;

pub use changes::{Changes, Head, Heads, hash};
pub use database_url::DatabaseUrl;
pub use db::Index;
pub use error::{Error, Result};
pub use file_names::FileNames;
pub use import::{Import, Inserted, NewLocation, mtime_ns};
pub use packed::{Packed, Packer};
pub use passwords::without_passwords;
pub use paths::{Found, Paths};
pub use pools::Access;
pub use record::{Location, Record, StoredPackage};
pub use schema::{Migration, createtable};
pub use seen::{KnownLocation, PathHash};
pub use store::{NewStore, Store, Tier};
