//! Client of Koji's hub: XML-RPC over HTTP. It asks and never changes anything.
//!
//! - [`build`]: builds, RPMs and headers as a hub describes them, and what they are asked by;
//! - [`paths`]: where their files are below the topurl;
//! - [`fault`]: the hub's faults, and why a request failed;
//! - [`hub`]: the requests, with their retries and limits;
//! - [`xmlrpc`]: calls and answers as XML; [`members`]: values of answers.

pub(crate) mod build;
pub(crate) mod fault;
pub(crate) mod hub;
mod members;
pub(crate) mod paths;
mod xmlrpc;
