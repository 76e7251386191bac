//! Configuration files, for every program that has some.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Error, Result, redact_passwords};

/// Maximum size of a configuration file.
const MAX_BYTES: u64 = 1024 * 1024;

/// Returns the text of a configuration file, `None` if nothing has this path.
///
/// # Errors
/// [`Error::File`] if it cannot be read, or is a link to a missing file; [`Error::Configuration`] if it is no regular
/// file, larger than 1 MiB, or no text in UTF-8.
pub fn read_file(path: &Path) -> Result<Option<String>> {
    let refuse = |expected: &str, found: String| {
        Err(Error::Configuration { path: path.into(), expected: expected.into(), found })
    };
    let fail = |source: io::Error| Err(Error::File { path: path.into(), source });
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Ok(target) = path.read_link() else { return Ok(None) };
            let target = target.display();
            let text = format!("expected a file, found a link to {target}, which does not exist: make that file");
            return fail(io::Error::new(ErrorKind::NotFound, text));
        }
        Err(error) => return fail(error),
    };
    // Before it is opened: to open a FIFO is to wait for a writer.
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "a pipe, a device or a socket" };
        return refuse("a regular file", format!("{found}: write the configuration to a file"));
    }
    if metadata.len() > MAX_BYTES {
        return refuse("at most 1 MiB", format!("{} bytes", metadata.len()));
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(error),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            refuse("text in UTF-8", format!("other bytes from byte {at} on: save it as UTF-8"))
        }
    }
}

/// Reads a configuration file in TOML; the default if nothing has this path and it need not exist.
///
/// # Errors
/// Those of [`read_file`]; [`Error::Configuration`] if it does not exist and must; [`Error::Toml`] if its text is no
/// TOML or holds other keys or values than a `T`.
pub fn read_toml<T: DeserializeOwned + Default>(path: &Path, must_exist: bool) -> Result<T> {
    let Some(text) = read_file(path)? else {
        if !must_exist {
            return Ok(T::default());
        }
        return Err(Error::Configuration { path: path.into(), expected: "a file".into(), found: "none".into() });
    };
    toml::from_str(&text).map_err(|mut error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        // The message would quote the line, which can hold a password.
        error.set_input(None);
        let found = error.to_string().lines().collect::<Vec<_>>().join(" ");
        Error::Toml { path: path.into(), line, found: redact_passwords(&found) }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_that_is_no_text_file_is_refused_and_a_missing_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("text"), "é").unwrap();
        fs::write(path("binary"), b"a\xff").unwrap();
        fs::File::create(path("large")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(read_file(&path("missing")).unwrap(), None);
        assert_eq!(read_file(&path("text")).unwrap().as_deref(), Some("é"));
        for (name, expected) in [
            (".", "expected a regular file, found a directory"),
            ("fifo", "expected a regular file, found a pipe"),
            ("dangling", "expected a file, found a link to nowhere"),
            ("large", "expected at most 1 MiB, found 1048577 bytes"),
            ("binary", "expected text in UTF-8, found other bytes from byte 1 on"),
        ] {
            let message = read_file(&path(name)).unwrap_err().to_string();
            assert!(message.contains(expected), "{name}: {message}");
        }
    }
}
