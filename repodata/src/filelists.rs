//! `filelists.xml`: the files of every package, of which the build-id links count.

use std::io::Read;
use std::ops::ControlFlow;

pub use crate::listed::{ListedLink, ListingSummary};

use crate::Result;
use crate::listed::MAX_BUILD_IDS;
use crate::xml::Document;

/// The build-id links of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageLinks {
    /// The bytes of the package's checksum in `primary.xml`.
    pub pkgid: Vec<u8>,
    /// The links that claim a file of this package. Compat links of debuginfo packages claim none
    /// ([`artifact::links::LinkName::claims`]).
    pub links: Vec<ListedLink>,
}

/// Calls `each` with every package of a `filelists.xml` that has links, until it breaks off. The file is unpacked
/// already. Of a listing no more than the links of one package are in memory.
///
/// Packages whose `pkgid` is none are counted as refused: nothing else tells which package they are.
///
/// # Errors
/// [`Error::Document`](crate::Error::Document) where the document is broken, ends early or is beyond a limit; the
/// errors of `input`'s own reader. Packages before were listed already.
pub fn read(input: impl Read, mut each: impl FnMut(PackageLinks) -> ControlFlow<()>) -> Result<ListingSummary> {
    let mut document = Document::open("filelists.xml", input, "filelists")?;
    let stated_count = document.attribute("packages")?.and_then(|count| count.trim().parse().ok());
    let mut summary = ListingSummary { stated_count, ..ListingSummary::default() };
    let mut path = String::new();
    while document.next_child()? {
        if document.tag_name() != "package" {
            document.skip()?;
            continue;
        }
        summary.package_count += 1;
        let pkgid = document.attribute("pkgid")?.and_then(|digits| pkgid(&digits));
        let mut links = Vec::new();
        while document.next_child()? {
            if document.tag_name() != "file" || pkgid.is_none() {
                document.skip()?;
                continue;
            }
            document.read_text_into(&mut path)?;
            if let Some(link) = ListedLink::parse(path.trim()) {
                links.push(link);
            }
            if links.len() > MAX_BUILD_IDS {
                return document.refuse(format!("at most {MAX_BUILD_IDS} build-id links of a package"), "more");
            }
        }
        let Some(pkgid) = pkgid else {
            summary.refused_count += 1;
            continue;
        };
        if !links.is_empty() && each(PackageLinks { pkgid, links }).is_break() {
            return Ok(summary);
        }
    }
    document.finish()?;
    Ok(summary)
}

fn pkgid(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim();
    let mut bytes = vec![0; digits.len() / 2];
    // An odd number of digits is an error of the decoder.
    faster_hex::hex_decode(digits.as_bytes(), &mut bytes).ok()?;
    Some(bytes).filter(|bytes| (16..=64).contains(&bytes.len()))
}

#[cfg(test)]
mod tests;
