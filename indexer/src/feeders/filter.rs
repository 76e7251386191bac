//! Excludes files and directories below a store's directory: by globs of the operator, and by default.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::report::failure::{CommandFailure, Result};

/// Directories that are excluded by default: rsync's delayed updates and partial files, and snapshots.
const DIRECTORIES: [&str; 8] =
    [".~tmp~/", ".rsync-partial/", ".snapshot/", ".snapshots/", "~snapshot/", "#snapshot/", ".zfs/", "lost+found/"];

/// The globs of an import. A path is excluded if an exclude or a default matches it and no include does. Nothing below
/// an excluded directory is read.
#[derive(Clone, Debug)]
pub(crate) struct PathFilter {
    defaults: Globs,
    excludes: Globs,
    includes: Globs,
}

/// The reason why a path is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exclusion {
    ByDefault,
    ByPattern,
}

impl PathFilter {
    /// Returns a filter with these globs and the defaults.
    ///
    /// # Errors
    /// If a glob is invalid.
    pub(crate) fn new<'a>(
        excludes: impl IntoIterator<Item = &'a String>,
        includes: impl IntoIterator<Item = &'a String>,
    ) -> Result<Self> {
        Ok(Self {
            defaults: Globs::new("default", DIRECTORIES)?,
            excludes: Globs::new("exclude", excludes.into_iter().map(String::as_str))?,
            includes: Globs::new("include", includes.into_iter().map(String::as_str))?,
        })
    }

    /// Returns the reason why a path below the store's directory is excluded, `None` if it is not. Parent directories
    /// are not considered.
    pub(crate) fn exclusion(&self, below: &Path, is_directory: bool) -> Option<Exclusion> {
        let is_default = || self.defaults.has(below, is_directory) || (!is_directory && is_temporary(below));
        let exclusion = match self.excludes.has(below, is_directory) {
            true => Exclusion::ByPattern,
            false if is_default() => Exclusion::ByDefault,
            false => return None,
        };
        (!self.includes.has(below, is_directory)).then_some(exclusion)
    }

    /// Returns the topmost excluded directory among a directory and its parents.
    pub(crate) fn excluded_directory<'a>(&self, below: &'a Path) -> Option<&'a Path> {
        let mut ancestors: Vec<&Path> = below.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        ancestors.reverse();
        ancestors.into_iter().find(|path| self.exclusion(path, true).is_some())
    }
}

/// Compiled globs.
#[derive(Clone, Debug)]
struct Globs {
    all: GlobSet,
    /// Globs with a slash at the end: they match directories only.
    directories: GlobSet,
}

impl Globs {
    fn new<'a>(what: &str, globs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let (mut all, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for text in globs {
            let refuse = |found: &str| {
                let form = "a glob of paths below the store's directory, like '*.tmp', 'old/' or '/fedora/**/debug/'";
                CommandFailure::Usage(format!("{what}: expected {form}, found {text:?}: {found}"))
            };
            let (glob, set) = match text.strip_suffix('/') {
                Some(glob) => (glob, &mut directories),
                None => (text, &mut all),
            };
            let glob = match glob.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if glob.contains('/') => glob.to_owned(),
                None => format!("**/{glob}"),
            };
            if glob.is_empty() || glob == "**/" || glob.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(refuse("it can match no path"));
            }
            let built = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
            set.add(built.map_err(|error| refuse(&error.kind().to_string()))?);
        }
        let build =
            |set: GlobSetBuilder| set.build().map_err(|error| CommandFailure::Usage(format!("{what}: {error}")));
        Ok(Self { all: build(all)?, directories: build(directories)? })
    }

    fn has(&self, below: &Path, is_directory: bool) -> bool {
        self.all.is_match(below) || (is_directory && self.directories.is_match(below))
    }
}

