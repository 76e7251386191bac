//! The header of one cpio member, in the forms that rpm writes.
//!
//! ```text
//! 070701, 070702   110 bytes: magic, 13 numbers of 8 hex digits (file size the 7th, name length the 12th), then the name with
//!                  its NUL; padded to a multiple of 4, like the contents after it
//! 07070X            14 bytes: magic, the file's number in the RPM's header as 8 hex digits; padded to 16. No name, no size:
//!                  rpm 4.12 and later, for packages with files above 4 GiB and for all v6 packages
//! ```
//!
//! Both end with a 070701 member named `TRAILER!!!`. The checksum of 070702 is not looked at: the RPM's header has better ones.

use std::io::Read;

use super::{fill, refuse};
use crate::Result;

/// Bytes of magic and numbers of the two long forms.
pub(super) const LONG_BYTES: usize = 110;
/// Bytes of magic and number of the stripped form.
pub(super) const STRIPPED_BYTES: usize = 14;
/// A longer name, NUL included, is not believed. PATH_MAX is 4,096.
const MOST_NAME_BYTES: u32 = 16 << 10;

/// What stands before the contents of a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Name as written, and bytes of contents.
    Named(String, u32),
    /// Number in the RPM's header.
    Numbered(u32),
    /// The end of the archive.
    Trailer,
}

impl Entry {
    /// Reads the next one, padding included; `None` where the archive ends without a byte of it.
    pub(super) fn read(archive: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; LONG_BYTES];
        let short = fill(archive, &mut bytes[..STRIPPED_BYTES])?;
        if short == 0 {
            return Ok(None);
        }
        if short < STRIPPED_BYTES {
            return refuse(format!("{STRIPPED_BYTES} bytes of a cpio header"), format!("the payload's end after {short}"));
        }
        match &bytes[..6] {
            b"07070X" => {
                exactly(archive, &mut [0; 2], "padding")?;
                // rpm takes file number -1 for the end, though it writes a trailer with a name (lib/cpio.c, rpmcpioHeaderRead).
                Ok(Some(match number(&bytes[6..14])? {
                    u32::MAX => Self::Trailer,
                    ordinal => Self::Numbered(ordinal),
                }))
            }
            b"070701" | b"070702" => {
                exactly(archive, &mut bytes[STRIPPED_BYTES..], "a cpio header")?;
                let (size, name_bytes) = (number(&bytes[54..62])?, number(&bytes[94..102])?);
                let name = name(archive, name_bytes)?;
                Ok(Some(if name == "TRAILER!!!" { Self::Trailer } else { Self::Named(name, size) }))
            }
            other => refuse(
                "070701, 070702 or 07070X at the start of a cpio header",
                format!("{:?}", other.escape_ascii().to_string()),
            ),
        }
    }
}

/// The name after a header of the long forms, with its padding.
fn name(archive: &mut impl Read, bytes: u32) -> Result<String> {
    if bytes == 0 || bytes > MOST_NAME_BYTES {
        return refuse(format!("a name of 1 to {MOST_NAME_BYTES} bytes in a cpio header"), bytes.to_string());
    }
    let mut name = vec![0; bytes as usize];
    exactly(archive, &mut name, "a member's name")?;
    let padding = padding(LONG_BYTES as u64 + u64::from(bytes));
    exactly(archive, &mut [0; 3][..padding], "padding")?;
    match name.iter().position(|byte| *byte == 0) {
        // Lossy like the paths of an RPM's header that is not UTF-8.
        Some(end) => Ok(String::from_utf8_lossy(&name[..end]).into_owned()),
        None => refuse("a NUL at the end of a member's name", format!("{:?}", String::from_utf8_lossy(&name))),
    }
}

/// Bytes that fill up to a multiple of 4.
pub(super) fn padding(bytes: u64) -> usize {
    (bytes.wrapping_neg() % 4) as usize
}

/// Fills `buffer`, or says what ended early.
pub(super) fn exactly(archive: &mut impl Read, buffer: &mut [u8], what: &str) -> Result<()> {
    let filled = fill(archive, buffer)?;
    if filled < buffer.len() {
        return refuse(format!("{} bytes of {what}", buffer.len()), format!("the payload's end after {filled}"));
    }
    Ok(())
}

/// 8 hex digits.
fn number(digits: &[u8]) -> Result<u32> {
    // from_str_radix alone would take a sign.
    let text = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match text.and_then(|text| u32::from_str_radix(text, 16).ok()) {
        Some(number) => Ok(number),
        None => refuse("8 hex digits in a cpio header", format!("{:?}", digits.escape_ascii().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Entry>, String> {
        Entry::read(&mut &*bytes).map_err(|error| error.to_string())
    }

    fn long(name_bytes: &str) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        bytes.extend_from_slice("0000000a".repeat(11).as_bytes());
        bytes.extend_from_slice(name_bytes.as_bytes());
        bytes.extend_from_slice(b"00000000");
        bytes
    }

    #[test]
    fn the_three_forms_and_the_end_are_told_apart() {
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"07070X0000001f\0\0"), Ok(Some(Entry::Numbered(31))));
        assert_eq!(read(b"07070Xffffffff\0\0"), Ok(Some(Entry::Trailer)));
        let mut bytes = long("00000004");
        bytes.extend_from_slice(b"./a\0\0\0");
        assert_eq!(read(&bytes), Ok(Some(Entry::Named("./a".into(), 10))));
        bytes[5] = b'2';
        assert_eq!(read(&bytes), Ok(Some(Entry::Named("./a".into(), 10))));
    }

    #[test]
    fn broken_headers_are_refused_with_what_was_found() {
        let with_name = |length, name: &[u8]| [long(length), name.to_vec()].concat();
        for (bytes, message) in [
            (
                b"070707000000000000".to_vec(),
                r#"expected 070701, 070702 or 07070X at the start of a cpio header, found "070707""#,
            ),
            (b"07070X+000001f\0\0".to_vec(), r#"expected 8 hex digits in a cpio header, found "+000001f""#),
            (b"07070X0000".to_vec(), "expected 14 bytes of a cpio header, found the payload's end after 10"),
            (b"07070X00000001\0".to_vec(), "expected 2 bytes of padding, found the payload's end after 1"),
            (long("00000004")[..60].to_vec(), "expected 96 bytes of a cpio header, found the payload's end after 46"),
            (with_name("00004001", b""), "expected a name of 1 to 16384 bytes in a cpio header, found 16385"),
            (with_name("ffffffff", b""), "found 4294967295"),
            (with_name("00000000", b""), "found 0"),
            (with_name("00000004", b"./"), "expected 4 bytes of a member's name, found the payload's end after 2"),
            (with_name("00000004", b"./ab\0\0"), r#"expected a NUL at the end of a member's name, found "./ab""#),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
