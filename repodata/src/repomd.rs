//! `repomd.xml`: which metadata files a repository has.

use std::io::Read;

use crate::error::shown;
use crate::href::Href;
use crate::xml::Document;
use crate::{Checksum, Error, Result};

/// The maximum number of entries. Real ones have up to twenty.
const MAX_ENTRIES: usize = 1024;

/// A `repomd.xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repomd {
    /// Usually seconds since 1970; any text.
    pub revision: Option<String>,
    /// Its entries in their order. Those of a kind other than primary and filelists that lack what is needed are left
    /// out.
    pub entries: Vec<Entry>,
    /// The list of packages, which every repository has; also among the entries.
    pub primary: Entry,
}

/// A metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `primary`, `filelists`, `primary_zck`, `updateinfo`...
    pub kind: String,
    /// Where it is, relative to the repository, not to `repodata/`.
    pub href: Href,
    /// Of the file.
    pub checksum: Checksum,
    /// Of what it unpacks to.
    pub open_checksum: Option<Checksum>,
    /// Bytes of the file.
    pub size: Option<u64>,
    /// Bytes that it unpacks to.
    pub open_size: Option<u64>,
    /// When it was made, seconds since 1970.
    pub timestamp: Option<i64>,
}

impl Repomd {
    /// Reads a `repomd.xml` to its end.
    ///
    /// # Errors
    /// [`Error::Document`] where the document is broken, has no primary, or has a primary or filelists that lack
    /// location or checksum; [`Error::Io`] and the errors of `input`'s own reader.
    pub fn read(input: impl Read) -> Result<Self> {
        let mut document = Document::open("repomd.xml", input, "repomd")?;
        let (mut revision, mut entries) = (None, Vec::new());
        while document.next_child()? {
            match document.tag_name() {
                "revision" => revision = Some(document.read_text()?).filter(|text| !text.is_empty()),
                "data" => entries.extend(read_entry(&mut document)?),
                _ => document.skip()?,
            }
            if entries.len() > MAX_ENTRIES {
                return document.refuse(format!("at most {MAX_ENTRIES} metadata files"), "more");
            }
        }
        let Some(primary) = entries.iter().find(|entry| entry.kind == "primary").cloned() else {
            let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
            return document.refuse("an entry of type primary", shown(&format!("[{}]", kinds.join(", "))));
        };
        document.finish()?;
        Ok(Self { revision, entries, primary })
    }

    /// The entry of a kind: the first with exactly this name, so never its zchunk or database sibling (`*_zck`,
    /// `*_db`).
    pub fn find(&self, kind: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.kind == kind)
    }
}

/// Reads `<data>`; `None` if it is incomplete and not required.
fn read_entry<R: Read>(document: &mut Document<R>) -> Result<Option<Entry>> {
    let kind = document.attribute("type")?.map(|kind| kind.trim().to_owned()).unwrap_or_default();
    let is_needed = matches!(kind.as_str(), "primary" | "filelists");
    let (mut href, mut checksum, mut open_checksum) = (None, None, None);
    let (mut size, mut open_size, mut timestamp) = (None, None, None);
    while document.next_child()? {
        match document.tag_name() {
            "location" => {
                href = Href::from_tag(document)?;
                document.skip()?;
            }
            "checksum" => checksum = Some(read_checksum(document)?),
            "open-checksum" => open_checksum = Some(read_checksum(document)?),
            "size" => size = document.read_text()?.parse().ok(),
            "open-size" => open_size = document.read_text()?.parse().ok(),
            // createrepo wrote fractions of seconds once.
            "timestamp" => timestamp = document.read_text()?.split('.').next().and_then(|text| text.parse().ok()),
            _ => document.skip()?,
        }
    }
    // A checksum of an unknown kind is an error only where it matters.
    match (href, checksum.transpose(), open_checksum.transpose()) {
        (Some(href), Ok(Some(checksum)), Ok(open_checksum)) => {
            Ok(Some(Entry { kind, href, checksum, open_checksum, size, open_size, timestamp }))
        }
        _ if !is_needed => Ok(None),
        (_, Err(Error::Checksum { expected, found }), _) | (_, _, Err(Error::Checksum { expected, found })) => {
            document.refuse(format!("{expected} as checksum of {kind}"), format!("{found:?}"))
        }
        (None, ..) => document.refuse(format!("a location of {kind}"), "none"),
        _ => document.refuse(format!("a checksum of {kind}"), "none"),
    }
}

/// Reads `<checksum type="KIND">HEX</checksum>`. The inner error is [`Error::Checksum`].
pub(crate) fn read_checksum<R: Read>(document: &mut Document<R>) -> Result<Result<Checksum>> {
    let kind = document.attribute("type")?.map(|kind| kind.into_owned()).unwrap_or_default();
    let digits = document.read_text()?;
    Ok(Checksum::parse(&kind, &digits))
}

#[cfg(test)]
mod tests;
