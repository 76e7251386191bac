//! The key of a location's path.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::rows::decode_error;

/// The first eight bytes of the SHA-256 of a location's path below its store, in the index as 16 hex digits: the key of
/// a location, together with the store and the package. The path itself can be longer than a key of InnoDB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathHash([u8; 8]);

impl PathHash {
    /// Returns the hash of a path below its store.
    pub fn of_path(path: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(path).into();
        let mut hash = [0; 8];
        hash.copy_from_slice(&digest[..8]);
        Self(hash)
    }
}

impl FromStr for PathHash {
    type Err = sqlx::Error;

    fn from_str(digits: &str) -> sqlx::Result<Self> {
        faster_hex::hex_decode_array(digits.as_bytes()).map(Self).map_err(decode_error)
    }
}

impl fmt::Display for PathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 16];
        f.write_str(faster_hex::hex_encode(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathHash({self})")
    }
}
