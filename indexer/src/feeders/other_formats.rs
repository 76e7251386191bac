//! Files of other formats in a directory where nothing was found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use artifact::{Format, elf};
use walkdir::WalkDir;

use crate::feeders::directory::DirectoryWalk;
use crate::feeders::formats::Formats;

/// Limits of the search: the hint may be incomplete.
const MAX_DURATION: Duration = Duration::from_secs(5);
const MAX_FILES: usize = 100_000;

/// Counts files in the directory of a walk by the value of `--formats` that would find them.
pub(crate) fn count(walk: &DirectoryWalk) -> BTreeMap<&'static str, u64> {
    let (started, archives, mut counts) = (Instant::now(), Formats::archives(), BTreeMap::new());
    let is_read = |entry: &walkdir::DirEntry| {
        let below = entry.path().strip_prefix(&walk.root).unwrap_or(entry.path());
        entry.depth() == 0 || walk.filter.exclusion(below, entry.file_type().is_dir()).is_none()
    };
    // The import reported what cannot be read.
    let entries = WalkDir::new(&walk.directory).into_iter().filter_entry(is_read).flatten();
    for entry in entries.filter(|entry| entry.file_type().is_file()).take(MAX_FILES) {
        if started.elapsed() > MAX_DURATION {
            break;
        }
        let format = archives.of(entry.file_name().as_encoded_bytes());
        let format = format.or_else(|| is_elf(entry.path()).then_some(Format::File));
        if let Some(format) = format.filter(|format| !walk.formats.has(*format)) {
            let name = if format == Format::File { "elf" } else { format.as_str() };
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

/// Returns the hint for the operator, `None` without such files.
pub(crate) fn text(counts: &BTreeMap<&'static str, u64>) -> Option<String> {
    if counts.is_empty() {
        return None;
    }
    let names: Vec<&str> = counts.keys().copied().collect();
    let found: Vec<String> = counts.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    Some(format!(
        "nothing found, but files of other formats ({}): give --formats {}",
        found.join(", "),
        names.join(",")
    ))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = elf::MAGIC.map(|_| 0);
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == elf::MAGIC
}
