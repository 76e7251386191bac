//! The files of a header as a table: what [`File`]s are made of, without making them.

use std::sync::Arc;

use rpm::IndexTag;

use super::columns::{Columns, Numbers, Strings};
use super::structure::Checked;
use super::{Class, File, file_digest_algorithm, is_regular, signatures};
use crate::digest::{Algorithm, FileDigest};
use crate::{Error, Result, path};

/// Every file of a header, in header order, as views into the header's bytes.
///
/// Everything is checked when the table is made: it is refused where a [`File`] of it could not be made.
pub struct Table<'b> {
    paths: Paths,
    modes: Numbers<'b, 2>,
    flags: Numbers<'b, 4>,
    mtimes: Numbers<'b, 4>,
    inodes: Numbers<'b, 4>,
    sizes: Sizes<'b>,
    digests: Strings<'b>,
    digest_algorithm: Option<Algorithm>,
    link_targets: Strings<'b>,
    texts: Option<Dictionary<'b>>,
    mimes: Option<Dictionary<'b>>,
    signatures: Option<Strings<'b>>,
}

/// What artifacts are found by: a [`File`] without what only its contents are checked with.
#[derive(Clone, Debug)]
pub struct Row<'t> {
    /// Absolute path, `/usr/bin/hello`.
    pub path: &'t str,
    /// `st_mode`, file type bits included.
    pub mode: u16,
    /// `RPMFILE_*` bits.
    pub flags: u32,
    /// Bytes.
    pub size: u64,
    /// Where a symbolic link points to, as written.
    pub link_target: Option<&'t str>,
    /// What libmagic said of the file when it was packaged.
    pub class: Class<&'t str>,
}

impl Row<'_> {
    /// Is it a regular file whose contents are in the payload?
    pub fn is_regular(&self) -> bool {
        is_regular(self.mode, self.flags)
    }
}

impl<'b> Table<'b> {
    /// The files of an archive whose main header has so many bytes; `digest_algorithm` is its tag 5011.
    pub(super) fn read(checked: &Checked<'b>, header_bytes: usize, digest_algorithm: Option<u32>) -> Result<Self> {
        let columns = Columns::new(&checked.main);
        let paths = Paths::read(&columns, MOST_PATH_BYTES.min(header_bytes * MOST_PATH_BYTES_OF_ONE))?;
        let count = paths.ends.len();
        let table = Self {
            paths,
            modes: columns.numbers(IndexTag::RPMTAG_FILEMODES, count)?,
            flags: columns.numbers(IndexTag::RPMTAG_FILEFLAGS, count)?,
            mtimes: columns.numbers(IndexTag::RPMTAG_FILEMTIMES, count)?,
            inodes: columns.numbers(IndexTag::RPMTAG_FILEINODES, count)?,
            sizes: Sizes::read(&columns, count)?,
            digests: columns.strings(IndexTag::RPMTAG_FILEDIGESTS, count)?,
            digest_algorithm: file_digest_algorithm(digest_algorithm),
            link_targets: columns.strings(IndexTag::RPMTAG_FILELINKTOS, count)?,
            texts: Dictionary::read(&columns, IndexTag::RPMTAG_FILECLASS, IndexTag::RPMTAG_CLASSDICT, count)?,
            mimes: Dictionary::read(&columns, IndexTag::RPMTAG_FILEMIMEINDEX, IndexTag::RPMTAG_MIMEDICT, count)?,
            signatures: signatures::column(&checked.signature, count).or_else(|| signatures::column(&checked.main, count)),
        };
        table.check_digests()?;
        Ok(table)
    }

    /// The rows, in header order: a file's place here is its ordinal.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let texts: Vec<&str> = strings_of(self.texts.as_ref());
        let mimes: Vec<&str> = strings_of(self.mimes.as_ref());
        let mut targets = self.link_targets.iter();
        self.paths.iter().enumerate().map(move |(at, path)| Row {
            path,
            mode: self.modes.at(at).map_or(0, u16::from_be_bytes),
            flags: self.flags.u32_at(at).unwrap_or(0),
            size: self.sizes.at(at).unwrap_or(0),
            link_target: targets.next().filter(|target| !target.is_empty()),
            class: self.class(at, &texts, &mimes),
        })
    }

    /// Makes a [`File`] of each row.
    pub(super) fn files(&self) -> Result<Vec<File>> {
        let texts: Vec<Arc<str>> = strings_of(self.texts.as_ref());
        let mimes: Vec<Arc<str>> = strings_of(self.mimes.as_ref());
        let mut digests = self.digests.iter();
        let mut signatures = self.signatures.iter().flat_map(Strings::iter);
        let mut files = Vec::with_capacity(self.paths.ends.len());
        for (at, row) in self.rows().enumerate() {
            let digest = self.digest_algorithm.zip(digests.next().filter(|hex| !hex.is_empty()));
            files.push(File {
                path: row.path.to_owned(),
                mode: row.mode,
                flags: row.flags,
                size: row.size,
                mtime: self.mtimes.u32_at(at).unwrap_or(0),
                // Without inode numbers every file stands for itself; 0 is what rpm writes for "none".
                inode: self.inodes.u32_at(at).unwrap_or(0),
                digest: digest.map(|(algorithm, hex)| FileDigest::parse(algorithm, hex)).transpose()?,
                link_target: row.link_target.map(str::to_owned),
                class: self.class(at, &texts, &mimes),
                signature: signatures.next().and_then(signatures::parse),
            });
        }
        Ok(files)
    }

    /// libmagic's word on one file. Empty texts, and numbers beyond a dictionary, say nothing.
    fn class<Text: AsRef<str> + Clone>(&self, at: usize, texts: &[Text], mimes: &[Text]) -> Class<Text> {
        let text = |dictionary: Option<&Dictionary<'_>>, strings: &[Text]| {
            let number = dictionary?.numbers.u32_at(at)?;
            strings.get(number as usize).filter(|text| !text.as_ref().is_empty()).cloned()
        };
        let mime = || text(self.mimes.as_ref(), mimes);
        text(self.texts.as_ref(), texts).map(Class::Text).or_else(|| mime().map(Class::Mime)).unwrap_or(Class::None)
    }

    fn check_digests(&self) -> Result<()> {
        let Some(algorithm) = self.digest_algorithm else { return Ok(()) };
        let unsound = self.digests.iter().find(|hex| !hex.is_empty() && !FileDigest::is_sound(algorithm, hex));
        unsound.map_or(Ok(()), |hex| FileDigest::parse(algorithm, hex).map(drop))
    }
}

