//! How the database is reached: URLs, connections, the words in which databases differ, and what is tried again.

pub mod configuration;
pub(crate) mod database_url;
pub(crate) mod db;
pub(crate) mod dialect;
pub(crate) mod error;
mod media;
pub mod original;
pub(crate) mod passwords;
mod patience;
pub(crate) mod pools;
