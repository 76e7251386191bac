use super::*;

#[test]
fn base_urls_are_read_in_their_order() {
    let list = "# repo = fedora-44 arch = x86_64 country = global\n\nhttps://b.example/f44/\r\n\
                rsync://r.example/f44/\nhttp://a.example/f44?x=1\n";
    let urls: Vec<String> = read(list).unwrap().into_iter().map(Into::into).collect();
    assert_eq!(urls, ["https://b.example/f44/", "http://a.example/f44/?x=1"]);
}

#[test]
fn variables_pages_and_empty_lists_are_refused() {
    for (list, message) in [
        ("https://h/$basearch/os/\n", "mirrorlist, line 1: expected a URL without variables, found"),
        ("# a\n<html><body>", "mirrorlist, line 2: expected the base URL of a mirror, found \"<html><body>\""),
        ("<a href=\"https://h/\">h</a>", "expected the base URL of a mirror"),
        ("# none\n", "mirrorlist, line 1: expected an http or https URL, found none"),
        ("rsync://h/\n", "expected an http or https URL, found none"),
        ("", "expected an http or https URL, found none"),
        (&"https://h/\n".repeat(4097), "mirrorlist, line 4097: expected at most 4,096 mirrors, found more"),
    ] {
        let error = read(list).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
