//! The page at `/`: every call of the route table.

use std::fmt::Write as _;
use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, LOCATION};

use super::route::{Form, Route};

/// The policy of pages: they load nothing and run nothing.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page, with the calls of `routes`.
pub(super) async fn answer(routes: &'static [Route]) -> HttpResponse {
    static PAGE: OnceLock<String> = OnceLock::new();
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(PAGE.get_or_init(|| page(routes)).as_str())
}

/// The page with the calls of each form in its place.
fn page(routes: &[Route]) -> String {
    let is_of_debuginfod = |route: &Route| route.form == Form::Debuginfod || route.endpoint == "metadata";
    let is_for_operators = |route: &Route| route.form == Form::Operator && !route.cors;
    let is_json = |route: &Route| {
        !is_of_debuginfod(route) && (route.form == Form::Json || route.form == Form::Operator && route.cors)
    };
    include_str!("index.html")
        .replace("<!-- debuginfod -->", &rows(routes, is_of_debuginfod))
        .replace("<!-- json -->", &rows(routes, is_json))
        .replace("<!-- operators -->", &rows(routes, is_for_operators))
}

/// Sends `/darkserver` to the page.
pub(super) async fn redirect() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/darkserver/")).finish()
}

/// Rows of a table with the calls of some routes.
fn rows(routes: &[Route], is_wanted: impl Fn(&Route) -> bool) -> String {
    let mut rows = String::new();
    for (call, returns) in routes.iter().filter(|route| is_wanted(route)).flat_map(|route| route.calls) {
        let call = call.replace('&', "&amp;");
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "<tr><td><code>{call}</code></td><td>{returns}</td></tr>");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn every_call_is_on_the_page_once() {
        let page = page(ROUTES);
        for (call, _) in ROUTES.iter().flat_map(|route| route.calls) {
            let shown = format!("<code>{}</code>", call.replace('&', "&amp;"));
            assert_eq!(page.matches(&shown).count(), 1, "{call}");
        }
        assert!(!page.contains("<!--"));
    }
}
