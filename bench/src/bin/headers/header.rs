//! The headers of an RPM and its other parts, as bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A header under construction: type, number of values and data of each tag.
#[derive(Default)]
pub(crate) struct HeaderBuilder(BTreeMap<u32, (u32, u32, Vec<u8>)>);

impl HeaderBuilder {
    pub(crate) fn text(&mut self, tag: u32, text: &str) {
        self.texts(tag, 6, [text]);
    }

    /// Adds strings. Type 6 is one string, 8 an array, 9 an array of translations.
    pub(crate) fn texts<'text>(&mut self, tag: u32, kind: u32, texts: impl IntoIterator<Item = &'text str>) {
        let (mut count, mut data) = (0, Vec::new());
        for text in texts {
            data.extend_from_slice(text.as_bytes());
            data.push(0);
            count += 1;
        }
        self.0.insert(tag, (kind, count, data));
    }

    pub(crate) fn int32(&mut self, tag: u32, numbers: impl IntoIterator<Item = u32>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
        self.0.insert(tag, (4, data.len() as u32 / 4, data));
    }

    pub(crate) fn int16(&mut self, tag: u32, numbers: impl IntoIterator<Item = u16>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
        self.0.insert(tag, (3, data.len() as u32 / 2, data));
    }

    /// Adds the paths of files: directory index and base name of each file, and the directories.
    pub(crate) fn paths<'path>(&mut self, paths: impl Iterator<Item = &'path String> + Clone) {
        let split = |path: &'path String| path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        let mut directories: Vec<&str> = paths.clone().map(|path| split(path).0).collect();
        directories.sort_unstable();
        directories.dedup();
        self.int32(
            1116,
            paths.clone().map(|path| directories.partition_point(|directory| *directory < split(path).0) as u32),
        );
        self.texts(1117, 8, paths.map(|path| split(path).1));
        self.texts(1118, 8, directories);
    }

    /// Adds the class index of each file, and the classes.
    pub(crate) fn classes<'class>(&mut self, classes: impl Iterator<Item = &'class str> + Clone) {
        let mut known: Vec<&str> = classes.clone().collect();
        known.sort_unstable();
        known.dedup();
        self.int32(1141, classes.map(|class| known.partition_point(|other| *other < class) as u32));
        self.texts(1142, 8, known);
    }

    /// Returns the bytes of the header with its region. The tag of the region is 62 in the signature header and 63 in
    /// the main header.
    pub(crate) fn bytes(&self, region: u32) -> Vec<u8> {
        let mut data = Vec::new();
        let mut index = Vec::new();
        for (tag, (kind, count, values)) in &self.0 {
            let align = match kind {
                3 => 2,
                4 => 4,
                _ => 1,
            };
            data.resize(data.len().next_multiple_of(align), 0);
            index.extend([*tag, *kind, data.len() as u32, *count]);
            data.extend_from_slice(values);
        }
        let entries = self.0.len() as u32 + 1;
        let region_at = data.len() as u32;
        let trailer = [region, 7, (entries * 16).wrapping_neg(), 16];
        data.extend(trailer.into_iter().flat_map(u32::to_be_bytes));
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        let numbers = [entries, data.len() as u32, region, 7, region_at, 16].into_iter().chain(index);
        bytes.extend(numbers.flat_map(u32::to_be_bytes));
        bytes.extend(data);
        bytes
    }
}

/// Returns the lead of a binary package of format 3.0, as every later rpm writes it, for x86_64 and Linux.
pub(crate) fn lead(name: &str) -> Vec<u8> {
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1];
    lead.extend(name.bytes().take(65));
    lead.resize(76, 0);
    lead.extend([0, 1, 0, 5]);
    lead.resize(96, 0);
    lead
}

/// Returns a cpio archive without files, in one zstd frame with one raw block.
pub(crate) fn payload() -> Vec<u8> {
    let mut archive = b"070701".to_vec();
    for field in [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0] {
        archive.extend(format!("{field:08x}").into_bytes());
    }
    archive.extend(b"TRAILER!!!\0");
    archive.resize(archive.len().next_multiple_of(4), 0);
    let size = archive.len() as u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, size as u8];
    frame.extend(&((size << 3) | 1).to_le_bytes()[..3]);
    frame.extend(archive);
    frame
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
