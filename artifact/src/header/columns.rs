//! The columns of a main header: arrays with one row a file, and the dictionaries that some of them point into. They are most of a
//! header's bytes, so they are read where they lie, as the `rpm` crate would read them; a test compares the two.

use std::borrow::Cow;

use rpm::IndexTag;

use super::structure::Entry;
use crate::{Error, Result};

/// The entries of a main header that is known to be sound in structure.
pub(super) struct Columns<'e, 'b> {
    entries: &'e [Entry<'b>],
    /// The package says that all its strings are UTF-8.
    is_utf8: bool,
}

/// A column of numbers of so many bytes, big-endian. It may be empty.
pub(super) struct Numbers<'b, const BYTES: usize>(&'b [[u8; BYTES]]);

/// A column of strings, which may be empty.
#[derive(Default)]
pub(super) struct Strings<'b> {
    /// One after the other, each with a NUL behind.
    text: Cow<'b, str>,
    count: usize,
}

impl<'e, 'b> Columns<'e, 'b> {
    pub(super) fn new(entries: &'e [Entry<'b>]) -> Self {
        const STRING: u32 = 6;
        let says_utf8 =
            |entry: &Entry<'_>| entry.tag == IndexTag::RPMTAG_ENCODING as u32 && entry.kind == STRING && entry.data == b"utf-8\0";
        Self { entries, is_utf8: entries.iter().any(says_utf8) }
    }

    pub(super) fn is_present(&self, tag: IndexTag) -> bool {
        self.find(tag).is_some()
    }

    /// `rows` numbers, or none.
    pub(super) fn numbers<const BYTES: usize>(&self, tag: IndexTag, rows: usize) -> Result<Numbers<'b, BYTES>> {
        let (kind, name) = match BYTES {
            2 => (3, "uint16 array"),
            4 => (4, "uint32 array"),
            _ => (5, "uint64 array"),
        };
        let Some(entry) = self.find(tag) else { return Ok(Numbers(&[])) };
        if entry.kind != kind {
            return Err(other_kind(entry, name));
        }
        let numbers = entry.data.as_chunks().0;
        expect_rows(tag, rows, numbers.len())?;
        Ok(Numbers(numbers))
    }

    /// `rows` strings, or none.
    pub(super) fn strings(&self, tag: IndexTag, rows: usize) -> Result<Strings<'b>> {
        let strings = self.dictionary(tag)?.unwrap_or_default();
        expect_rows(tag, rows, strings.count)?;
        Ok(strings)
    }

    /// Any number of strings.
    pub(super) fn dictionary(&self, tag: IndexTag) -> Result<Option<Strings<'b>>> {
        self.find(tag).map(|entry| dictionary(entry, self.is_utf8)).transpose()
    }

    /// Of several entries with one tag the first counts.
    fn find(&self, tag: IndexTag) -> Option<&'e Entry<'b>> {
        self.entries.iter().find(|entry| entry.tag == tag as u32)
    }
}

impl<const BYTES: usize> Numbers<'_, BYTES> {
    pub(super) fn at(&self, row: usize) -> Option<[u8; BYTES]> {
        self.0.get(row).copied()
    }
}

impl Numbers<'_, 4> {
    pub(super) fn u32_at(&self, row: usize) -> Option<u32> {
        self.at(row).map(u32::from_be_bytes)
    }
}

impl Strings<'_> {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let text = &*self.text;
        let mut start = 0;
        memchr::memchr_iter(0, text.as_bytes()).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
    }
}

/// The strings of an entry; `is_utf8` where all have to be UTF-8.
pub(super) fn dictionary<'b>(entry: &Entry<'b>, is_utf8: bool) -> Result<Strings<'b>> {
    // A string, an array of them, an array of translations.
    if !matches!(entry.kind, 6 | 8 | 9) {
        return Err(other_kind(entry, "string array"));
    }
    // No character of several bytes has a NUL in it, so all strings together are what each of them is.
    let text = match str::from_utf8(entry.data) {
        Ok(text) => text.into(),
        Err(_) if is_utf8 => return Err(rpm::Error::InvalidUtf8 { tag: entry.tag.to_string() }.into()),
        Err(_) => String::from_utf8_lossy(entry.data),
    };
    Ok(Strings { text, count: entry.count as usize })
}

fn other_kind(entry: &Entry<'_>, expected_data_type: &'static str) -> Error {
    const KINDS: [&str; 10] = ["Null", "Char", "i8", "i16", "i32", "i64", "String", "Bin", "StringArray", "I18NString"];
    let actual_data_type = KINDS.get(entry.kind as usize).map(|kind| (*kind).to_owned()).unwrap_or_default();
    rpm::Error::UnexpectedTagDataType { expected_data_type, actual_data_type, tag: entry.tag.to_string() }.into()
}

fn expect_rows(tag: IndexTag, expected: usize, found: usize) -> Result<()> {
    if found == 0 || found == expected {
        return Ok(());
    }
    Err(Error::Header { part: "main header", expected: format!("{expected} rows of {tag}"), found: found.to_string() })
}
