//! `/source/PATH`: out of the packages that were built together with the asked file's.
//!
//! The path is canonical ([`crate::question`]), so that all forms of it that clients send are one. In this order:
//!
//! 1. the file of that path in the packages with debug sources among those built from one source package;
//! 2. the file of that path in the package that the path itself names: code of other packages that was linked in, the kernel's headers;
//! 3. the only file whose path ends so, in the packages of 1: builds whose paths are relative;
//! 4. an include file of another package ([`super::include`]).
//!
//! Plain files have no package: their sources are below the directory of their store ([`crate::plain`]).

use std::sync::Arc;

use artifact::header::Header;
use artifact::{Format, Nevra};
use sql::{Record, StoredPackage};

use super::member::Need;
use super::{Run, found, half_way_to};
use crate::answer::Found;
use crate::archives::{Archive, Inside, Wanted};

/// Where debug sources are installed.
pub(super) const SOURCES: &str = "/usr/src/debug/";
/// Where debuginfo is installed, in packages of old releases together with sources: no sources.
pub(super) const DEBUGINFO: &str = "/usr/lib/debug/";
/// Where headers to build modules with are.
const KERNELS: &str = "/usr/src/kernels/";

impl Run<'_> {
    /// The source file at a canonical path.
    pub(super) async fn source(&mut self, records: &[Record], path: &str) -> Option<Found> {
        if path.starts_with(DEBUGINFO) {
            return None;
        }
        let (mut seen, mut tried): (Vec<&StoredPackage>, Vec<Arc<StoredPackage>>) = (Vec::new(), Vec::new());
        for record in records {
            let package = &record.package;
            if package.package.format == Format::File {
                if let Some(found) = self.source_of_plain(records, record, path).await {
                    return Some(found);
                }
                continue;
            }
            if seen.iter().any(|seen| seen.id == package.id || is_same_build(seen, package)) {
                continue;
            }
            seen.push(package);
            for sibling in self.source_packages(package).await {
                if let Some(found) = self.source_in(&sibling, path).await {
                    return Some(found);
                }
                tried.push(sibling);
            }
        }
        // Whoever asks for a build-id that nobody knows learns nothing.
        let named = named_package(path)
            .filter(|nvra| !records.is_empty() && tried.iter().all(|tried| tried.package.nevra.nvra() != *nvra));
        if let Some(nvra) = named {
            for package in self.packages(nvra).await {
                if let Some(found) = self.source_in(&package, path).await {
                    return Some(found);
                }
            }
        }
        if is_relative(path) {
            for package in &tried {
                if let Some(found) = self.only_source_in(package, path).await {
                    return found;
                }
            }
        }
        self.include(records, path).await
    }

    async fn packages(&mut self, nvra: String) -> Vec<Arc<StoredPackage>> {
        match self.search.lookup.query(|index| async move { index.packages(&nvra).await }).await {
            Ok(packages) => packages.into_iter().map(Arc::new).collect(),
            Err(cause) => {
                self.causes.push(cause);
                Vec::new()
            }
        }
    }

    /// The packages of a build that can hold its sources, likeliest first: -debugsource since Fedora 27, the kernel's
    /// -debuginfo-common, and the -debuginfo packages of older releases; Arch's -debug; a tar archive itself. Of several builds of one
    /// source package those that are nearest in distribution and time.
    async fn source_packages(&mut self, of: &Arc<StoredPackage>) -> Vec<Arc<StoredPackage>> {
        let Some(source_rpm) = &of.package.source_rpm else {
            return source_rank(of).filter(|_| of.package.format != Format::Rpm).map(|_| of.clone()).into_iter().collect();
        };
        let known = self.search.lookup.siblings(source_rpm, &of.package.nevra.arch, half_way_to(self.deadline)).await;
        let siblings = match known {
            Ok(known) => {
                self.causes.extend(known.away);
                known.value
            }
            Err(cause) => {
                self.causes.push(cause);
                return Vec::new();
            }
        };
        let mut siblings: Vec<_> = siblings.iter().filter(|sibling| source_rank(sibling).is_some()).cloned().collect();
        siblings.sort_by_key(|sibling| {
            let seconds_apart = match (sibling.package.built_at, of.package.built_at) {
                (Some(a), Some(b)) => a.abs_diff(b),
                _ => u64::MAX,
            };
            (sibling.distro != of.distro, source_rank(sibling), seconds_apart)
        });
        siblings
    }

    pub(super) async fn source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Found> {
        if package.package.format != Format::Rpm {
            return self.source_in_foreign(package, path).await;
        }
        let (header, opened) = self.header(package).await?;
        let (ordinal, _) = header.file(path).filter(|(_, file)| file.is_regular())?;
        self.source_at(package, &header, ordinal, opened).await
    }

    /// The only debug source of the package whose path ends with `path`: `None` if there is none, `Some(None)` if there
    /// are several or it is not available.
    async fn only_source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Option<Found>> {
        if package.package.format != Format::Rpm {
            return self.only_source_in_foreign(package, path).await;
        }
        let (header, opened) = self.header(package).await?;
        let is_it = |path_of_file: &str| path_of_file.starts_with(SOURCES) && path_of_file.ends_with(path);
        let mut files = (0..).zip(&header.files).filter(|(_, file)| file.is_regular() && is_it(&file.path));
        let (ordinal, _) = files.next()?;
        match files.next() {
            None => Some(self.source_at(package, &header, ordinal, opened).await),
            Some(_) => Some(None),
        }
    }

    async fn source_at(
        &mut self,
        package: &Arc<StoredPackage>,
        header: &Header,
        ordinal: u32,
        opened: Option<Archive>,
    ) -> Option<Found> {
        let path = header.by_ordinal(ordinal)?.path.as_str();
        let entry = self.member(package, Wanted { ordinal, file: None }, None, Need::First, opened).await?;
        Some(found(entry.content(), path, package))
    }

    /// The header of an RPM, and the archive, if that was opened for it.
    async fn header(&mut self, package: &Arc<StoredPackage>) -> Option<(Arc<Header>, Option<Archive>)> {
        if package.package.format != Format::Rpm {
            return None;
        }
        if let Some(header) = self.search.archives.known_header(package).await {
            return Some((header, None));
        }
        let archive = self.open(package).await?;
        let Inside::Rpm(header) = &archive.inside else { return None };
        Some((header.clone(), Some(archive)))
    }
}

