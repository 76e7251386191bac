//! Builders of packages and ELF files.

use std::io::Write;

use liblzma::stream::{LzmaOptions, Stream};
use liblzma::write::XzEncoder;

/// One file of a header, as the header describes it.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) mode: u16,
    pub(crate) size: u64,
    pub(crate) inode: u32,
    pub(crate) link: String,
    /// File class of libmagic.
    pub(crate) class: String,
}

/// Returns a regular file of this size without a file class: the indexer must read it.
pub(crate) fn file(path: &str, size: usize) -> Listed {
    Listed {
        path: path.into(),
        mode: 0o100_755,
        size: size as u64,
        inode: 0,
        link: String::new(),
        class: String::new(),
    }
}

/// A symbolic link.
pub(crate) fn symlink(path: &str, target: &str) -> Listed {
    Listed { mode: 0o120_777, link: target.into(), ..file(path, target.len()) }
}

/// A package in the making; [`Made::new`] has the usual.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) files: Vec<Listed>,
    pub(crate) compressor: Option<&'static str>,
    /// As it is in the archive: compressed.
    pub(crate) payload: Vec<u8>,
}

impl Made {
    /// A package with these files and this archive, not compressed.
    pub(crate) fn new(name: &str, files: &[Listed], archive: Vec<u8>) -> Self {
        Self { name: name.into(), files: files.into(), compressor: None, payload: archive }
    }

    /// The archive: lead, signature header with SIZE, main header, payload.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let main = self.main_header();
        let mut signature = Header::default();
        signature.words(1000, &[(main.len() + self.payload.len()) as u32]);
        let mut bytes = vec![0; 96];
        bytes[..10].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1]);
        bytes[76..80].copy_from_slice(&[0, 1, 0, 5]);
        bytes.extend(signature.bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(main);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn main_header(&self) -> Vec<u8> {
        let column = |number: fn(&Listed) -> u32| self.files.iter().map(number).collect::<Vec<u32>>();
        let texts = |text: fn(&Listed) -> &str| self.files.iter().map(text).collect::<Vec<&str>>();
        let mut header = Header::default();
        // A NUL precedes the name, as in headers that rpm wrote.
        header.texts(100, 8, &["C"]);
        for (tag, text) in
            [(1000, &*self.name), (1001, "1.0"), (1002, "1"), (1022, "x86_64"), (1044, "made-1.0-1.src.rpm")]
        {
            header.texts(tag, 6, &[text]);
        }
        header.texts(1027, 8, &texts(|file| &file.path));
        if self.files.iter().any(|file| file.size > u64::from(u32::MAX)) {
            header.put(5008, 5, self.files.len(), self.files.iter().flat_map(|file| file.size.to_be_bytes()).collect());
        } else {
            header.words(1028, &column(|file| file.size as u32));
        }
        header.put(1030, 3, self.files.len(), self.files.iter().flat_map(|file| file.mode.to_be_bytes()).collect());
        header.texts(1036, 8, &texts(|file| &file.link));
        header.words(1096, &column(|file| file.inode));
        if let Some(compressor) = self.compressor {
            header.texts(1125, 6, &[compressor]);
        }
        header.words(1141, &(0..self.files.len() as u32).collect::<Vec<_>>());
        header.texts(1142, 8, &texts(|file| &file.class));
        header.bytes()
    }
}

/// One header: index and data.
#[derive(Default)]
struct Header {
    entries: u32,
    index: Vec<u8>,
    data: Vec<u8>,
}

impl Header {
    fn put(&mut self, tag: u32, kind: u32, count: usize, bytes: Vec<u8>) {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        for number in [tag, kind, self.data.len() as u32, count as u32] {
            self.index.extend(number.to_be_bytes());
        }
        self.entries += 1;
        self.data.extend(bytes);
    }

    fn words(&mut self, tag: u32, words: &[u32]) {
        self.put(tag, 4, words.len(), words.iter().flat_map(|word| word.to_be_bytes()).collect());
    }

