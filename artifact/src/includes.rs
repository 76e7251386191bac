//! Include files: what one package brings for others to be compiled with, and what their DWARF names then
//! (`/usr/include/c++/13/vector`).
//!
//! They have no build-id, so the index would not know of them. It is told the folders that a package has include files
//! in; which files these are, its header says when somebody asks.

use std::collections::BTreeSet;

use crate::header::Outline;

/// The maximum number of places of one package.
const MAX_PLACES: usize = 4096;

/// Bytes of a place: longer ones are left out.
const MAX_PLACE_BYTES: usize = 700;

/// The directories of include files.
const INCLUDE: &str = "/usr/include";
/// Go compiles its library into every program.
const GO: &str = "/usr/lib/golang/src/";
/// Below these are sources of other kinds, which are found in other ways, and examples.
const OTHERS: [&str; 3] = ["/usr/src/", "/usr/lib/debug/", "/usr/share/"];

/// What an include file at this canonical path is found by: its folder, or, right below `/usr/include`, where all
/// packages meet, itself. `None` for other files.
pub fn place(path: &str) -> Option<&str> {
    let (folder, _) = path.rsplit_once('/')?;
    if folder == INCLUDE {
        return Some(path);
    }
    let is_other = || OTHERS.iter().any(|other| path.starts_with(other));
    let is_include = || path.starts_with("/usr/") && path.contains("/include/");
    (is_include() && !is_other() || path.starts_with(GO)).then_some(folder)
}

/// The places of the include files of a package, sorted, each once; no more than 4096 of them, which is ten times what
/// the largest real packages have.
pub fn from_outline(outline: &Outline<'_>) -> Vec<String> {
    let mut places = BTreeSet::new();
    // Files of one folder follow one another.
    let mut last = "";
    for file in outline.files.rows().filter(|file| file.is_regular()) {
        if let Some(place) = place(file.path)
            && place != last
            && place.len() <= MAX_PLACE_BYTES
        {
            places.insert(place);
            last = place;
        }
        if places.len() == MAX_PLACES {
            break;
        }
    }
    places.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_files_have_places_and_others_none() {
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
            assert_eq!(place(path), expected, "{path}");
        }
    }
}
