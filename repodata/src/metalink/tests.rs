use super::*;
use crate::checksum::Kind;

const SAMPLE: &str = include_str!("../../tests/samples/metalink.xml");

#[test]
fn a_metalink_of_mirror_manager_is_read() {
    let metalink = Metalink::read(SAMPLE.as_bytes()).unwrap();
    let repomd = include_bytes!("../../tests/samples/repomd.xml");
    let kinds: Vec<Kind> = metalink.newest.checksums.iter().map(Checksum::kind).collect();
    assert_eq!(kinds, [Kind::Sha512, Kind::Sha256, Kind::Sha1, Kind::Md5]);
    assert_eq!((metalink.newest.size, metalink.newest.timestamp), (Some(1355), Some(1_700_000_000)));
    assert!(metalink.newest.is_version(repomd) && metalink.has_version(repomd));
    assert_eq!(metalink.alternates.len(), 1);
    assert!(metalink.has_version(b"<repomd/>\n") && !metalink.newest.is_version(b"<repomd/>\n"));
    assert!(!metalink.has_version(b"<repomd/>"));

    let mirrors: Vec<(&str, Option<&str>, u32)> = metalink
        .mirrors
        .iter()
        .map(|mirror| (mirror.url.as_str(), mirror.location.as_deref(), mirror.preference))
        .collect();
    assert_eq!(
        mirrors,
        [
            ("https://near.example/fedora/44/repodata/repomd.xml", Some("DE"), 100),
            ("http://next.example/44/repodata/repomd.xml", Some("DE"), 99),
            ("https://far.example/pub/44/repodata/repomd.xml?x=1", Some("US"), 80),
            ("https://odd.example/repomd.xml", None, 0),
        ]
    );
    assert_eq!(metalink.mirrors[2].base().unwrap().as_str(), "https://far.example/pub/44/?x=1");
    assert_eq!(metalink.mirrors[3].base(), None);
}

#[test]
fn metalinks_without_what_is_needed_are_refused() {
    let hash = "<verification><hash type=\"md5\">900150983cd24fb0d6963f7d28e17f72</hash></verification>";
    let url = "<resources><url preference=\"1\">https://h/repodata/repomd.xml</url></resources>";
    let with = |name: &str, rest: &str| {
        let text = format!("<metalink><files><file name=\"{name}\">{rest}</file></files></metalink>");
        Metalink::read(text.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with("repomd.xml", &[hash, url].concat()), Ok(()));
    for (name, rest, message) in [
        ("other.iso", [hash, url].concat(), "expected a file repomd.xml, found none"),
        ("repomd.xml", url.into(), "expected a hash of repomd.xml, md5 to sha512, found none"),
        ("repomd.xml", url.replace("https", "rsync") + hash, "expected an http or https URL of repomd.xml, found none"),
        ("repomd.xml", [hash, "<resources/>"].concat(), "expected an http or https URL"),
        ("repomd.xml", [&hash.replace("md5", "crc"), url].concat(), "expected a hash of repomd.xml"),
    ] {
        let error = with(name, &rest).unwrap_err();
        assert!(error.starts_with("metalink, line 1: ") && error.contains(message), "{error}");
    }
    let many = url.replace("</resources>", &"<url>https://h/</url>".repeat(4096)) + "</resources>";
    assert!(with("repomd.xml", &many).unwrap_err().contains("at most 4096 mirrors"));
    let page = Metalink::read(&b"<html><title>Sign in</title></html>"[..]).unwrap_err().to_string();
    assert_eq!(page, "metalink, line 1: expected <metalink>, found <html>");
}
