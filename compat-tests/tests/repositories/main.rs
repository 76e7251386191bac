//! Repositories over HTTP, made by the real createrepo_c and read by `darkserver-import repo`: what the index holds
//! afterwards is right, and costs what it has to; what cannot be right is refused.
//!
//! - [`support`]: runs of the program, and the contents of an index as text;
//! - the tests: [`compression`], [`http2`], [`mirrors`], [`faults`], [`hostile`], [`changing`], [`all`], [`locations`],
//!   [`dnf`], [`metadata_only`], [`life`], [`other_formats`].

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod all;
mod changing;
mod compression;
mod dnf;
mod faults;
mod hostile;
mod http2;
mod life;
mod locations;
mod metadata_only;
mod mirrors;
mod other_formats;
mod support;
