//! The files of a header as a table, without a [`File`] for each.

use std::sync::Arc;

use rpm::IndexTag;

use super::columns::{Columns, NumberColumn, Strings};
use super::structure::Checked;
use super::{Class, File, file_digest_algorithm, is_regular, signatures};
use crate::digest::{Algorithm, FileDigest};
use crate::{Error, Result, path};

/// Every file of a header, in header order, as views into the header's bytes.
///
/// A value that is absent, or whose column has another type than rpm writes, has a default, as in rpm.
pub struct FileTable<'b> {
    paths: PathColumn,
    modes: NumberColumn<'b>,
    flags: NumberColumn<'b>,
    mtimes: NumberColumn<'b>,
    inodes: NumberColumn<'b>,
    sizes: NumberColumn<'b>,
    digests: Strings<'b>,
    digest_algorithm: Option<Algorithm>,
    link_targets: Strings<'b>,
    texts: Option<Dictionary<'b>>,
    mimes: Option<Dictionary<'b>>,
    signatures: Option<Strings<'b>>,
}

/// The metadata of a file that is needed to find artifacts: a [`File`] without the fields that verify its contents.
#[derive(Clone, Debug)]
pub struct FileRow<'t> {
    /// Absolute path, `/usr/bin/hello`.
    pub path: &'t str,
    /// `st_mode`, file type bits included.
    pub mode: u16,
    /// `RPMFILE_*` bits.
    pub flags: u32,
    /// Bytes.
    pub size: u64,
    /// The target of a symbolic link, as written.
    pub link_target: Option<&'t str>,
    /// The class of the file as libmagic determined it when it was packaged.
    pub class: Class<&'t str>,
}

impl FileRow<'_> {
    /// True for a regular file whose contents are in the payload.
    pub fn is_regular(&self) -> bool {
        is_regular(self.mode, self.flags)
    }
}

impl<'b> FileTable<'b> {
    /// Reads the files of an archive whose main header has `header_bytes` bytes and `digest_algorithm` in tag 5011.
    pub(super) fn read(checked: &Checked<'b>, header_bytes: usize, digest_algorithm: Option<u32>) -> Result<Self> {
        let columns = Columns::new(&checked.main);
        let paths = PathColumn::read(&columns, MAX_PATH_BYTES.min(header_bytes * MAX_PATH_BYTES_PER_HEADER_BYTE))?;
        let count = paths.ends.len();
        Ok(Self {
            paths,
            modes: columns.numbers(IndexTag::RPMTAG_FILEMODES),
            flags: columns.numbers(IndexTag::RPMTAG_FILEFLAGS),
            mtimes: columns.numbers(IndexTag::RPMTAG_FILEMTIMES),
            inodes: columns.numbers(IndexTag::RPMTAG_FILEINODES),
            sizes: sizes(&columns),
            digests: columns.strings(IndexTag::RPMTAG_FILEDIGESTS),
            digest_algorithm: file_digest_algorithm(digest_algorithm),
            link_targets: columns.strings(IndexTag::RPMTAG_FILELINKTOS),
            texts: Dictionary::read(&columns, IndexTag::RPMTAG_FILECLASS, IndexTag::RPMTAG_CLASSDICT),
            mimes: Dictionary::read(&columns, IndexTag::RPMTAG_FILEMIMEINDEX, IndexTag::RPMTAG_MIMEDICT),
            signatures: signatures::column(&checked.signature, count)
                .or_else(|| signatures::column(&checked.main, count)),
        })
    }

    /// Returns the rows in header order: the index of a file is its ordinal.
    pub fn rows(&self) -> impl Iterator<Item = FileRow<'_>> {
        let texts: Vec<&str> = dictionary_strings(self.texts.as_ref());
        let mimes: Vec<&str> = dictionary_strings(self.mimes.as_ref());
        let (mut targets, mut digests) = (self.link_targets.iter(), self.digests.iter());
        self.paths.iter().enumerate().map(move |(at, path)| {
            let link_target = targets.next().filter(|target| !target.is_empty());
            let has_digest = digests.next().is_some_and(|hex| !hex.is_empty());
            FileRow {
                path,
                mode: self.modes.u16_at(at).unwrap_or_else(|| likely_mode(link_target, has_digest)),
                flags: self.flags.u32_at(at).unwrap_or(0),
                size: self.sizes.at(at).unwrap_or(0),
                link_target,
                class: self.class(at, &texts, &mimes),
            }
        })
    }

    /// Returns a [`File`] for each row.
    pub(super) fn files(&self) -> Result<Vec<File>> {
        let texts: Vec<Arc<str>> = dictionary_strings(self.texts.as_ref());
        let mimes: Vec<Arc<str>> = dictionary_strings(self.mimes.as_ref());
        let mut digests = self.digests.iter();
        let mut signatures = self.signatures.iter().flat_map(Strings::iter);
        let mut files = Vec::with_capacity(self.paths.ends.len());
        for (at, row) in self.rows().enumerate() {
            let digest = digests.next().filter(|hex| !hex.is_empty()).and_then(|hex| self.digest(hex));
            files.push(File {
                path: row.path.to_owned(),
                mode: row.mode,
                flags: row.flags,
                size: row.size,
                mtime: self.mtimes.u32_at(at).unwrap_or(0),
                // rpm writes 0 for a file without an inode number. Such a file has no hard links.
                inode: self.inodes.u32_at(at).unwrap_or(0),
                digest,
                link_target: row.link_target.map(str::to_owned),
                class: self.class(at, &texts, &mimes),
                signature: signatures.next().and_then(signatures::parse),
            });
        }
        Ok(files)
    }

    /// Returns the class of one file. Empty texts, and indexes beyond a dictionary, are ignored.
    fn class<Text: AsRef<str> + Clone>(&self, at: usize, texts: &[Text], mimes: &[Text]) -> Class<Text> {
        let text = |dictionary: Option<&Dictionary<'_>>, strings: &[Text]| {
            let index = dictionary?.indexes.u32_at(at)?;
            strings.get(index as usize).filter(|text| !text.as_ref().is_empty()).cloned()
        };
        let mime = || text(self.mimes.as_ref(), mimes);
        text(self.texts.as_ref(), texts).map(Class::Text).or_else(|| mime().map(Class::Mime)).unwrap_or(Class::None)
    }

    /// Parses a digest of the algorithm that the header names, or else of the one that fits its length.
    fn digest(&self, hex: &str) -> Option<FileDigest> {
        let named = FileDigest::parse(self.digest_algorithm?, hex).ok();
        named.or_else(|| FileDigest::parse(Algorithm::of_digits(hex.len())?, hex).ok())
    }
}

