//! Checksums of metadata files and packages, and a reader that verifies one.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::error::{shown, wrap};
use crate::{Error, Result};

/// A kind of checksum that repositories use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `md5`: metalinks, Debian; where nothing better is there.
    Md5,
    /// `sha1`, or `sha`, as createrepo wrote it until 2010.
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`; the default of createrepo_c.
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Kind {
    /// All values, the worst first.
    pub const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The kind with this name in repodata, metalinks or Debian's indices, of any case: `sha`, `sha-1` and `sha1` are
    /// one.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim();
        Some(match name.to_ascii_lowercase().as_str() {
            "md5" | "md5sum" => Self::Md5,
            "sha" | "sha1" | "sha-1" => Self::Sha1,
            "sha224" | "sha-224" => Self::Sha224,
            "sha256" | "sha-256" => Self::Sha256,
            "sha384" | "sha-384" => Self::Sha384,
            "sha512" | "sha-512" => Self::Sha512,
            _ => return None,
        })
    }

    /// The name in the index and in messages: `sha1`, `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of its digests in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A checksum with its kind. The number of bytes is that of the kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    kind: Kind,
    bytes: Box<[u8]>,
}

impl Checksum {
    /// Reads hex digits of any case, between white space.
    ///
    /// # Errors
    /// [`Error::Checksum`] unless there are as many digits as the kind has.
    pub fn from_hex(kind: Kind, digits: &str) -> Result<Self> {
        let digits = digits.trim();
        let mut bytes = vec![0; kind.digest_bytes()];
        // The decoder wants exactly twice as many digits.
        if digits.len() != 2 * bytes.len() || faster_hex::hex_decode(digits.as_bytes(), &mut bytes).is_err() {
            let expected = format!("{} hex digits ({kind})", 2 * bytes.len());
            return Err(Error::Checksum { expected, found: shown(digits) });
        }
        Ok(Self { kind, bytes: bytes.into() })
    }

    /// Reads the name of a kind and hex digits.
    ///
    /// # Errors
    /// [`Error::Checksum`] where the kind is not known, or the digits are not those of the kind.
    pub fn parse(kind: &str, digits: &str) -> Result<Self> {
        let known = Kind::parse(kind).ok_or_else(|| Error::Checksum {
            expected: "md5, sha1, sha224, sha256, sha384 or sha512".into(),
            found: shown(kind),
        })?;
        Self::from_hex(known, digits)
    }

