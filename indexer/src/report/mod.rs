//! Results, progress and errors for the operator.

pub(crate) mod checks;
pub(crate) mod failure;
pub(crate) mod koji;
pub(crate) mod legacy;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod repository;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod urls;
