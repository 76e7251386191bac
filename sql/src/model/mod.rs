//! What goes into the index, what comes out of it, and the rows in between.

pub(crate) mod claim;
pub(crate) mod import;
pub(crate) mod path_hash;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod store;
