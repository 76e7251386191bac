//! The page at `/` in a real browser.

use compat_tests::chromium::browse;
use compat_tests::darkserver::{RunningGateway, Sqlite};

#[test]
fn the_page_describes_every_call_and_obeys_its_content_security_policy() {
    let database = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&database.url());
    for path in ["/", "/darkserver", "/darkserver/"] {
        let (document, said) = browse(&format!("{}{path}", gateway.url()));
        for call in [
            "/buildids/",
            "/rpm2buildids/",
            "/package/",
            "/serverversion",
            "/buildid/ID/debuginfo",
            "/metrics",
            "/upstreams",
            "/readyz",
        ] {
            assert!(document.contains(call), "{path}: expected {call} on the page, found {document}");
        }
        assert!(!said.contains("CONSOLE"), "{path}: the browser complained: {said}");
    }
}
