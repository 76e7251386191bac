//! The columns of a main header: arrays with one row a file, and the dictionaries that some of them point into. They
//! are most of a header's bytes, so they are read where they lie, as the `rpm` crate would read them; a test compares
//! the two.
//!
//! rpm takes a package for sound whatever its tags hold, and so does this: numbers may be of any width, a column may
//! have fewer rows or more than there are files, text need not be UTF-8. What is of another type says nothing.

use std::borrow::Cow;

use rpm::IndexTag;

use super::structure::TagEntry;

/// The entries of a header that is known to be sound in structure.
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
    /// One after the other, each with a NUL behind.
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

    /// Any number of numbers.
    pub(super) fn numbers(&self, tag: IndexTag) -> NumberColumn<'b> {
        self.find(tag as u32).and_then(numbers).unwrap_or_default()
    }

    /// Any number of strings; none of them without the tag.
    pub(super) fn strings(&self, tag: IndexTag) -> Strings<'b> {
        self.dictionary(tag).unwrap_or_default()
    }

    /// Any number of strings.
    pub(super) fn dictionary(&self, tag: IndexTag) -> Option<Strings<'b>> {
        self.find(tag as u32).and_then(dictionary)
    }

    /// The only number, or the first of several.
    pub(super) fn number(&self, tag: u32) -> Option<u64> {
        numbers(self.find(tag)?)?.at(0)
    }

    /// The only string, or the first of several.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        dictionary(self.find(tag)?)?.iter().next().map(str::to_owned)
    }

    /// Of several entries with one tag the first counts.
    fn find(&self, tag: u32) -> Option<&'e TagEntry<'b>> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }
}

/// The numbers of an entry.
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
        // rpm has modes in 16 bits; what is beyond them is a sign.
        self.at(row).map(|number| (number & u64::from(u16::MAX)) as u16)
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

/// The strings of an entry. What is no UTF-8 is replaced, also where the package says that all is.
pub(super) fn dictionary<'b>(entry: &TagEntry<'b>) -> Option<Strings<'b>> {
    // A string, an array of them, an array of translations.
    if !matches!(entry.kind, 6 | 8 | 9) {
        return None;
    }
    // No character of several bytes has a NUL in it, so all strings together are what each of them is.
    Some(Strings { text: String::from_utf8_lossy(entry.data), count: entry.count as usize })
}
