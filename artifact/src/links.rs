//! Build-id links: the symbolic links under `.build-id/` that rpm's build leaves in a package, one a file.
//!
//! ```text
//! /usr/lib/.build-id/xx/yyyy[.N]              -> the file                         main packages since Fedora 27, RHEL
//! 8 /usr/lib/debug/.build-id/xx/yyyy[.N].debug  -> the .debug file                  debuginfo packages of every age
//! /usr/lib/debug/.build-id/xx/yyyy[.N]        -> the main file, or the main link  debuginfo packages, modes compat and
//! alldebug
//! ```
//!
//! `xx` is the first byte of the build-id and `yyyy` the rest. A number stands for a duplicate; duplicates are counted
//! over a whole build, so a subpackage may hold only `yyyy.3`. Targets are resolved lexically, because their depth
//! differs between generations of find-debuginfo.

use std::collections::HashMap;

use crate::header::FileRow;
use crate::{BuildId, Kind, path};

/// A link that names a member of its own package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The build-id in its name.
    pub build_id: BuildId,
    /// The file that it names.
    pub ordinal: u32,
}

/// The links of a package whose targets are regular files of the same package. Others are no artifact here: compat
/// links of debuginfo packages name the main package's link or file, and vmlinux's compat link names nothing at all.
pub fn find_links(files: &[FileRow<'_>]) -> Vec<Link> {
    let mut named: Vec<(String, BuildId)> = Vec::new();
    for file in files {
        if let Some(target) = file.link_target
            && let Some(name) = LinkName::parse(file.path)
        {
            named.push((path::resolve(file.path, target), name.build_id));
        }
    }
    if named.is_empty() {
        return Vec::new();
    }
    // Looked up instead of one pass over the files for each link. Of several files with one path, which only a hostile
    // header has, the first counts: there are never more artifacts than links.
    let mut ordinals: HashMap<&str, u32> = HashMap::with_capacity(files.len());
    for (ordinal, file) in (0_u32..).zip(files) {
        if file.is_regular() {
            ordinals.entry(file.path).or_insert(ordinal);
        }
    }
    let link =
        |(target, build_id): (String, BuildId)| Some(Link { ordinal: *ordinals.get(target.as_str())?, build_id });
    named.into_iter().filter_map(link).collect()
}

/// What the path of a build-id link tells without its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// The build-id in it.
    pub build_id: BuildId,
    /// The kind of file that a package with this path claims to have.
    ///
    /// A link below `/usr/lib/.build-id` names an executable of the same package, and `.debug` below
    /// `/usr/lib/debug/.build-id` a debug file. `None` without `.debug` there: such a link of modes compat and
    /// alldebug names a file, or the link, of the main package, which may not even exist.
    pub claims: Option<Kind>,
}

impl LinkName {
    /// Parses the path of a build-id link; `None` for every other path.
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/usr/lib/")?;
        let (in_debug, rest) = match rest.strip_prefix("debug/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (first, rest) = rest.strip_prefix(".build-id/")?.split_once('/')?;
        let (rest, claims) = match (in_debug, rest.strip_suffix(".debug")) {
            (true, Some(rest)) => (rest, Some(Kind::Debuginfo)),
            (true, None) => (rest, None),
            (false, _) => (rest, Some(Kind::Executable)),
        };
        let rest = match rest.split_once('.') {
            Some((rest, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            Some(_) => return None,
            None => rest,
        };
        if first.len() != 2 {
            return None;
        }
        Some(Self { build_id: BuildId::from_digits(&[first, rest])?, claims })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::header::{Class, File};

    #[test]
    fn many_files_and_links_of_one_path_make_no_more_artifacts_than_links() {
        const MANY: usize = 100_000;
        let file = |path: String, mode: u16, link_target: Option<String>| File {
            path,
            mode,
            flags: 0,
            size: 1,
            mtime: 0,
            inode: 0,
            digest: None,
            link_target,
            class: Class::None,
            signature: None,
        };
        let programs = (0..MANY).map(|_| file("/a".into(), 0o100_755, None));
        let link = |number| file(format!("/usr/lib/.build-id/aa/{number:08x}"), 0o120_777, Some("/a".into()));
        let files: Vec<File> = programs.chain((0..MANY).map(link)).collect();
        let rows: Vec<FileRow<'_>> = files.iter().map(File::row).collect();
        let started = Instant::now();
        let links = find_links(&rows);
        assert!(links.len() == MANY && links.iter().all(|link| link.ordinal == 0));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[test]
    fn link_names_contain_the_build_id() {
        let id: BuildId = "420e9e3308".parse().unwrap();
        for (link, claims) in [
            ("/usr/lib/.build-id/42/0e9e3308", Some(Kind::Executable)),
            ("/usr/lib/.build-id/42/0e9e3308.3", Some(Kind::Executable)),
            ("/usr/lib/debug/.build-id/42/0e9e3308", None),
            ("/usr/lib/debug/.build-id/42/0e9e3308.1", None),
            ("/usr/lib/debug/.build-id/42/0e9e3308.debug", Some(Kind::Debuginfo)),
            ("/usr/lib/debug/.build-id/42/0e9e3308.12.debug", Some(Kind::Debuginfo)),
        ] {
            assert_eq!(LinkName::parse(link), Some(LinkName { build_id: id.clone(), claims }), "{link}");
        }
    }

    #[test]
    fn other_names_are_no_links() {
        for link in [
            "/usr/lib/.build-id/420e/9e",
            "/usr/lib/.build-id/42/0e9.x",
            "/usr/lib/.build-id/42/0e9e3308.",
            "/usr/lib/.build-id/42/zz",
            "/usr/lib/.build-id/42",
            "/opt/.build-id/42/0e9e3308",
            "/usr/lib/.build-id/42/0e9e.debug",
        ] {
            assert_eq!(LinkName::parse(link), None, "{link}");
        }
    }
}
