//! Who can give bytes: stores (directory, HTTP) and upstreams (other debuginfod servers).

pub(crate) mod archives;
pub(crate) mod federation;
pub(crate) mod flow;
pub(crate) mod http_client;
mod sigcache;
