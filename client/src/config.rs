//! The server's URL: from the option, the environment, or the first line of a file.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use reqwest::Url;

use crate::error::ClientError;

const VARIABLE: &str = "DARKSERVER_URL";

/// The original's files; the first one that exists is used.
const FILES: [&str; 2] = ["./darkclient.conf", "/etc/darkclient.conf"];

/// Returns the base URL of the server: `option`, else that of the environment, else the first line of a configuration
/// file.
pub(crate) fn server_url(option: Option<&Url>) -> Result<Url, ClientError> {
    if let Some(url) = option {
        return Ok(url.clone());
    }
    match env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => parse_base_url(&value.to_string_lossy())
            .map_err(|error| ClientError::NoServer(format!("environment variable {VARIABLE}: {error}"))),
        _ => read_first_file(&FILES.map(Path::new)),
    }
}

fn read_first_file(files: &[&Path]) -> Result<Url, ClientError> {
    for file in files {
        let name = file.display();
        match fs::read(file) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let first_line = text.lines().next().unwrap_or_default();
                return parse_base_url(first_line)
                    .map_err(|error| ClientError::NoServer(format!("first line of {name}: {error}")));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !file.is_symlink() => {}
            Err(error) => {
                return Err(ClientError::Local(format!(
                    "{name}: {error}; let its users read it, or use --server URL or {VARIABLE}"
                )));
            }
        }
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(ClientError::NoServer(format!(
        "no server configured: write its URL into the first line of {}, or set {VARIABLE}, or use --server URL",
        names.join(" or ")
    )))
}

/// Parses a base URL. A slash at its end, and blanks and a byte order mark around it, are removed.
pub(crate) fn parse_base_url(text: &str) -> Result<Url, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("expected the server's URL, found nothing".to_string());
    }
    // The text before an `@` may be a password.
    let shown = text.rsplit_once('@').map_or_else(|| text.to_string(), |(_, rest)| format!("***@{rest}"));
    let invalid = |reason: &str| {
        format!("expected the server's URL, as in https://darkserver.example.org, found {shown:?} ({reason})")
    };
    let mut url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("a base URL has no query or fragment"));
    }
    let path = url.path().trim_end_matches('/').to_string();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_originals_in_its_order() {
        assert_eq!(FILES, ["./darkclient.conf", "/etc/darkclient.conf"]);
    }

    #[test]
    fn first_file_that_exists_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let (here, etc) = (directory.path().join("here"), directory.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        assert_eq!(read_first_file(&[&here, &etc]).unwrap().as_str(), "http://etc.example/");
        fs::write(&here, "http://here.example/\nhttp://ignored.example/\n").unwrap();
        assert_eq!(read_first_file(&[&here, &etc]).unwrap().as_str(), "http://here.example/");
    }

    #[test]
    fn a_file_without_a_url_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (here, etc) = (directory.path().join("here"), directory.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        for text in ["", "\nhttp://second.example/\n", "nonsense\n"] {
            fs::write(&here, text).unwrap();
            let message = read_first_file(&[&here, &etc]).unwrap_err().to_string();
            assert!(message.contains("here: expected the server's URL"), "{message}");
        }
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (here, etc) = (directory.path().join("here"), directory.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        std::os::unix::fs::symlink("nowhere", &here).unwrap();
        let failure = read_first_file(&[&here, &etc]).unwrap_err();
        assert!(failure.to_string().contains("here: No such file"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
        fs::remove_file(&here).unwrap();
        fs::create_dir(&here).unwrap();
        let failure = read_first_file(&[&here, &etc]).unwrap_err();
        assert!(failure.to_string().contains("here: Is a directory"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn base_url_loses_blanks_byte_order_mark_and_slashes() {
        for text in ["https://a.example/dark", " https://a.example/dark/\r", "\u{feff}https://a.example/dark//"] {
            assert_eq!(parse_base_url(text).unwrap().as_str(), "https://a.example/dark");
        }
    }

    #[test]
    fn invalid_base_urls_are_refused() {
        for text in
            ["", "  ", "darkserver.example.org", "localhost:8080", "ftp://a.example/", "http://", "http://a.example/?x"]
        {
            assert!(parse_base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refused_base_url_is_shown_without_its_password() {
        for text in [
            "https://me:sec@ret@a.example/?x",
            "ftp://me:secret@a.example/",
            "me:secret@a.example",
            "http://me:sec/ret@a.example/",
        ] {
            let message = parse_base_url(text).unwrap_err();
            assert!(message.contains("\"***@a.example"), "{message}");
            assert!(!message.contains("sec") && !message.contains("ret"), "{message}");
        }
    }
}
