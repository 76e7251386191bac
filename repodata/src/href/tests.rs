use super::*;

fn target(base: Option<&str>, href: &str) -> Result<String, String> {
    let href = Href { base: base.map(Into::into), href: href.into() };
    match href.target() {
        Ok(Target::Below(path)) => Ok(path),
        Ok(Target::Url(url)) => Ok(url.into()),
        Err(error) => Err(error.to_string()),
    }
}

/// What dnf 4.14 requested for each of these was measured with a server that logs the paths.
#[test]
fn names_are_literal() {
    for (href, path) in [
        ("Packages/b/bash-5.2-1.fc44.x86_64.rpm", "Packages/b/bash-5.2-1.fc44.x86_64.rpm"),
        ("p%5Ecaret/a.rpm", "p%5Ecaret/a.rpm"),
        ("bad%zz/a++b~c^d.rpm", "bad%zz/a++b~c^d.rpm"),
        ("q?x=1/a b#c.rpm", "q?x=1/a b#c.rpm"),
        ("./a.rpm", "a.rpm"),
        ("//x//./a.rpm", "x/a.rpm"),
        ("/abs/a.rpm", "abs/a.rpm"),
        ("ümlaut.rpm", "ümlaut.rpm"),
        ("..a/b..rpm", "..a/b..rpm"),
    ] {
        assert_eq!(target(None, href).as_deref(), Ok(path));
    }
}

#[test]
fn bases_and_whole_urls_are_encoded_already() {
    for (base, href, url) in [
        (None, "http://h:1/x%5Ey/a.rpm", "http://h:1/x%5Ey/a.rpm"),
        (Some("http://h/base%20d/"), "dir%5E/a+b.rpm", "http://h/base%20d/dir%255E/a+b.rpm"),
        (Some("https://h/noslash"), "a b.rpm", "https://h/noslash/a%20b.rpm"),
        (Some("https://h/d?token=1"), "a.rpm", "https://h/d/a.rpm?token=1"),
        (Some("https://h"), "q?x#y.rpm", "https://h/q%3Fx%23y.rpm"),
    ] {
        assert_eq!(target(base, href).as_deref(), Ok(url));
    }
}

#[test]
fn places_outside_of_every_repository_are_refused() {
    for (base, href) in [
        (None, "../a.rpm"),
        (None, "a/../../b.rpm"),
        (None, "a/.."),
        (None, ""),
        (None, "/"),
        (None, "."),
        (None, "dir/"),
        (None, "a\n.rpm"),
        (None, "ftp://h/a.rpm"),
        (None, "file:///etc/passwd"),
        (None, "http://user:secret@h/a.rpm"),
        (None, "http:///"),
        (Some("file:///srv"), "a.rpm"),
        (Some("media://1"), "a.rpm"),
        (Some("relative/"), "a.rpm"),
        (Some("https://h/"), "../a.rpm"),
    ] {
        let error = target(base, href).unwrap_err();
        assert!(error.starts_with("location: expected "), "{href}: {error}");
    }
    assert!(target(None, &"a".repeat(4097)).unwrap_err().contains("a path of at most 4,096 bytes"));
}

#[test]
fn the_path_of_a_url_below_a_store_is_decoded() {
    let below = |url: &str, base: &str| {
        path_below(&Url::parse(url).unwrap(), &Url::parse(base).unwrap()).map_err(|error| error.to_string())
    };
    for (url, base, path) in [
        ("https://h/s/x%5Ey/a%2Bb.rpm", "https://h/s/", Some("x^y/a+b.rpm")),
        ("https://h/s/bad%zz.rpm?t=1", "https://h:443/s?token=2", Some("bad%zz.rpm")),
        ("https://h/a.rpm", "https://h", Some("a.rpm")),
        ("https://h/s/%25%35E.rpm", "https://h/s", Some("%5E.rpm")),
        ("https://h/store/a.rpm", "https://h/s", None),
        ("https://h:8443/s/a.rpm", "https://h/s", None),
        ("http://h/s/a.rpm", "https://h/s", None),
        ("https://other/s/a.rpm", "https://h/s", None),
        ("https://h/s/../a.rpm", "https://h/s", None),
        ("https://h/s/%2e%2e/a.rpm", "https://h/s", None),
    ] {
        assert_eq!(below(url, base), Ok(path.map(Into::into)), "{url} {base}");
    }
    for url in ["https://h/s/a%2Fb.rpm", "https://h/s/a%2f..%2fb.rpm", "https://h/s/%ff.rpm", "https://h/s/%0a.rpm"] {
        assert!(below(url, "https://h/s").unwrap_err().starts_with("location: expected "), "{url}");
    }
}
