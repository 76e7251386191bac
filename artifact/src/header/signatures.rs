//! Signatures of single files, which IMA and clients of debuginfod check contents with.
//!
//! `rpmsign --signfiles` puts one hex string a file into the signature header (tag 274, FILESIGNATURES), empty for what
//! has no contents: the value that `security.ima` is to have, so 0x03, version 2, hash algorithm, key id and signature.
//! Tag 275 has their length; those of one package may differ, so each is taken as long as it is. rpm shows the column
//! as tag 5090.

use rpm::IndexSignatureTag;

use super::columns::{Strings, dictionary};
use super::structure::{self, TagEntry};
use super::{File, Header};
use crate::{Error, Identity, Result};

/// RPMSIGTAG_FILESIGNATURES, and RPMTAG_FILESIGNATURES as rpm calls it in a header that it put together.
const TAGS: [u32; 2] = [274, 5090];
/// A longer signature is none: the largest of those in use (ML-DSA-87) has 4.6 KiB, and a client takes 32 KiB of
/// headers.
const MAX_BYTES: usize = 8 << 10;

/// The column, as it lies in the header; `None` where there is none with a row for each of `files` files. What is wrong
/// with it does not make a package unreadable: it is about files that nobody may ask for.
pub(super) fn column<'b>(entries: &[TagEntry<'b>], files: usize) -> Option<Strings<'b>> {
    let entry = entries.iter().find(|entry| TAGS.contains(&entry.tag))?;
    dictionary(entry).filter(|strings| strings.count() == files)
}

/// The bytes of one signature.
pub(super) fn parse(hex: &str) -> Option<Box<[u8]>> {
    let is_sound = !hex.is_empty() && hex.len() <= 2 * MAX_BYTES;
    is_sound.then(|| faster_hex::hex_decode_vec(hex.as_bytes()).ok()).flatten().map(Vec::into_boxed_slice)
}

impl Header {
    /// Does a file of this package have a signature?
    pub fn has_file_signatures(&self) -> bool {
        self.files.iter().any(|file| file.signature.is_some())
    }

    /// Takes the signatures of files from a signature header of this package that lies elsewhere: Koji keeps those of
    /// signed copies (`data/sigcache`). Says whether there were any.
    ///
    /// # Errors
    /// [`Error::Header`] where its structure is wrong or beyond rpm's limits; [`Error::HeaderDigest`] where it does not
    /// say that it belongs to this package (tag 273).
    pub fn take_file_signatures(&mut self, signature_header: &[u8]) -> Result<bool> {
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
