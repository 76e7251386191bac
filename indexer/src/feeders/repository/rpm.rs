//! The listings of RPM repositories: `primary.xml` and `filelists.xml`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use artifact::Kind;
use repodata::{ListedLink, filelists, primary};
use sql::Claim;

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

/// Calls `each` with the packages of `unread`: first those that `filelists.xml` has links of, with their claims, then
/// the others. Ends early once `each` returns false.
///
/// # Errors
/// If the document is broken.
pub(crate) fn add_filelists(
    file: &mut ListingFile,
    unread: Vec<ListedArchive>,
    mut each: impl FnMut(ListedArchive) -> bool,
) -> repodata::Result<()> {
    let mut by_checksum: HashMap<Vec<u8>, Vec<ListedArchive>> = HashMap::new();
    for package in unread {
        by_checksum.entry(package.checksum.bytes.clone()).or_default().push(package);
    }
    let mut is_stopped = false;
    filelists::read(file.open()?, |found| {
        for mut package in by_checksum.remove(&found.pkgid).unwrap_or_default() {
            add_links(&mut package, &found.links);
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

/// Adds the build-ids of links. One that is claimed already gets the path of its first link.
pub(super) fn add_links(package: &mut ListedArchive, links: &[ListedLink]) {
    let mut at: HashMap<_, usize> =
        package.claims.iter().enumerate().map(|(at, claim)| (claim.build_id.clone(), at)).collect();
    for link in links {
        let claim = at.get(&link.build_id).and_then(|at| package.claims.get_mut(*at));
        let Some(claim) = claim else {
            at.insert(link.build_id.clone(), package.claims.len());
            let link_path = Some(link.path.clone());
            package.claims.push(Claim { build_id: link.build_id.clone(), kind: link.kind, link_path });
            continue;
        };
        claim.link_path.get_or_insert_with(|| link.path.clone());
        if claim.kind != link.kind {
            // A program and its debug file in one package, as some hand-made ones are.
            claim.kind = Kind::Both;
        }
    }
}
