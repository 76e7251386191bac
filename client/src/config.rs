//! Which server is asked: the option, the environment, or the first line of a file.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use reqwest::Url;

use crate::failure::Failure;

const VARIABLE: &str = "DARKSERVER_URL";

/// The original's files; the first one that exists is used.
const FILES: [&str; 2] = ["./darkclient.conf", "/etc/darkclient.conf"];

/// The base URL of the server: `option`, else the environment, else the first line of a configuration file.
pub(crate) fn server(option: Option<&Url>) -> Result<Url, Failure> {
    if let Some(url) = option {
        return Ok(url.clone());
    }
    match env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => base_url(&value.to_string_lossy())
            .map_err(|error| Failure::NoServer(format!("environment variable {VARIABLE}: {error}"))),
        _ => first_file(&FILES.map(Path::new)),
    }
}

fn first_file(files: &[&Path]) -> Result<Url, Failure> {
    for file in files {
        let name = file.display();
        match fs::read(file) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let first_line = text.lines().next().unwrap_or_default();
                return base_url(first_line)
                    .map_err(|error| Failure::NoServer(format!("first line of {name}: {error}")));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !file.is_symlink() => {}
            Err(error) => {
                return Err(Failure::Local(format!(
                    "{name}: {error}; let its users read it, or use --server URL or {VARIABLE}"
                )));
            }
        }
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(Failure::NoServer(format!(
        "no server to ask: write its URL into the first line of {}, or set {VARIABLE}, or use --server URL",
        names.join(" or ")
    )))
}

/// Reads a base URL: with or without a slash at its end, blanks or a byte order mark around it.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("expected the server's URL, found nothing".to_string());
    }
    // What stands before an `@` may be a password.
    let shown = text.rsplit_once('@').map_or_else(|| text.to_string(), |(_, rest)| format!("***@{rest}"));
    let wrong =
        |why: &str| format!("expected the server's URL, as in https://darkserver.example.org, found {shown:?} ({why})");
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing can follow after a query or a fragment"));
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
        let folder = tempfile::tempdir().unwrap();
        let (here, etc) = (folder.path().join("here"), folder.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        assert_eq!(first_file(&[&here, &etc]).unwrap().as_str(), "http://etc.example/");
        fs::write(&here, "http://here.example/\nhttp://ignored.example/\n").unwrap();
        assert_eq!(first_file(&[&here, &etc]).unwrap().as_str(), "http://here.example/");
    }

    #[test]
    fn unusable_file_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (here, etc) = (folder.path().join("here"), folder.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        for text in ["", "\nhttp://second.example/\n", "nonsense\n"] {
            fs::write(&here, text).unwrap();
            let message = first_file(&[&here, &etc]).unwrap_err().to_string();
            assert!(message.contains("here: expected the server's URL"), "{message}");
        }
    }

    #[test]
    fn file_that_cannot_be_read_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (here, etc) = (folder.path().join("here"), folder.path().join("etc"));
        fs::write(&etc, "http://etc.example/\n").unwrap();
        std::os::unix::fs::symlink("nowhere", &here).unwrap();
        let failure = first_file(&[&here, &etc]).unwrap_err();
        assert!(failure.to_string().contains("here: No such file"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
        fs::remove_file(&here).unwrap();
        fs::create_dir(&here).unwrap();
        let failure = first_file(&[&here, &etc]).unwrap_err();
        assert!(failure.to_string().contains("here: Is a directory"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn base_url_loses_blanks_byte_order_mark_and_slashes() {
        for text in ["https://a.example/dark", " https://a.example/dark/\r", "\u{feff}https://a.example/dark//"] {
            assert_eq!(base_url(text).unwrap().as_str(), "https://a.example/dark");
        }
    }

    #[test]
    fn base_url_refuses_what_is_none() {
        for text in
            ["", "  ", "darkserver.example.org", "localhost:8080", "ftp://a.example/", "http://", "http://a.example/?x"]
        {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn base_url_that_is_refused_is_told_without_its_password() {
        for text in [
            "https://me:sec@ret@a.example/?x",
            "ftp://me:secret@a.example/",
            "me:secret@a.example",
            "http://me:sec/ret@a.example/",
        ] {
            let message = base_url(text).unwrap_err();
            assert!(message.contains("\"***@a.example"), "{message}");
            assert!(!message.contains("sec") && !message.contains("ret"), "{message}");
        }
    }
}