/// True for rsync's temporary names: `.NAME.XXXXXX`, six letters or digits.
fn is_temporary(below: &Path) -> bool {
    let name = below.file_name().unwrap_or_default().as_encoded_bytes();
    let Some(at) = name.len().checked_sub(7) else { return false };
    at > 1 && name[0] == b'.' && name[at] == b'.' && name[at + 1..].iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(excludes: &[&str], includes: &[&str]) -> PathFilter {
        let [excludes, includes] =
            [excludes, includes].map(|globs| globs.iter().map(|glob| glob.to_string()).collect::<Vec<_>>());
        PathFilter::new(&excludes, &includes).unwrap()
    }

    fn exclusion(filter: &PathFilter, path: &str) -> bool {
        let (path, is_directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        filter.exclusion(Path::new(path), is_directory).is_some()
    }

    #[test]
    fn globs_are_of_names_of_paths_and_of_directories() {
        for (glob, matched, others) in [
            ("*.tmp", ["a.tmp", "x/y/a.tmp", "a.tmp/"], ["a.tmp.rpm", "tmp", "a.tmpx"]),
            ("old/", ["old/", "x/old/", "x/y/old/"], ["old", "x/old", "older/"]),
            ("/old", ["old", "old/", "old"], ["x/old", "old/x", "older"]),
            (
                "/fedora/*/debug/",
                ["fedora/40/debug/", "fedora/41/debug/", "fedora/x/debug/"],
                ["fedora/a/b/debug/", "x/fedora/40/debug/", "fedora/40/debug"],
            ),
            (
                "fedora/**/debug",
                ["fedora/debug", "fedora/a/b/debug", "fedora/a/debug/"],
                ["x/fedora/debug", "debug", "fedora/a"],
            ),
            ("**/x/*.rpm", ["x/a.rpm", "a/x/b.rpm", "a/b/x/c.rpm"], ["x/y/a.rpm", "a.rpm", "x.rpm"]),
            ("{a,b}?[0-9].rpm", ["ax1.rpm", "y/bx2.rpm", "ay3.rpm"], ["a1.rpm", "cx1.rpm", "ax/1.rpm"]),
        ] {
            let filter = filter(&[glob], &[]);
            assert!(matched.iter().all(|path| exclusion(&filter, path)), "{glob}");
            assert!(!others.iter().any(|path| exclusion(&filter, path)), "{glob}");
        }
    }

    #[test]
    fn includes_override_excludes_and_defaults() {
        let plain = filter(&[], &[]);
        for path in [".~tmp~/", "x/.snapshot/", ".zfs/", ".server-1.rpm.aB3dE6", "x/.libc.so.6.000000"] {
            assert!(exclusion(&plain, path), "{path}");
            assert!(!exclusion(&filter(&[], &[path]), path), "{path}");
        }
        for path in [".snapshot", "server-1.rpm.aB3dE6", ".hidden", ".aB3dE6", ".a.config.d/", ".x.aB3d-6"] {
            assert!(!exclusion(&plain, path), "{path}");
        }
        let debug = filter(&["*.rpm"], &["*-debuginfo-*.rpm"]);
        assert!(exclusion(&debug, "x/a-1-1.rpm") && !exclusion(&debug, "x/a-debuginfo-1-1.rpm"));
        assert_eq!(debug.exclusion(Path::new("a.rpm"), false), Some(Exclusion::ByPattern));
        assert_eq!(debug.exclusion(Path::new(".zfs"), true), Some(Exclusion::ByDefault));
    }

    #[test]
    fn a_directory_below_an_excluded_one_is_excluded() {
        let filter = filter(&["/old/"], &[]);
        for (path, expected) in
            [("old/a/b", Some("old")), ("a/.snapshot/b", Some("a/.snapshot")), ("a/old", None), ("", None)]
        {
            assert_eq!(filter.excluded_directory(Path::new(path)), expected.map(Path::new), "{path}");
        }
    }

    #[test]
    fn an_invalid_glob_is_refused() {
        for glob in ["", "/", "//", "[a", "{a", "../x", "a/./b"] {
            let error = PathFilter::new(&[glob.to_owned()], &[]).unwrap_err().to_string();
            assert!(error.starts_with("exclude: expected a glob"), "{glob}: {error}");
        }
    }
}
