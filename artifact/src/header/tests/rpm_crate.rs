//! Reads a whole header with the `rpm` crate, to compare it with what this crate reads.

use rpm::{Header as RpmHeader, IndexSignatureTag, IndexTag, PackageMetadata};

use super::*;
use crate::header::table::{MAX_PATH_BYTES, MAX_PATH_BYTES_PER_HEADER_BYTE};
use crate::{Format, Nevra, artifacts, nevra, path};

/// An error of the `rpm` crate or of this one.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Reads a header in both ways and compares the results. True if it was accepted.
pub(super) fn compare(bytes: &[u8]) -> bool {
    match (Outline::from_bytes(bytes), whole(bytes)) {
        (Ok(outline), Ok(whole)) => {
            assert_eq!(artifacts::from_outline(&outline), artifacts::from_header(&whole));
            assert!(
                outline
                    .files
                    .rows()
                    .map(|row| format!("{row:?}"))
                    .eq(whole.files.iter().map(|file| format!("{:?}", file.row())))
            );
            assert_eq!(format!("{:#?}", outline.into_header().unwrap()), format!("{whole:#?}"));
            true
        }
        // The `rpm` crate, unlike rpm, refuses tags of other types than rpm writes.
        (Ok(outline), Err(_)) => {
            outline.into_header().unwrap();
            true
        }
        (Err(_), Err(_)) => false,
        (outline, whole) => panic!("{:?}, the whole header: {:?}", outline.map(|outline| outline.range), whole),
    }
}

/// Reads a whole header with the `rpm` crate.
fn whole(bytes: &[u8]) -> Result<Header> {
    let extent = structure::check(bytes)?.extent;
    let main = &bytes[extent.main_start..extent.end];
    let identity = Identity::from_bytes(Sha256::digest(main).into());
    let metadata = PackageMetadata::parse(&mut &bytes[..extent.end])?;
    let recorded = |tag| metadata.signature.get_entry_data_as_string(tag).map(str::to_owned);
    if let Ok(recorded) = recorded(IndexSignatureTag::RPMSIGTAG_SHA256) {
        check_digest("SHA-256", recorded, identity.to_string())?;
    } else if let Ok(recorded) = recorded(IndexSignatureTag::RPMSIGTAG_SHA1) {
        check_digest("SHA-1", recorded, faster_hex::hex_string(&Sha1::digest(main)))?;
    }
    let range = extent.main_start as u64..extent.end as u64;
    let package = package(&metadata.header, identity, is_source_lead(bytes))?;
    let archive_bytes = archive_bytes(&metadata, &range)?;
    let mut files = files(&metadata.header, main.len())?;
    let signatures = metadata.signature.get_entry_data_as_string_array(IndexSignatureTag::RPMSIGTAG_FILESIGNATURES);
    let signatures =
        signatures.or_else(|_| metadata.header.get_entry_data_as_string_array(IndexTag::RPMTAG_FILESIGNATURES));
    if let Some(signatures) = signatures.ok().filter(|signatures| signatures.len() == files.len()) {
        files.iter_mut().zip(signatures).for_each(|(file, hex)| file.signature = signatures::parse(hex));
    }
    Ok(Header {
        package,
        archive_bytes,
        range,
        files,
        compressor: optional(metadata.header.get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR))?
            .filter(|name| !matches!(*name, "" | "none" | "identity"))
            .map(str::to_owned),
        signing_key: tags::signing_key(bytes, &structure::check(bytes)?),
    })
}

/// Returns `None` for a tag that is absent.
fn optional<T>(result: Result<T, rpm::Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rpm::Error::TagNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads the package. Fails if a part of its name is absent.
fn package(header: &Main, identity: Identity, is_source_lead: bool) -> Result<Package> {
    let text = |tag| header.get_entry_data_as_string(tag).map(str::to_owned);
    let source_rpm = optional(text(IndexTag::RPMTAG_SOURCERPM))?.filter(|name| !name.is_empty());
    let has_no_source =
        header.entry_is_present(IndexTag::RPMTAG_NOSOURCE) || header.entry_is_present(IndexTag::RPMTAG_NOPATCH);
    let is_source = header.entry_is_present(IndexTag::RPMTAG_SOURCEPACKAGE) || (source_rpm.is_none() && is_source_lead);
    let arch = match (is_source, has_no_source) {
        (true, true) => "nosrc".into(),
        (true, false) => "src".into(),
        (false, _) => text(IndexTag::RPMTAG_ARCH)?,
    };
    let plain = |text: String| {
        let error = || Error::Header { part: "main header", expected: "a plain name".into(), found: text.clone() };
        if nevra::is_plain(&text) { Ok(text) } else { Err(Box::new(error())) }
    };
    let nevra = Nevra {
        name: plain(text(IndexTag::RPMTAG_NAME)?)?,
        epoch: optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_EPOCH))?,
        version: plain(text(IndexTag::RPMTAG_VERSION)?)?,
        release: plain(text(IndexTag::RPMTAG_RELEASE)?)?,
        arch: plain(arch)?,
    };
    let built_at = optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_BUILDTIME))?.map(i64::from);
    Ok(Package { format: Format::Rpm, nevra, source_rpm, identity, built_at })
}

