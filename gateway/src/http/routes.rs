//! The route table: every path that the gateway answers, with all that does not depend on one request.
//!
//! Dispatch, metrics, CORS, the form of errors, the access log, admission and the page at `/` read this table and
//! nothing else. Every route answers GET and HEAD.

use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use super::route::{Admission, Endpoint, Form, Handler, Path, Route};
use super::{archive, darkserver, debuginfod, error, metadata, operations, page, upstreams};
use crate::resolve::Gateway;
use crate::resolve::deadline::REQUEST_PERMIT_TIMEOUT;
use crate::server::client;

/// The directory of the original darkserver's API.
const MIRROR: &str = "/darkserver";

/// Every route. Those that are requested most come first.
pub(super) static ROUTES: &[Route] = &[
    Route {
        path: Path::AtOrBelow("/buildid/"),
        is_mirrored: false,
        endpoint: "buildid",
        form: Form::Debuginfod,
        cors: true,
        admission: Admission::Permit,
        calls: &[
            ("/buildid/ID/debuginfo", "the file with DWARF"),
            ("/buildid/ID/executable", "the program or library"),
            ("/buildid/ID/section/NAME", "the raw bytes of one ELF section"),
            ("/buildid/ID/source/PATH", "one source file"),
        ],
        handler: |request, gateway| Box::pin(debuginfod::answer(request, gateway)),
    },
    Route {
        path: Path::Below("/buildids/"),
        is_mirrored: true,
        endpoint: "buildids",
        form: Form::Json,
        cors: true,
        admission: Admission::Permit,
        calls: &[("/buildids/ID[,ID...]", "the packages and files with these build-ids")],
        handler: |request, gateway| Box::pin(darkserver::build_ids(request, gateway)),
    },
    Route {
        path: Path::Below("/rpm2buildids/"),
        is_mirrored: true,
        endpoint: "rpm2buildids",
        form: Form::Json,
        cors: true,
        admission: Admission::Permit,
        calls: &[("/rpm2buildids/NAME-VERSION-RELEASE.ARCH[.rpm]", "the build-ids in a package")],
        handler: |request, gateway| Box::pin(darkserver::rpm_to_build_ids(request, gateway)),
    },
    Route {
        path: Path::Below("/package/"),
        is_mirrored: true,
        endpoint: "package",
        form: Form::Json,
        cors: true,
        admission: Admission::Permit,
        calls: &[("/package/NAME-VERSION-RELEASE.ARCH[.rpm]", "the URL of a package")],
        handler: |request, gateway| Box::pin(darkserver::package(request, gateway)),
    },
    METADATA,
    // As with the reference server, what follows the word is ignored.
    Route { path: Path::AtOrBelow("/metadata/"), calls: &[], ..METADATA },
    Route {
        path: Path::Below("/archive/"),
        is_mirrored: false,
        endpoint: "archive",
        form: Form::Download,
        cors: true,
        admission: Admission::Permit,
        calls: &[],
        handler: |request, gateway| Box::pin(archive::answer(request, gateway)),
    },
    Route {
        calls: &[("/serverversion", "the version of this server")],
        ..operator("/serverversion", true, |_, _| Box::pin(darkserver::server_version()))
    },
    operator("/serverversion/", true, |_, _| Box::pin(darkserver::server_version())),
    operator("/", true, |_, _| Box::pin(page::answer(ROUTES))),
    Route { is_mirrored: false, ..operator("/darkserver", true, |_, _| Box::pin(page::redirect())) },
    Route {
        calls: &[("/metrics", "figures for Prometheus")],
        ..operator("/metrics", false, |_, _| Box::pin(operations::metrics()))
    },
    Route {
        calls: &[("/upstreams", "the state and the last day of every upstream, as a page or as JSON")],
        ..operator("/upstreams", false, |request, gateway| Box::pin(upstreams::answer(request, gateway)))
    },
    Route {
        calls: &[("/healthz", "200 while the process runs")],
        ..operator("/healthz", false, |_, _| Box::pin(operations::healthy()))
    },
    Route {
        calls: &[("/readyz", "200 if something can be answered, with the state of every component")],
        ..operator("/readyz", false, |request, gateway| Box::pin(operations::ready(request, gateway)))
    },
];

