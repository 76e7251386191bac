//! What reaches the index although everything dies: indexers are killed (SIGKILL) at random moments, broker and
//! database end and come back, messages come twice and in the wrong order.
//!
//! The moments and the order follow from a seed, which a failed test prints; `DARKSERVER_SEED` sets it.

#![expect(clippy::expect_used, reason = "test support: a failure here is a failed test, and shows where")]

mod backfill;
mod hooks;
mod messages;
mod support;
