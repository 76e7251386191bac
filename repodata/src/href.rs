//! Where a listing says that a file is.
//!
//! A location has no encoding: dnf takes `+`, `~`, `^`, `%`, `?` and `#` of a `href` literally, and encodes them for
//! the request (libdnf, `urlEncode` of what has no `://`). `a%5Eb.rpm` is requested as `/a%255Eb.rpm`. An `xml:base`,
//! and a `href` that is a whole URL, are encoded already.

use std::io::Read;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::shown;
use crate::xml::Document;
use crate::{Error, Result};

/// The maximum length of a path. PATH_MAX is 4,096.
const MAX_PATH_BYTES: usize = 4096;

/// A location as the metadata has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Href {
    /// `xml:base`: the URL of the directory that `href` is relative to, where that is not the repository.
    pub base: Option<String>,
    /// The path, or a whole URL.
    pub href: String,
}

/// Where a location leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this path below the repository: no slash at its start, no dot segments, not encoded.
    Below(String),
    /// To this URL, whose scheme is http or https. [`path_below`] tells whether it is in a store.
    Url(Url),
}

impl Href {
    /// The `href` and `xml:base` of the element that began last; `None` without `href`.
    pub(crate) fn from_tag<R: Read>(document: &Document<R>) -> Result<Option<Self>> {
        let Some(href) = document.attribute("href")?.filter(|href| !href.trim().is_empty()) else { return Ok(None) };
        let base = document.attribute("xml:base")?.filter(|base| !base.trim().is_empty());
        Ok(Some(Self { base: base.map(|base| base.trim().into()), href: href.trim().into() }))
    }

    /// Where it leads, as dnf resolves it: a leading slash counts for nothing (librepo, `lr_pathconcat`).
    ///
    /// # Errors
    /// [`Error::Href`] for a path with `..`, control characters or more than 4,096 bytes, and for another scheme than
    /// http and https.
    pub fn target(&self) -> Result<Target> {
        if self.href.contains("://") {
            return parse_url(&self.href).map(Target::Url);
        }
        let path = plain_path(&self.href)?;
        let Some(base) = &self.base else { return Ok(Target::Below(path)) };
        let mut url = parse_url(base)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        Ok(Target::Url(url))
    }
}

/// The path of `url` below `base`, not encoded: valid `%XX` are decoded, others stand for themselves. `None` if it is
/// not below it: another host, port or scheme, another directory. Queries do not count.
///
/// # Errors
/// [`Error::Href`] where the path is none of a file: `..` and slashes that were encoded, control characters.
pub fn path_below(url: &Url, base: &Url) -> Result<Option<String>> {
    let is_same = url.scheme() == base.scheme()
        && url.host_str() == base.host_str()
        && url.port_or_known_default() == base.port_or_known_default();
    let rest = url.path().strip_prefix(base.path().trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    let Some(rest) = rest.filter(|_| is_same) else { return Ok(None) };
    let segment = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8().ok();
        decoded.filter(|text| !text.contains('/')).map(|text| text.into_owned())
    };
    let segments: Option<Vec<String>> = rest.split('/').map(segment).collect();
    let refuse = || Error::Href { expected: "a path in UTF-8 without encoded slashes", found: shown(rest) };
    plain_path(&segments.ok_or_else(refuse)?.join("/")).map(Some)
}

/// A path below a repository: without `.` segments and doubled slashes.
fn plain_path(path: &str) -> Result<String> {
    let refuse = |expected| Err(Error::Href { expected, found: shown(path) });
    if path.len() > MAX_PATH_BYTES {
        return refuse("a path of at most 4,096 bytes");
    }
    if path.contains(|c: char| c.is_control()) {
        return refuse("a path without control characters");
    }
    let mut segments = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).peekable();
    if segments.clone().any(|segment| segment == "..") {
        return refuse("a path below the repository, without ..");
    }
    if segments.peek().is_none() || path.ends_with('/') {
        return refuse("a path to a file");
    }
    Ok(segments.collect::<Vec<_>>().join("/"))
}

fn parse_url(text: &str) -> Result<Url> {
    let expected = "an http or https URL without credentials, or a path below the repository";
    let refuse = || Error::Href { expected, found: shown(text) };
    let url = Url::parse(text).map_err(|_| refuse())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_web && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests;
