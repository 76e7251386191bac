//! The rows of an original darkserver's database: read from its MySQL server or from a dump, and collected by package.
//!
//! - [`dump`]: files of `mysqldump`, `mariadb-dump`, `pg_dump` and the `.dump` of SQLite;
//! - [`OriginalDatabase`]: the tables on a MySQL or MariaDB server;
//! - [`Staging`]: a temporary file that brings the rows of a package together, however far apart they were.
//!
//! The original's releases had two tables with five sets of columns. What they call differently has one name here.

mod database;
pub mod dump;
mod staging;

pub use database::{OriginalDatabase, OriginalPage, SourceTable};
pub use staging::{StagedNames, StagedPackages, StagedRow, Staging};

/// Maximum length of a value in bytes. The longest that the index stores is a path of 4,096 bytes.
pub const MAX_VALUE_BYTES: usize = 16 << 10;

/// A table of an original darkserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginalTable {
    /// `dark_gnubuildid` of the releases 0.1 to 0.3.
    Dark,
    /// `buildid_gnubuildid` of the releases 0.4 to 2.0.
    BuildId,
}

impl OriginalTable {
    /// Both tables.
    pub const ALL: [Self; 2] = [Self::Dark, Self::BuildId];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark_gnubuildid",
            Self::BuildId => "buildid_gnubuildid",
        }
    }

    /// Returns the table with this name, in any case: some servers have lower-case names of tables only.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name().eq_ignore_ascii_case(name))
    }
}

/// A value of a row, as it was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginalValue {
    /// NULL, or the table has no such column.
    #[default]
    Null,
    /// Bytes in an unknown encoding: old servers stored UTF-8 in columns of other character sets.
    Bytes(Vec<u8>),
    /// More than [`MAX_VALUE_BYTES`].
    TooLong,
}

/// A row of either table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginalRow {
    /// `elfname`: the name of the ELF file.
    pub elf_name: OriginalValue,
    /// `installpath` or `instpath`: its directory.
    pub directory: OriginalValue,
    /// `buildid` or `build_id`.
    pub build_id: OriginalValue,
    /// `rpm_name`: name-version-release.arch.
    pub rpm_name: OriginalValue,
    /// `distro`.
    pub distro: OriginalValue,
    /// `kojibuildid`: the number of the Koji build.
    pub koji_build: OriginalValue,
    /// `kojitype` or `koji_type`: the Koji instance.
    pub koji_instance: OriginalValue,
    /// `rpm_url`.
    pub rpm_url: OriginalValue,
}

/// A column that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    ElfName,
    Directory,
    BuildId,
    RpmName,
    Distro,
    KojiBuild,
    KojiInstance,
    RpmUrl,
}

/// The columns that every release had, for messages.
pub(crate) const REQUIRED: &str = "the columns elfname, instpath (or installpath), build_id (or buildid) and rpm_name";

impl Column {
    /// Returns the column of this name in any release; `None` for others, as `id`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "elfname" => Self::ElfName,
            "instpath" | "installpath" => Self::Directory,
            "build_id" | "buildid" => Self::BuildId,
            "rpm_name" => Self::RpmName,
            "distro" => Self::Distro,
            "kojibuildid" => Self::KojiBuild,
            "kojitype" | "koji_type" => Self::KojiInstance,
            "rpm_url" => Self::RpmUrl,
            _ => return None,
        })
    }

    /// True if these are all the columns that a row needs, each at most once.
    pub(crate) fn are_enough(columns: &[Option<Self>]) -> bool {
        let count = |wanted: Self| columns.iter().flatten().filter(|column| **column == wanted).count();
        let required = [Self::ElfName, Self::Directory, Self::BuildId, Self::RpmName];
        let optional = [Self::Distro, Self::KojiBuild, Self::KojiInstance, Self::RpmUrl];
        required.into_iter().all(|column| count(column) == 1) && optional.into_iter().all(|column| count(column) <= 1)
    }
}

impl OriginalRow {
    /// Sets the value of a column.
    pub(crate) fn set(&mut self, column: Column, value: OriginalValue) {
        *match column {
            Column::ElfName => &mut self.elf_name,
            Column::Directory => &mut self.directory,
            Column::BuildId => &mut self.build_id,
            Column::RpmName => &mut self.rpm_name,
            Column::Distro => &mut self.distro,
            Column::KojiBuild => &mut self.koji_build,
            Column::KojiInstance => &mut self.koji_instance,
            Column::RpmUrl => &mut self.rpm_url,
        } = value;
    }
}