    /// The checksum of `bytes`.
    pub fn of(kind: Kind, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(kind);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hex digits, lowercase.
    pub fn hex(&self) -> String {
        faster_hex::hex_string(&self.bytes)
    }
}

/// `sha256:` and hex digits.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

/// A digest that is computed piece by piece.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// A digest of no bytes.
    pub fn new(kind: Kind) -> Self {
        Self(match kind {
            Kind::Md5 => State::Md5(Md5::new()),
            Kind::Sha1 => State::Sha1(Sha1::new()),
            Kind::Sha224 => State::Sha224(Sha224::new()),
            Kind::Sha256 => State::Sha256(Sha256::new()),
            Kind::Sha384 => State::Sha384(Sha384::new()),
            Kind::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha224(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The checksum of all bytes.
    pub fn finish(self) -> Checksum {
        let (kind, bytes): (_, Box<[u8]>) = match self.0 {
            State::Md5(state) => (Kind::Md5, state.finalize()[..].into()),
            State::Sha1(state) => (Kind::Sha1, state.finalize()[..].into()),
            State::Sha224(state) => (Kind::Sha224, state.finalize()[..].into()),
            State::Sha256(state) => (Kind::Sha256, state.finalize()[..].into()),
            State::Sha384(state) => (Kind::Sha384, state.finalize()[..].into()),
            State::Sha512(state) => (Kind::Sha512, state.finalize()[..].into()),
        };
        Checksum { kind, bytes }
    }
}

/// A reader that compares what it passes on with a checksum and a size.
///
/// The end of the file is an [`io::Error`] around [`Error::Digest`] or [`Error::Size`] where they differ, and so is the
/// first byte too many. Bytes that were read before may be wrong: only the end of the file proves them.
pub struct Verified<R> {
    input: R,
    name: String,
    checksum: Checksum,
    size: Option<u64>,
    /// `None` once the end was reached.
    hasher: Option<Hasher>,
    read: u64,
}

impl<R: Read> Verified<R> {
    /// Verifies `input`, which messages call `name`. Without a size, any is right.
    pub fn new(input: R, name: impl Into<String>, checksum: Checksum, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(checksum.kind));
        Self { input, name: name.into(), checksum, size, hasher, read: 0 }
    }

    /// True once the end was reached and everything was right.
    pub fn is_complete(&self) -> bool {
        self.hasher.is_none()
    }

    fn compare(&mut self) -> Result<()> {
        let Some(hasher) = &self.hasher else { return Ok(()) };
        if let Some(size) = self.size.filter(|size| *size != self.read) {
            let (expected, found) = (format!("{size} bytes"), self.read.to_string());
            return Err(Error::Size { name: self.name.clone(), expected, found });
        }
        let found = hasher.clone().finish();
        if found != self.checksum {
            return Err(Error::Digest {
                name: self.name.clone(),
                kind: found.kind.name(),
                expected: self.checksum.hex(),
                found: found.hex(),
            });
        }
        self.hasher = None;
        Ok(())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.hasher.is_none() {
            return Ok(0);
        }
        let read = loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if read == 0 {
            self.compare().map_err(wrap)?;
            return Ok(0);
        }
        self.read += read as u64;
        if let Some(size) = self.size.filter(|size| self.read > *size) {
            let (name, expected) = (self.name.clone(), format!("{size} bytes"));
            return Err(wrap(Error::Size { name, expected, found: "more".into() }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_parsed_computed_and_printed() {
        for (name, printed, digits) in [
            ("md5", "md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("MD5Sum", "md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha", "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha-1", "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("SHA256", "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "sha384",
                "sha384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "sha512",
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let checksum = Checksum::parse(name, &format!(" {}\n", digits.to_uppercase())).unwrap();
            assert_eq!(checksum, Checksum::of(checksum.kind(), b"abc"));
            assert_eq!(checksum.to_string(), format!("{printed}:{digits}"));
        }
    }

    #[test]
    fn other_texts_are_no_checksums() {
        for (kind, digits) in [("sha256", "abcd"), ("md5", "zz"), ("crc32", "00000000"), ("", ""), ("md5", "é")] {
            let error = Checksum::parse(kind, digits).unwrap_err().to_string();
            assert!(error.starts_with("expected ") && error.contains(" as checksum, found "), "{error}");
        }
        assert!(Checksum::parse("md5", &format!("{}é", "a".repeat(30))).is_err());
    }

    #[test]
    fn the_end_of_a_verified_file_proves_it() {
        let checksum = Checksum::of(Kind::Sha256, b"abc");
        let read = |bytes: &[u8], size| {
            let mut out = Vec::new();
            let mut reader = Verified::new(bytes, "primary.xml.gz", checksum.clone(), size);
            let read = reader.read_to_end(&mut out).map_err(|error| error.to_string());
            assert_eq!(reader.is_complete(), read.is_ok());
            read.map(|_| out)
        };
        assert_eq!(read(b"abc", Some(3)).as_deref(), Ok(&b"abc"[..]));
        assert_eq!(read(b"abc", None).as_deref(), Ok(&b"abc"[..]));
        assert_eq!(read(b"ab", Some(3)).unwrap_err(), "primary.xml.gz: expected 3 bytes, found 2");
        assert_eq!(read(b"abcd", Some(3)).unwrap_err(), "primary.xml.gz: expected 3 bytes, found more");
        let error = read(b"abd", Some(3)).unwrap_err();
        assert!(error.starts_with("primary.xml.gz: expected sha256 ba7816bf"), "{error}");
    }
}
