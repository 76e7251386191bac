//! Sources of plain ELF files: the files of a build tree that their DWARF names.
//!
//! A client may ask for any path, so three things must hold of a file that is served: the DWARF of an ELF file with the build-id that was
//! asked for names it ([`crate::line_tables`]); it lies below the folder of the store that the ELF file is in, links included; and it was not
//! written after the ELF file was, because then it is the source of another build.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sql::Location;

use crate::archives::open_below_root;
use crate::failure::Failure;
use crate::files::Entry;

/// Opens the source file at `path`, of an ELF file at `location` whose contents are as of the second `built_at`.
///
/// # Errors
/// It is not below the store's folder, not there, or newer.
pub(crate) fn open(location: &Location, path: &str, built_at: i64) -> Result<Entry, Failure> {
    let absent = |why: &str| Failure::Absent(format!("store {}: {path}: {why}", location.store.name));
    let root = location.store.root.as_deref().ok_or_else(|| absent("expected a folder of this machine"))?;
    let canonical = root.canonicalize();
    let roots = [Some(root), canonical.as_deref().ok()];
    let below = roots.into_iter().flatten().find_map(|root| Path::new(path).strip_prefix(root).ok()?.to_str());
    let Some(below) = below.filter(|below| !below.is_empty()) else { return Err(absent("expected a path below its folder")) };
    let file = open_below_root(&Location { path: below.to_owned(), ..location.clone() })?;
    let unknown = |error: std::io::Error| Failure::Unknown(format!("{path}: {error}"));
    if file.metadata().map_err(unknown)?.mtime() > built_at {
        return Err(absent("expected a file that is not newer than the ELF file"));
    }
    Entry::of(file).map_err(unknown)
}
