//! Rows of queries, and their conversion to records, packages, locations and stores.

use std::ops::Range;
use std::sync::Arc;

use artifact::{Artifact, Contents, Format, Kind, Nevra};
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};

use super::facts::PackageFacts;
use super::import::join_path;
use crate::{Checksum, Claim, Location, PackageState, Store};

/// Lengths of lists in statements. A shorter list is filled up by repeating its last value, so that few statements are
/// prepared.
const LIST_LENGTHS: [usize; 4] = [1, 8, 64, 500];
/// Maximum number of values in the list of one statement.
pub(crate) const MAX_LIST: usize = 500;

/// Appends `column in (?, ...)`. `values` holds 1 to [`MAX_LIST`].
pub(crate) fn push_list<'t, DB, T>(query: &mut QueryBuilder<DB>, column: &'static str, values: &[T])
where
    DB: Database,
    T: Copy + Encode<'t, DB> + Type<DB>,
{
    let length = LIST_LENGTHS.into_iter().find(|length| *length >= values.len()).unwrap_or(values.len());
    query.push(column).push(" in (");
    let mut list = query.separated(", ");
    for value in values.iter().chain(std::iter::repeat_n(values.last(), length - values.len()).flatten()) {
        list.push_bind(*value);
    }
    query.push(")");
}

/// An artifact.
#[derive(FromRow)]
pub(crate) struct ArtifactRow {
    pub(crate) package_id: i64,
    ordinal: i64,
    build_id: String,
    kind: String,
    has_dwarf: Option<bool>,
    dir: String,
    file_name: String,
    file_size: Option<i64>,
    file_mtime: Option<i64>,
    sha256: Option<String>,
    tar_offset: Option<i64>,
}

/// The columns of [`ArtifactRow`], of `artifacts a`.
macro_rules! artifact_columns {
    () => {
        "a.package_id, a.ordinal, a.build_id, a.kind, a.has_dwarf, a.dir, a.file_name, a.size as file_size, a.mtime as \
         file_mtime, a.sha256, a.tar_offset"
    };
}
pub(crate) use artifact_columns;

/// A package with one of its locations, if any.
#[derive(FromRow)]
pub(crate) struct PackageRow {
    id: i64,
    format: String,
    identity: Option<String>,
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    arch: String,
    source_rpm: Option<String>,
    distro: String,
    koji_volume: Option<String>,
    built_at: Option<i64>,
    state: String,
    deleted_at: Option<i64>,
    #[sqlx(flatten)]
    location: LocationRow,
    #[sqlx(flatten)]
    store: StoreRow,
}

/// The columns of [`PackageRow`], of `packages p`, `locations l` and `stores s`.
macro_rules! package_columns {
    () => {
        "p.id, p.format, p.identity, p.name, p.epoch, p.version, p.`release`, p.arch, p.source_rpm, p.distro, \
         p.koji_volume, p.built_at, p.state, p.deleted_at, \
         l.path, l.size, l.mtime_ns, l.header_start, l.header_end, l.checksum, l.checksum_kind, l.signing_key, \
         l.first_seen, l.last_seen, l.gone_at, l.checked_at, l.check_result, l.derived, \
         s.id as store_id, s.name as store_name, s.tier, s.base_url, s.root, s.priority, s.pattern, s.distros, \
         s.absent_statuses, s.redirect_hosts, s.allow_private"
    };
}
pub(crate) use package_columns;

/// The joins of [`PackageRow`].
macro_rules! package_locations {
    () => {
        " left join locations l on l.package_id = p.id left join stores s on s.id = l.store_id"
    };
}
pub(crate) use package_locations;

/// An artifact or a claim, and its package with one of the package's locations, if any.
#[derive(FromRow)]
pub(crate) struct RecordRow {
    /// Of a claim: its package, build-id and kind alone.
    #[sqlx(flatten)]
    pub(crate) artifact: ArtifactRow,
    /// 1 for a claim.
    pub(crate) is_claim: i64,
    /// Of a claim.
    pub(crate) link_path: Option<String>,
    #[sqlx(flatten)]
    pub(crate) package: PackageRow,
}

#[derive(FromRow)]
struct LocationRow {
    path: Option<String>,
    size: Option<i64>,
    mtime_ns: Option<i64>,
    header_start: Option<i64>,
    header_end: Option<i64>,
    checksum: Option<String>,
    checksum_kind: Option<String>,
    signing_key: Option<String>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
    checked_at: Option<i64>,
    check_result: Option<String>,
    derived: Option<bool>,
}

#[derive(FromRow)]
pub(crate) struct StoreRow {
    store_id: Option<i64>,
    store_name: Option<String>,
    tier: Option<String>,
    base_url: Option<String>,
    root: Option<String>,
    priority: Option<i64>,
    pattern: Option<String>,
    distros: Option<String>,
    absent_statuses: Option<String>,
    redirect_hosts: Option<String>,
    allow_private: Option<bool>,
}

