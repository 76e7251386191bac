//! The identity of a package: equal for all its copies.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// SHA-256 over the bytes of an RPM's main header: equal for unsigned, signed and IMA-signed copies of one package,
/// because signing touches the signature header alone. rpm records it as tag 273 (SHA256HEADER) of the signature
/// header. Of what is no RPM, SHA-256 over the whole file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// An identity from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Identity {
    type Err = Error;

    /// Reads 64 hex digits of any case.
    fn from_str(text: &str) -> Result<Self> {
        let bytes = faster_hex::hex_decode_array(text.as_bytes());
        bytes.map(Self).map_err(|_| Error::Identity { found: text.chars().take(66).collect() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str(faster_hex::hex_encode(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}
