//! Metalinks (version 3, as MirrorManager writes them): what `repomd.xml` has to be, and which mirrors have it.

use std::io::Read;

use url::Url;

use crate::repomd::read_checksum;
use crate::xml::Document;
use crate::{Checksum, Result};

/// The maximum number of URLs. Fedora's has some hundred.
const MAX_MIRRORS: usize = 4096;
/// The maximum number of older files that are still right.
const MAX_ALTERNATES: usize = 256;

/// A metalink's file `repomd.xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metalink {
    /// The newest version.
    pub newest: Version,
    /// Older versions that mirrors may still have (`mm0:alternates`), as the metalink orders them.
    pub alternates: Vec<Version>,
    /// The mirrors, the preferred first.
    pub mirrors: Vec<Mirror>,
}

/// A version of `repomd.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its checksums, the best kind first; unknown kinds are left out.
    pub checksums: Vec<Checksum>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was made, seconds since 1970.
    pub timestamp: Option<i64>,
}

/// A mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The URL of its `repomd.xml`; http or https.
    pub url: Url,
    /// The country, `DE`.
    pub location: Option<String>,
    /// 0 to 100, the best.
    pub preference: u32,
}

impl Mirror {
    /// The URL of the repository, which ends with a slash; `None` if the mirror's file is not `repodata/repomd.xml`.
    pub fn base(&self) -> Option<Url> {
        let base = self.url.path().strip_suffix("repodata/repomd.xml")?;
        let mut url = self.url.clone();
        url.set_path(base);
        Some(url)
    }
}

impl Version {
    /// The best checksum, of SHA-512 to MD5.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksums.first()
    }

    /// True if `bytes` have the size and the best checksum of this version. False if it has no checksum.
    pub fn is_version(&self, bytes: &[u8]) -> bool {
        self.size.is_none_or(|size| size == bytes.len() as u64)
            && self.checksum().is_some_and(|checksum| Checksum::of(checksum.kind(), bytes) == *checksum)
    }
}

impl Metalink {
    /// Reads a metalink to its end.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document) where the document is broken, or has no file `repomd.xml` with a
    /// checksum and a mirror; the errors of `input`'s own reader.
    pub fn read(input: impl Read) -> Result<Self> {
        let mut document = Document::open("metalink", input, "metalink")?;
        let mut found: Option<Self> = None;
        while document.next_child()? {
            if document.tag_name() != "files" {
                document.skip()?;
                continue;
            }
            while document.next_child()? {
                let is_repomd = document.tag_name() == "file"
                    && found.is_none()
                    && document.attribute("name")?.is_some_and(|name| name == "repomd.xml");
                if is_repomd { found = Some(read_file(&mut document)?) } else { document.skip()? }
            }
        }
        let Some(metalink) = found else { return document.refuse("a file repomd.xml", "none") };
        if metalink.newest.checksums.is_empty() {
            return document.refuse("a hash of repomd.xml, md5 to sha512", "none");
        }
        if metalink.mirrors.is_empty() {
            return document.refuse("an http or https URL of repomd.xml", "none");
        }
        document.finish()?;
        Ok(metalink)
    }

    /// True if `repomd` is the newest version or one of the alternates.
    pub fn has_version(&self, repomd: &[u8]) -> bool {
        std::iter::once(&self.newest).chain(&self.alternates).any(|version| version.is_version(repomd))
    }
}

fn read_file<R: Read>(document: &mut Document<R>) -> Result<Metalink> {
    let mut metalink = Metalink { newest: Version::default(), alternates: Vec::new(), mirrors: Vec::new() };
    while document.next_child()? {
        match document.tag_name() {
            "resources" => read_mirrors(document, &mut metalink.mirrors)?,
            "alternates" => {
                while document.next_child()? {
                    if document.tag_name() != "alternate" {
                        document.skip()?;
                        continue;
                    }
                    let mut version = Version::default();
                    while document.next_child()? {
                        read_fact(document, &mut version)?;
                    }
                    metalink.alternates.push(version.sorted());
                    if metalink.alternates.len() > MAX_ALTERNATES {
                        return document.refuse(format!("at most {MAX_ALTERNATES} alternates"), "more");
                    }
                }
            }
            _ => read_fact(document, &mut metalink.newest)?,
        }
    }
    metalink.newest = metalink.newest.sorted();
    // Stable: mirrors of one preference stay in their order, which the metalink chose for us.
    metalink.mirrors.sort_by_key(|mirror| std::cmp::Reverse(mirror.preference));
    Ok(metalink)
}

/// Reads one child of `<file>` or `<alternate>` that states something about the version.
fn read_fact<R: Read>(document: &mut Document<R>, version: &mut Version) -> Result<()> {
    match document.tag_name() {
        "timestamp" => version.timestamp = document.read_text()?.parse().ok(),
        "size" => version.size = document.read_text()?.parse().ok(),
        "verification" => {
            while document.next_child()? {
                if document.tag_name() == "hash" {
                    // Of each kind the first counts.
                    if let Ok(checksum) = read_checksum(document)?
                        && version.checksums.iter().all(|known| known.kind() != checksum.kind())
                    {
                        version.checksums.push(checksum);
                    }
                } else {
                    document.skip()?;
                }
            }
        }
        _ => document.skip()?,
    }
    Ok(())
}

fn read_mirrors<R: Read>(document: &mut Document<R>, mirrors: &mut Vec<Mirror>) -> Result<()> {
    while document.next_child()? {
        if document.tag_name() != "url" {
            document.skip()?;
            continue;
        }
        let location = document.attribute("location")?.map(|location| location.into_owned());
        let preference = document.attribute("preference")?.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if let Some(url) = web_url(&document.read_text()?) {
            mirrors.push(Mirror { url, location, preference });
        }
        if mirrors.len() > MAX_MIRRORS {
            return document.refuse(format!("at most {MAX_MIRRORS} mirrors"), "more");
        }
    }
    Ok(())
}

/// An http or https URL; others (rsync, ftp) are not used.
pub(crate) fn web_url(text: &str) -> Option<Url> {
    Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

impl Version {
    fn sorted(mut self) -> Self {
        self.checksums.sort_by_key(|checksum| std::cmp::Reverse(checksum.kind()));
        self
    }
}

#[cfg(test)]
mod tests;
