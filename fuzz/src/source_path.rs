//! Source paths, archive names and link targets: all lexical.

use std::path::{Component, Path};

use artifact::path;

/// A canonical path is what the standard library's components make of it, and never leads out of the root. The input is
/// a path; a NUL separates a link and its target.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let canonical = path::canonical(text);
    is_canonical(&canonical);
    assert_eq!(canonical, model(text), "{text:?}");
    assert!(canonical.len() <= text.len() + 1, "{text:?}");

    let absolute = path::absolute(text);
    assert!(absolute.starts_with('/') && !absolute.starts_with("//") && !absolute.starts_with("/./"), "{absolute:?}");
    assert_eq!(path::absolute(&absolute), absolute);
    assert_eq!(path::canonical(&absolute), canonical, "{text:?}");

    let (link, target) = text.split_once('\0').unwrap_or(("/usr/lib/.build-id/ab/cd", text));
    let resolved = path::resolve(link, target);
    is_canonical(&resolved);
    let directory = Path::new(link).parent().unwrap_or(Path::new(""));
    if !link.ends_with(['/', '.']) {
        assert_eq!(resolved, model(&directory.join(target).to_string_lossy()), "{link:?} -> {target:?}");
    }
}

/// Rooted, only real names, and nothing more to do.
fn is_canonical(path: &str) {
    assert!(path == "/" || !path.ends_with('/'), "{path:?}");
    let names = path.strip_prefix('/').map(|rest| rest.split('/'));
    assert!(
        path == "/" || names.is_some_and(|mut names| names.all(|name| !["", ".", ".."].contains(&name))),
        "{path:?}"
    );
    assert_eq!(path::canonical(path), path);
}

/// The same in other words.
fn model(path: &str) -> String {
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy()),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    format!("/{}", names.join("/"))
}