impl ArtifactRow {
    pub(crate) fn into_artifact(self) -> sqlx::Result<(i64, Artifact)> {
        let contents = match (self.file_size, self.file_mtime, self.sha256) {
            (Some(size), Some(mtime), Some(digits)) => {
                let sha256 = faster_hex::hex_decode_array(digits.as_bytes()).map_err(decode_error)?;
                let tar_offset = self.tar_offset.map(to_unsigned).transpose()?;
                Some(Contents { size: to_unsigned(size)?, mtime, sha256, tar_offset })
            }
            _ => None,
        };
        let kind = to_kind(&self.kind)?;
        let artifact = Artifact {
            ordinal: self.ordinal.try_into().map_err(decode_error)?,
            build_id: self.build_id.parse().map_err(decode_error)?,
            kind,
            dwarf: self.has_dwarf,
            path: join_path(self.dir, &self.file_name),
            contents,
        };
        Ok((self.package_id, artifact))
    }

    /// Reads the row as a claim.
    pub(crate) fn into_claim(self, link_path: Option<String>) -> sqlx::Result<(i64, Claim)> {
        let (build_id, kind) = (self.build_id.parse().map_err(decode_error)?, to_kind(&self.kind)?);
        Ok((self.package_id, Claim { build_id, kind, link_path }))
    }

    pub(crate) fn dir_and_file_name(&self) -> (&str, &str) {
        (&self.dir, &self.file_name)
    }
}

impl PackageRow {
    /// Returns the package with the location of this row.
    pub(crate) fn into_facts(self) -> sqlx::Result<PackageFacts> {
        let epoch = self.epoch.map(u32::try_from).transpose().map_err(decode_error)?;
        let nevra = Nevra { name: self.name, epoch, version: self.version, release: self.release, arch: self.arch };
        let location = match self.store.into_store()? {
            Some(store) => self.location.into_location(Arc::new(store))?,
            None => None,
        };
        Ok(PackageFacts {
            id: self.id,
            format: to_format(&self.format)?,
            identity: self.identity.map(|digits| digits.parse()).transpose().map_err(decode_error)?,
            nevra,
            source_rpm: self.source_rpm,
            distro: self.distro,
            koji_volume: self.koji_volume,
            built_at: self.built_at,
            state: PackageState::parse(&self.state)?,
            deleted_at: self.deleted_at,
            locations: location.into_iter().collect(),
        })
    }
}

impl LocationRow {
    fn into_location(self, store: Arc<Store>) -> sqlx::Result<Option<Location>> {
        let Some(path) = self.path else { return Ok(None) };
        let header = to_header(self.header_start, self.header_end)?;
        let checksum = to_checksum(self.checksum_kind, self.checksum)?;
        // No archive is empty: a server that stated 0 stated nothing.
        let size = self.size.map(to_unsigned).transpose()?.filter(|size| *size > 0);
        let derived = self.derived == Some(true);
        let Self { mtime_ns, signing_key, first_seen, last_seen, gone_at, checked_at, check_result, .. } = self;
        Ok(Some(Location {
            store,
            path,
            size,
            mtime_ns,
            header,
            checksum,
            signing_key,
            first_seen,
            last_seen,
            gone_at,
            checked_at,
            check_result,
            derived,
        }))
    }
}

/// Returns the main header's bytes inside an archive.
pub(crate) fn to_header(start: Option<i64>, end: Option<i64>) -> sqlx::Result<Option<Range<u64>>> {
    match (start, end) {
        (Some(start), Some(end)) => Ok(Some(Range { start: to_unsigned(start)?, end: to_unsigned(end)? })),
        _ => Ok(None),
    }
}

/// Returns the checksum of a location.
pub(crate) fn to_checksum(kind: Option<String>, digits: Option<String>) -> sqlx::Result<Option<Checksum>> {
    let checksum = kind.zip(digits).map(|(kind, digits)| Checksum::parse(&kind, &digits));
    checksum.transpose().map_err(decode_error)
}

impl StoreRow {
    pub(crate) fn into_store(self) -> sqlx::Result<Option<Store>> {
        let (Some(id), Some(name), Some(tier), Some(priority)) =
            (self.store_id, self.store_name, self.tier, self.priority)
        else {
            return Ok(None);
        };
        Ok(Some(Store {
            id,
            name,
            tier: tier.parse().map_err(decode_error)?,
            base_url: self.base_url,
            root: self.root.map(Into::into),
            priority: i32::try_from(priority).map_err(decode_error)?,
            pattern: self.pattern.map(|text| text.parse()).transpose().map_err(decode_error)?,
            distros: self.distros.map(|text| text.parse()).transpose().map_err(decode_error)?.unwrap_or_default(),
            absent_statuses: self
                .absent_statuses
                .map(|text| text.parse())
                .transpose()
                .map_err(decode_error)?
                .unwrap_or_default(),
            redirect_hosts: self
                .redirect_hosts
                .map(|text| text.parse())
                .transpose()
                .map_err(decode_error)?
                .unwrap_or_default(),
            allow_private: self.allow_private == Some(true),
        }))
    }
}

pub(crate) fn to_kind(word: &str) -> sqlx::Result<Kind> {
    Kind::parse(word)
        .ok_or_else(|| decode_error(format!("kind of a file: expected one of {:?}, found {word:?}", Kind::ALL)))
}

pub(crate) fn to_format(word: &str) -> sqlx::Result<Format> {
    Format::parse(word)
        .ok_or_else(|| decode_error(format!("packages.format: expected one of {:?}, found {word:?}", Format::ALL)))
}

pub(crate) fn to_unsigned(value: i64) -> sqlx::Result<u64> {
    value.try_into().map_err(decode_error)
}

/// Returns the error of a row that this program cannot have written.
pub(crate) fn decode_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
