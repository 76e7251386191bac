//! The page at `/`: every call of the route table.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;

use super::routes::{Form, ROUTES};

/// The page with the calls of each form in its place.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("index.html")
        .replace("<!-- debuginfod -->", &rows(|route| route.form == Form::Debuginfod || route.endpoint == "metadata"))
        .replace(
            "<!-- json -->",
            &rows(|route| {
                (route.form == Form::Json && route.endpoint != "metadata")
                    || (route.form == Form::Operator && route.cors)
            }),
        )
        .replace("<!-- operators -->", &rows(|route| route.form == Form::Operator && !route.cors))
});

/// The page.
pub(super) async fn answer() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(PAGE.as_str())
}

/// Sends `/darkserver` to the page.
pub(super) async fn redirect() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/darkserver/")).finish()
}

/// Rows of a table with the calls of some routes.
fn rows(is_wanted: impl Fn(&super::routes::Route) -> bool) -> String {
    let mut rows = String::new();
    for (call, returns) in ROUTES.iter().filter(|route| is_wanted(route)).flat_map(|route| route.calls) {
        let call = call.replace('&', "&amp;");
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "<tr><td><code>{call}</code></td><td>{returns}</td></tr>");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_on_the_page_once() {
        for (call, _) in ROUTES.iter().flat_map(|route| route.calls) {
            let shown = format!("<code>{}</code>", call.replace('&', "&amp;"));
            assert_eq!(PAGE.matches(&shown).count(), 1, "{call}");
        }
        assert!(!PAGE.contains("<!--"));
    }
}
