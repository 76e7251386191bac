//! Include files: headers that a package installs and that the DWARF of other packages names
//! (`/usr/include/c++/13/vector`).
//!
//! They have no build-id. The index stores the directories in which a package has include files. A request for one of
//! them reads the header of each such package and searches it for the file.

use std::collections::BTreeSet;

use crate::header::Outline;

/// The maximum number of include directories of one package.
const MAX_DIRS: usize = 4096;

/// The maximum length of an include directory in bytes: longer ones are left out.
const MAX_DIR_BYTES: usize = 700;

/// The directory in which every package may have include files.
const INCLUDE: &str = "/usr/include";
/// The sources of Go's library, which is compiled into every Go program.
const GO: &str = "/usr/lib/golang/src/";
/// Directories with sources of other kinds, which are found in other ways, and with examples.
const OTHERS: [&str; 3] = ["/usr/src/", "/usr/lib/debug/", "/usr/share/"];

/// Returns the key under which the index stores the include file at this canonical path: its directory. The key of a
/// file in `/usr/include` itself, which all packages share, is its path. `None` for other files.
pub fn include_dir(path: &str) -> Option<&str> {
    let (dir, _) = path.rsplit_once('/')?;
    if dir == INCLUDE {
        return Some(path);
    }
    let is_other = || OTHERS.iter().any(|other| path.starts_with(other));
    let is_include = || path.starts_with("/usr/") && path.contains("/include/");
    (is_include() && !is_other() || path.starts_with(GO)).then_some(dir)
}

/// Returns the include directories of a package, sorted, each once. At most 4096, which is ten times what the largest
/// real packages have.
pub fn include_dirs(outline: &Outline<'_>) -> Vec<String> {
    let mut dirs = BTreeSet::new();
    // A header lists the files of one directory one after the other.
    let mut last = "";
    for file in outline.files.rows().filter(|file| file.is_regular()) {
        if let Some(dir) = include_dir(file.path)
            && dir != last
            && dir.len() <= MAX_DIR_BYTES
        {
            dirs.insert(dir);
            last = dir;
        }
        if dirs.len() == MAX_DIRS {
            break;
        }
    }
    dirs.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_files_have_directories_and_other_files_none() {
        for (path, expected) in [
            ("/usr/include/stdio.h", Some("/usr/include/stdio.h")),
            ("/usr/include/c++/13/vector", Some("/usr/include/c++/13")),
            (
                "/usr/lib/gcc/x86_64-redhat-linux/13/include/stddef.h",
                Some("/usr/lib/gcc/x86_64-redhat-linux/13/include"),
            ),
            ("/usr/lib64/glib-2.0/include/glibconfig.h", Some("/usr/lib64/glib-2.0/include")),
            ("/usr/lib/golang/src/runtime/proc.go", Some("/usr/lib/golang/src/runtime")),
            ("/usr/include", None),
            ("/usr/src/debug/a-1-1.x86_64/include/a.h", None),
            ("/usr/src/kernels/6.5.6/include/linux/fs.h", None),
            ("/usr/share/doc/a/include/a.h", None),
            ("/usr/lib64/includes/a.h", None),
            ("/home/me/include/a.h", None),
            ("a.h", None),
        ] {
            assert_eq!(include_dir(path), expected, "{path}");
        }
    }
}
