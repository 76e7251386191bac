//! The columns of a main header: arrays with one row per file, and the dictionaries that some of them index.
//!
//! Columns are most of a header's bytes, so they are read in place. A test compares the results with those of the `rpm`
//! crate. Like rpm, this module accepts numbers of any width, columns with fewer or more rows than files, and text that
//! is not UTF-8. A tag of another type counts as absent.

use std::borrow::Cow;

use rpm::IndexTag;

use super::structure::TagEntry;

/// The entries of a header whose structure was checked.
pub(super) struct Columns<'e, 'b> {
    entries: &'e [TagEntry<'b>],
}

/// A column of big-endian numbers, which may be empty.
#[derive(Default)]
pub(super) struct NumberColumn<'b> {
    data: &'b [u8],
    width: usize,
}

/// A column of strings, which may be empty.
#[derive(Default)]
pub(super) struct Strings<'b> {
    /// The strings, each followed by a NUL.
    text: Cow<'b, str>,
    count: usize,
}

impl<'e, 'b> Columns<'e, 'b> {
    pub(super) fn new(entries: &'e [TagEntry<'b>]) -> Self {
        Self { entries }
    }

    pub(super) fn is_present(&self, tag: IndexTag) -> bool {
        self.find(tag as u32).is_some()
    }

    /// Returns the numbers of a tag, empty without the tag.
    pub(super) fn numbers(&self, tag: IndexTag) -> NumberColumn<'b> {
        self.find(tag as u32).and_then(numbers).unwrap_or_default()
    }

    /// Returns the strings of a tag, empty without the tag.
    pub(super) fn strings(&self, tag: IndexTag) -> Strings<'b> {
        self.dictionary(tag).unwrap_or_default()
    }

    /// Returns the strings of a tag. `None` without the tag.
    pub(super) fn dictionary(&self, tag: IndexTag) -> Option<Strings<'b>> {
        self.find(tag as u32).and_then(dictionary)
    }

    /// Returns the first number of a tag.
    pub(super) fn number(&self, tag: u32) -> Option<u64> {
        numbers(self.find(tag)?)?.at(0)
    }

    /// Returns the first string of a tag.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        dictionary(self.find(tag)?)?.iter().next().map(str::to_owned)
    }

    /// Returns the first entry with this tag.
    fn find(&self, tag: u32) -> Option<&'e TagEntry<'b>> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }
}

/// Returns the numbers of an entry. `None` for an entry of another type.
fn numbers<'b>(entry: &TagEntry<'b>) -> Option<NumberColumn<'b>> {
    let width = match entry.kind {
        2 => 1,
        3 => 2,
        4 => 4,
        5 => 8,
        _ => return None,
    };
    Some(NumberColumn { data: entry.data, width })
}

impl NumberColumn<'_> {
    pub(super) fn at(&self, row: usize) -> Option<u64> {
        let start = row.checked_mul(self.width)?;
        let bytes = self.data.get(start..start.checked_add(self.width)?)?;
        (!bytes.is_empty()).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn u32_at(&self, row: usize) -> Option<u32> {
        u32::try_from(self.at(row)?).ok()
    }

    pub(super) fn u16_at(&self, row: usize) -> Option<u16> {
        // rpm stores modes in 16 bits. Higher bits are an extension of the sign.
        self.at(row).map(|number| (number & u64::from(u16::MAX)) as u16)
    }
}

impl Strings<'_> {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the size of all strings in bytes, NULs included.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let text = &*self.text;
        let mut start = 0;
        memchr::memchr_iter(0, text.as_bytes()).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
    }
}

/// Returns the strings of an entry. `None` for an entry of another type. Bytes that are not UTF-8 are replaced.
pub(super) fn dictionary<'b>(entry: &TagEntry<'b>) -> Option<Strings<'b>> {
    // STRING, STRING_ARRAY and I18NSTRING.
    if !matches!(entry.kind, 6 | 8 | 9) {
        return None;
    }
    // No UTF-8 character of several bytes contains a NUL, so the strings can be converted all at once.
    Some(Strings { text: String::from_utf8_lossy(entry.data), count: entry.count as usize })
}