    fn texts(&mut self, tag: u32, kind: u32, texts: &[&str]) {
        self.put(tag, kind, texts.len(), texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect());
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
        bytes.extend(self.entries.to_be_bytes());
        bytes.extend((self.data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&self.index);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// A newc archive of names and contents, as they are, with its trailer.
pub(crate) fn newc(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, contents) in members.iter().chain(&[("TRAILER!!!", &b""[..])]) {
        archive.extend(member(name, contents.len()));
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// Returns the header of a cpio member of this size.
pub(crate) fn member(name: &str, bytes: usize) -> Vec<u8> {
    let mut head = b"070701".to_vec();
    for at in 0..13 {
        let number = [(6, bytes), (11, name.len() + 1)]
            .into_iter()
            .find(|(fixture, _)| *fixture == at)
            .map_or(0, |(_, number)| number);
        write!(head, "{number:08x}").unwrap();
    }
    head.extend_from_slice(name.as_bytes());
    head.push(0);
    head.resize(head.len().next_multiple_of(4), 0);
    head
}

/// Bytes, then so many zeros, compressed the way that a header names. All but lzma know archives of several streams, so
/// that the zeros need be compressed only in part.
pub(crate) fn compress(compressor: Option<&str>, bytes: &[u8], zeros: u64) -> Vec<u8> {
    const PART: u64 = 8 << 20;
    if matches!(compressor, None | Some("lzma")) {
        return stream(compressor, bytes, zeros);
    }
    let mut out = stream(compressor, bytes, zeros % PART);
    if zeros >= PART {
        let part = stream(compressor, b"", PART);
        (0..zeros / PART).for_each(|_| out.extend_from_slice(&part));
    }
    out
}

fn stream(compressor: Option<&str>, bytes: &[u8], zeros: u64) -> Vec<u8> {
    match compressor {
        None => pour(Vec::new(), bytes, zeros),
        Some("gzip") => {
            let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            pour(encoder, bytes, zeros).finish().unwrap()
        }
        Some("bzip2") => {
            let encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            pour(encoder, bytes, zeros).finish().unwrap()
        }
        Some("xz") => pour(XzEncoder::new(Vec::new(), 0), bytes, zeros).finish().unwrap(),
        Some("lzma") => {
            let stream = Stream::new_lzma_encoder(&LzmaOptions::new_preset(0).unwrap()).unwrap();
            pour(XzEncoder::new_stream(Vec::new(), stream), bytes, zeros).finish().unwrap()
        }
        Some("zstd") => pour(zstd::Encoder::new(Vec::new(), 3).unwrap(), bytes, zeros).finish().unwrap(),
        Some(other) => panic!("expected a compressor, found {other}"),
    }
}

fn pour<W: Write>(mut out: W, bytes: &[u8], zeros: u64) -> W {
    out.write_all(bytes).unwrap();
    let chunk = vec![0; 1 << 20];
    let mut rest = zeros as usize;
    while rest > 0 {
        let piece = rest.min(chunk.len());
        out.write_all(&chunk[..piece]).unwrap();
        rest -= piece;
    }
    out
}

/// A stripped shared object of 64 bits with this build-id: 462 bytes with both tables, a note in a segment and a
/// section, and code.
pub(crate) fn elf(build_id: [u8; 20]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.note.gnu.build-id\0.text\0.shstrtab\0\0\0\0\0\0";
    let mut note = Vec::new();
    for word in [4_u32, 20, 3] {
        note.extend(word.to_le_bytes());
    }
    note.extend_from_slice(b"GNU\0");
    note.extend(build_id);
    let (note_at, text_at) = (64 + 56, 64 + 56 + note.len() as u64);
    let names_at = text_at + 4;
    let sections_at = names_at + NAMES.len() as u64;

    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, number: u16| elf.extend(number.to_le_bytes());
    let word = |elf: &mut Vec<u8>, number: u32| elf.extend(number.to_le_bytes());
    let long = |elf: &mut Vec<u8>, number: u64| elf.extend(number.to_le_bytes());
    half(&mut elf, 3);
    half(&mut elf, 62);
    word(&mut elf, 1);
    [0, 64, sections_at].into_iter().for_each(|number| long(&mut elf, number));
    word(&mut elf, 0);
    [64, 56, 1, 64, 4, 3].into_iter().for_each(|number| half(&mut elf, number));
    // PT_NOTE
    word(&mut elf, 4);
    word(&mut elf, 4);
    [note_at, 0, 0, note.len() as u64, note.len() as u64, 4].into_iter().for_each(|number| long(&mut elf, number));
    elf.extend_from_slice(&note);
    elf.extend_from_slice(b"code");
    elf.extend_from_slice(NAMES);
    // Name, type, flags, offset, bytes: SHT_NOTE, SHT_PROGBITS, SHT_STRTAB.
    let sections = [
        (0, 0, 0, 0, 0),
        (1, 7, 2, note_at, note.len() as u64),
        (20, 1, 6, text_at, 4),
        (26, 3, 0, names_at, NAMES.len() as u64),
    ];
    for (name, kind, flags, offset, bytes) in sections {
        word(&mut elf, name);
        word(&mut elf, kind);
        [flags, 0, offset, bytes].into_iter().for_each(|number| long(&mut elf, number));
        word(&mut elf, 0);
        word(&mut elf, 0);
        [4, 0].into_iter().for_each(|number| long(&mut elf, number));
    }
    elf
}
