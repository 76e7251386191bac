//! The words of darkserver, and how to read them out of packages and ELF files. No async, no network, no SQL.
//!
//! In reading order:
//! - [`BuildId`], [`Nevra`], [`Identity`], [`Package`], [`Artifact`], [`Kind`], [`ArtifactType`]: the words themselves;
//! - [`header`]: lead, signature header and main header of an RPM, bounded, into a [`header::Header`];
//! - [`links`] and [`classes`]: the two places of a header that name build-ids; [`artifacts`] puts them together and
//!   says which files stay *open*;
//! - [`payload`]: one member out of an archive, streamed; [`digest`]: is it the file that the header promised;
//! - [`elf`]: build-id, kind and sections of an ELF file; [`scan`]: the ELF notes of a package's open files;
//! - [`modules`]: compressed kernel modules, and the debug files that have their build-ids;
//! - [`arch`]: the archs that rpm takes for one, in the paths of debug sources above all;
//! - [`sources`]: which source files an ELF file's DWARF names; [`includes`]: which files others are compiled with;
//! - [`formats`]: everything else that holds ELF files: Debian and Arch packages, tar archives, plain files.

pub mod arch;
pub mod artifacts;
mod build_id;
pub mod classes;
pub mod digest;
pub mod elf;
mod error;
pub mod formats;
pub mod header;
mod identity;
pub mod includes;
pub mod limits;
pub mod links;
pub mod modules;
mod nevra;
mod package;
pub mod path;
pub mod payload;
pub mod scan;
pub mod sources;

pub use build_id::BuildId;
pub use error::{Error, Result};
pub use identity::Identity;
pub use nevra::Nevra;
pub use package::{Artifact, ArtifactType, Contents, Format, Kind, Package};
