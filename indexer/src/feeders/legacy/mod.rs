//! Rows of an original darkserver's database, which become claims: build-ids of packages whose header was not read.
//!
//! - [`input`]: reads the rows, from a server, a file or standard input;
//! - [`row`]: checks them, and leaves out what is no build-id of a package;
//! - [`packages`]: joins the rows of a package, which were sorted by [`sql::legacy::Staging`];
//! - [`place`]: which of the stored URLs are places of a store.
//!
//! All rows are read before the first package is written: those of one package can be far apart, and packages without
//! a build-id in common would become two. ADR 0042 has the reasons.

pub(crate) mod input;
pub(crate) mod packages;
pub(crate) mod place;
pub(crate) mod row;
pub(crate) mod skipped;
