//! Reads candidates: [`local`] files, and packages of stores over [`http`], from [`mirrors`] by the [`network`] of the
//! run. [`package`] is what both share.

mod attempts;
pub(crate) mod failure;
pub(crate) mod http;
pub(crate) mod local;
pub(crate) mod mirrors;
pub(crate) mod network;
pub(crate) mod open_file;
pub(crate) mod package;
pub(crate) mod presence;
pub(crate) mod probe;
pub(crate) mod reader;
pub(crate) mod remote;
pub(crate) mod remote_file;
mod response;
