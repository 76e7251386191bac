//! The index as the gateway reads it: cached database reads, the filter, the health of the database.

pub(crate) mod filter;
pub(crate) mod lookup;
pub(crate) mod watch;
