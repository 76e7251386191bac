//! Paths inside packages: always absolute, always lexical; nothing here looks at a disk.

/// `path` with one leading slash and no `./` before it: archives write `./usr/bin/hello`, `usr/bin/hello` and `/usr/bin/hello`.
pub fn absolute(path: &str) -> String {
    let mut bare = path;
    while let Some(rest) = bare.strip_prefix("./").or_else(|| bare.strip_prefix('/')) {
        bare = rest;
    }
    format!("/{bare}")
}

/// The canonical form of a source path: dot segments removed (RFC 3986, section 5.2.4), `//` made `/`, rooted. Clients send what
/// DWARF says, `/usr/src/debug/hello-1.0/foobar///./../hello.c`.
pub fn canonical(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Where the symbolic link at `link` points to: `target` resolved lexically against the link's own folder.
pub fn resolve(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        return canonical(target);
    }
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    canonical(&format!("{folder}/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_names_become_absolute() {
        for name in ["./usr/bin/a", "usr/bin/a", "/usr/bin/a", "//usr/bin/a", "/./usr/bin/a"] {
            assert_eq!(absolute(name), "/usr/bin/a");
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
    fn links_resolve_against_their_own_folder() {
        assert_eq!(resolve("/usr/lib/.build-id/42/0e9e", "../../../../usr/local/bin/hello"), "/usr/local/bin/hello");
        assert_eq!(resolve("/usr/lib/debug/.build-id/d4/4d", "../../../../local/bin/hello"), "/usr/local/bin/hello");
        assert_eq!(resolve("/usr/bin/sym", "/usr/bin/a"), "/usr/bin/a");
    }
}
