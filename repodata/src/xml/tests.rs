use super::*;

/// Reads a document to its end. Returns its elements as `NAME(ATTRIBUTE a)=TEXT`.
fn elements(text: &str) -> Result<Vec<String>, String> {
    fn read(document: &mut Document<&[u8]>, found: &mut Vec<String>) -> Result<()> {
        while document.next_child()? {
            let a = document.attribute("a")?.map(Cow::into_owned);
            let name = document.tag_name().to_owned();
            if name == "group" {
                read(document, found)?;
            } else {
                let text = document.read_text()?;
                found.push(format!("{name}({})={text}", a.unwrap_or_default()));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    let mut document = Document::open("test.xml", text.as_bytes(), "root").map_err(|error| error.to_string())?;
    read(&mut document, &mut found).and_then(|()| document.finish()).map_err(|error| error.to_string())?;
    Ok(found)
}

#[test]
fn elements_attributes_and_texts_are_read() {
    let text = "\u{feff}<?xml version=\"1.0\"?>\n<!-- a > b --><x:root xmlns:x=\"urn:x\">\n \
                <one a='1 &lt; 2'> t&amp;u&#x2d;<b>no</b>v </one><x:two/>\
                <group><in a=\"&#233;\"><![CDATA[<&>]]></in></group></x:root>\n";
    assert_eq!(elements(text).unwrap(), ["one(1 < 2)=t&u-v", "two()=", "in(é)=<&>"]);
}

#[test]
fn entities_and_declarations_are_refused() {
    let bomb = "<!DOCTYPE root [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
    for (text, message) in [
        (format!("{bomb}<root>&b;</root>"), "expected no document type declaration, found <!DOCTYPE root [<!ENTITY a"),
        ("<!DOCTYPE html>\n<html>".into(), "line 1: expected no document type declaration, found <!DOCTYPE html>"),
        ("<root>\n<a>&b;</a></root>".into(), "line 2: expected no entities but the predefined ones, found &b;"),
        ("<root><c a=\"&b;\"/></root>".into(), "expected no entities but the predefined ones, found "),
        ("<root><a>&#x0;</a></root>".into(), "expected a reference to a character, found "),
    ] {
        let error = elements(&text).unwrap_err();
        assert!(error.starts_with("test.xml, line ") && error.contains(message), "{error}");
    }
}

#[test]
fn broken_documents_are_refused_with_their_line() {
    for (text, message) in [
        ("", "line 1: expected <root>, found the end of the file"),
        ("{\"error\": 404}", "line 1: expected <root>, found \"{\\\"error\\\": 404}\""),
        ("<html><body>Sign in</body></html>", "expected <root>, found <html>"),
        ("<root>\n\n<a>", "line 3: expected the end of every element, found the end of the file"),
        (
            "<root>\n<a b=\"",
            "line 2: expected well-formed XML in UTF-8, found syntax error: attribute value not closed",
        ),
        ("<root><a></b></root>", "expected well-formed XML in UTF-8, found ill-formed document: expected `</a>`"),
        ("<root/><root/>", "expected the end of the file, found another root element"),
        ("<root><c a=1/></root>", "expected NAME=\"VALUE\" as attribute, found "),
    ] {
        let error = elements(text).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let latin = Document::open("test.xml", &b"<root>\xe4</root>"[..], "root").and_then(|mut root| root.read_text());
    assert!(latin.unwrap_err().to_string().contains("expected well-formed XML in UTF-8"));
}

#[test]
fn depth_lengths_and_counts_are_bounded() {
    let deep = |depth: usize| format!("<root>{}{}</root>", "<group>".repeat(depth), "</group>".repeat(depth));
    assert!(elements(&deep(31)).is_ok());
    assert!(elements(&deep(32)).unwrap_err().contains("expected at most 32 elements in each other"));

    let attributes = |count: usize| {
        let attributes: String = (0..count).map(|number| format!(" b{number}=\"\"")).collect();
        format!("<root><c{attributes} a=\"1\"/></root>")
    };
    assert_eq!(elements(&attributes(63)).unwrap(), ["c(1)="]);
    assert!(elements(&attributes(64)).unwrap_err().contains("expected at most 64 attributes, found more"));

    let value = |length: usize| format!("<root><c a=\"{}\"/></root>", "v".repeat(length));
    assert!(elements(&value(MAX_VALUE_BYTES)).is_ok());
    assert!(elements(&value(MAX_VALUE_BYTES + 1)).unwrap_err().contains("a value of at most 65536 bytes, found 65537"));
    let text = |length: usize| format!("<root><c>{}</c></root>", "t".repeat(length));
    assert!(elements(&text(MAX_VALUE_BYTES)).is_ok());
    assert!(elements(&text(MAX_VALUE_BYTES + 1)).unwrap_err().contains("a text of at most 65536 bytes"));
}

#[test]
fn a_part_without_end_takes_no_more_memory_than_the_limit() {
    for start in ["<root", "<root><c a=\"", "<root>", "<root><!--", "<root><![CDATA[", "<!DOCTYPE ", "<?x ", "<root>&"]
    {
        let endless = start.as_bytes().chain(io::repeat(b'a'));
        let read = Document::open("test.xml", endless, "root").and_then(|mut root| {
            root.skip()?;
            Ok(root.buffer.capacity())
        });
        let error = read.unwrap_err().to_string();
        assert!(error.contains("expected tags and texts of at most 4 MiB, found a longer one"), "{start}: {error}");
    }
}

#[test]
fn errors_of_the_input_are_passed_on() {
    struct AlwaysReset;
    impl Read for AlwaysReset {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
        }
    }
    let read = Document::open("test.xml", b"<root><a>".chain(AlwaysReset), "root").and_then(|mut root| root.skip());
    assert!(matches!(read, Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset));

    let checksum = crate::Checksum::of(crate::checksum::Kind::Sha256, b"other");
    let wrong = crate::checksum::Verified::new(&b"<root/>"[..], "test.xml.gz", checksum, None);
    let read = Document::open("test.xml", wrong, "root").and_then(|mut root| {
        root.skip()?;
        root.finish()
    });
    assert!(matches!(read, Err(Error::Digest { .. })), "{read:?}");
}
