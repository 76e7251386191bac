//! The proof that an upstream has a file: a login page has status 200, too.
//!
//! An executable or debuginfo is an ELF file, and not one with another build-id. A source or section can be any bytes,
//! so the answer must not be a page of HTML, and must come from where it was asked for, unless headers of debuginfod
//! come with it.

use artifact::{BuildId, elf};
use http_client::{begins_page, is_html};
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use tokio::time::timeout_at;
use url::Url;

use crate::providers::Fault;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::CauseKind;
use crate::resolve::question::{Question, Resource};

/// The build-id note is searched for in so many bytes.
const MAX_NOTE_BYTES: usize = 64 << 10;
/// An HTML page shows itself in so many bytes.
const PAGE_BYTES: usize = 512;

/// What the first bytes and the headers of an answer prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is what was asked for: the ELF file states the build-id, headers of debuginfod come with it, or a source or
    /// section comes from where it was asked for.
    Given,
    /// It is a redirect that another gateway has checked, and has no bytes.
    Redirected,
    /// An ELF file without a note near its start and without headers: only all of it can prove something.
    Pending,
}

/// Reads as much of a response with status 200 as tells whether it is what was asked for at `asked`, and returns the
/// bytes that were read. The note of a file whose bytes come slowly is searched for until `note_deadline`.
///
/// # Errors
/// The answer is something else than was asked for: what was expected and what was found.
pub(super) async fn read(
    response: &mut Response,
    asked: &Url,
    question: &Question,
    note_deadline: Deadline,
) -> Result<(Vec<u8>, Proof), Fault> {
    let has_headers = has_debuginfod_headers(response.headers());
    match question.resource {
        Resource::Artifact(_) => {
            let mut start = elf_start(response).await?;
            let searched = search_note(response, &mut start, &question.build_id);
            let has_note = match timeout_at(note_deadline.end().into(), searched).await {
                Ok(found) => found?,
                // Its bytes come too slowly to find the note in time.
                Err(_) => false,
            };
            let proof = if has_note || has_headers { Proof::Given } else { Proof::Pending };
            Ok((start, proof))
        }
        // A source can be empty; a server that states so, and has its headers, did not send it by mistake.
        Resource::Source(_) if has_headers && is_empty(response.headers()) => Ok((Vec::new(), Proof::Given)),
        Resource::Section(_) | Resource::Source(_) if has_headers => Ok((read_start(response, 1).await?, Proof::Given)),
        Resource::Section(_) | Resource::Source(_) => {
            if is_html(response.headers()) {
                return Err(wrong("expected the bytes of a file, found a page of HTML"));
            }
            if !is_same_place(response.url(), asked) {
                return Err(wrong("expected the headers of debuginfod where a redirect leads, found none"));
            }
            let start = read_start(response, PAGE_BYTES).await?;
            if begins_page(&start) {
                return Err(wrong("expected the bytes of a file, found those of a page of HTML"));
            }
            Ok((start, Proof::Given))
        }
    }
}

/// True if a response has a header by which debuginfod servers tell of files.
fn has_debuginfod_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-debuginfod-"))
}

/// True if a response states that its body has no byte.
fn is_empty(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0")
}

/// True if a response came from the URL that was asked, or from the same place by https.
fn is_same_place(found: &Url, asked: &Url) -> bool {
    let is_same_scheme = found.scheme() == asked.scheme() && found.port() == asked.port();
    let is_upgraded = asked.scheme() == "http" && found.scheme() == "https";
    (is_same_scheme || is_upgraded)
        && found.host() == asked.host()
        && found.path() == asked.path()
        && found.query() == asked.query()
}

/// At least `min_bytes` from the start of a body, or all of a shorter one, which must not be empty.
async fn read_start(response: &mut Response, min_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut start = Vec::new();
    while start.len() < min_bytes {
        match response.chunk().await? {
            Some(chunk) => start.extend_from_slice(&chunk),
            None => break,
        }
    }
    if start.is_empty() { Err(wrong("expected the bytes of a file, found none")) } else { Ok(start) }
}

async fn elf_start(response: &mut Response) -> Result<Vec<u8>, Fault> {
    let start = read_start(response, elf::MAGIC.len()).await?;
    if !start.starts_with(&elf::MAGIC) {
        let shown = faster_hex::hex_string(&start[..start.len().min(8)]);
        return Err(wrong(format!("expected the bytes of an ELF file, found {shown:?}")));
    }
    Ok(start)
}

/// Searches for the note with `build_id` in `bytes`, which grow by what is read. False if there is no note at all: it
/// may stand further behind.
///
/// # Errors
/// There are notes with other build-ids, and none with this one.
async fn search_note(response: &mut Response, bytes: &mut Vec<u8>, build_id: &BuildId) -> Result<bool, Fault> {
    /// Of a note: words, name, the longest build-id.
    const NOTE_BYTES: usize = 16 + BuildId::MAX_BYTES;
    let (mut searched, mut other) = (0, None);
    loop {
        for found in elf::build_id_notes(&bytes[searched..]) {
            if found == *build_id {
                return Ok(true);
            }
            other = other.or(Some(found));
        }
        if bytes.len() >= MAX_NOTE_BYTES {
            break;
        }
        searched = bytes.len().saturating_sub(NOTE_BYTES);
        match response.chunk().await? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => break,
        }
    }
    other.map_or(Ok(false), |other| {
        Err(wrong(format!("expected an ELF file with build-id {build_id}, found one with {other}")))
    })
}

/// An answer that is something else than was asked for.
fn wrong(text: impl Into<String>) -> Fault {
    Fault::new(CauseKind::Wrong, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_upgrade_to_https_is_the_same_place() {
        let url = |text: &str| Url::parse(text).unwrap();
        let asked = url("http://d.example/buildid/ab/source/x%20y.c");
        for (found, is_same) in [
            ("http://d.example/buildid/ab/source/x%20y.c", true),
            ("https://d.example/buildid/ab/source/x%20y.c", true),
            ("http://d.example:8002/buildid/ab/source/x%20y.c", false),
            ("http://d.example/login?next=/buildid/ab/source/x%20y.c", false),
            ("https://sso.example/buildid/ab/source/x%20y.c", false),
            ("http://d.example/buildid/ab/source/x%20y.c?login", false),
        ] {
            assert_eq!(is_same_place(&url(found), &asked), is_same, "{found}");
        }
        assert!(!is_same_place(&url("http://d.example/x"), &url("https://d.example/x")));
    }
}
