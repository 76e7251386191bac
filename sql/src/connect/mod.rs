//! Connections: URLs, pools, differences between databases, and retries.

pub mod configuration;
pub(crate) mod database_url;
pub(crate) mod db;
pub(crate) mod dialect;
pub(crate) mod error;
pub mod original;
pub(crate) mod pools;
pub(crate) mod redact;
mod retry;
mod sqlite_files;
