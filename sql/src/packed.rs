//! Imports made ready to be written: what takes time is done where archives are read, in parallel, and not where one transaction
//! follows the other.

use artifact::{Artifact, Package};

use crate::db::both;
use crate::dialect::Dialect;
use crate::members::Compressor;
use crate::short::{self, KEY_BYTES};
use crate::{Error, Import, Index, NewLocation, PathHash, Result, changes, file_names, includes};

/// An [`Import`] whose artifacts are what will stand in the tables: what [`Index::insert_packed`] takes.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) package: Package,
    pub(crate) distro: Option<String>,
    pub(crate) open: bool,
    pub(crate) location: NewLocation,
    pub(crate) path: PathHash,
    /// Key and ordinal of each artifact, in the order of the lists.
    pub(crate) keys: Vec<([u8; KEY_BYTES], u32)>,
    /// The lists, by part.
    pub(crate) lists: Vec<(u32, Vec<u8>)>,
    /// What stands for the names of its files, and for the places of its include files, in `file_names`.
    pub(crate) names: Vec<file_names::Key>,
    /// What stands for each build-id in `changes`.
    pub(crate) hashes: Vec<u64>,
}

impl Packed {
    /// How many artifacts it brings.
    pub fn artifacts(&self) -> usize {
        self.keys.len()
    }

    /// The package.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// Where the archive is.
    pub fn location(&self) -> &NewLocation {
        &self.location
    }
}

/// Makes [`Import`]s ready for one index. Each thread that reads archives has its own.
pub struct Packer {
    compressor: Compressor,
}

impl Packer {
    /// For this index: SQLite and MySQL have their lists compressed differently.
    pub fn new(index: &Index) -> Self {
        Self { compressor: Compressor::new(both!(Db, &index.db, |_pool, Backend| Backend::LISTS)) }
    }

    /// Makes an import ready.
    ///
    /// # Errors
    /// If a value does not fit the schema ([`Import::check`]).
    pub fn pack(&mut self, import: Import) -> Result<Packed> {
        import.check()?;
        let Import { package, distro, mut artifacts, includes, open, location } = import;
        artifacts.sort_unstable();
        artifacts.dedup_by(|a, b| (a.ordinal, a.kind) == (b.ordinal, b.kind) && a.build_id == b.build_id);
        let key = |artifact: &Artifact| (short::key(artifact.build_id.as_bytes()), artifact.ordinal);
        Ok(Packed {
            path: PathHash::of(&location.path),
            keys: artifacts.iter().map(key).collect(),
            lists: self
                .compressor
                .lists(&artifacts)
                .map_err(|source| Error::Packing { subject: package.nevra.nvra(), source })?,
            names: file_names::keys(&artifacts).into_iter().chain(includes.iter().map(|place| includes::key(place))).collect(),
            hashes: artifacts.iter().map(|artifact| changes::hash(&artifact.build_id)).collect(),
            package,
            distro,
            open,
            location,
        })
    }
}
