//! Repositories of Debian: `InRelease` or `Release`, and the `Packages` file that it names.

use repodata::Checksum;
use repodata::checksum::Kind;
use repodata::deb::{IndexFile, Release, split_clearsigned};
use repodata::href::path_below;
use sql::Verified;
use url::Url;

use super::download::{self, Expected, RefreshError};
use super::entries::ListingFile;
use super::signature;
use super::sources::Sources;
use std::path::PathBuf;

/// Maximum number of times that `Release` is read because `Packages` is another one than it states.
const MAX_UPDATES: u32 = 3;

/// The `Packages` file of a repository, as far as it is known.
pub(super) struct Packages {
    /// SHA-256 in lowercase hex. `None`: the file has to be downloaded to know it.
    pub(super) checksum: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) verified: Verified,
    /// Paths below the root to try, the best compression first.
    paths: Vec<String>,
    file: Option<IndexFile>,
}

impl Packages {
    /// Finds the file in the directory `directory` of an archive at `root`.
    ///
    /// # Errors
    /// [`RefreshError`]; also if the signature is not one of `keys`.
    pub(super) async fn find(
        sources: &Sources,
        directory: &Url,
        root: &Url,
        keys: &[PathBuf],
    ) -> Result<Self, RefreshError> {
        let refuse = |error: repodata::Error| RefreshError::Refused(error.to_string());
        let directory = path_of(directory, root)?;
        let (suite, below) = split_suite(&directory);
        let list = join(below, "Packages");
        let Some((name, text)) = release(sources, suite, keys).await? else {
            let paths = [".xz", ".zst", ".gz", ".bz2", ""].map(|ending| join(&directory, &format!("Packages{ending}")));
            return Ok(Self {
                checksum: None,
                revision: None,
                verified: Verified::No,
                paths: paths.into(),
                file: None,
            });
        };
        let verified = if keys.is_empty() { Verified::No } else { Verified::Signature };
        let release = Release::parse(&text).map_err(refuse)?;
        let file = release.find_compressed(&list).cloned();
        let file = file.ok_or_else(|| RefreshError::Refused(format!("{name}: expected {list}, found none")))?;
        let sha256 = file.checksums.iter().find(|checksum| checksum.kind() == Kind::Sha256);
        let mut paths = Vec::new();
        if let Some(sha256) = sha256.filter(|_| release.has_by_hash) {
            let (above, _) = file.path.rsplit_once('/').unwrap_or_default();
            paths.push(join(suite, &join(above, &format!("by-hash/SHA256/{}", sha256.hex()))));
        }
        paths.push(join(suite, &file.path));
        let checksum = sha256.map(Checksum::hex);
        Ok(Self { checksum, revision: release.date, verified, paths, file: Some(file) })
    }

    /// Downloads the file. Returns it with its SHA-256.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub(super) async fn download(&self, sources: &Sources) -> Result<(ListingFile, String), RefreshError> {
        let checksum = self.file.as_ref().and_then(|file| Some((file, file.checksum()?)));
        let expected = checksum.map(|(file, checksum)| Expected { checksum, size: Some(file.size) });
        let mut failed = RefreshError::Refused("Packages: expected a checksum in Release, found none".into());
        if self.file.is_some() && expected.is_none() {
            return Err(failed);
        }
        for path in &self.paths {
            match download::listing(&sources.fetcher, path, expected.clone()).await {
                Ok(downloaded) => {
                    let file = ListingFile { file: downloaded.file, name: path.clone(), open_size: None };
                    return Ok((file, downloaded.sha256));
                }
                Err(error @ RefreshError::Inconsistent(_)) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }
}

/// Finds and downloads the file; `None` if it is the one that was imported last.
///
/// # Errors
/// [`RefreshError`].
pub(super) async fn fetch(
    sources: &Sources,
    (directory, root): (&Url, &Url),
    keys: &[PathBuf],
    imported: Option<&str>,
) -> Result<(Packages, Option<(ListingFile, String)>), RefreshError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let packages = Packages::find(sources, directory, root, keys).await?;
        if packages.checksum.is_some() && packages.checksum.as_deref() == imported {
            return Ok((packages, None));
        }
        match packages.download(sources).await {
            Ok((_, checksum)) if Some(checksum.as_str()) == imported => return Ok((packages, None)),
            Ok(downloaded) => return Ok((packages, Some(downloaded))),
            // It may have been updated meanwhile.
            Err(RefreshError::Inconsistent(_)) if packages.file.is_some() && attempt < MAX_UPDATES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the name and the text of `InRelease` or `Release`; `None` without either. Its signature is checked if there
/// are keys.
async fn release(sources: &Sources, suite: &str, keys: &[PathBuf]) -> Result<Option<(String, String)>, RefreshError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let path = join(suite, "InRelease");
    match download::document(&sources.fetcher, &path).await {
        Ok(bytes) => {
            let file = text(bytes);
            let signed = split_clearsigned(&file).map_err(|error| RefreshError::Refused(error.to_string()))?;
            return match signed {
                // What gpgv writes, not what was split: line ends and spaces before them are not all signed.
                Some(_) if !keys.is_empty() => {
                    let (_, signed) = signature::check_clearsigned(keys, &path, file.as_bytes()).await?;
                    Ok(Some((path, text(signed))))
                }
                Some(signed) => Ok(Some((path, signed.text))),
                None if keys.is_empty() => Ok(Some((path, file))),
                None => Err(RefreshError::Refused(format!("{path}: expected a signature, found none"))),
            };
        }
        Err(RefreshError::Inconsistent(_)) => {}
        Err(error) => return Err(error),
    }
    let path = join(suite, "Release");
    match download::document(&sources.fetcher, &path).await {
        Ok(bytes) => {
            if !keys.is_empty() {
                let signature = download::document(&sources.fetcher, &format!("{path}.gpg")).await?;
                signature::check(keys, &path, &bytes, &signature).await?;
            }
            Ok(Some((path, text(bytes))))
        }
        Err(RefreshError::Inconsistent(_)) if keys.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Splits a directory into the suite, where `Release` is, and the rest: `dists/bookworm` and `main/binary-amd64`. A
/// flat repository is its own suite.
fn split_suite(directory: &str) -> (&str, &str) {
    let is_suite = directory.starts_with("dists/");
    let before_arch = directory.rsplit_once('/').filter(|_| is_suite);
    let before_component = before_arch.and_then(|(before, _)| before.rsplit_once('/'));
    match before_component {
        Some((suite, _)) if suite != "dists" => (suite, directory.get(suite.len() + 1..).unwrap_or_default()),
        _ => (directory, ""),
    }
}

/// Returns the path of a directory below the root.
fn path_of(directory: &Url, root: &Url) -> Result<String, RefreshError> {
    if directory.path().trim_end_matches('/') == root.path().trim_end_matches('/') {
        return Ok(String::new());
    }
    let path = path_below(directory, root).map_err(|error| RefreshError::Refused(error.to_string()))?;
    Ok(path.unwrap_or_default())
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_in_the_directory_of_the_suite() {
        for (directory, suite, rest) in [
            ("dists/bookworm/main/binary-amd64", "dists/bookworm", "main/binary-amd64"),
            (
                "dists/bookworm-security/updates/main/binary-amd64",
                "dists/bookworm-security/updates",
                "main/binary-amd64",
            ),
            ("", "", ""),
            ("flat", "flat", ""),
        ] {
            assert_eq!(split_suite(directory), (suite, rest), "{directory}");
        }
    }
}
