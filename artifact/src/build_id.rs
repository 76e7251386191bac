//! The GNU build-id of an ELF file.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::{Error, Result};

/// A GNU build-id: 1 to 64 bytes inside, lowercase hex at the edges.
///
/// Holding one means that it is valid. The bounds are those of libdebuginfod, which handles up to 128 hex digits; GNU
/// ld makes 20 bytes (SHA-1) by default, 16 (MD5, UUID) and 8 (xxhash) occur.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// The most bytes that a build-id can have.
    pub const MAX_BYTES: usize = 64;

    /// A build-id from the bytes of an ELF note.
    ///
    /// # Errors
    /// [`Error::BuildId`] unless there are 1 to 64 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() || bytes.len() > Self::MAX_BYTES {
            return Err(Error::BuildId { found: format!("{} bytes", bytes.len()) });
        }
        Ok(Self(bytes.into()))
    }

    /// Reads the hex digits of some texts, each of which has whole bytes.
    pub(crate) fn from_digits(texts: &[&str]) -> Option<Self> {
        // On the stack: every request reads one.
        let mut bytes = [0; Self::MAX_BYTES];
        let mut filled = 0;
        for text in texts {
            let end = filled + text.len() / 2;
            faster_hex::hex_decode(text.as_bytes(), bytes.get_mut(filled..end)?).ok()?;
            filled = end;
        }
        Self::from_bytes(&bytes[..filled]).ok()
    }

    /// The bytes, as in the ELF note.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for BuildId {
    type Err = Error;

    /// Reads hex digits of any case.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            let shown: String = text.chars().take(2 * Self::MAX_BYTES + 2).collect();
            Error::BuildId { found: format!("{shown:?}") }
        };
        Self::from_digits(&[text]).ok_or_else(refuse)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On the stack: an import writes every one of them.
        let mut digits = [0; 2 * Self::MAX_BYTES];
        f.write_str(faster_hex::hex_encode(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_is_parsed_and_lowercase_is_printed() {
        let id: BuildId = "ABcdEF01".parse().unwrap();
        assert_eq!(id.to_string(), "abcdef01");
        assert_eq!(id.as_bytes(), [0xab, 0xcd, 0xef, 0x01]);
    }

    #[test]
    fn two_to_128_digits_are_accepted_and_nothing_else() {
        assert!("ab".parse::<BuildId>().is_ok());
        assert!("ab".repeat(64).parse::<BuildId>().is_ok());
        for bad in ["", "a", "abc", "zz", "0x12", " ab", "ab ", &"ab".repeat(65), "é", "äää"] {
            let error = bad.parse::<BuildId>().unwrap_err().to_string();
            assert!(error.contains("expected an even number of hex digits, 2 to 128"), "{bad}: {error}");
        }
    }
}
