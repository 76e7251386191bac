//! The feeder of the command `dir`: a walk over a directory.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use artifact::Format;
use walkdir::{DirEntry, WalkDir};

use crate::feeders::feed::Feed;
use crate::feeders::filter::{Exclusion, PathFilter};
use crate::feeders::formats::Formats;
use crate::fetch::local::LocalCandidate;
use crate::fetch::reader::{ReadOutcome, StillPresent};

/// A walk over a directory of a store.
pub(crate) struct DirectoryWalk {
    /// The store's root, canonical.
    pub(crate) root: PathBuf,
    /// The directory to walk over, canonical: the store's root or a directory below it.
    pub(crate) directory: PathBuf,
    pub(crate) formats: Formats,
    pub(crate) filter: PathFilter,
    /// True if links to directories are followed.
    pub(crate) follow_links: bool,
    pub(crate) found: Arc<AtomicU64>,
    pub(crate) counts: WalkCounts,
}

/// Counts of a walk.
#[derive(Debug, Default)]
pub(crate) struct WalkCounts {
    /// Files of the wanted formats.
    pub(crate) candidates: AtomicU64,
    /// Files and directories that the filter excluded.
    pub(crate) excluded: AtomicU64,
    /// Of these, those excluded by a pattern of the operator.
    pub(crate) excluded_by_pattern: AtomicU64,
}

impl DirectoryWalk {
    /// Walks until all is sent or the import is stopped. Links to directories are followed if requested, and only below
    /// the store's root. Each directory is walked over once, by its own path, under which gateways find its files.
    pub(crate) fn run(&self, feed: &Feed) {
        let (mut walked, mut waiting) = (BTreeSet::new(), vec![self.directory.clone()]);
        while let Some(directory) = waiting.pop() {
            let is_walked = directory.ancestors().any(|above| walked.contains(above));
            if !is_walked && !self.walk(&directory, &walked, feed, &mut waiting) {
                return;
            }
            walked.insert(directory);
        }
    }

    /// Walks over one directory, except those in it that were walked over before. Returns `false` once the import is
    /// stopped.
    fn walk(&self, directory: &Path, walked: &BTreeSet<PathBuf>, feed: &Feed, linked: &mut Vec<PathBuf>) -> bool {
        let mut entries = WalkDir::new(directory).into_iter();
        while let Some(entry) = entries.next() {
            let continues = match entry {
                Ok(entry) if entry.file_type().is_dir() && walked.contains(entry.path()) => {
                    entries.skip_current_dir();
                    !feed.is_stopped()
                }
                Ok(entry) if entry.depth() > 0 && self.count_if_excluded(&entry) => {
                    if entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                    !feed.is_stopped()
                }
                Ok(entry) => match self.format_of(&entry) {
                    // The name of a link to a directory does not determine a format.
                    _ if self.follow_links && entry.path_is_symlink() && entry.path().is_dir() => {
                        self.follow(&entry, linked).is_none_or(|outcome| feed.send_outcome(outcome))
                    }
                    Some(format) => {
                        self.counts.candidates.fetch_add(1, Ordering::Relaxed);
                        // Plain files are not known to be ELF files yet.
                        if format != Format::File {
                            self.found.fetch_add(1, Ordering::Relaxed);
                        }
                        match LocalCandidate::at(&self.root, entry.path(), entry.path_is_symlink(), format) {
                            Ok(candidate) => feed.send_candidate(candidate),
                            Err(_) if format == Format::File => !feed.is_stopped(),
                            Err(outcome) => feed.send_outcome(outcome),
                        }
                    }
                    None => !feed.is_stopped(),
                },
                Err(error) => self.unreadable(&error).is_none_or(|outcome| feed.send_outcome(outcome)),
            };
            if !continues {
                return false;
            }
        }
        true
    }

    /// True if the filter excludes the entry, which is counted then.
    fn count_if_excluded(&self, entry: &DirEntry) -> bool {
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
        let is_directory = entry.file_type().is_dir() || (entry.path_is_symlink() && entry.path().is_dir());
        let Some(exclusion) = self.filter.exclusion(below, is_directory) else { return false };
        self.counts.excluded.fetch_add(1, Ordering::Relaxed);
        if exclusion == Exclusion::ByPattern {
            self.counts.excluded_by_pattern.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Queues the directory that a link leads to. One outside the store's root is reported: gateways open nothing
    /// there.
    fn follow(&self, entry: &DirEntry, linked: &mut Vec<PathBuf>) -> Option<ReadOutcome> {
        // A circular or dangling link is no directory.
        let target = entry.path().canonicalize().ok()?;
        match target.strip_prefix(&self.root) {
            Ok(below) if self.filter.excluded_directory(below).is_none() => linked.push(target),
            Ok(_) => {
                self.counts.excluded.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                let (path, target) = (entry.path().display().to_string(), target.display().to_string());
                return Some(ReadOutcome::OutsideLink { path, target });
            }
        }
        None
    }

    /// Returns the format of an entry. Links to plain files have none: they are other names of files that are found
    /// elsewhere.
    fn format_of(&self, entry: &DirEntry) -> Option<Format> {
        let kind = entry.file_type();
        if !kind.is_file() && !kind.is_symlink() {
            return None;
        }
        let format = self.formats.of(entry.file_name().as_encoded_bytes());
        format.filter(|format| kind.is_file() || *format != Format::File)
    }

    fn unreadable(&self, error: &walkdir::Error) -> Option<ReadOutcome> {
        let io = error.io_error();
        if error.depth() > 0 && io.is_some_and(|io| io.kind() == ErrorKind::NotFound) {
            // The entry was removed after its directory was read.
            return None;
        }
        let path = error.path().unwrap_or(&self.directory);
        let below = path.strip_prefix(&self.root).ok().filter(|_| error.depth() > 0 && error.path().is_some());
        Some(ReadOutcome::Unreadable {
            path: path.display().to_string(),
            reason: io.map_or_else(|| error.to_string(), ToString::to_string),
            still_present: match below.map(Path::to_str) {
                Some(Some(directory)) => StillPresent::Below(directory.into()),
                // The path of a location is always UTF-8.
                Some(None) => StillPresent::Nothing,
                None => StillPresent::Everything,
            },
        })
    }
}
