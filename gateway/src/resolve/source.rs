//! `/source/PATH`: from the packages that were built together with the package of the build-id.
//!
//! The path is canonical ([`crate::resolve::question`]), so that all forms of it that clients send are one. In this
//! order:
//!
//! 1. the file of that path in the packages with debug sources among those built from one source package;
//! 2. the file of that path in the package that the path itself names: code of other packages that was linked in, the
//!    kernel's headers;
//! 3. the only file whose path ends so, in the packages of 1: builds whose paths are relative;
//! 4. an include file of another package ([`super::include_file`]).
//!
//! Packages of 1 and 2 that the index has by name alone are read first ([`super::claims`]).
//!
//! Plain files have no package: their sources are below the directory of their store ([`super::build_tree`]).

use std::sync::Arc;

use artifact::header::Header;
use artifact::{Format, Nevra, arch};
use sql::{Index, Packages, Record, StoredPackage};

use super::answer::FoundFile;
use super::member::Need;
use super::outcome::{Cause, CauseKind};
use super::search::{Search, found};
use crate::providers::archives::{Archive, Inside, WantedMember};

/// Where debug sources are installed.
pub(super) const SOURCES: &str = "/usr/src/debug/";
/// Where debuginfo is installed, in packages of old releases together with sources: no sources.
pub(super) const DEBUGINFO: &str = "/usr/lib/debug/";
/// Where headers to build modules with are.
const KERNELS: &str = "/usr/src/kernels/";
/// Names of packages that the index is queried for concurrently. Nearly always the package has one of the first two.
const NAMES_AT_ONCE: usize = 2;

