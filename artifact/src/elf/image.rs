//! ELF files for tests, made in memory.

use goblin::elf::header::ET_DYN;
use goblin::elf::program_header::{PF_X, PT_LOAD, PT_NOTE};
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS, SHT_NOTE, SHT_NULL, SHT_PROGBITS, SHT_STRTAB};

/// An ELF file in the making.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) is_64: bool,
    pub(crate) is_little: bool,
    pub(crate) file_type: u16,
    pub(crate) sections: Vec<ImageSection>,
    pub(crate) segments: Vec<ImageSegment>,
    /// Number of sections, of program headers and of the name section in section header 0.
    pub(crate) is_extended: bool,
}

/// A section: name, type, flags, contents.
#[derive(Clone)]
pub(crate) struct ImageSection {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) contents: Vec<u8>,
}

/// A segment: type, flags, and its contents, which are written anew.
#[derive(Clone)]
pub(crate) struct ImageSegment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) align: u64,
    pub(crate) contents: Vec<u8>,
}

impl Image {
    /// A file of this type for 64 bits, little-endian, with no sections and segments.
    pub(crate) fn new(file_type: u16) -> Self {
        Self { is_64: true, is_little: true, file_type, sections: Vec::new(), segments: Vec::new(), is_extended: false }
    }

    /// A stripped shared object with this build-id in a section and a segment.
    pub(crate) fn program(build_id: &[u8]) -> Self {
        Self::new(ET_DYN)
            .section(".note.gnu.build-id", SHT_NOTE, SHF_ALLOC, &note(build_id, true))
            .section(".text", SHT_PROGBITS, SHF_ALLOC, b"code")
            .segment(PT_LOAD, PF_X, 4096, b"code")
            .segment(PT_NOTE, 0, 4, &note(build_id, true))
    }

    pub(crate) fn section(mut self, name: &'static str, kind: u32, flags: u32, contents: &[u8]) -> Self {
        self.sections.push(ImageSection { name, kind, flags, contents: contents.into() });
        self
    }

    pub(crate) fn segment(mut self, kind: u32, flags: u32, align: u64, contents: &[u8]) -> Self {
        self.segments.push(ImageSegment { kind, flags, align, contents: contents.into() });
        self
    }

    /// The file: header, program headers, contents of segments and sections, section headers.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (header_bytes, segment_bytes, section_bytes) = if self.is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let mut sections = vec![ImageSection { name: "", kind: SHT_NULL, flags: 0, contents: Vec::new() }];
        sections.extend(self.sections.iter().cloned());
        if !self.sections.is_empty() {
            sections.push(ImageSection { name: ".shstrtab", kind: SHT_STRTAB, flags: 0, contents: Vec::new() });
            let names: Vec<u8> =
                sections.iter().flat_map(|section| [section.name.as_bytes(), b"\0"].concat()).collect();
            sections.last_mut().unwrap().contents = names;
        } else {
            sections.clear();
        }

        let mut body = Vec::new();
        let body_start = header_bytes + segment_bytes * self.segments.len();
        let mut place = |contents: &[u8]| {
            let start = body_start + body.len();
            body.extend_from_slice(contents);
            body.resize(body.len().next_multiple_of(8), 0);
            start as u64
        };
        let segments: Vec<u64> = self.segments.iter().map(|segment| place(&segment.contents)).collect();
        let places: Vec<u64> = sections.iter().map(|section| place(&section.contents)).collect();
        let table = if sections.is_empty() { 0 } else { body_start + body.len() } as u64;

        let mut out = Out { bytes: Vec::new(), is_64: self.is_64, is_little: self.is_little };
        out.bytes.extend_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            1 + u8::from(self.is_64),
            2 - u8::from(self.is_little),
            1,
            0,
        ]);
        out.bytes.extend_from_slice(&[0; 8]);
        out.half(self.file_type);
        out.half(62);
        out.word(1);
        out.address(0);
        out.address(if segments.is_empty() { 0 } else { header_bytes as u64 });
        out.address(table);
        out.word(0);
        out.half(header_bytes as u16);
        out.half(segment_bytes as u16);
        out.half(if self.is_extended { 0xffff } else { segments.len() as u16 });
        out.half(section_bytes as u16);
        out.half(if self.is_extended { 0 } else { sections.len() as u16 });
        out.half(if self.is_extended { 0xffff } else { sections.len().saturating_sub(1) as u16 });

        for (segment, offset) in self.segments.iter().zip(segments) {
            let bytes = segment.contents.len() as u64;
            out.word(segment.kind);
            if self.is_64 {
                out.word(segment.flags);
            }
            [offset, 0, 0, bytes, bytes].into_iter().for_each(|number| out.address(number));
            if !self.is_64 {
                out.word(segment.flags);
            }
            out.address(segment.align);
        }
        out.bytes.extend_from_slice(&body);
        let mut name = 0;
        let count = sections.len();
        for (at, (section, offset)) in sections.iter().zip(places).enumerate() {
            let is_first_of_many = at == 0 && self.is_extended;
            out.word(name);
            name += section.name.len() as u32 + 1;
            out.word(section.kind);
            out.address(u64::from(section.flags));
            out.address(0);
            out.address(offset);
            // NOBITS sections have a size all the same.
            let bytes = section.contents.len().max(if section.kind == SHT_NOBITS { 100 } else { 0 });
            out.address(if is_first_of_many { count } else { bytes } as u64);
            out.word(if is_first_of_many { count as u32 - 1 } else { 0 });
            out.word(if is_first_of_many { self.segments.len() as u32 } else { 0 });
            out.address(4);
            out.address(0);
        }
        out.bytes
    }
}

/// A build-id note.
pub(crate) fn note(build_id: &[u8], is_little: bool) -> Vec<u8> {
    any_note(b"GNU\0", 3, build_id, 4, is_little)
}

/// Any note.
pub(crate) fn any_note(name: &[u8], kind: u32, description: &[u8], align: usize, is_little: bool) -> Vec<u8> {
    let mut out = Out { bytes: Vec::new(), is_64: false, is_little };
    [name.len() as u32, description.len() as u32, kind].into_iter().for_each(|number| out.word(number));
    out.bytes.extend_from_slice(name);
    out.bytes.resize(out.bytes.len().next_multiple_of(align), 0);
    out.bytes.extend_from_slice(description);
    out.bytes.resize(out.bytes.len().next_multiple_of(align), 0);
    out.bytes
}

struct Out {
    bytes: Vec<u8>,
    is_64: bool,
    is_little: bool,
}

impl Out {
    fn half(&mut self, number: u16) {
        self.bytes.extend_from_slice(&if self.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    fn word(&mut self, number: u32) {
        self.bytes.extend_from_slice(&if self.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    fn address(&mut self, number: u64) {
        if self.is_64 {
            self.bytes.extend_from_slice(&if self.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
        } else {
            self.word(number as u32);
        }
    }
}