/// Returns the mode of a file without one in the header: only regular files have digests, only links have targets.
fn likely_mode(link_target: Option<&str>, has_digest: bool) -> u16 {
    match (link_target, has_digest) {
        (Some(_), _) => 0o120_777,
        (None, true) => 0o100_644,
        (None, false) => 0o040_755,
    }
}

/// Returns sizes in bytes. They have 64 bits if a file is larger than 4 GiB, and in v6 packages, else 32.
fn sizes<'b>(columns: &Columns<'_, 'b>) -> NumberColumn<'b> {
    let has_long = columns.is_present(IndexTag::RPMTAG_LONGFILESIZES);
    columns.numbers(if has_long { IndexTag::RPMTAG_LONGFILESIZES } else { IndexTag::RPMTAG_FILESIZES })
}

/// The maximum size of all paths of a package. The largest real packages (texlive, kernel-devel) have less than 10 MiB.
pub(super) const MAX_PATH_BYTES: usize = 256 << 20;
/// The maximum size of all paths of a package per byte of its header. A real file takes at least 80 bytes of header, so
/// real packages stay below 4.
pub(super) const MAX_PATH_BYTES_PER_HEADER_BYTE: usize = 64;

/// Absolute paths in one string.
struct PathColumn {
    text: String,
    /// The end of each path.
    ends: Vec<usize>,
}

impl PathColumn {
    /// Reads directories and base names, or whole names in v3 packages. More than `max_bytes` of paths are refused.
    fn read(columns: &Columns<'_, '_>, max_bytes: usize) -> Result<Self> {
        if let Some(names) = columns.dictionary(IndexTag::RPMTAG_OLDFILENAMES) {
            let mut paths = Self::with_capacity(names.count(), names.bytes());
            names.iter().for_each(|name| paths.push("", name));
            return Ok(paths);
        }
        let Some(names) = columns.dictionary(IndexTag::RPMTAG_BASENAMES) else {
            return Ok(Self::with_capacity(0, 0));
        };
        let dirs = columns.strings(IndexTag::RPMTAG_DIRNAMES);
        let dirs: Vec<&str> = dirs.iter().collect();
        let indexes = columns.numbers(IndexTag::RPMTAG_DIRINDEXES);
        let mut paths = Self::with_capacity(names.count(), names.bytes());
        for (at, name) in names.iter().enumerate() {
            // A file without a directory has its base name alone.
            let dir = indexes.u32_at(at).and_then(|index| dirs.get(index as usize)).copied().unwrap_or_default();
            paths.push(dir, name);
            // A million files in one directory with a name of a megabyte would need a terabyte of paths.
            if paths.text.len() > max_bytes {
                return Err(Error::Header {
                    part: "main header",
                    expected: format!("at most {max_bytes} bytes of paths"),
                    found: "more".into(),
                });
            }
        }
        Ok(paths)
    }

    /// Returns an empty column with capacity for `count` paths whose base names have `name_bytes` bytes.
    fn with_capacity(count: usize, name_bytes: usize) -> Self {
        // Directories are longer than base names.
        const MAX_BYTES: usize = 1 << 20;
        Self { text: String::with_capacity(MAX_BYTES.min(4 * name_bytes)), ends: Vec::with_capacity(count) }
    }

    fn push(&mut self, dir: &str, name: &str) {
        path::push_absolute(&mut self.text, dir, name);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.text[std::mem::replace(&mut start, *end)..*end])
    }
}

/// Strings, and a column of indexes into them.
struct Dictionary<'b> {
    strings: Strings<'b>,
    indexes: NumberColumn<'b>,
}

impl<'b> Dictionary<'b> {
    fn read(columns: &Columns<'_, 'b>, indexes: IndexTag, strings: IndexTag) -> Option<Self> {
        Some(Self { strings: columns.dictionary(strings)?, indexes: columns.numbers(indexes) })
    }
}

fn dictionary_strings<'t, Text: From<&'t str>>(dictionary: Option<&'t Dictionary<'_>>) -> Vec<Text> {
    dictionary.map(|dictionary| dictionary.strings.iter().map(Text::from).collect()).unwrap_or_default()
}
