//! Repositories of pacman: `REPO.files`, a tar archive with a description and a list of files of every package
//! (repo-add(8), alpm-repo-files(5)).

use std::io::Read;
use std::ops::ControlFlow;

use artifact::formats::{arch_source, nevra_from_version, walk_tar};

use crate::error::of_artifact;
use crate::lines::Lines;
use crate::listed::{Listed, ListedLink, ListedPackage, ListingSummary, MAX_BUILD_IDS};
use crate::{Checksum, Error, Href, Result};

/// The maximum number of bytes of a description that counts: all its fields.
const MAX_FIELDS_BYTES: usize = 64 << 10;

const NAME: &str = "files database";

/// Calls `each` with every package of a `REPO.files` database, until it breaks off. The database may be compressed,
/// and may unpack to at most `max_bytes`. A `REPO.db`, which has no lists of files, gives packages without links.
///
/// # Errors
/// [`Error::Compression`] where the archive is broken, cut off or larger than allowed; [`Error::Document`] where a line
/// is longer than 4 MiB; the errors of `database`'s own reader. Packages before were listed already.
pub fn read(
    database: impl Read + Send,
    max_bytes: u64,
    mut each: impl FnMut(Listed) -> ControlFlow<()>,
) -> Result<ListingSummary> {
    let mut summary = ListingSummary::default();
    let mut draft = Draft::default();
    let (mut failed, mut is_over) = (None, false);
    let walked = walk_tar(database, max_bytes, |path, contents| {
        // `/NAME-VERSION-RELEASE/desc`: the files of a package follow each other.
        let Some((directory, file)) = path.trim_start_matches('/').split_once('/') else {
            return Ok(ControlFlow::Continue(()));
        };
        if draft.directory != directory {
            is_over = std::mem::take(&mut draft).deliver(&mut summary, &mut each).is_break();
            draft.directory = directory.into();
        }
        if !is_over {
            let read = match file {
                "desc" => draft.read_description(contents),
                "files" => draft.read_files(contents),
                _ => Ok(()),
            };
            failed = read.err();
        }
        Ok(if is_over || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    match failed {
        Some(Error::Compression { expected, found, .. }) => {
            return Err(Error::Compression { name: NAME.into(), expected, found });
        }
        Some(error) => return Err(error),
        None => walked.map_err(|error| of_artifact(error, NAME))?,
    }
    if !is_over {
        // The last one: whether it breaks off counts no more.
        let _ = draft.deliver(&mut summary, &mut each);
    }
    Ok(summary)
}

/// What was read of a package.
#[derive(Default)]
struct Draft {
    directory: String,
    fields: Vec<(&'static str, String)>,
    links: Vec<ListedLink>,
}

impl Draft {
    /// Reads `desc`: `%NAME%`, its value on the next line or lines, an empty line.
    fn read_description(&mut self, contents: &mut (dyn Read + Send)) -> Result<()> {
        const KNOWN: [&str; 9] =
            ["FILENAME", "NAME", "BASE", "VERSION", "ARCH", "CSIZE", "SHA256SUM", "MD5SUM", "BUILDDATE"];
        let mut lines = Lines::new("desc", contents);
        let (mut field, mut bytes) = (None, 0);
        while let Some(line) = lines.next()? {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if let Some(name) = line.strip_prefix('%').and_then(|line| line.strip_suffix('%')) {
                field = KNOWN.into_iter().find(|known| *known == name);
            } else if let Some(name) = field.take().filter(|_| !line.is_empty()) {
                bytes += line.len();
                if bytes > MAX_FIELDS_BYTES {
                    return lines.refuse(format!("at most {MAX_FIELDS_BYTES} bytes of fields"), "more");
                }
                self.fields.push((name, line.into()));
            }
        }
        Ok(())
    }

    /// Reads `files`: `%FILES%`, and one path a line, without the root's slash.
    fn read_files(&mut self, contents: &mut (dyn Read + Send)) -> Result<()> {
        let mut lines = Lines::new("files", contents);
        while let Some(line) = lines.next()? {
            // Most lines are none: they are not copied.
            if !line.starts_with(b"usr/lib/") {
                continue;
            }
            let Some(link) = str::from_utf8(line).ok().and_then(|path| ListedLink::parse(&format!("/{path}"))) else {
                continue;
            };
            self.links.push(link);
            if self.links.len() > MAX_BUILD_IDS {
                return lines.refuse(format!("at most {MAX_BUILD_IDS} build-id links of a package"), "more");
            }
        }
        Ok(())
    }

    fn deliver(
        self,
        summary: &mut ListingSummary,
        each: &mut impl FnMut(Listed) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.directory.is_empty() {
            return ControlFlow::Continue(());
        }
        let directory = self.directory.clone();
        let href = self.field("FILENAME").map(|href| Href { base: None, href: href.into() });
        let listed = match self.finish() {
            Ok(package) => Listed::Package(Box::new(package)),
            Err(reason) => Listed::refused(&directory, href, reason),
        };
        summary.count(&listed);
        each(listed)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn finish(self) -> Result<ListedPackage, String> {
        let needed = |name: &str| self.field(name).ok_or_else(|| format!("expected %{name}% in desc, found none"));
        let nevra = nevra_from_version(needed("NAME")?, needed("VERSION")?, needed("ARCH")?)
            .map_err(|error| error.to_string())?;
        let href = Href { base: None, href: needed("FILENAME")?.into() };
        let checksum = match (self.field("SHA256SUM"), self.field("MD5SUM")) {
            (Some(digits), _) => Checksum::parse("sha256", digits),
            (None, Some(digits)) => Checksum::parse("md5", digits),
            (None, None) => return Err("expected %SHA256SUM% or %MD5SUM% in desc, found neither".into()),
        };
        Ok(ListedPackage {
            checksum: checksum.map_err(|error| error.to_string())?,
            href,
            size: self.field("CSIZE").and_then(|size| size.parse().ok()),
            built_at: self.field("BUILDDATE").and_then(|seconds| seconds.parse().ok()),
            source_rpm: Some(arch_source(self.field("BASE"), &nevra)),
            header_range: None,
            build_ids: Vec::new(),
            rubbish_count: 0,
            nevra,
            links: self.links,
        })
    }
}

#[cfg(test)]
mod tests;
