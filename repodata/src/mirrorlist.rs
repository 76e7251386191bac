//! Mirrorlists: one base URL a line. Nothing in them can be verified.

use url::Url;

use crate::error::shown;
use crate::metalink::web_url;
use crate::{Error, Result};

/// The maximum number of mirrors.
const MAX_MIRRORS: usize = 4096;

/// The base URLs of a mirrorlist, each ending with a slash, in its order. Empty lines and comments (`#`) are passed
/// over, and so are URLs that are not http or https.
///
/// # Errors
/// [`Error::Document`] for a line with a variable (`$basearch`), which only the client's system could replace, for a
/// line that is no URL, as in a page of HTML, and for a list without any mirror.
pub fn read(text: &str) -> Result<Vec<Url>> {
    let mut mirrors = Vec::new();
    let refuse = |line, expected: &str, found| {
        Err(Error::Document { document: "mirrorlist", line, expected: expected.into(), found })
    };
    let mut lines = 0;
    for (number, line) in (1..).zip(text.lines()) {
        lines = number;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains('$') {
            return refuse(number, "a URL without variables", format!("{:?}", shown(line)));
        }
        if !line.contains("://") || line.contains(char::is_whitespace) {
            return refuse(number, "the base URL of a mirror", format!("{:?}", shown(line)));
        }
        let Some(mut url) = web_url(line) else { continue };
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        mirrors.push(url);
        if mirrors.len() > MAX_MIRRORS {
            return refuse(number, "at most 4,096 mirrors", "more".into());
        }
    }
    if mirrors.is_empty() { refuse(lines, "an http or https URL", "none".into()) } else { Ok(mirrors) }
}

#[cfg(test)]
mod tests;
