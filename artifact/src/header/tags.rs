//! The tags of a package, and its signatures, in a header whose structure was checked. The `rpm` crate reads the
//! signatures.
//!
//! A tag of another type than rpm writes counts as absent: rpm itself accepts such packages.

use std::ops::Range;

use rpm::{IndexSignatureTag, IndexTag, PackageMetadata};

use super::columns::Columns;
use super::structure::{Checked, HEADER_MAGIC, INTRO, LEAD, TagEntry};
use crate::{Error, Format, Identity, Nevra, Package, Result, nevra};

/// The tags of signatures in a signature header.
const SIGNATURE_TAGS: [IndexSignatureTag; 3] =
    [IndexSignatureTag::RPMSIGTAG_DSA, IndexSignatureTag::RPMSIGTAG_RSA, IndexSignatureTag::RPMSIGTAG_OPENPGP];

/// Returns the key id of the first signature that can be read. The `rpm` crate copies and decodes a whole header, so it
/// gets a reduced one with the signatures alone.
pub(super) fn signing_key(bytes: &[u8], checked: &Checked<'_>) -> Option<String> {
    let is_signature = |entry: &&TagEntry<'_>| SIGNATURE_TAGS.iter().any(|tag| *tag as u32 == entry.tag);
    let signatures: Vec<_> = checked.signature.iter().filter(is_signature).collect();
    let data_bytes: usize = signatures.iter().map(|entry| entry.data.len()).sum();
    if signatures.is_empty() || data_bytes > bytes.len() {
        return None;
    }
    let mut reduced = Vec::with_capacity(LEAD + INTRO * (3 + signatures.len()) + data_bytes + 8);
    reduced.extend_from_slice(&bytes[..LEAD]);
    push_header(&mut reduced, &signatures);
    // A signature header is padded to a multiple of 8 bytes.
    reduced.resize(reduced.len().next_multiple_of(8), 0);
    const STRING: u32 = 6;
    push_header(&mut reduced, &[&TagEntry { tag: IndexTag::RPMTAG_NAME as u32, kind: STRING, count: 1, data: b"n\0" }]);
    let metadata = PackageMetadata::parse(&mut &*reduced).ok()?;
    metadata.raw_signatures().ok()?.iter().find_map(|packet| openpgp_issuer(packet))
}

/// Appends a header with these entries, whose data is less than 4 GiB.
fn push_header(bytes: &mut Vec<u8>, entries: &[&TagEntry<'_>]) {
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

/// Returns FILEDIGESTALGO.
pub(super) fn file_digest_algorithm(main: &Columns<'_, '_>) -> Option<u32> {
    u32::try_from(main.number(IndexTag::RPMTAG_FILEDIGESTALGO as u32)?).ok()
}

/// Reads the package. Parts of its name that the header lacks have default values; rpm shows them as empty.
///
/// # Errors
/// [`Error::Header`] where a part of the name has slashes, control characters or too many bytes.
pub(super) fn package(main: &Columns<'_, '_>, identity: Identity, is_source_lead: bool) -> Result<Package> {
    let text = |tag: IndexTag| main.text(tag as u32).filter(|text| !text.is_empty());
    let number = |tag: IndexTag| main.number(tag as u32);
    let source_rpm = text(IndexTag::RPMTAG_SOURCERPM);
    // The ARCH of a source package is the build host's. Its NEVRA has src or nosrc instead.
    let has_no_source = main.is_present(IndexTag::RPMTAG_NOSOURCE) || main.is_present(IndexTag::RPMTAG_NOPATCH);
    let is_source = main.is_present(IndexTag::RPMTAG_SOURCEPACKAGE) || (source_rpm.is_none() && is_source_lead);
    let arch = match (is_source, has_no_source) {
        (true, true) => Some("nosrc".into()),
        (true, false) => Some("src".into()),
        (false, _) => text(IndexTag::RPMTAG_ARCH),
    };
    let part = |text: Option<String>, tag, otherwise: &str| plain(text.unwrap_or_else(|| otherwise.into()), tag);
    let nevra = Nevra {
        name: part(text(IndexTag::RPMTAG_NAME), "NAME", "unnamed")?,
        epoch: number(IndexTag::RPMTAG_EPOCH).and_then(|epoch| u32::try_from(epoch).ok()),
        version: part(text(IndexTag::RPMTAG_VERSION), "VERSION", "0")?,
        release: part(text(IndexTag::RPMTAG_RELEASE), "RELEASE", "0")?,
        arch: part(arch, "ARCH", "noarch")?,
    };
    let built_at = number(IndexTag::RPMTAG_BUILDTIME).and_then(|seconds| u32::try_from(seconds).ok()).map(i64::from);
    Ok(Package { format: Format::Rpm, nevra, source_rpm, identity, built_at })
}

/// Returns a part of the package's name. Fails if it is not plain.
fn plain(text: String, tag: &'static str) -> Result<String> {
    if nevra::is_plain(&text) {
        return Ok(text);
    }
    Err(Error::Header {
        part: "main header",
        expected: format!("{tag} of 1 to {} bytes without slash and control characters", nevra::MAX_PART_BYTES),
        found: format!("{:?}", text.chars().take(nevra::MAX_PART_BYTES).collect::<String>()),
    })
}

/// Returns the payload's compressor as the header names it. `None` if the payload is uncompressed or the tag is absent.
pub(super) fn compressor(main: &Columns<'_, '_>) -> Option<String> {
    main.text(IndexTag::RPMTAG_PAYLOADCOMPRESSOR as u32).filter(|name| !matches!(&**name, "" | "none" | "identity"))
}

/// Returns the size, in bytes, of the archive whose main header is at `range`. SIZE and LONGSIZE are the sizes of main
/// header and payload; PAYLOADSIZE is that of the compressed payload.
pub(super) fn archive_bytes(signature: &Columns<'_, '_>, main: &Columns<'_, '_>, range: &Range<u64>) -> Option<u64> {
    let size = |tag: IndexSignatureTag| signature.number(tag as u32);
    if let Some(bytes) = size(IndexSignatureTag::RPMSIGTAG_LONGSIZE).or_else(|| size(IndexSignatureTag::RPMSIGTAG_SIZE))
    {
        return Some(range.start.saturating_add(bytes));
    }
    main.number(IndexTag::RPMTAG_PAYLOADSIZE as u32).map(|bytes| range.end.saturating_add(bytes))
}

/// Returns SHA256HEADER of the signature header, in hex.
pub(super) fn sha256_header(signature: &Columns<'_, '_>) -> Option<String> {
    signature.text(IndexSignatureTag::RPMSIGTAG_SHA256 as u32)
}

/// Returns SHA1HEADER of the signature header, in hex. Packages before rpm 4.14 have no other digest.
pub(super) fn sha1_header(signature: &Columns<'_, '_>) -> Option<String> {
    signature.text(IndexSignatureTag::RPMSIGTAG_SHA1 as u32)
}

/// Returns the key id (16 hex digits) in an OpenPGP signature packet: version 3 has it at a fixed offset, version 4 in
/// the subpackets 16 (issuer) and 33 (issuer fingerprint) (RFC 9580, sections 4.2, 5.2.2 to 5.2.3).
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
