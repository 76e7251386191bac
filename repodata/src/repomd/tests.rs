use super::*;

const SAMPLE: &str = include_str!("../../tests/samples/repomd.xml");

fn read(text: &str) -> Result<Repomd, String> {
    Repomd::read(text.as_bytes()).map_err(|error| error.to_string())
}

/// A `repomd.xml` with these entries, each with a location and what else is given.
fn with(entries: &[(&str, &str)]) -> String {
    let entry =
        |(kind, rest): &(&str, &str)| format!("<data type=\"{kind}\"><location href=\"r/{kind}\"/>{rest}</data>");
    format!("<repomd>{}</repomd>", entries.iter().map(entry).collect::<String>())
}

const MD5: &str = "<checksum type=\"md5\">900150983cd24fb0d6963f7d28e17f72</checksum>";

#[test]
fn a_repomd_of_createrepo_c_is_read() {
    let repomd = read(SAMPLE).unwrap();
    assert_eq!(repomd.revision.as_deref(), Some("1700000000"));
    let kinds: Vec<&str> = repomd.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["primary", "filelists", "other"]);
    let primary = &repomd.primary;
    assert_eq!(primary.href, Href { base: None, href: "repodata/primary.xml.gz".into() });
    assert_eq!((primary.size, primary.open_size, primary.timestamp), (Some(1777), Some(9608), Some(1_700_000_000)));
    let text = include_bytes!("../../tests/samples/primary.xml");
    assert_eq!(primary.open_checksum, Some(Checksum::of(crate::checksum::Kind::Sha256, text)));
    assert_eq!(repomd.find("filelists").map(|entry| entry.href.href.as_str()), Some("repodata/filelists.xml.gz"));
}

#[test]
fn siblings_and_unknown_kinds_are_not_taken_for_a_kind() {
    let kinds = ["primary_zck", "primary_db", "prestodelta", "primary", "primary", "filelists_zck", "x"];
    let repomd = read(&with(&kinds.map(|kind| (kind, MD5)))).unwrap();
    assert_eq!(repomd.primary.kind, "primary");
    assert_eq!(repomd.find("filelists"), None);
    assert_eq!(repomd.entries.len(), kinds.len());
    let error = read(&with(&[("primary_zck", MD5), ("primary_db", MD5)])).unwrap_err();
    assert!(error.contains("expected an entry of type primary, found [primary_zck, primary_db]"), "{error}");
}

#[test]
fn every_checksum_of_a_yum_generation_is_read() {
    let sha = "<checksum type=\"sha\">a9993e364706816aba3e25717850c26c9cd0d89d</checksum>\
               <timestamp>1234567890.12</timestamp>";
    let repomd = read(&with(&[("primary", sha)])).unwrap();
    assert_eq!(repomd.primary.checksum.to_string(), "sha1:a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(repomd.primary.timestamp, Some(1_234_567_890));
}

#[test]
fn entries_that_lack_something_count_only_where_they_are_needed() {
    let crc = "<checksum type=\"crc32\">00</checksum>";
    assert_eq!(read(&with(&[("primary", MD5), ("other", ""), ("group", crc)])).unwrap().entries.len(), 1);
    for (entries, message) in [
        (with(&[("primary", "")]), "expected a checksum of primary, found none"),
        (with(&[("primary", MD5), ("filelists", "")]), "expected a checksum of filelists, found none"),
        (with(&[("primary", crc)]), "sha384 or sha512 as checksum of primary, found \"crc32\""),
        (format!("<repomd><data type=\"primary\">{MD5}</data></repomd>"), "expected a location of primary, found none"),
        ("<repomd/>".into(), "expected an entry of type primary, found []"),
        ("<metadata/>".into(), "expected <repomd>, found <metadata>"),
    ] {
        let error = read(&entries).unwrap_err();
        assert!(error.starts_with("repomd.xml, line 1: ") && error.contains(message), "{error}");
    }
    let many = with(&vec![("primary", MD5); 1025]);
    assert!(read(&many).unwrap_err().contains("expected at most 1024 metadata files, found more"));
}
