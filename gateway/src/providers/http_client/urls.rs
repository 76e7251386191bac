//! URLs of files below the URL of a server.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// What a file name in a URL is escaped to: everything but unreserved characters (RFC 3986, section 2.3) and `/`.
/// Object stores take a literal `+` for a blank, and strict servers refuse `^`.
pub(crate) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of the file `path` below `base`. `path` is not escaped yet. `None` if `base` is no http URL, or the path has
/// dot segments, which would lead elsewhere.
pub(crate) fn below(base: &str, path: &str) -> Option<Url> {
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
    Some(url)
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
        assert_eq!(below("http://m.example/pub/", "a/../../x"), None);
        assert_eq!(below("file:///etc/", "passwd"), None);
    }
}
