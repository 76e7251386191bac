//! `/source/PATH` of what has no header: out of a catalog of the archive, or, for plain ELF files, out of the folder of their store.

use std::sync::Arc;
use std::time::Instant;

use artifact::Kind;
use artifact::foreign::Catalog;
use sql::{Record, StoredPackage};

use super::member::{Begin, FIRST_BYTES_WITHIN, LEAST_PATIENCE, Need};
use super::{Run, found};
use crate::answer::Found;
use crate::archives::Wanted;
use crate::failure::Failure;
use crate::plain;

impl Run<'_> {
    /// The source file at a canonical path in an archive without a header.
    pub(super) async fn source_in_foreign(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Found> {
        let catalog = self.catalog(package).await?;
        let (ordinal, file) = catalog.file(path)?;
        let wanted = Wanted { ordinal: *ordinal, file: Some(Arc::new(file.clone())) };
        let entry = self.member(package, wanted, None, Need::First, None).await?;
        Some(found(entry.content(), path, package))
    }

    /// What is in a package without a header, from the first of its locations that tells it. Like an extraction it may take longer than
    /// the budget, as long as bytes come.
    async fn catalog(&mut self, package: &StoredPackage) -> Option<Arc<Catalog>> {
        let archives = self.search.archives.clone();
        if let Some(catalog) = archives.known_catalog(package).await {
            return Some(catalog);
        }
        let turn = match self.turn(|| archives.known_catalog(package)).await {
            Ok(Begin::Now(turn)) => turn,
            Ok(Begin::Here(catalog)) => return Some(catalog),
            Err(failure) => {
                self.failed(failure);
                return None;
            }
        };
        let turn = Arc::new(turn);
        for location in archives.locations(package) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let patience = self.search.patience.min(left).max(LEAST_PATIENCE);
            let made = tokio::time::timeout(FIRST_BYTES_WITHIN, archives.catalog(package, location, &turn, patience)).await;
            match made {
                Ok(Ok(catalog)) => return Some(catalog),
                Ok(Err(failure)) => self.failed_at(location, failure).await,
                Err(_) => {
                    let nvra = &package.package.nevra;
                    self.causes.push(format!("{nvra}: expected to have read it within {FIRST_BYTES_WITHIN:?}, it goes on"));
                    return None;
                }
            }
        }
        None
    }

    /// The source file of a plain ELF file, in the folder of its own store.
    pub(super) async fn source_of_plain(&mut self, record: &Record, path: &str) -> Option<Found> {
        let Record { package, artifact } = record;
        if artifact.kind != Kind::Debuginfo || artifact.dwarf != Some(true) {
            return None;
        }
        let (entry, sources) = self.line_tables(record).await?;
        if !sources.has(path) {
            return None;
        }
        for location in package.present() {
            let (at, wanted, built_at) = (location.clone(), path.to_owned(), entry.mtime());
            let opened = tokio::task::spawn_blocking(move || plain::open(&at, &wanted, built_at)).await;
            match opened.unwrap_or_else(|error| Err(Failure::Unknown(error.to_string()))) {
                Ok(file) => return Some(found(Arc::new(file).content(), path, package)),
                Err(failure) => self.failed(failure),
            }
        }
        None
    }
}
