//! The tags of a header that is known to be sound in structure, read by the `rpm` crate.

use std::ops::Range;
use std::sync::Arc;

use rpm::{Header as RpmHeader, IndexSignatureTag, IndexTag, PackageMetadata};

use super::{Class, File, file_digest_algorithm};
use crate::digest::FileDigest;
use crate::{Error, Identity, Nevra, Package, Result, nevra, path};

type Main = RpmHeader<IndexTag>;

/// Who the package is.
pub(super) fn package(header: &Main, identity: Identity, lead_says_source: bool) -> Result<Package> {
    let text = |tag| header.get_entry_data_as_string(tag).map(str::to_owned);
    let source_rpm = optional(text(IndexTag::RPMTAG_SOURCERPM))?;
    // A source package's ARCH is the one it was built on; its file name says src or nosrc.
    let has_no_source = header.entry_is_present(IndexTag::RPMTAG_NOSOURCE) || header.entry_is_present(IndexTag::RPMTAG_NOPATCH);
    let is_source = header.entry_is_present(IndexTag::RPMTAG_SOURCEPACKAGE) || (source_rpm.is_none() && lead_says_source);
    let arch = match (is_source, has_no_source) {
        (true, true) => "nosrc".into(),
        (true, false) => "src".into(),
        (false, _) => text(IndexTag::RPMTAG_ARCH)?,
    };
    let nevra = Nevra {
        name: plain(text(IndexTag::RPMTAG_NAME)?, "NAME")?,
        epoch: optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_EPOCH))?,
        version: plain(text(IndexTag::RPMTAG_VERSION)?, "VERSION")?,
        release: plain(text(IndexTag::RPMTAG_RELEASE)?, "RELEASE")?,
        arch: plain(arch, "ARCH")?,
    };
    let built_at = optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_BUILDTIME))?.map(i64::from);
    Ok(Package { nevra, source_rpm, identity, built_at })
}

/// A part of the package's name.
fn plain(text: String, tag: &'static str) -> Result<String> {
    if nevra::is_plain(&text) {
        return Ok(text);
    }
    Err(Error::Header {
        part: "main header",
        expected: format!("{tag} of 1 to {} bytes without slash and control characters", nevra::MOST_PART_BYTES),
        found: format!("{:?}", text.chars().take(nevra::MOST_PART_BYTES).collect::<String>()),
    })
}

/// The payload's compressor, `None` where there is none.
pub(super) fn compressor(header: &Main) -> Result<Option<String>> {
    let name = optional(header.get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR))?;
    Ok(name.filter(|name| *name != "none" && *name != "identity").map(str::to_owned))
}

/// How long the archive is of which the main header lies at `range`. SIZE and LONGSIZE count main header and payload; PAYLOADSIZE counts
/// the payload, compressed.
pub(super) fn archive_bytes(metadata: &PackageMetadata, range: &Range<u64>) -> Result<Option<u64>> {
    let (signature, main) = (&metadata.signature, &metadata.header);
    let long = optional(signature.get_entry_data_as_u64(IndexSignatureTag::RPMSIGTAG_LONGSIZE))?;
    let short = optional(signature.get_entry_data_as_u32(IndexSignatureTag::RPMSIGTAG_SIZE))?.map(u64::from);
    if let Some(bytes) = long.or(short) {
        return Ok(Some(range.start.saturating_add(bytes)));
    }
    let payload = optional(main.get_entry_data_as_u64(IndexTag::RPMTAG_PAYLOADSIZE))?;
    Ok(payload.map(|bytes| range.end.saturating_add(bytes)))
}

/// SHA256HEADER of the signature header, hex.
pub(super) fn sha256_header(signature: &RpmHeader<IndexSignatureTag>) -> Option<String> {
    signature.get_entry_data_as_string(IndexSignatureTag::RPMSIGTAG_SHA256).ok().map(str::to_owned)
}

/// Key id of the first signature that can be read.
pub(super) fn signing_key(metadata: &PackageMetadata) -> Option<String> {
    let signatures = metadata.raw_signatures().ok()?;
    signatures.iter().find_map(|packet| openpgp_issuer(packet))
}

/// The key id (16 hex digits) that an OpenPGP signature packet names: version 3 has it at a fixed place, version 4 in the
/// subpackets 16 (issuer) and 33 (issuer fingerprint) (RFC 9580, sections 4.2, 5.2.2 to 5.2.3).
fn openpgp_issuer(packet: &[u8]) -> Option<String> {
    let (&tag, rest) = packet.split_first()?;
    let body = if tag & 0x40 != 0 {
        match *rest.first()? {
            0..192 => rest.get(1..)?,
            192..224 => rest.get(2..)?,
            255 => rest.get(5..)?,
            _ => return None,
        }
    } else {
        rest.get(
            match tag & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return None,
            }..,
        )?
    };
    match *body.first()? {
        3 => Some(hex::encode(body.get(7..15)?)),
        4 => {
            let hashed = usize::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
            let after = body.get(6 + hashed..)?;
            let unhashed = usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
            subpacket_issuer(body.get(6..6 + hashed)?).or_else(|| subpacket_issuer(after.get(2..2 + unhashed)?))
        }
        _ => None,
    }
}

