//! A catalog of the files of an archive without a header.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use super::member::MemberKind;
use super::{ArchiveBytes, Hashed, MAX_PATH_BYTES, ReadMode, regular, walk};
use crate::header::File;
use crate::payload::{refuse, unwrap};
use crate::{Contents, Error, Format, Identity, Result};

/// The maximum number of files in a catalog.
const MAX_FILES: usize = 1 << 19;

/// Every regular file of an archive, by its canonical path. A path that comes twice is the file that came last, as it
/// would be after unpacking; hard links are the file that they link to.
#[derive(Debug, Default)]
pub struct Catalog {
    files: HashMap<String, Listed>,
    bytes: usize,
}

/// One file of a [`Catalog`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// Number of the member whose contents it has.
    pub ordinal: u32,
    /// As [`Contents::tar_offset`](crate::Contents::tar_offset), of that member.
    pub tar_offset: Option<u64>,
    /// Its metadata; the path is that of the member.
    pub file: File,
}

impl Listed {
    fn new(ordinal: u32, path: &str, contents: Contents) -> Self {
        Self { ordinal, tar_offset: contents.tar_offset, file: regular(path, contents) }
    }
}

impl Catalog {
    /// Reads an archive of `archive_bytes` bytes from its first to its last, which has to be the package `identity`.
    ///
    /// # Errors
    /// As [`super::read_archive`]; [`Error::FileDigest`] where it is another package.
    pub fn read(archive: ArchiveBytes<'_>, format: Format, archive_bytes: u64, identity: Identity) -> Result<Self> {
        let mut hasher = Sha256::new();
        let mut catalog = Self::default();
        walk(archive, format, archive_bytes, ReadMode::Whole(&mut hasher), &mut |member, contents| {
            let found = match &member.kind {
                MemberKind::Regular => {
                    let mut hasher = Sha256::new();
                    io::copy(&mut Hashed { input: contents, hasher: Some(&mut hasher) }, &mut io::sink())
                        .map_err(unwrap)?;
                    Listed::new(member.ordinal, &member.path, member.contents(hasher.finalize().into()))
                }
                MemberKind::HardLink(target) => match catalog.files.get(target) {
                    Some(found) => found.clone(),
                    None => return Ok(ControlFlow::Continue(())),
                },
                MemberKind::Other => return Ok(ControlFlow::Continue(())),
            };
            catalog.bytes += size_of_val(&found) + found.file.path.len() + member.path.len();
            catalog.files.insert(member.path.clone(), found);
            if catalog.files.len() > MAX_FILES || catalog.bytes > MAX_FILES * size_of::<Listed>() + 2 * MAX_PATH_BYTES {
                return refuse(format!("at most {MAX_FILES} files to list in an archive"), "more");
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let found = Identity::from_bytes(hasher.finalize().into());
        if found != identity {
            let (expected, found) = (identity.to_string(), found.to_string());
            return Err(Error::FileDigest { path: "the archive".into(), algorithm: "SHA-256", expected, found });
        }
        Ok(catalog)
    }

    /// The file at a canonical path.
    pub fn file(&self, path: &str) -> Option<&Listed> {
        self.files.get(path)
    }

    /// The only file with one of `paths` that ends with `suffix`. Paths of one file, as hard links are, count as one,
    /// of which the first in order is returned.
    ///
    /// `None` if there is no such file; `Some(None)` if there are several.
    pub fn only_file(&self, suffix: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Option<(&str, &Listed)>> {
        let mut files = self.files.iter().filter(|(path, _)| path.ends_with(suffix) && is_wanted(path));
        let (mut first, file) = files.next()?;
        for (path, other) in files {
            if other.ordinal != file.ordinal {
                return Some(None);
            }
            first = first.min(path);
        }
        Some(Some((first, file)))
    }

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_finds_the_only_file_with_it() {
        let contents = Contents { size: 0, mtime: 0, sha256: [0; 32], tar_offset: None };
        let paths = [("/s/a/x.c", 0), ("/s/b/x.c", 1), ("/s/c/y.c", 2), ("/s/b/y.c", 2), ("/t/z.c", 3), ("/s/z.c", 4)];
        let files = paths.map(|(path, ordinal)| (path.to_owned(), Listed::new(ordinal, path, contents)));
        let catalog = Catalog { files: files.into(), bytes: 0 };
        let find = |suffix: &str| {
            let found = catalog.only_file(suffix, |path| path.starts_with("/s/"));
            found.map(|found| found.map(|(path, listed)| (path, listed.ordinal)))
        };
        assert_eq!(find("/x.c"), Some(None));
        assert_eq!(find("/a/x.c"), Some(Some(("/s/a/x.c", 0))));
        assert_eq!(find("/y.c"), Some(Some(("/s/b/y.c", 2))));
        assert_eq!(find("/z.c"), Some(Some(("/s/z.c", 4))));
        assert_eq!(find("/t/z.c"), None);
        assert_eq!(find("/w.c"), None);
    }
}