impl Search<'_> {
    /// The source file at a canonical path.
    pub(super) async fn source(&mut self, records: &[Record], path: &str) -> Option<FoundFile> {
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
        if let Some(found) = self.source_in_named(records, path, &tried).await {
            return Some(found);
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

    /// The source file in the package that its path names, unless that is one of those that were `tried`.
    async fn source_in_named(
        &mut self,
        records: &[Record],
        path: &str,
        tried: &[Arc<StoredPackage>],
    ) -> Option<FoundFile> {
        // An unknown build-id gives access to no package.
        if records.is_empty() {
            return None;
        }
        let archs: Vec<&str> = records.iter().map(|record| record.package.package.nevra.arch.as_str()).collect();
        let mut names = named_packages(path, &archs);
        names.retain(|nvra| tried.iter().all(|tried| tried.package.nevra.nvra() != *nvra));
        for names in names.chunks(NAMES_AT_ONCE) {
            for package in self.packages(names).await? {
                if let Some(found) = self.source_in(&package, path).await {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The packages with these NVRAs, in their order; `None` if the index is not available.
    async fn packages(&mut self, nvras: &[String]) -> Option<Vec<Arc<StoredPackage>>> {
        let queries = nvras.iter().cloned().map(|nvra| {
            let query = move |index: Index| async move { index.packages_by_nvra(&nvra).await };
            self.gateway.lookup.query(query)
        });
        let found = tokio::time::timeout_at(self.deadline.end().into(), futures::future::try_join_all(queries)).await;
        let timeout = |_| Cause::index(CauseKind::Timeout, "index: expected packages within the budget, found none");
        let found = match found.map_err(timeout).flatten() {
            Ok(found) => found,
            Err(cause) => {
                self.causes.push(cause);
                return None;
            }
        };
        let mut packages = Vec::new();
        for Packages { read, unread } in found {
            packages.extend(read.into_iter().map(Arc::new));
            let unread: Vec<_> = unread.into_iter().map(Arc::new).collect();
            let read = Box::pin(self.read_packages(unread.iter().collect())).await;
            packages.extend(read.into_iter().map(|(package, _)| package));
        }
        Some(packages)
    }

    /// The packages of a build that can hold its sources, likeliest first: -debugsource since Fedora 27, the kernel's
    /// -debuginfo-common, Yocto's -src, and the -debuginfo packages of older releases; Arch's -debug; a tar, cpio
    /// or zip archive itself. Of several builds of one source package those that are nearest in distribution, arch
    /// and time.
    async fn source_packages(&mut self, of: &Arc<StoredPackage>) -> Vec<Arc<StoredPackage>> {
        let Some(source_rpm) = &of.package.source_rpm else {
            return source_rank(of)
                .filter(|_| of.package.format != Format::Rpm)
                .map(|_| of.clone())
                .into_iter()
                .collect();
        };
        let known = self.gateway.lookup.siblings(source_rpm, &of.package.nevra.arch, self.deadline.half().end()).await;
        let siblings = match known {
            Ok(known) => {
                self.causes.extend(known.unavailable);
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
            let is_other_arch = sibling.package.nevra.arch != of.package.nevra.arch;
            (sibling.distro != of.distro, is_other_arch, source_rank(sibling), seconds_apart)
        });
        if siblings.is_empty()
            && let Some(nvra) = debugsource(source_rpm, &of.package.nevra.arch)
        {
            // The headers of a whole build may not have been read yet.
            return self.packages(&[nvra]).await.unwrap_or_default();
        }
        siblings
    }

    pub(super) async fn source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<FoundFile> {
        if package.package.format != Format::Rpm {
            return self.source_in_other_format(package, path).await;
        }
        let (header, opened) = self.header(package).await?;
        let (ordinal, _) = header.file(path).filter(|(_, file)| file.is_regular())?;
        self.source_at(package, ordinal, path, opened).await
    }

    /// The only debug source of the package whose path ends with `path`: `None` if there is none, `Some(None)` if there
    /// are several or it is not available.
    async fn only_source_in(&mut self, package: &Arc<StoredPackage>, path: &str) -> Option<Option<FoundFile>> {
        if package.package.format != Format::Rpm {
            return self.only_source_in_other_format(package, path).await;
        }
        let (header, opened) = self.header(package).await?;
        let is_it = |path_of_file: &str| path_of_file.starts_with(SOURCES) && path_of_file.ends_with(path);
        let mut files = (0..).zip(&header.files).filter(|(_, file)| file.is_regular() && is_it(&file.path));
        let (ordinal, file) = files.next()?;
        match files.next() {
            None => Some(self.source_at(package, ordinal, &file.path, opened).await),
            Some(_) => Some(None),
        }
    }

    async fn source_at(
        &mut self,
        package: &Arc<StoredPackage>,
        ordinal: u32,
        path: &str,
        opened: Option<Archive>,
    ) -> Option<FoundFile> {
        let entry = self
            .member(package, WantedMember { ordinal, file: None, tar_offset: None }, None, Need::First, opened)
            .await?;
        Some(found(entry.content(), path, package))
    }

    /// The header of an RPM, and the archive, if that was opened for it.
    async fn header(&mut self, package: &Arc<StoredPackage>) -> Option<(Arc<Header>, Option<Archive>)> {
        if let Some(header) = self.gateway.archives.known_header(package).await {
            return Some((header, None));
        }
        let archive = self.open(package).await?;
        let Inside::Rpm(header) = &archive.inside else { return None };
        Some((header.clone(), Some(archive)))
    }
}

/// The NVRAs that the package which a path names may have, the likeliest first. find-debuginfo puts sources below the
/// name of the package that they are in, but with the base arch instead of the package's own: that is likely one of
/// `archs`, those of the packages that were asked for. Kernels have their headers below their version.
fn named_packages(path: &str, archs: &[&str]) -> Vec<String> {
    if let Some((build, _)) = path.strip_prefix(SOURCES).and_then(|rest| rest.split_once('/')) {
        let Some(build) = build.parse().ok().filter(|build: &Nevra| build.epoch.is_none()) else { return Vec::new() };
        let Nevra { name, version, release, arch: named, .. } = build;
        let mut family = arch::family(&named);
        family.sort_by_key(|arch| !archs.contains(arch));
        return family.iter().map(|arch| format!("{name}-debugsource-{version}-{release}.{arch}")).collect();
    }
    let kernel = || {
        let (kernel, _) = path.strip_prefix(KERNELS)?.split_once('/')?;
        let (kernel, variant) = kernel.split_once('+').unwrap_or((kernel, ""));
        let name = if variant.is_empty() { "kernel-devel".to_owned() } else { format!("kernel-{variant}-devel") };
        Some(format!("{name}-{kernel}"))
    };
    kernel().into_iter().collect()
}

/// The NVRA of the package with the debug sources of a build; `None` if the name of the source package is none of an
/// RPM.
fn debugsource(source_rpm: &str, arch: &str) -> Option<String> {
    let source: Nevra = source_rpm.strip_suffix(".rpm")?.parse().ok()?;
    Some(format!("{}-debugsource-{}-{}.{arch}", source.name, source.version, source.release))
}

/// True if a path may have been relative. Paths of compilers and distributions below `/usr` are absolute.
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
        (Format::Tar | Format::Cpio | Format::Zip, _) => Some(0),
        (Format::File, _) => None,
        (Format::Arch, name) => name.ends_with("-debug").then_some(0),
        // Yocto's. Debian's packages have no sources.
        (Format::Deb, name) => name.ends_with("-src").then_some(0),
        (Format::Rpm, name) => rank_of_rpm(name),
    }
}

fn rank_of_rpm(name: &str) -> Option<u8> {
    match name {
        name if name.ends_with("-debugsource") => Some(0),
        name if name.contains("-debuginfo-common") => Some(1),
        // Yocto's.
        name if name.ends_with("-src") => Some(2),
        name if name.ends_with("-debuginfo") => Some(3),
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
            (
                "/usr/src/debug/gcc-c++-x-13.2.1~rc1-3.fc39.i686/a.cc",
                Some("gcc-c++-x-debugsource-13.2.1~rc1-3.fc39.i686"),
            ),
            ("/usr/src/kernels/6.5.6-300.fc39.x86_64/include/linux/fs.h", Some("kernel-devel-6.5.6-300.fc39.x86_64")),
            (
                "/usr/src/kernels/6.5.6-300.fc39.x86_64+debug/include/a.h",
                Some("kernel-debug-devel-6.5.6-300.fc39.x86_64"),
            ),
            ("/usr/src/debug/oldtool-1.0/src/oldtool.c", None),
            ("/usr/src/debug/glibc-2.38-7.fc39.x86_64", None),
            ("/usr/src/kernels/6.5.6-300.fc39.x86_64", None),
            ("/usr/include/stdio.h", None),
            ("/src/x.c", None),
        ] {
            assert_eq!(named_packages(path, &[]).first().map(String::as_str), package, "{path}");
        }
        assert!(is_relative("/src/x.c") && is_relative("/x.c") && !is_relative("/usr/include/x.h"));
    }

    #[test]
    fn paths_have_the_base_arch_of_the_package_that_they_name() {
        let first = |path_arch: &str, archs: &[&str]| {
            let mut names = named_packages(&format!("/usr/src/debug/stat-2-1.fc40.{path_arch}/lib.c"), archs);
            names.truncate(NAMES_AT_ONCE);
            names.iter().filter_map(|name| name.rsplit('.').next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(first("i386", &["i686"]), ["i686", "i386"]);
        assert_eq!(first("i386", &["x86_64"]), ["i386", "i686"]);
        assert_eq!(first("i386", &["i586", "i586"]), ["i586", "i386"]);
        assert_eq!(first("i686", &["i686"]), ["i686", "i386"]);
        assert_eq!(first("arm", &["armv7hl"]), ["armv7hl", "arm"]);
        assert_eq!(first("x86_64", &["x86_64"])[0], "x86_64");
        assert_eq!(first("aarch64", &["aarch64"]), ["aarch64"]);
        let kernel = "/usr/src/kernels/6.5.6-300.fc39.i686/include/a.h";
        assert_eq!(named_packages(kernel, &["i686"]), ["kernel-devel-6.5.6-300.fc39.i686"]);
    }

    #[test]
    fn a_source_package_names_its_debugsource() {
        let named = |source: &str| debugsource(source, "x86_64");
        assert_eq!(
            named("gcc-c++-1.2~rc1-3.fc40.src.rpm").as_deref(),
            Some("gcc-c++-debugsource-1.2~rc1-3.fc40.x86_64")
        );
        assert_eq!((named("hello_2.10-3"), named("x.rpm")), (None, None));
    }

    #[test]
    fn source_packages_are_ranked_by_name() {
        let names = ["foo-debugsource", "kernel-debuginfo-common-i686", "foo-src", "foo-debuginfo"];
        assert_eq!(names.map(rank_of_rpm), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(["foo", "foo-dbg", "foo-devel", "src", "foosrc"].map(rank_of_rpm), [None; 5]);
    }
}