fn archive_bytes(metadata: &PackageMetadata, range: &Range<u64>) -> Result<Option<u64>> {
    let (signature, main) = (&metadata.signature, &metadata.header);
    let long = optional(signature.get_entry_data_as_u64(IndexSignatureTag::RPMSIGTAG_LONGSIZE))?;
    let short = optional(signature.get_entry_data_as_u32(IndexSignatureTag::RPMSIGTAG_SIZE))?.map(u64::from);
    if let Some(bytes) = long.or(short) {
        return Ok(Some(range.start.saturating_add(bytes)));
    }
    let payload = optional(main.get_entry_data_as_u64(IndexTag::RPMTAG_PAYLOADSIZE))?;
    Ok(payload.map(|bytes| range.end.saturating_add(bytes)))
}

type Main = RpmHeader<IndexTag>;

/// Returns every file of a main header of `header_bytes` bytes, in header order.
fn files(header: &Main, header_bytes: usize) -> Result<Vec<File>> {
    let paths = paths(header, MAX_PATH_BYTES.min(header_bytes * MAX_PATH_BYTES_PER_HEADER_BYTE))?;
    let count = paths.len();
    let column = |tag: IndexTag| Column::new(header.get_entry_data_as_u32_array(tag), tag, count);
    let modes =
        Column::new(header.get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES), IndexTag::RPMTAG_FILEMODES, count)?;
    // This crate has default modes for such packages, the `rpm` crate has none.
    if modes.0.is_empty() && count > 0 {
        return Err(rpm::Error::TagNotFound(IndexTag::RPMTAG_FILEMODES as u32).into());
    }
    let flags = column(IndexTag::RPMTAG_FILEFLAGS)?;
    let mtimes = column(IndexTag::RPMTAG_FILEMTIMES)?;
    let inodes = column(IndexTag::RPMTAG_FILEINODES)?;
    let sizes = sizes(header, count)?;
    let digests = strings(header, IndexTag::RPMTAG_FILEDIGESTS, count)?;
    let targets = strings(header, IndexTag::RPMTAG_FILELINKTOS, count)?;
    let algorithm = file_digest_algorithm(optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO))?);
    let classes = classes(header, count)?;

    let mut files = Vec::with_capacity(count);
    for (at, (path, class)) in paths.into_iter().zip(classes).enumerate() {
        let digest = algorithm.zip(digests.get(at).filter(|hex| !hex.is_empty()));
        files.push(File {
            path,
            mode: modes.at(at).unwrap_or(0),
            flags: flags.at(at).unwrap_or(0),
            size: sizes.at(at).unwrap_or(0),
            mtime: mtimes.at(at).unwrap_or(0),
            // rpm writes 0 for a file without an inode number. Such a file has no hard links.
            inode: inodes.at(at).unwrap_or(0),
            digest: digest.map(|(algorithm, hex)| FileDigest::parse(algorithm, hex)).transpose()?,
            link_target: targets.get(at).filter(|target| !target.is_empty()).map(|target| (*target).to_owned()),
            class,
            signature: None,
        });
    }
    Ok(files)
}

