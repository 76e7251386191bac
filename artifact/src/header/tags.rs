//! The tags of a package and of its signatures, in a header that is known to be sound in structure, read by the `rpm` crate.

use std::ops::Range;

use rpm::{Header as RpmHeader, IndexSignatureTag, IndexTag, PackageMetadata};

use super::structure::{Checked, Entry, HEADER_MAGIC, INTRO, LEAD};
use crate::{Error, Format, Identity, Nevra, Package, Result, nevra};

type Main = RpmHeader<IndexTag>;

/// What is read of a signature header.
const SIGNATURE_TAGS: [IndexSignatureTag; 6] = [
    IndexSignatureTag::RPMSIGTAG_DSA,
    IndexSignatureTag::RPMSIGTAG_RSA,
    IndexSignatureTag::RPMSIGTAG_LONGSIZE,
    IndexSignatureTag::RPMSIGTAG_SHA256,
    IndexSignatureTag::RPMSIGTAG_OPENPGP,
    IndexSignatureTag::RPMSIGTAG_SIZE,
];

/// What is read of a main header here.
const MAIN_TAGS: [IndexTag; 14] = [
    IndexTag::RPMTAG_NAME,
    IndexTag::RPMTAG_VERSION,
    IndexTag::RPMTAG_RELEASE,
    IndexTag::RPMTAG_EPOCH,
    IndexTag::RPMTAG_BUILDTIME,
    IndexTag::RPMTAG_ARCH,
    IndexTag::RPMTAG_SOURCERPM,
    IndexTag::RPMTAG_NOSOURCE,
    IndexTag::RPMTAG_NOPATCH,
    IndexTag::RPMTAG_SOURCEPACKAGE,
    IndexTag::RPMTAG_PAYLOADCOMPRESSOR,
    IndexTag::RPMTAG_PAYLOADSIZE,
    IndexTag::RPMTAG_FILEDIGESTALGO,
    // What strings are to be when they are not UTF-8.
    IndexTag::RPMTAG_ENCODING,
];

/// Reads the tags that the rest of this module asks for. The `rpm` crate copies and decodes all of a header, and most of one is
/// dependencies, changelogs and files: it gets headers with just these entries.
pub(super) fn read(bytes: &[u8], checked: &Checked<'_>) -> Result<PackageMetadata> {
    let signature: Vec<_> =
        checked.signature.iter().filter(|entry| SIGNATURE_TAGS.iter().any(|tag| *tag as u32 == entry.tag)).collect();
    let main: Vec<_> = checked.main.iter().filter(|entry| MAIN_TAGS.iter().any(|tag| *tag as u32 == entry.tag)).collect();
    let data_bytes: usize = signature.iter().chain(&main).map(|entry| entry.data.len()).sum();
    if data_bytes > bytes.len() {
        return Err(Error::Header {
            part: "header",
            expected: format!("tags that share {} bytes", bytes.len()),
            found: "overlapping entries".into(),
        });
    }
    let mut reduced = Vec::with_capacity(LEAD + INTRO * (2 + signature.len() + main.len()) + data_bytes + 8);
    reduced.extend_from_slice(&bytes[..LEAD]);
    push_header(&mut reduced, &signature);
    // As after every signature header.
    reduced.resize(reduced.len().next_multiple_of(8), 0);
    push_header(&mut reduced, &main);
    Ok(PackageMetadata::parse(&mut &*reduced)?)
}

/// Appends a header with these entries, whose data is less than 4 GiB.
fn push_header(bytes: &mut Vec<u8>, entries: &[&Entry<'_>]) {
    let mut push = |numbers: [usize; 4]| {
        for number in numbers {
            bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        }
    };
    let data_bytes = entries.iter().map(|entry| entry.data.len()).sum();
    push([u32::from_be_bytes(HEADER_MAGIC) as usize, 0, entries.len(), data_bytes]);
    let mut offset = 0;
    for entry in entries {
        push([entry.tag as usize, entry.kind as usize, offset, entry.count as usize]);
        offset += entry.data.len();
    }
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry.data));
}

/// FILEDIGESTALGO.
pub(super) fn file_digest_algorithm(header: &Main) -> Result<Option<u32>> {
    optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO))
}

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
    Ok(Package { format: Format::Rpm, nevra, source_rpm, identity, built_at })
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
        3 => Some(faster_hex::hex_string(body.get(7..15)?)),
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
            16 => return Some(faster_hex::hex_string(data.get(..8)?)),
            33 => return Some(faster_hex::hex_string(data.get(data.len().checked_sub(8)?..)?)),
            _ => area = rest.get(length..)?,
        }
    }
    None
}

/// A tag that may be absent.
pub(super) fn optional<T>(result: Result<T, rpm::Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rpm::Error::TagNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
