//! `primary.xml`: the packages of a repository.

use std::io::Read;
use std::ops::{ControlFlow, Range};

use artifact::{BuildId, Nevra};

pub use crate::listed::{Listed, ListedPackage, ListingSummary, RefusedPackage};

use crate::error::shown;
use crate::href::Href;
use crate::listed::{MAX_BUILD_IDS, build_id};
use crate::repomd::read_checksum;
use crate::xml::Document;
use crate::{Checksum, Result};

/// The maximum number of packages that a listing may state. Fedora's largest has some 70,000.
pub const MAX_PACKAGES: u64 = 5_000_000;

/// Calls `each` with every package of a `primary.xml` that is unpacked already, until it breaks off.
///
/// # Errors
/// [`Error::Document`](crate::Error::Document) where the document is broken, ends early or is beyond a limit; the
/// errors of `input`'s own reader. Packages before were listed already.
pub fn read(input: impl Read, mut each: impl FnMut(Listed) -> ControlFlow<()>) -> Result<ListingSummary> {
    let mut document = Document::open("primary.xml", input, "metadata")?;
    let stated_count = document.attribute("packages")?.and_then(|count| count.trim().parse().ok());
    if let Some(stated) = stated_count.filter(|stated| *stated > MAX_PACKAGES) {
        return document.refuse(format!("at most {MAX_PACKAGES} packages"), format!("{stated}"));
    }
    let mut summary = ListingSummary { stated_count, ..ListingSummary::default() };
    while document.next_child()? {
        let is_rpm = document.tag_name() == "package" && document.attribute("type")?.is_none_or(|kind| kind == "rpm");
        if !is_rpm {
            document.skip()?;
            continue;
        }
        let listed = read_package(&mut document)?;
        summary.count(&listed);
        if each(listed).is_break() {
            return Ok(summary);
        }
    }
    document.finish()?;
    Ok(summary)
}

/// The texts of a package before they are checked.
#[derive(Default)]
struct Draft {
    name: String,
    arch: String,
    epoch: String,
    version: String,
    release: String,
    checksum: Option<Result<Checksum>>,
    href: Option<Href>,
    size: Option<u64>,
    built_at: Option<i64>,
    source_rpm: Option<String>,
    header_range: Option<Range<u64>>,
    build_ids: Vec<BuildId>,
    rubbish_count: u32,
}

fn read_package<R: Read>(document: &mut Document<R>) -> Result<Listed> {
    let mut draft = Draft::default();
    while document.next_child()? {
        match document.tag_name() {
            "name" => draft.name = document.read_text()?,
            "arch" => draft.arch = document.read_text()?,
            "version" => {
                for (name, value) in
                    [("epoch", &mut draft.epoch), ("ver", &mut draft.version), ("rel", &mut draft.release)]
                {
                    *value = document.attribute(name)?.map(|value| value.trim().to_owned()).unwrap_or_default();
                }
                document.skip()?;
            }
            "checksum" => draft.checksum = Some(read_checksum(document)?),
            "time" => {
                draft.built_at = number(document, "build")?;
                document.skip()?;
            }
            "size" => {
                draft.size = number(document, "package")?;
                document.skip()?;
            }
            "location" => {
                draft.href = Href::from_tag(document)?;
                document.skip()?;
            }
            "format" => read_format(document, &mut draft)?,
            _ => document.skip()?,
        }
    }
    Ok(draft.finish())
}

fn read_format<R: Read>(document: &mut Document<R>, draft: &mut Draft) -> Result<()> {
    while document.next_child()? {
        match document.tag_name() {
            "sourcerpm" => draft.source_rpm = Some(document.read_text()?).filter(|name| !name.is_empty()),
            "header-range" => {
                if let (Some(start), Some(end)) = (number(document, "start")?, number(document, "end")?) {
                    draft.header_range = Some(start..end).filter(|range: &Range<u64>| range.start < range.end);
                }
                document.skip()?;
            }
            "provides" => {
                while document.next_child()? {
                    if document.attribute("name")?.is_some_and(|name| name == "debuginfo(build-id)") {
                        let id = document.attribute("ver")?.and_then(|text| build_id(&text));
                        match id {
                            Some(id) if draft.build_ids.len() < MAX_BUILD_IDS => draft.build_ids.push(id),
                            Some(_) => {
                                return document.refuse(format!("at most {MAX_BUILD_IDS} build-ids"), "more");
                            }
                            None => draft.rubbish_count = draft.rubbish_count.saturating_add(1),
                        }
                    }
                    document.skip()?;
                }
            }
            _ => document.skip()?,
        }
    }
    Ok(())
}

/// An attribute as a number; `None` where it is none.
fn number<R: Read, N: std::str::FromStr>(document: &Document<R>, name: &str) -> Result<Option<N>> {
    Ok(document.attribute(name)?.and_then(|text| text.trim().parse().ok()))
}

impl Draft {
    fn finish(mut self) -> Listed {
        match (self.check(), self.href.take()) {
            (Ok((nevra, checksum)), Some(href)) => {
                self.build_ids.sort_unstable();
                self.build_ids.dedup();
                Listed::Package(Box::new(ListedPackage {
                    nevra,
                    checksum,
                    href,
                    size: self.size,
                    built_at: self.built_at,
                    source_rpm: self.source_rpm,
                    header_range: self.header_range,
                    build_ids: self.build_ids,
                    links: Vec::new(),
                    rubbish_count: self.rubbish_count,
                }))
            }
            (checked, href) => {
                let reason = checked.err().unwrap_or_else(|| "expected a location, found none".into());
                let Self { name, version, release, arch, .. } = &self;
                let name = if version.is_empty() { name.clone() } else { format!("{name}-{version}-{release}.{arch}") };
                Listed::refused(&name, href, reason)
            }
        }
    }

    /// The parts that have to be there besides the location, or the reason why the package is refused.
    fn check(&mut self) -> Result<(Nevra, Checksum), String> {
        let epoch = match self.epoch.as_str() {
            "" | "0" => None,
            epoch => match epoch.parse::<u32>() {
                Ok(epoch) => Some(epoch),
                Err(_) => return Err(format!("expected a number as epoch, found {:?}", shown(epoch))),
            },
        };
        let nevra = Nevra::from_parts(&self.name, epoch, &self.version, &self.release, &self.arch)
            .map_err(|error| error.to_string())?;
        let checksum = match self.checksum.take() {
            Some(checksum) => checksum.map_err(|error| error.to_string())?,
            None => return Err("expected a checksum, found none".into()),
        };
        Ok((nevra, checksum))
    }
}

#[cfg(test)]
mod tests;
