//! What the metadata of package repositories states, and how to read it. No async, no network, no SQL.
//!
//! In reading order:
//! - [`checksum`]: checksums with their kinds, and a reader that verifies one while its bytes are read;
//! - [`compression`]: a metadata file to its text, bounded;
//! - [`repomd`], [`primary`], [`filelists`]: the metadata of RPM repositories, as createrepo_c writes it;
//! - [`deb`], [`arch`]: Debian's indices, and the databases of pacman;
//! - [`ListedPackage`]: a package of any of them;
//! - [`href`]: where a listing says that a file is;
//! - [`metalink`], [`mirrorlist`]: which mirrors have a repository, and what its repomd.xml has to be.
//!
//! Whatever is read comes from the network. Everything streams, and depths, lengths and counts are bounded. Listings
//! call back for each package: one that cannot be used is refused with its name and the reason, and the listing goes
//! on. What is broken as a whole ends with an error.

pub mod arch;
pub mod checksum;
pub mod compression;
pub mod deb;
mod error;
pub mod filelists;
pub mod href;
mod lines;
mod listed;
pub mod metalink;
pub mod mirrorlist;
pub mod primary;
pub mod repomd;
mod xml;

pub use checksum::Checksum;
pub use error::{Error, Result};
pub use href::Href;
pub use listed::{Listed, ListedLink, ListedPackage, ListingSummary, MIN_BUILD_ID_BYTES, RefusedPackage};
