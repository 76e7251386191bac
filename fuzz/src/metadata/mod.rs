//! What must hold of the metadata of repositories, however broken: the targets whose subject is the crate `repodata`.
//! `repodata/tests/corpus.rs` calls them with the inputs that are kept.

pub mod arch;
pub mod deb;
pub mod filelists;
pub mod metalink;
pub mod primary;
pub mod repomd;

use std::io::{self, Read};
use std::ops::ControlFlow;

use repodata::href::Target;
use repodata::{Error, Href, Listed, ListedLink, ListedPackage, ListingSummary, MIN_BUILD_ID_BYTES, Result};

/// A message that names what was found must not carry all of it: it goes into logs and answers.
pub fn is_short(error: &Error) {
    is_short_text(&error.to_string());
}

fn is_short_text(message: &str) {
    const MAX_BYTES: usize = 4096;
    assert!(message.len() <= MAX_BYTES, "a message of {} bytes: {message:.200}", message.len());
}

/// Passes on one byte at a time: results must not depend on the size of reads.
pub struct Trickle<'a>(pub &'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

/// All that a reader lists, and its end.
pub fn list(
    read: impl FnOnce(&mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<ListingSummary>,
) -> (Vec<Listed>, Result<ListingSummary, String>) {
    let mut all = Vec::new();
    let end = read(&mut |listed| {
        all.push(listed);
        ControlFlow::Continue(())
    });
    let end = end.map_err(|error| error.to_string());
    let refused = all.iter().filter(|listed| matches!(listed, Listed::Refused(_))).count();
    match &end {
        Ok(summary) => {
            assert_eq!((summary.package_count, summary.refused_count), (all.len() as u64, refused as u64));
        }
        Err(message) => is_short_text(message),
    }
    for listed in &all {
        match listed {
            Listed::Package(package) => is_sound(package),
            Listed::Refused(refused) => {
                is_short_text(&refused.name);
                is_short_text(&refused.reason);
            }
        }
    }
    (all, end)
}

/// A package that can be named, with a location that stays below its repository.
fn is_sound(package: &ListedPackage) {
    let nevra = &package.nevra;
    for part in [&nevra.name, &nevra.version, &nevra.release, &nevra.arch] {
        assert!(!part.is_empty() && !part.contains(|c: char| c == '/' || c.is_control()), "{nevra:?}");
    }
    is_below(&package.href);
    assert_eq!(package.checksum.bytes().len(), package.checksum.kind().digest_bytes());
    assert!(package.build_ids.is_sorted_by(|one, next| one < next), "{:?}", package.build_ids);
    assert!(package.build_ids.iter().all(|id| id.as_bytes().len() >= MIN_BUILD_ID_BYTES));
    assert!(package.header_range.as_ref().is_none_or(|range| range.start < range.end));
    package.links.iter().for_each(is_link);
}

/// A location leads below the repository, to an http or https URL, or nowhere.
pub fn is_below(href: &Href) {
    match href.target() {
        Ok(Target::Below(path)) => {
            let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
            assert!(path.split('/').all(is_plain) && !path.contains(char::is_control), "{path:?} of {href:?}");
            let again = Href { base: None, href: path.clone() };
            if !path.contains("://") {
                assert_eq!(again.target().ok(), Some(Target::Below(path)));
            }
        }
        Ok(Target::Url(url)) => {
            assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url} of {href:?}");
            assert!(url.username().is_empty() && url.password().is_none(), "{url} of {href:?}");
        }
        Err(error) => is_short(&error),
    }
}

/// A link whose path has its build-id's digits.
pub fn is_link(link: &ListedLink) {
    let digits: String = link.path.to_lowercase().chars().filter(|c| *c != '/').collect();
    assert!(link.path.starts_with("/usr/lib/") && digits.contains(&link.build_id.to_string()), "{link:?}");
    assert!(link.build_id.as_bytes().len() >= MIN_BUILD_ID_BYTES, "{link:?}");
}
