//! Packages that try to break the indexer: the real program, as a process under limits of the system.
//!
//! - [`made`]: packages and ELF files made byte by byte, so that each can lie where a test wants it to; [`limits`]: the
//!   program under limits; [`support`]: a folder of packages with an index beside it;
//! - the tests: [`mutants`], [`bombs`], [`members`], [`lies`], [`cut_off`].

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