/// Returns absolute paths: directory and base name, or whole names in v3 packages. More than `max_bytes` of them are
/// refused.
fn paths(header: &Main, max_bytes: usize) -> Result<Vec<String>> {
    if let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_OLDFILENAMES))? {
        return Ok(names.into_iter().map(path::absolute).collect());
    }
    let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_BASENAMES))? else {
        return Ok(Vec::new());
    };
    let dirs = header.get_entry_data_as_string_array(IndexTag::RPMTAG_DIRNAMES)?;
    let indexes = Column::new(
        header.get_entry_data_as_u32_array(IndexTag::RPMTAG_DIRINDEXES),
        IndexTag::RPMTAG_DIRINDEXES,
        names.len(),
    )?;
    let mut paths = Vec::with_capacity(names.len());
    let mut bytes = 0_usize;
    for (at, name) in names.iter().enumerate() {
        let index = indexes.at(at).unwrap_or(u32::MAX) as usize;
        let dir = dirs.get(index).ok_or_else(|| Error::Header {
            part: "main header",
            expected: format!("a directory index below {} for file {at}", dirs.len()),
            found: index.to_string(),
        })?;
        let path = path::absolute(&format!("{dir}{name}"));
        // A million files in one directory with a name of a megabyte would need a terabyte of paths.
        bytes += path.len();
        if bytes > max_bytes {
            return Err(Error::Header {
                part: "main header",
                expected: format!("at most {max_bytes} bytes of paths"),
                found: "more".into(),
            }
            .into());
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Returns sizes in bytes. They have 64 bits if a file is larger than 4 GiB, and in v6 packages, else 32.
fn sizes(header: &Main, count: usize) -> Result<Column<u64>> {
    if header.entry_is_present(IndexTag::RPMTAG_LONGFILESIZES) {
        let tag = IndexTag::RPMTAG_LONGFILESIZES;
        return Column::new(header.get_entry_data_as_u64_array(tag), tag, count);
    }
    let tag = IndexTag::RPMTAG_FILESIZES;
    let sizes = header.get_entry_data_as_u32_array(tag).map(|sizes| sizes.into_iter().map(u64::from).collect());
    Column::new(sizes, tag, count)
}

/// Returns libmagic's class of each file.
fn classes(header: &Main, count: usize) -> Result<Vec<Class>> {
    let texts = class_column(header, IndexTag::RPMTAG_FILECLASS, IndexTag::RPMTAG_CLASSDICT, count)?;
    let mimes = class_column(header, IndexTag::RPMTAG_FILEMIMEINDEX, IndexTag::RPMTAG_MIMEDICT, count)?;
    let class = |at: usize| {
        let text = texts.get(at).cloned().flatten();
        let mime = mimes.get(at).cloned().flatten();
        text.map(Class::Text).or(mime.map(Class::Mime)).unwrap_or(Class::None)
    };
    Ok((0..count).map(class).collect())
}

/// Reads a dictionary and the column of indexes into it. `None` for an empty text and for an index out of range.
fn class_column(header: &Main, indexes: IndexTag, dictionary: IndexTag, count: usize) -> Result<Vec<Option<Arc<str>>>> {
    let Some(dictionary) = optional(header.get_entry_data_as_string_array(dictionary))? else {
        return Ok(Vec::new());
    };
    let dictionary: Vec<Arc<str>> = dictionary.into_iter().map(Arc::from).collect();
    let indexes = Column::new(header.get_entry_data_as_u32_array(indexes), indexes, count)?;
    let text = |index: u32| dictionary.get(index as usize).filter(|text| !text.is_empty()).cloned();
    Ok((0..count).map(|at| indexes.at(at).and_then(text)).collect())
}

/// A column of strings with one row per file, or empty.
fn strings(header: &Main, tag: IndexTag, count: usize) -> Result<Vec<&str>> {
    let rows = optional(header.get_entry_data_as_string_array(tag))?.unwrap_or_default();
    expect_rows(tag, count, rows.len())?;
    Ok(rows)
}

/// A column of numbers with one row per file, or empty.
struct Column<T>(Vec<T>);

impl<T: Copy> Column<T> {
    fn new(rows: Result<Vec<T>, rpm::Error>, tag: IndexTag, count: usize) -> Result<Self> {
        let rows = optional(rows)?.unwrap_or_default();
        expect_rows(tag, count, rows.len())?;
        Ok(Self(rows))
    }

    fn at(&self, row: usize) -> Option<T> {
        self.0.get(row).copied()
    }
}

fn expect_rows(tag: IndexTag, expected: usize, found: usize) -> Result<()> {
    if found == 0 || found == expected {
        return Ok(());
    }
    Err(Error::Header { part: "main header", expected: format!("{expected} rows of {tag}"), found: found.to_string() }
        .into())
}
