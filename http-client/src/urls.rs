//! URLs of files below the URL of a server, and URLs without secrets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{ParseError, Url};

/// What a file name in a URL is escaped to: everything but unreserved characters (RFC 3986, section 2.3) and `/`.
/// Object stores take a literal `+` for a blank, and strict servers refuse `^`.
pub const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of the file `path` below `base`. `path` is not escaped yet. `None` if `base` is no http URL, or the path has
/// dot segments, which would lead elsewhere. The query of `base` stays (signed URLs of object stores), its fragment
/// does not.
pub fn below(base: &str, path: &str) -> Option<Url> {
    let mut url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let mut joined = url.path().trim_end_matches('/').to_owned();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return None;
        }
        joined.push('/');
        joined.extend(utf8_percent_encode(segment, ESCAPED));
    }
    url.set_path(&joined);
    url.set_fragment(None);
    Some(url)
}

/// The URL of `path` below `base`, which has neither query nor fragment. `path` is escaped already, has no slash before
/// it, and can have a query.
///
/// # Errors
/// They do not make a URL.
pub fn below_escaped(base: &Url, path: &str) -> Result<Url, ParseError> {
    Url::parse(&format!("{}/{path}", base.as_str().trim_end_matches('/')))
}

/// A URL without user and password.
pub fn without_credentials(url: &Url) -> Url {
    let mut url = url.clone();
    // These fail for URLs without a host alone, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// A URL without what may be secret: user, password, query and fragment.
pub fn without_secrets(url: &Url) -> Url {
    let mut url = without_credentials(url);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_its_base() {
        assert_eq!(
            below("http://m.example/pub", "a/b c#?.rpm").unwrap().as_str(),
            "http://m.example/pub/a/b%20c%23%3F.rpm"
        );
        assert_eq!(
            below("http://m.example/pub/", "/libstdc++-1.rpm").unwrap().as_str(),
            "http://m.example/pub/libstdc%2B%2B-1.rpm"
        );
        assert_eq!(
            below("http://m.example", "a^b~c\\d:e.rpm").unwrap().as_str(),
            "http://m.example/a%5Eb~c%5Cd%3Ae.rpm"
        );
        assert_eq!(
            below("http://m.example/a%2Fb+c/", "%2e%2e/é").unwrap().as_str(),
            "http://m.example/a%2Fb+c/%252e%252e/%C3%A9"
        );
        assert_eq!(
            below("https://m.example/pub/?token=a%2Fb&x=1#y", "c?d/e.rpm").unwrap().as_str(),
            "https://m.example/pub/c%3Fd/e.rpm?token=a%2Fb&x=1"
        );
        assert_eq!(below("http://m.example/pub/", "a/../../x"), None);
        assert_eq!(below("file:///etc/", "passwd"), None);
    }

    #[test]
    fn an_escaped_path_is_taken_as_it_is() {
        for (base, path, expected) in [
            ("http://m.example", "buildid/ab/source/a%2Bb", "http://m.example/buildid/ab/source/a%2Bb"),
            (
                "http://m.example:1/pub/",
                "metadata?key=file&value=/a",
                "http://m.example:1/pub/metadata?key=file&value=/a",
            ),
        ] {
            assert_eq!(below_escaped(&Url::parse(base).unwrap(), path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn urls_are_shown_without_what_may_be_secret() {
        for (url, without_login, shown) in [
            (
                "https://me:geheim@d.example/base/?token=geheim#geheim",
                "https://d.example/base/?token=geheim#geheim",
                "https://d.example/base/",
            ),
            ("http://d.example:8002/a@b", "http://d.example:8002/a@b", "http://d.example:8002/a@b"),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(without_credentials(&url).as_str(), without_login);
            assert_eq!(without_secrets(&url).as_str(), shown);
        }
    }
}
