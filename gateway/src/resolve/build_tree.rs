//! Sources of plain ELF files: the files of a build tree that their DWARF names.
//!
//! A client may ask for any path, so a file is served only if all of this is true:
//! - the DWARF of an ELF file with the build-id that was asked for names it ([`crate::resolve::line_tables`]);
//! - it lies below the directory of the store that the ELF file is in, after `..` and links are resolved;
//! - it was not written after the ELF file: otherwise it may be the source of another build.
//!
//! A relative name is relative to the directory of the ELF file: where the compiler's directory was is not recorded.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use artifact::path;
use sql::Location;

use crate::cache::ExternalFile;
use crate::providers::archives::open_below_root;
use crate::resolve::outcome::{CauseKind, Miss};

/// Opens the source file with the name that DWARF has for it, absolute or relative to the directory of an ELF file at
/// `location`. The ELF file's contents are as of the second `built_at`. Returns the source file and its path on this
/// machine.
///
/// # Errors
/// It is not below the store's directory, not there, or newer.
pub(crate) fn open(location: &Location, name: &str, built_at: i64) -> Result<(ExternalFile, String), Miss> {
    let absent = |expected: &str| Miss::Absent(format!("store {}: {name}: {expected}", location.store.name));
    let root = location.store.root.as_deref().ok_or_else(|| absent("expected a directory of this machine"))?;
    let (path, below) = if name.starts_with('/') {
        (name.to_owned(), below_root(root, name))
    } else {
        let directory = location.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let below = path::below(directory, name);
        (root.join(below.as_deref().unwrap_or(name)).to_string_lossy().into_owned(), below)
    };
    let below = below.ok_or_else(|| absent("expected a path below its directory"))?;
    let file = open_below_root(&Location { path: below, ..location.clone() });
    let file = file.map_err(|error| error.of_store(&location.store.name))?;
    let unknown =
        |error: std::io::Error| Miss::store(&location.store.name, CauseKind::of_io(&error), format!("{path}: {error}"));
    if file.metadata().map_err(unknown)?.mtime() > built_at {
        return Err(absent("expected a file that is not newer than the ELF file"));
    }
    Ok((ExternalFile::new(file).map_err(unknown)?, path))
}

/// The part of an absolute path below the directory `root`, or below what that is a link to.
fn below_root(root: &Path, path: &str) -> Option<String> {
    let canonical = root.canonicalize();
    let roots = [Some(root), canonical.as_deref().ok()];
    let below = roots.into_iter().flatten().find_map(|root| Path::new(path).strip_prefix(root).ok()?.to_str())?;
    (!below.is_empty()).then(|| below.to_owned())
}
