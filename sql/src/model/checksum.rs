//! Checksums of archives.

use std::fmt;

use crate::{Error, Result};

/// The kinds in the database, with the number of their bytes.
const KINDS: [(&str, usize); 6] =
    [("md5", 16), ("sha1", 20), ("sha224", 28), ("sha256", 32), ("sha384", 48), ("sha512", 64)];

/// A checksum of a whole archive, as its repository states it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    /// The algorithm: `md5`, `sha1`, `sha224`, `sha256`, `sha384` or `sha512`.
    pub kind: String,
    /// The digest.
    pub bytes: Vec<u8>,
}

impl Checksum {
    /// Reads the algorithm's name and the hex digits of repository metadata. `sha` is another name of `sha1`.
    ///
    /// # Errors
    /// [`Error::Value`] if the algorithm is unknown, or the digits are not a digest of it.
    pub fn parse(kind: &str, digits: &str) -> Result<Self> {
        let found = || format!("{kind} {digits}").chars().take(160).collect::<String>();
        let refused = |expected| Error::Value { what: "checksum", expected, found: found() };
        let kind = kind.to_ascii_lowercase();
        let kind = if kind == "sha" { "sha1" } else { &kind };
        let Some((kind, length)) = KINDS.into_iter().find(|(known, _)| *known == kind) else {
            return Err(refused("md5, sha, sha1, sha224, sha256, sha384 or sha512"));
        };
        let mut bytes = vec![0; length];
        if digits.len() != 2 * length || faster_hex::hex_decode(digits.as_bytes(), &mut bytes).is_err() {
            return Err(refused("as many hex digits as the algorithm has"));
        }
        Ok(Self { kind: kind.to_owned(), bytes })
    }

    /// The digest in lowercase hex.
    pub fn digits(&self) -> String {
        faster_hex::hex_string(&self.bytes)
    }
}

/// `sha256:9f86d0...`
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.digits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_repository_metadata_are_read() {
        let digits = "DA39a3ee5e6b4b0d3255bfef95601890afd80709";
        for kind in ["sha", "SHA", "sha1"] {
            let checksum = Checksum::parse(kind, digits).unwrap();
            assert_eq!(checksum.to_string(), format!("sha1:{}", digits.to_ascii_lowercase()));
        }
        assert_eq!(Checksum::parse("sha512", &"0a".repeat(64)).unwrap().bytes, [10; 64]);
        for (kind, digits) in [("sha256", digits), ("crc32", "00000000"), ("sha1", ""), ("md5", &"xy".repeat(16))] {
            let message = Checksum::parse(kind, digits).unwrap_err().to_string();
            assert!(message.starts_with("checksum: expected") && message.contains(kind), "{message}");
        }
    }
}