const METADATA: Route = Route {
    path: Path::Is("/metadata"),
    is_mirrored: false,
    endpoint: "metadata",
    form: Form::Json,
    cors: true,
    admission: Admission::Permit,
    calls: &[(
        "/metadata?key=file|glob|buildid&value=VALUE",
        "the files at a path, at paths that match a pattern, or with a build-id",
    )],
    handler: |request, gateway| Box::pin(metadata::answer(request, gateway)),
};

/// A route for operators; `is_public` for those that clients request, too.
const fn operator(path: &'static str, is_public: bool, handler: Handler) -> Route {
    Route {
        path: Path::Is(path),
        is_mirrored: is_public,
        endpoint: "operations",
        form: Form::Operator,
        cors: is_public,
        admission: Admission::Immediate,
        calls: &[],
        handler,
    }
}

impl Route {
    /// The route of a path, percent-decoded but for slashes; `None` if there is none.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        let is_mirrored = Self::is_below_darkserver(path);
        let path = if is_mirrored { &path[MIRROR.len()..] } else { path };
        ROUTES.iter().find(|route| route.path.matches(path) && (route.is_mirrored || !is_mirrored))
    }

    /// True if a decoded path is below `/darkserver`.
    pub(super) fn is_below_darkserver(path: &str) -> bool {
        path.strip_prefix(MIRROR).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The response to a request whose answer is unavailable.
    pub(super) fn unavailable(&self, request: &HttpRequest, gateway: &Gateway) -> HttpResponse {
        match self.form {
            Form::Debuginfod => debuginfod::unavailable(request, gateway),
            Form::Json => error::unavailable_json(),
            Form::Download | Form::Operator => error::unavailable(false),
        }
    }
}

/// The label `endpoint` of a request: one of a few words.
pub(super) fn endpoint(request: &HttpRequest, route: Option<&Route>) -> &'static str {
    match route {
        None => "unknown",
        Some(Route { form: Form::Debuginfod, .. }) => match request.extensions().get() {
            Some(Endpoint(word)) => word,
            None => debuginfod::endpoint(request),
        },
        Some(route) => route.endpoint,
    }
}

/// Registers the table with actix: every request is dispatched by it.
pub(crate) fn register(app: &mut web::ServiceConfig) {
    app.default_service(web::to(dispatch));
}

