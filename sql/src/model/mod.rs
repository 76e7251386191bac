//! Input and results of the index, and the rows in between.

pub(crate) mod checksum;
pub(crate) mod claim;
pub(crate) mod facts;
pub(crate) mod import;
pub(crate) mod jobs;
pub(crate) mod koji;
pub(crate) mod life;
pub(crate) mod path_hash;
pub(crate) mod pattern;
pub(crate) mod place;
pub(crate) mod record;
pub(crate) mod repository;
pub(crate) mod rows;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod unread;
