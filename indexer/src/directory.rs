//! A feeder: the walk over a folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use artifact::Format;
use walkdir::{DirEntry, WalkDir};

use crate::feed::Feed;
use crate::formats::Formats;
use crate::read::{Candidate, Keeps, Outcome};

/// A walk over a folder of a store.
pub(crate) struct Walk {
    root: PathBuf,
    folder: PathBuf,
    formats: Formats,
    found: Arc<AtomicU64>,
}

impl Walk {
    /// A walk over `folder`, which is the store's root or lies below it; both are canonical.
    pub(crate) fn new(root: PathBuf, folder: PathBuf, formats: Formats, found: Arc<AtomicU64>) -> Self {
        Self { root, folder, formats, found }
    }

    /// Walks, until all is done or nobody listens any more. Links to folders are not followed: they could lead in a circle, or out
    /// of the store.
    pub(crate) fn run(&self, feed: &Feed) {
        for entry in WalkDir::new(&self.folder) {
            let goes_on = match entry {
                Ok(entry) => match self.format(&entry) {
                    Some(format) => {
                        // Of plain files nobody knows yet whether they are ELF.
                        if format != Format::File {
                            self.found.fetch_add(1, Ordering::Relaxed);
                        }
                        match Candidate::new(&self.root, entry.path(), entry.path_is_symlink(), format) {
                            Ok(candidate) => feed.candidate(candidate),
                            Err(_) if format == Format::File => !feed.is_stopped(),
                            Err(outcome) => feed.outcome(outcome),
                        }
                    }
                    None => !feed.is_stopped(),
                },
                Err(error) => self.unreadable(&error).is_none_or(|outcome| feed.outcome(outcome)),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// What an entry is looked at as. Links to plain files are not: they are other names of files that are somewhere, too.
    fn format(&self, entry: &DirEntry) -> Option<Format> {
        let kind = entry.file_type();
        if !kind.is_file() && !kind.is_symlink() {
            return None;
        }
        let format = self.formats.of(entry.file_name().as_encoded_bytes());
        format.filter(|format| kind.is_file() || *format != Format::File)
    }

    fn unreadable(&self, error: &walkdir::Error) -> Option<Outcome> {
        let io = error.io_error();
        if error.depth() > 0 && io.is_some_and(|io| io.kind() == ErrorKind::NotFound) {
            // It was removed since its folder was read.
            return None;
        }
        let path = error.path().unwrap_or(&self.folder);
        let below = path.strip_prefix(&self.root).ok().filter(|_| error.depth() > 0 && error.path().is_some());
        Some(Outcome::Unreadable {
            path: path.display().to_string(),
            wrong: io.map_or_else(|| error.to_string(), ToString::to_string),
            keeps: match below.map(Path::to_str) {
                Some(Some(folder)) => Keeps::Folder(folder.into()),
                // No location has a path that is no UTF-8.
                Some(None) => Keeps::Nothing,
                None => Keeps::Everything,
            },
        })
    }
}
