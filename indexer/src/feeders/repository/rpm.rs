//! The listings of RPM repositories: `primary.xml` and `filelists.xml`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use repodata::{filelists, primary};

use super::entries::{Entries, ListingFile};
use super::listing::ListedArchive;
use crate::pipeline::stop::Stop;

/// Reads `primary.xml` to its end.
///
/// # Errors
/// If the document is broken.
pub(crate) fn read_primary(primary: &mut ListingFile, entries: &mut Entries<'_>) -> repodata::Result<()> {
    primary::read(primary.open()?, |entry| entries.add(entry))?;
    Ok(())
}

/// Reads `filelists.xml` to its end without using it: nothing of a broken one is imported.
///
/// # Errors
/// If the document is broken.
pub(crate) fn check_filelists(file: &mut ListingFile, stop: &Stop) -> repodata::Result<()> {
    filelists::read(file.open()?, |_| if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })?;
    Ok(())
}

/// Calls `each` with the packages of `unread`: first those that `filelists.xml` has links of, with these, then
/// the others. Ends early once `each` returns false.
///
/// # Errors
/// If the document is broken.
#[expect(clippy::vec_box, reason = "as the listing has them")]
pub(crate) fn add_filelists(
    file: &mut ListingFile,
    unread: Vec<Box<ListedArchive>>,
    mut each: impl FnMut(Box<ListedArchive>) -> bool,
) -> repodata::Result<()> {
    let mut by_checksum: HashMap<Vec<u8>, Vec<Box<ListedArchive>>> = HashMap::new();
    for package in unread {
        by_checksum.entry(package.checksum.bytes.clone()).or_default().push(package);
    }
    let mut is_stopped = false;
    filelists::read(file.open()?, |found| {
        for mut package in by_checksum.remove(&found.pkgid).unwrap_or_default() {
            package.links.extend_from_slice(&found.links);
            if !each(package) {
                is_stopped = true;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if !is_stopped {
        // An early end is the caller's wish.
        let _ = by_checksum.into_values().flatten().all(each);
    }
    Ok(())
}
