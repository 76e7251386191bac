//! Repositories of pacman: the database with the files of packages, `REPO.files`.

use std::path::PathBuf;

use repodata::href::path_below;
use sql::Verified;
use url::Url;

use super::download::{self, RefreshError};
use super::entries::ListingFile;
use super::signature;
use super::sources::Sources;

/// Downloads the database at `url`, whose directory is the repository. Returns it with its SHA-256. That of `REPO.db`
/// is `REPO.files`, which is beside it.
///
/// # Errors
/// [`RefreshError`]; also if `REPO.files.sig` is not a signature by one of `keys`.
pub(super) async fn fetch(
    sources: &Sources,
    (url, directory): (&Url, &Url),
    keys: &[PathBuf],
) -> Result<(ListingFile, String, Verified), RefreshError> {
    let name = path_below(url, directory).map_err(|error| RefreshError::Refused(error.to_string()))?;
    let name = files_database(&name.unwrap_or_default());
    let downloaded = download::listing(&sources.fetcher, &name, None).await?;
    let mut verified = Verified::No;
    if !keys.is_empty() {
        let signature = download::document(&sources.fetcher, &format!("{name}.sig")).await?;
        signature::check_file(keys, &name, &downloaded.file, &signature).await?;
        verified = Verified::Signature;
    }
    Ok((ListingFile { file: downloaded.file, name, open_size: None }, downloaded.sha256, verified))
}

/// Returns the name of the database with files beside a database.
fn files_database(name: &str) -> String {
    match name.strip_suffix(".db") {
        Some(repository) => format!("{repository}.files"),
        None => name.replace(".db.tar", ".files.tar"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_with_files_is_beside_the_other() {
        for (name, files) in [
            ("core.db", "core.files"),
            ("core.files", "core.files"),
            ("core.db.tar.gz", "core.files.tar.gz"),
            ("core.files.tar.zst", "core.files.tar.zst"),
        ] {
            assert_eq!(files_database(name), files);
        }
    }
}