/// Calls the handler of the route, once the client has a permit where the route needs one.
async fn dispatch(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error::wrong_method(request.method());
    }
    let Some(route) = Route::of(request.match_info().as_str()) else {
        return match request.uri().path() {
            path if path.starts_with('/') => error::unknown_path(path),
            _ => error::malformed(&"expected a path as the target of the request"),
        };
    };
    if route.admission == Admission::Immediate {
        return (route.handler)(request, gateway).await;
    }
    let client = client(&request, &gateway.config);
    let permit = match gateway.request_permits.try_acquire(client) {
        Some(permit) => Some(permit),
        None => tokio::time::timeout(REQUEST_PERMIT_TIMEOUT, gateway.request_permits.acquire(client)).await.ok(),
    };
    match permit {
        // Released once the handler has returned.
        Some(_permit) => (route.handler)(request, gateway).await,
        None => route.unavailable(&request, &gateway),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use actix_web::App;
    use actix_web::body::MessageBody;
    use actix_web::dev::{Service, ServiceResponse};
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service};
    use clap::Parser;

    use super::*;

    #[test]
    fn paths_have_their_routes() {
        for (path, expected) in [
            ("/buildid/ab/debuginfo", Some("buildid")),
            ("/buildid/", Some("buildid")),
            ("/buildid", None),
            ("/darkserver/buildid/ab/debuginfo", None),
            ("/buildids/ab", Some("buildids")),
            ("/darkserver/buildids/ab", Some("buildids")),
            ("/buildids/", None),
            ("/rpm2buildids/a", Some("rpm2buildids")),
            ("/package/a", Some("package")),
            ("/package/", None),
            ("/metadata", Some("metadata")),
            ("/metadata/x", Some("metadata")),
            ("/metadatax", None),
            ("/archive/a/b", Some("archive")),
            ("/darkserver/archive/a/b", None),
            ("/", Some("operations")),
            ("/darkserver", Some("operations")),
            ("/darkserver/", Some("operations")),
            ("/darkserver/serverversion", Some("operations")),
            ("/darkserverx", None),
            ("/metrics", Some("operations")),
            ("/darkserver/metrics", None),
            ("/upstreams", Some("operations")),
            ("/darkserver/upstreams", None),
            ("", None),
        ] {
            assert_eq!(Route::of(path).map(|route| route.endpoint), expected, "{path}");
        }
    }

    /// A path of the route.
    fn path_of(route: &Route) -> String {
        match route.path {
            Path::Is(path) => path.to_owned(),
            Path::Below(start) | Path::AtOrBelow(start) => format!("{start}x"),
        }
    }

    #[test]
    fn every_route_can_be_reached_and_operators_never_wait() {
        for route in ROUTES {
            let path = path_of(route);
            let found = Route::of(&path).expect("a route");
            assert!(std::ptr::eq(found, route), "{path}: another route stands before it");
            assert_eq!(route.form == Form::Operator, route.admission == Admission::Immediate, "{path}");
        }
    }

    #[test]
    fn names_of_routes_are_percent_decoded_before_they_are_matched() {
        actix_web::rt::System::new().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let app = app(directory.path()).await;
            for (path, expected) in [
                ("/%72eadyz", [200, 503].as_slice()),
                ("/server%76ersion", &[200]),
                ("/darkserver/server%76ersion", &[200]),
                ("/dark%73erver/serverversion", &[200]),
                // `x` is no build-id, and the name does not become a part of it.
                ("/buil%64id/x/debuginfo", &[400]),
                ("/buil%64id/ab12%2Fnonsense", &[400]),
                // An encoded slash does not separate the name of a route.
                ("/buildid%2Fab12%2Fdebuginfo", &[404]),
                ("/metrics%2F", &[404]),
                ("/darkserver/met%72ics", &[404]),
            ] {
                let response = call_service(&app, TestRequest::with_uri(path).to_request()).await;
                let found = response.status().as_u16();
                assert!(expected.contains(&found), "{path}: expected one of {expected:?}, found {found}");
            }
        });
    }

    #[test]
    fn every_route_answers_get_and_head_and_no_other_method() {
        actix_web::rt::System::new().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let app = app(directory.path()).await;
            for route in ROUTES {
                let path = path_of(route);
                let mirrors = [Some(path.clone()), route.is_mirrored.then(|| format!("/darkserver{path}"))];
                for path in mirrors.into_iter().flatten() {
                    let mut found = Vec::new();
                    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
                        let request = TestRequest::with_uri(&path).method(method).insert_header(("Origin", "http://a"));
                        let response = call_service(&app, request.to_request()).await;
                        let readable = response.headers().contains_key("access-control-allow-origin");
                        assert_eq!(readable, route.cors, "{path}");
                        found.push(response.status().as_u16());
                    }
                    let [get, head, options, post] = found[..] else { panic!("{found:?}") };
                    let expected: &[u16] = match route.form {
                        // `x` is no build-id, no value, no identity.
                        Form::Debuginfod => &[400],
                        Form::Download => &[404],
                        Form::Json if route.endpoint == "metadata" => &[400],
                        // The database is empty, or not there yet.
                        Form::Json => &[200, 503],
                        Form::Operator => &[200, 302, 503],
                    };
                    assert!(expected.contains(&get), "{path}: expected one of {expected:?}, found {get}");
                    assert_eq!((head, post), (get, 405), "{path}");
                    assert_eq!(options, if route.cors { 200 } else { 405 }, "{path}");
                }
            }
        });
    }

    /// The gateway as an application, with its files in `directory`.
    async fn app(
        directory: &std::path::Path,
    ) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = actix_web::Error> {
        // A second call finds the provider installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = directory.join("gateway.toml");
        let shown = directory.display();
        let text = format!(
            "database = \"sqlite:{shown}/index.sqlite\"\ncache_dir = \"{shown}/cache\"\n[cors]\norigins = [\"*\"]\n"
        );
        std::fs::write(&file, text).unwrap();
        let cli = crate::cli::Cli::parse_from([OsStr::new("darkserver"), OsStr::new("--config"), file.as_os_str()]);
        let crate::cli::Task::Serve(arguments) = cli.task() else { panic!("expected to serve") };
        let config = crate::config::Config::load(arguments).unwrap();
        let gateway = web::Data::new(Gateway::new(config).await.unwrap());
        init_service(App::new().wrap(from_fn(super::super::observe)).app_data(gateway).configure(register)).await
    }
}
