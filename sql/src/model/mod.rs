//! Input and results of the index, and the rows in between.

pub(crate) mod claim;
pub(crate) mod import;
pub(crate) mod path_hash;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod store;
