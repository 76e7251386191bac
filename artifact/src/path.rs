//! Paths inside packages: always absolute and lexical; no disk is accessed.

/// `path` with one leading slash and no `./` before it: archives write `./usr/bin/hello`, `usr/bin/hello` and
/// `/usr/bin/hello`.
pub fn absolute(path: &str) -> String {
    format!("/{}", bare(path))
}

/// Appends the absolute form of `directory` and `name` to `paths`.
pub(crate) fn push_absolute(paths: &mut String, directory: &str, name: &str) {
    let start = paths.len();
    paths.push_str(directory);
    paths.push_str(name);
    let surplus = paths.len() - start - bare(&paths[start..]).len();
    // One surplus byte is the slash that nearly every path begins with.
    if surplus != 1 {
        paths.replace_range(start..start + surplus, "/");
    }
}

/// `path` without leading slashes and `./`.
fn bare(path: &str) -> &str {
    let mut bare = path;
    while let Some(rest) = bare.strip_prefix('/').or_else(|| bare.strip_prefix("./")) {
        bare = rest;
    }
    bare
}

/// The canonical form of a source path: dot segments removed (RFC 3986, section 5.2.4), `//` made `/`, rooted. Clients
/// send what DWARF says, `/usr/src/debug/hello-1.0/foobar///./../hello.c`.
pub fn canonical(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len() + 1);
    push_canonical(&mut canonical, path);
    rooted(canonical)
}

/// Goes on from the directory `canonical` (rooted, the root itself empty) along `path`.
fn push_canonical(canonical: &mut String, path: &str) {
    // Segments are short: searching for their ends in the ways for long texts costs more.
    let is_slash = |byte: u8| byte == b'/';
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.bytes().position(is_slash).unwrap_or(rest.len());
        match &rest[..end] {
            "" | "." => {}
            ".." => canonical.truncate(canonical.bytes().rposition(is_slash).unwrap_or(0)),
            segment => {
                canonical.push('/');
                canonical.push_str(segment);
            }
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
}

fn rooted(path: String) -> String {
    if path.is_empty() { "/".into() } else { path }
}

/// Where the symbolic link at `link` points to: `target` resolved lexically against the link's own directory.
pub fn resolve(link: &str, target: &str) -> String {
    let mut resolved = String::with_capacity(link.len() + target.len() + 1);
    if !target.starts_with('/') {
        push_canonical(&mut resolved, link.rsplit_once('/').map_or("", |(directory, _)| directory));
    }
    push_canonical(&mut resolved, target);
    rooted(resolved)
}

/// The shortest form of a relative path: without `.`, `//` and `..`, except for `..` at its start.
pub fn shortest(relative: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in relative.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// Resolves `relative` against `directory`, which is relative to some root, as the result is. `None` if it is not below
/// that root.
pub fn below(directory: &str, relative: &str) -> Option<String> {
    let path = shortest(&format!("{directory}/{relative}"));
    let is_below = !path.is_empty() && path != ".." && !path.starts_with("../");
    is_below.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_names_become_absolute() {
        for name in ["./usr/bin/a", "usr/bin/a", "/usr/bin/a", "//usr/bin/a", "/./usr/bin/a"] {
            assert_eq!(absolute(name), "/usr/bin/a");
            let mut paths = "/b".to_owned();
            push_absolute(&mut paths, &name[..2], &name[2..]);
            assert_eq!(paths, "/b/usr/bin/a");
        }
    }

    #[test]
    fn source_paths_become_canonical() {
        for (path, canon) in [
            ("/a//b/./c/../d.c", "/a/b/d.c"),
            ("//a/b/d.c", "/a/b/d.c"),
            ("/../../../a/b/d.c", "/a/b/d.c"),
            ("/usr/src/debug/hello3-1.0-2.x86_64/foobar///./../hello.c", "/usr/src/debug/hello3-1.0-2.x86_64/hello.c"),
            ("sub/dir/x.c", "/sub/dir/x.c"),
            ("/a/..", "/"),
            ("", "/"),
        ] {
            assert_eq!(canonical(path), canon, "{path}");
        }
    }

    #[test]
    fn relative_paths_are_shortened_and_keep_leading_dot_dot() {
        for (path, short) in [
            ("./x.c", "x.c"),
            ("x.c/", "x.c"),
            ("./a/.//../b/x.c", "b/x.c"),
            ("../x.c", "../x.c"),
            ("a/../../../b/../x.c", "../../x.c"),
            ("..x/...", "..x/..."),
            (".", ""),
        ] {
            assert_eq!(shortest(path), short, "{path}");
            assert_eq!(canonical(&shortest(path)), canonical(path), "{path}");
        }
    }

    #[test]
    fn relative_paths_never_resolve_above_the_root() {
        for (directory, path, below_root) in [
            ("", "x.c", Some("x.c")),
            ("out/bin", "../src/x.c", Some("out/src/x.c")),
            ("out/bin", "../../x.c", Some("x.c")),
            ("out/bin", "../../../x.c", None),
            ("out/bin", "../../../out/bin/x.c", None),
            ("", "../x.c", None),
            ("", "..", None),
            ("out", "..", None),
            ("", "..x", Some("..x")),
        ] {
            assert_eq!(below(directory, path).as_deref(), below_root, "{directory:?} {path}");
        }
    }

    #[test]
    fn links_resolve_against_their_own_directory() {
        assert_eq!(resolve("/usr/lib/.build-id/42/0e9e", "../../../../usr/local/bin/hello"), "/usr/local/bin/hello");
        assert_eq!(resolve("/usr/lib/debug/.build-id/d4/4d", "../../../../local/bin/hello"), "/usr/local/bin/hello");
        assert_eq!(resolve("/usr/bin/sym", "/usr/bin/a"), "/usr/bin/a");
    }
}
