//! `/source/PATH` of packages without a header: from the catalog of the archive, or, for plain ELF files, from the
//! directory of their store.

use std::sync::Arc;

use artifact::formats::{Catalog, Listed};
use artifact::{ArtifactType, Format};
use sql::{Location, Record, StoredPackage};

use super::answer::FoundFile;
use super::build_tree;
use super::deadline::FIRST_BYTES_TIMEOUT;
use super::member::Need;
use super::outcome::{Cause, CauseKind};
use super::search::{Search, found};
use super::source::{DEBUGINFO, SOURCES};
use crate::permits::PermitOr;
use crate::providers::archives::WantedMember;

impl Search<'_> {
    /// The source file at a canonical path in an archive without a header.
    pub(super) async fn source_in_other_format(
        &mut self,
        package: &Arc<StoredPackage>,
        path: &str,
    ) -> Option<FoundFile> {
        let catalog = self.catalog(package).await?;
        let file = catalog.file(path)?;
        self.source_at_other_format(package, file, path).await
    }

    /// The only source file of an archive without a header whose path ends with `path`: `None` if there is none,
    /// `Some(None)` if there are several or it is not available.
    pub(super) async fn only_source_in_other_format(
        &mut self,
        package: &Arc<StoredPackage>,
        path: &str,
    ) -> Option<Option<FoundFile>> {
        let catalog = self.catalog(package).await?;
        let Some((path, file)) = catalog.only_file(path, |path| is_source(package.package.format, path))? else {
            return Some(None);
        };
        Some(self.source_at_other_format(package, file, path).await)
    }

    async fn source_at_other_format(
        &mut self,
        package: &Arc<StoredPackage>,
        Listed { ordinal, tar_offset, file }: &Listed,
        path: &str,
    ) -> Option<FoundFile> {
        let wanted = WantedMember { ordinal: *ordinal, file: Some(Arc::new(file.clone())), tar_offset: *tar_offset };
        let entry = self.member(package, wanted, None, Need::First, None).await?;
        Some(found(entry.content(), path, package))
    }

    /// The catalog of a package without a header, from the first of its locations that gives it. Like an extraction it
    /// may take longer than the budget, as long as bytes come.
    async fn catalog(&mut self, package: &StoredPackage) -> Option<Arc<Catalog>> {
        let archives = self.gateway.archives.clone();
        if let Some(catalog) = archives.known_catalog(package).await {
            return Some(catalog);
        }
        let permit = match self.permit(|| archives.known_catalog(package)).await {
            Ok(PermitOr::Permit(permit)) => permit,
            Ok(PermitOr::Found(catalog)) => return Some(catalog),
            Err(failure) => {
                self.failed(failure);
                return None;
            }
        };
        let permit = Arc::new(permit);
        let locations = archives.locations(package);
        let (deadline, budget) = (self.deadline, self.gateway.config.request.budget);
        let walked = archives.catalog_of_first(package, locations, &permit, || deadline.stall_timeout(budget));
        match tokio::time::timeout(FIRST_BYTES_TIMEOUT, walked).await {
            Ok(walked) => self.found_by(walked),
            Err(_) => {
                let nvra = &package.package.nevra;
                let text = format!("{nvra}: expected its list of members within {FIRST_BYTES_TIMEOUT:?}, found none");
                self.causes.push(Cause::gateway(CauseKind::Timeout, text));
                None
            }
        }
    }

    /// The source file of a plain ELF file, below the directory of its own store. `records` are all of the build-id: a
    /// relative name may also be relative to the directory of another of its files, as that of a program whose DWARF is
    /// in `.debug/` is.
    pub(super) async fn source_of_plain(
        &mut self,
        records: &[Record],
        record: &Record,
        path: &str,
    ) -> Option<FoundFile> {
        let Record { package, artifact } = record;
        if artifact.serves(ArtifactType::Debuginfo) != Some(true) || artifact.dwarf != Some(true) {
            return None;
        }
        let (entry, sources) = self.line_tables(record).await?;
        let name = sources.name(path)?;
        let is_other = |other: &&Record| other.package.package.format == Format::File && other.package.id != package.id;
        let others = records.iter().filter(|_| !name.starts_with('/')).filter(is_other);
        let locations = package.present_locations().chain(others.flat_map(|other| other.package.present_locations()));
        let (name, built_at, archives) = (name.to_owned(), entry.mtime(), &self.gateway.archives);
        let open = move |at: &Location| build_tree::open(at, &name, built_at);
        let walked = archives.open_on_disk(archives.in_order(locations), self.deadline, open).await;
        let (file, path) = self.found_by(walked)?;
        Some(found(Arc::new(file).content(), &path, package))
    }
}

/// True if a member of an archive without a header may be a source file that DWARF has a relative name for.
fn is_source(format: Format, path: &str) -> bool {
    match format {
        Format::Tar | Format::Cpio | Format::Zip => !path.starts_with(DEBUGINFO),
        // Yocto's are in /usr/src/debug, others' in /usr/src.
        Format::Deb => path.starts_with("/usr/src/"),
        Format::Arch | Format::Rpm | Format::File => path.starts_with(SOURCES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_where_each_format_has_them() {
        for (format, path, expected) in [
            (Format::Arch, "/usr/src/debug/a/x.c", true),
            (Format::Arch, "/usr/share/a/x.c", false),
            (Format::Deb, "/usr/src/debug/a/1.0/x.c", true),
            (Format::Deb, "/usr/src/a-1.0/x.c", true),
            (Format::Deb, "/usr/share/doc/a/x.c", false),
            (Format::Tar, "/a/x.c", true),
            (Format::Zip, "/a/x.c", true),
            (Format::Cpio, "/a/x.c", true),
            (Format::Tar, "/usr/lib/debug/a/x.c", false),
        ] {
            assert_eq!(is_source(format, path), expected, "{path}");
        }
    }
}
