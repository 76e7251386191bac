//! Feeders: each finds archives and sends them to an import. [`directory`] walks the file system, and is the one to
//! copy; [`repository`] reads metadata over HTTP. [`hook`] imports one archive that was named or uploaded, without the
//! pipeline. [`messages`] consumes queues and writes jobs. The other modules help them.
//!
//! A feeder is a function that `commands/import.rs` passes to the pipeline, which runs it on a thread of its own:
//! - It sends each archive to read as a candidate ([`feed::Feed::send_candidate`]). Readers read them in any order.
//! - It sends what cannot be read as an outcome ([`feed::Feed::send_outcome`]), with what may still be present there.
//! - Both return `false` once the import is stopped: then the feeder returns.
//!
//! After a complete `dir`, known locations that the feeder neither sent nor reported as unreadable are marked as gone.

pub(crate) mod directory;
pub(crate) mod feed;
pub(crate) mod filter;
pub(crate) mod formats;
pub(crate) mod hook;
pub(crate) mod koji;
pub(crate) mod legacy;
pub(crate) mod messages;
pub(crate) mod other_formats;
pub(crate) mod repository;