fn subpacket_issuer(mut area: &[u8]) -> Option<String> {
    while let Some((&first, rest)) = area.split_first() {
        let (length, rest) = match first {
            0..192 => (usize::from(first), rest),
            192..255 => ((usize::from(first) - 192) * 256 + usize::from(*rest.first()?) + 192, rest.get(1..)?),
            255 => (u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize, rest.get(4..)?),
        };
        let (&kind, data) = rest.get(..length)?.split_first()?;
        match kind & 0x7f {
            16 => return Some(hex::encode(data.get(..8)?)),
            33 => return Some(hex::encode(data.get(data.len().checked_sub(8)?..)?)),
            _ => area = rest.get(length..)?,
        }
    }
    None
}

/// Every file of a main header of so many bytes, in header order.
pub(super) fn files(header: &Main, header_bytes: usize) -> Result<Vec<File>> {
    let paths = paths(header, MOST_PATH_BYTES.min(header_bytes * MOST_PATH_BYTES_OF_ONE))?;
    let count = paths.len();
    let column = |tag: IndexTag| Column::new(header.get_entry_data_as_u32_array(tag), tag, count);
    let modes = Column::new(header.get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES), IndexTag::RPMTAG_FILEMODES, count)?;
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
            // Without inode numbers every file stands for itself; 0 is what rpm writes for "none".
            inode: inodes.at(at).unwrap_or(0),
            digest: digest.map(|(algorithm, hex)| FileDigest::parse(algorithm, hex)).transpose()?,
            link_target: targets.get(at).filter(|target| !target.is_empty()).map(|target| (*target).to_owned()),
            class,
        });
    }
    Ok(files)
}

/// Absolute paths: folder + base name, or whole names in v3 packages. More than `most_bytes` of them are refused.
fn paths(header: &Main, most_bytes: usize) -> Result<Vec<String>> {
    if let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_OLDFILENAMES))? {
        return Ok(names.into_iter().map(path::absolute).collect());
    }
    let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_BASENAMES))? else {
        return Ok(Vec::new());
    };
    let folders = header.get_entry_data_as_string_array(IndexTag::RPMTAG_DIRNAMES)?;
    let indexes =
        Column::new(header.get_entry_data_as_u32_array(IndexTag::RPMTAG_DIRINDEXES), IndexTag::RPMTAG_DIRINDEXES, names.len())?;
    let mut paths = Vec::with_capacity(names.len());
    let mut bytes = 0_usize;
    for (at, name) in names.iter().enumerate() {
        let index = indexes.at(at).unwrap_or(u32::MAX) as usize;
        let folder = folders.get(index).ok_or_else(|| Error::Header {
            part: "main header",
            expected: format!("a folder number below {} for file {at}", folders.len()),
            found: index.to_string(),
        })?;
        let path = path::absolute(&format!("{folder}{name}"));
        // A million files in one folder of a megabyte would unfold to a terabyte.
        bytes += path.len();
        if bytes > most_bytes {
            return Err(Error::Header {
                part: "main header",
                expected: format!("at most {most_bytes} bytes of paths"),
                found: "more".into(),
            });
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Paths of one package, added up. The largest real packages (texlive, kernel-devel) stay below 10 MiB.
const MOST_PATH_BYTES: usize = 256 << 20;
/// Paths of one package for each byte of its header. A real file takes 80 bytes of header and more, so real packages stay below 4.
const MOST_PATH_BYTES_OF_ONE: usize = 64;

/// Sizes in bytes: 32 bits, or 64 where a file has more than 4 GiB and in v6 packages.
fn sizes(header: &Main, count: usize) -> Result<Column<u64>> {
    if header.entry_is_present(IndexTag::RPMTAG_LONGFILESIZES) {
        let tag = IndexTag::RPMTAG_LONGFILESIZES;
        return Column::new(header.get_entry_data_as_u64_array(tag), tag, count);
    }
    let tag = IndexTag::RPMTAG_FILESIZES;
    let sizes = header.get_entry_data_as_u32_array(tag).map(|sizes| sizes.into_iter().map(u64::from).collect());
    Column::new(sizes, tag, count)
}

/// libmagic's word on each file.
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

/// One dictionary and the column of numbers into it; `None` for an empty text and for a number beyond the dictionary.
fn class_column(header: &Main, numbers: IndexTag, dictionary: IndexTag, count: usize) -> Result<Vec<Option<Arc<str>>>> {
    let Some(dictionary) = optional(header.get_entry_data_as_string_array(dictionary))? else {
        return Ok(Vec::new());
    };
    let dictionary: Vec<Arc<str>> = dictionary.into_iter().map(Arc::from).collect();
    let numbers = Column::new(header.get_entry_data_as_u32_array(numbers), numbers, count)?;
    let text = |number: u32| dictionary.get(number as usize).filter(|text| !text.is_empty()).cloned();
    Ok((0..count).map(|at| numbers.at(at).and_then(text)).collect())
}

/// A column of strings with one row a file, or none at all.
fn strings(header: &Main, tag: IndexTag, count: usize) -> Result<Vec<&str>> {
    let rows = optional(header.get_entry_data_as_string_array(tag))?.unwrap_or_default();
    expect_rows(tag, count, rows.len())?;
    Ok(rows)
}

/// A column of numbers with one row a file, or none at all.
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
    Err(Error::Header { part: "main header", expected: format!("{expected} rows of {tag}"), found: found.to_string() })
}

/// A tag that may be absent.
fn optional<T>(result: Result<T, rpm::Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rpm::Error::TagNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
