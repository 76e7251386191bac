//! Packages that attack the indexer: the real program, as a process under limits of the system.
//!
//! - [`builders`]: packages and ELF files built byte by byte, so that each can be false where a test needs it;
//!   [`limits`]: the program under limits; [`support`]: a directory of packages with an index beside it;
//! - the tests: [`mutations`], [`decompression_bombs`], [`members`], [`false_headers`], [`truncated`].

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failure of the support is a failed test, and says where"
)]

mod builders;
mod decompression_bombs;
mod false_headers;
mod limits;
mod members;
mod mutations;
#[path = "../import/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod support;
mod truncated;
