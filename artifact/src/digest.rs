//! Digests of files, as the header of their package records them (tag 1035, algorithm in tag 5011).

use std::fmt;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};

use crate::{Error, Result};

/// An algorithm for file digests, by its OpenPGP number (RFC 9580, section 9.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// 1; what packages without tag 5011 use.
    Md5,
    /// 2
    Sha1,
    /// 8; every Fedora since 11.
    Sha256,
    /// 9
    Sha384,
    /// 10
    Sha512,
    /// 11
    Sha224,
    /// 12; rpm 6.
    Sha3_256,
    /// 14; rpm 6.
    Sha3_512,
}

impl Algorithm {
    /// The algorithm with the number of tag 5011; `None` for numbers that rpm does not write.
    pub fn from_rpm(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Md5,
            2 => Self::Sha1,
            8 => Self::Sha256,
            9 => Self::Sha384,
            10 => Self::Sha512,
            11 => Self::Sha224,
            12 => Self::Sha3_256,
            14 => Self::Sha3_512,
            _ => return None,
        })
    }

    /// The algorithm whose digests have `count` hex digits; of several the one that rpm used first.
    pub(crate) fn of_digits(count: usize) -> Option<Self> {
        Some(match count {
            32 => Self::Md5,
            40 => Self::Sha1,
            56 => Self::Sha224,
            64 => Self::Sha256,
            96 => Self::Sha384,
            128 => Self::Sha512,
            _ => return None,
        })
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Sha224 => "SHA-224",
            Self::Sha3_256 => "SHA3-256",
            Self::Sha3_512 => "SHA3-512",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// Starts a digest.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Md5 => Hasher::Md5(Md5::new()),
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha384 => Hasher::Sha384(Sha384::new()),
            Self::Sha512 => Hasher::Sha512(Sha512::new()),
            Self::Sha224 => Hasher::Sha224(Sha224::new()),
            Self::Sha3_256 => Hasher::Sha3_256(Sha3_256::new()),
            Self::Sha3_512 => Hasher::Sha3_512(Sha3_512::new()),
        }
    }
}

/// The digest of a file's contents.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileDigest {
    algorithm: Algorithm,
    bytes: Box<[u8]>,
}

impl FileDigest {
    /// A digest from the hex text of the header.
    ///
    /// # Errors
    /// [`Error::Header`] unless the text has just the digits that the algorithm makes.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self> {
        match faster_hex::hex_decode_vec(text.as_bytes()) {
            Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(Self { algorithm, bytes: bytes.into() }),
            _ => Err(Error::Header {
                part: "main header",
                expected: format!("{} hex digits of a {} file digest", 2 * algorithm.bytes(), algorithm.name()),
                found: format!("{:?}", text.chars().take(130).collect::<String>()),
            }),
        }
    }

    /// A SHA-256.
    pub fn sha256(bytes: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, bytes: bytes.into() }
    }

    /// Returns its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Compares it with what `hasher` saw of the member `path`.
    ///
    /// # Errors
    /// [`Error::FileDigest`] where they differ.
    pub fn check(&self, hasher: Hasher, path: &str) -> Result<()> {
        let found = hasher.finish();
        if *found == *self.bytes {
            return Ok(());
        }
        Err(Error::FileDigest {
            path: path.to_owned(),
            algorithm: self.algorithm.name(),
            expected: self.to_string(),
            found: faster_hex::hex_string(&found),
        })
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&faster_hex::hex_string(&self.bytes))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm.name())
    }
}

/// A digest in the making.
#[derive(Clone)]
#[expect(missing_docs, reason = "the variants are the algorithms")]
pub enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Sha224(Sha224),
    Sha3_256(Sha3_256),
    Sha3_512(Sha3_512),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Sha224(hasher) => hasher.update(bytes),
            Self::Sha3_256(hasher) => hasher.update(bytes),
            Self::Sha3_512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Box<[u8]> {
        match self {
            Self::Md5(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha1(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha256(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha384(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha512(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha224(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha3_256(hasher) => hasher.finalize().as_slice().into(),
            Self::Sha3_512(hasher) => hasher.finalize().as_slice().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_accepts_its_own_bytes_and_no_others() {
        let digest = FileDigest::parse(Algorithm::Md5, "5d41402abc4b2a76b9719d911017c592").unwrap();
        let mut hasher = Algorithm::Md5.hasher();
        hasher.update(b"hello");
        digest.check(hasher.clone(), "/x").unwrap();
        hasher.update(b"!");
        let error = digest.check(hasher, "/x").unwrap_err().to_string();
        assert!(error.starts_with("/x: expected MD5 digest 5d41402a"), "{error}");
    }
}
