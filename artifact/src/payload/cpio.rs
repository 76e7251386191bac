//! The header of one cpio member, in the forms that rpm writes.
//!
//! ```text
//! 070701, 070702   110 bytes: magic, 13 numbers of 8 hex digits (file size the 7th, name length the 12th), then the
//! name with
//!                  its NUL; padded to a multiple of 4, like the contents after it
//! 07070X            14 bytes: magic, the file's number in the RPM's header as 8 hex digits; padded to 16. No name, no
//! size:
//!                  rpm 4.12 and later, for packages with files above 4 GiB and for all v6 packages
//! ```
//!
//! Both end with a member of a long form named `TRAILER!!!`. In the payload of an RPM the checksum of 070702 is not
//! looked at: the RPM's header has better ones.

use std::io::Read;

use super::{fill, refuse};
use crate::Result;

/// Bytes of magic and numbers of the two long forms.
pub(crate) const LONG_BYTES: usize = 110;
/// Bytes of magic and number of the stripped form.
pub(crate) const STRIPPED_BYTES: usize = 14;
/// The maximum size of a name, NUL included. PATH_MAX is 4,096.
const MAX_NAME_BYTES: u32 = 16 << 10;

/// The header of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CpioEntry {
    /// One of the long forms.
    Named(Named),
    /// Number in the RPM's header.
    Numbered(u32),
    /// The end of the archive.
    Trailer,
}

/// The fields of the long forms.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// As written.
    pub(crate) name: String,
    /// `st_mode`, file type bits included.
    pub(crate) mode: u32,
    /// The number of names of the file.
    pub(crate) links: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u32,
    /// Bytes of contents.
    pub(crate) size: u32,
    /// Inode number and device: equal ones mark hard links of one file.
    pub(crate) file: [u32; 3],
    /// The sum of all bytes of contents; of 070702.
    pub(crate) checksum: Option<u32>,
}

impl CpioEntry {
    /// Reads the next one, padding included; `None` where the archive ends without a byte of it.
    pub(crate) fn read(archive: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; LONG_BYTES];
        let short = fill(archive, &mut bytes[..STRIPPED_BYTES])?;
        if short == 0 {
            return Ok(None);
        }
        if short < STRIPPED_BYTES {
            return refuse(
                format!("{STRIPPED_BYTES} bytes of a cpio header"),
                format!("the payload's end after {short}"),
            );
        }
        match &bytes[..6] {
            b"07070X" => {
                exactly(archive, &mut [0; 2], "padding")?;
                // rpm takes file number -1 for the end, though it writes a trailer with a name (lib/cpio.c,
                // rpmcpioHeaderRead).
                Ok(Some(match number(&bytes[6..14])? {
                    u32::MAX => Self::Trailer,
                    ordinal => Self::Numbered(ordinal),
                }))
            }
            b"070701" | b"070702" => {
                exactly(archive, &mut bytes[STRIPPED_BYTES..], "a cpio header")?;
                let field = |at: usize| number(&bytes[6 + 8 * at..14 + 8 * at]);
                let size = field(6)?;
                let name = name(archive, field(11)?)?;
                if name == "TRAILER!!!" {
                    return Ok(Some(Self::Trailer));
                }
                // RPMs do not need these: their headers have them.
                let [inode, mode, links, mtime, major, minor, checksum] =
                    [0, 1, 4, 5, 7, 8, 12].map(|at| field(at).unwrap_or_default());
                let checksum = (bytes[5] == b'2').then_some(checksum);
                Ok(Some(Self::Named(Named { name, mode, links, mtime, size, file: [inode, major, minor], checksum })))
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
    if bytes == 0 || bytes > MAX_NAME_BYTES {
        return refuse(format!("a name of 1 to {MAX_NAME_BYTES} bytes in a cpio header"), bytes.to_string());
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
pub(crate) fn padding(bytes: u64) -> usize {
    (bytes.wrapping_neg() % 4) as usize
}

/// Fills `buffer`. Fails if the archive ends before; `what` names the bytes in the error.
pub(crate) fn exactly(archive: &mut impl Read, buffer: &mut [u8], what: &str) -> Result<()> {
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

    fn read(bytes: &[u8]) -> Result<Option<CpioEntry>, String> {
        CpioEntry::read(&mut &*bytes).map_err(|error| error.to_string())
    }

    fn long(name_bytes: &str) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        bytes.extend_from_slice("0000000a".repeat(11).as_bytes());
        bytes.extend_from_slice(name_bytes.as_bytes());
        bytes.extend_from_slice(b"00000000");
        bytes
    }

    #[test]
    fn the_three_forms_and_the_trailer_are_distinguished() {
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"07070X0000001f\0\0"), Ok(Some(CpioEntry::Numbered(31))));
        assert_eq!(read(b"07070Xffffffff\0\0"), Ok(Some(CpioEntry::Trailer)));
        let mut bytes = long("00000004");
        bytes.extend_from_slice(b"./a\0\0\0");
        let named = |checksum| {
            let named = Named { name: "./a".into(), mode: 10, links: 10, mtime: 10, size: 10, file: [10; 3], checksum };
            Ok(Some(CpioEntry::Named(named)))
        };
        assert_eq!(read(&bytes), named(None));
        bytes[5] = b'2';
        assert_eq!(read(&bytes), named(Some(0)));
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