/// Paths of one package, added up. The largest real packages (texlive, kernel-devel) stay below 10 MiB.
pub(super) const MOST_PATH_BYTES: usize = 256 << 20;
/// Paths of one package for each byte of its header. A real file takes 80 bytes of header and more, so real packages stay below 4.
pub(super) const MOST_PATH_BYTES_OF_ONE: usize = 64;

/// Absolute paths, one after the other.
struct Paths {
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Paths {
    /// Folder + base name, or whole names in v3 packages. More than `most_bytes` of them are refused.
    fn read(columns: &Columns<'_, '_>, most_bytes: usize) -> Result<Self> {
        if let Some(names) = columns.dictionary(IndexTag::RPMTAG_OLDFILENAMES)? {
            let mut paths = Self::with_room(names.count(), names.bytes());
            names.iter().for_each(|name| paths.push("", name));
            return Ok(paths);
        }
        let Some(names) = columns.dictionary(IndexTag::RPMTAG_BASENAMES)? else {
            return Ok(Self::with_room(0, 0));
        };
        let folders = columns.dictionary(IndexTag::RPMTAG_DIRNAMES)?;
        let folders = folders.ok_or(rpm::Error::TagNotFound(IndexTag::RPMTAG_DIRNAMES as u32))?;
        let folders: Vec<&str> = folders.iter().collect();
        let indexes: Numbers<'_, 4> = columns.numbers(IndexTag::RPMTAG_DIRINDEXES, names.count())?;
        let mut paths = Self::with_room(names.count(), names.bytes());
        for (at, name) in names.iter().enumerate() {
            let index = indexes.u32_at(at).unwrap_or(u32::MAX) as usize;
            let folder = folders.get(index).ok_or_else(|| Error::Header {
                part: "main header",
                expected: format!("a folder number below {} for file {at}", folders.len()),
                found: index.to_string(),
            })?;
            paths.push(folder, name);
            // A million files in one folder of a megabyte would unfold to a terabyte.
            if paths.text.len() > most_bytes {
                return Err(Error::Header {
                    part: "main header",
                    expected: format!("at most {most_bytes} bytes of paths"),
                    found: "more".into(),
                });
            }
        }
        Ok(paths)
    }

    /// None yet, with room for so many with names of so many bytes.
    fn with_room(count: usize, name_bytes: usize) -> Self {
        // Folders are longer than names, and most packages need no more.
        const MOST_BYTES: usize = 1 << 20;
        Self { text: String::with_capacity(MOST_BYTES.min(4 * name_bytes)), ends: Vec::with_capacity(count) }
    }

    fn push(&mut self, folder: &str, name: &str) {
        path::push_absolute(&mut self.text, folder, name);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.text[std::mem::replace(&mut start, *end)..*end])
    }
}

/// Sizes in bytes: 32 bits, or 64 where a file has more than 4 GiB and in v6 packages.
enum Sizes<'b> {
    Short(Numbers<'b, 4>),
    Long(Numbers<'b, 8>),
}

impl<'b> Sizes<'b> {
    fn read(columns: &Columns<'_, 'b>, count: usize) -> Result<Self> {
        if columns.is_present(IndexTag::RPMTAG_LONGFILESIZES) {
            return columns.numbers(IndexTag::RPMTAG_LONGFILESIZES, count).map(Self::Long);
        }
        columns.numbers(IndexTag::RPMTAG_FILESIZES, count).map(Self::Short)
    }

    fn at(&self, row: usize) -> Option<u64> {
        match self {
            Self::Short(sizes) => sizes.u32_at(row).map(u64::from),
            Self::Long(sizes) => sizes.at(row).map(u64::from_be_bytes),
        }
    }
}

/// Texts, and a column of numbers of them.
struct Dictionary<'b> {
    strings: Strings<'b>,
    numbers: Numbers<'b, 4>,
}

impl<'b> Dictionary<'b> {
    fn read(columns: &Columns<'_, 'b>, numbers: IndexTag, strings: IndexTag, count: usize) -> Result<Option<Self>> {
        let Some(strings) = columns.dictionary(strings)? else { return Ok(None) };
        Ok(Some(Self { strings, numbers: columns.numbers(numbers, count)? }))
    }
}

fn strings_of<'t, Text: From<&'t str>>(dictionary: Option<&'t Dictionary<'_>>) -> Vec<Text> {
    dictionary.map(|dictionary| dictionary.strings.iter().map(Text::from).collect()).unwrap_or_default()
}