/// The package that a path names: find-debuginfo puts sources below the name of the package that they are in, and kernels have their
/// headers below their version.
fn named_package(path: &str) -> Option<String> {
    if let Some((build, _)) = path.strip_prefix(SOURCES).and_then(|rest| rest.split_once('/')) {
        let nevra: Nevra = build.parse().ok().filter(|nevra: &Nevra| nevra.epoch.is_none())?;
        let Nevra { name, version, release, arch, .. } = nevra;
        return Some(format!("{name}-debugsource-{version}-{release}.{arch}"));
    }
    let (kernel, _) = path.strip_prefix(KERNELS)?.split_once('/')?;
    let (kernel, variant) = kernel.split_once('+').unwrap_or((kernel, ""));
    let name = if variant.is_empty() { "kernel-devel".to_owned() } else { format!("kernel-{variant}-devel") };
    Some(format!("{name}-{kernel}"))
}

/// May a path be one that was relative? Compilers and distributions keep nothing of theirs relative to `/usr`.
fn is_relative(path: &str) -> bool {
    !path.starts_with("/usr/")
}

/// Packages that come from one run of one source package, as far as the index can tell.
fn is_same_build(a: &StoredPackage, b: &StoredPackage) -> bool {
    let build = |stored: &StoredPackage| {
        let package = &stored.package;
        (package.source_rpm.clone(), package.nevra.arch.clone(), stored.distro.clone(), package.built_at)
    };
    a.package.source_rpm.is_some() && build(a) == build(b)
}

/// How likely a package holds debug sources, 0 the likeliest; `None` where it cannot.
fn source_rank(package: &StoredPackage) -> Option<u8> {
    let name = &package.package.nevra.name;
    match (package.package.format, name) {
        (Format::Tar, _) => Some(0),
        (Format::File, _) => None,
        (Format::Arch, name) => name.ends_with("-debug").then_some(0),
        // Nobody's but those of Yocto: Debian's packages have no sources.
        (Format::Deb, name) => name.ends_with("-src").then_some(0),
        (Format::Rpm, name) => rank_of_rpm(name),
    }
}

fn rank_of_rpm(name: &str) -> Option<u8> {
    match name {
        name if name.ends_with("-debugsource") => Some(0),
        name if name.contains("-debuginfo-common") => Some(1),
        name if name.ends_with("-debuginfo") => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_packages() {
        for (path, package) in [
            ("/usr/src/debug/glibc-2.38-7.fc39.x86_64/csu/init.c", Some("glibc-debugsource-2.38-7.fc39.x86_64")),
            ("/usr/src/debug/gcc-c++-x-13.2.1~rc1-3.fc39.i686/a.cc", Some("gcc-c++-x-debugsource-13.2.1~rc1-3.fc39.i686")),
            ("/usr/src/kernels/6.5.6-300.fc39.x86_64/include/linux/fs.h", Some("kernel-devel-6.5.6-300.fc39.x86_64")),
            ("/usr/src/kernels/6.5.6-300.fc39.x86_64+debug/include/a.h", Some("kernel-debug-devel-6.5.6-300.fc39.x86_64")),
            ("/usr/src/debug/oldtool-1.0/src/oldtool.c", None),
            ("/usr/src/debug/glibc-2.38-7.fc39.x86_64", None),
            ("/usr/src/kernels/6.5.6-300.fc39.x86_64", None),
            ("/usr/include/stdio.h", None),
            ("/src/x.c", None),
        ] {
            assert_eq!(named_package(path).as_deref(), package, "{path}");
        }
        assert!(is_relative("/src/x.c") && is_relative("/x.c") && !is_relative("/usr/include/x.h"));
    }
}
