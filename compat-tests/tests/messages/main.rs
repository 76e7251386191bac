//! Messages of Koji and Bodhi: genuine publishers, a real broker, and the consumers of `darkserver-import listen`.
//!
//! The hub of these tests does not answer, so that jobs stay in the database.

mod broker;
mod database;
mod genuine;
mod queues;
mod support;
mod tls;
