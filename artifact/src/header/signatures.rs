//! Signatures of single files. IMA and debuginfod clients verify the contents of files with them.
//!
//! `rpmsign --signfiles` writes one hex string per file to the signature header (tag 274, FILESIGNATURES), an empty one
//! for files without contents. It is the value of `security.ima`: 0x03, version 2, hash algorithm, key id, signature.
//! Tag 275 has one length for all, but lengths differ within a package, so it is ignored. rpm shows the column as
//! tag 5090.

use rpm::IndexSignatureTag;

use super::columns::{Strings, dictionary};
use super::structure::{self, TagEntry};
use super::{File, Header};
use crate::{Error, Identity, Result};

/// RPMSIGTAG_FILESIGNATURES, and RPMTAG_FILESIGNATURES, its number after rpm has merged both headers.
const TAGS: [u32; 2] = [274, 5090];
/// The maximum size of a signature. The largest of those in use (ML-DSA-87) has 4.6 KiB, and debuginfod clients accept
/// 32 KiB of response headers.
const MAX_BYTES: usize = 8 << 10;

/// Returns the column of signatures. `None` unless it has a row for each of `files` files: an invalid column does not
/// make the package unreadable.
pub(super) fn column<'b>(entries: &[TagEntry<'b>], files: usize) -> Option<Strings<'b>> {
    let entry = entries.iter().find(|entry| TAGS.contains(&entry.tag))?;
    dictionary(entry).filter(|strings| strings.count() == files)
}

/// Returns the bytes of one signature. `None` if it is empty, too long or not hex.
pub(super) fn parse(hex: &str) -> Option<Box<[u8]>> {
    let is_valid = !hex.is_empty() && hex.len() <= 2 * MAX_BYTES;
    is_valid.then(|| faster_hex::hex_decode_vec(hex.as_bytes()).ok()).flatten().map(Vec::into_boxed_slice)
}

impl Header {
    /// True if a file of this package has a signature.
    pub fn has_file_signatures(&self) -> bool {
        self.files.iter().any(|file| file.signature.is_some())
    }

    /// Sets the signatures of files from a separate signature header of this package. Koji stores those of signed
    /// copies (`data/sigcache`). Returns true if there were any.
    ///
    /// # Errors
    /// [`Error::Header`] if its structure is invalid or exceeds rpm's limits; [`Error::HeaderDigest`] unless its
    /// SHA-256 (tag 273) is that of this package's main header.
    pub fn set_file_signatures(&mut self, signature_header: &[u8]) -> Result<bool> {
        let entries = structure::check_signature_header(signature_header)?;
        let digest = entries.iter().find(|entry| entry.tag == IndexSignatureTag::RPMSIGTAG_SHA256 as u32);
        let recorded = digest.map(|entry| String::from_utf8_lossy(entry.data).trim_end_matches('\0').to_owned());
        let recorded = recorded.unwrap_or_default();
        if recorded.parse::<Identity>().ok() != Some(self.package.identity) {
            let found = self.package.identity.to_string();
            return Err(Error::HeaderDigest { algorithm: "SHA-256", expected: recorded, found });
        }
        if let Some(column) = column(&entries, self.files.len()) {
            let sign = |(file, hex): (&mut File, &str)| file.signature = parse(hex);
            self.files.iter_mut().zip(column.iter()).for_each(sign);
        }
        Ok(self.has_file_signatures())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_hex_of_a_size_that_fits_into_a_response() {
        assert_eq!(parse("0302aBcD").as_deref(), Some(&[3, 2, 0xab, 0xcd][..]));
        for none in ["", "030", "03zz", &"00".repeat(MAX_BYTES + 1)] {
            assert!(parse(none).is_none(), "{none:.9}");
        }
    }
}
