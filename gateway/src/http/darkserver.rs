//! The JSON API of the original darkserver, at `/` and under `/darkserver/`.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use artifact::BuildId;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use sql::{ClaimRecord, Packages, Record};

use super::links::Links;
use super::{error, tail};
use crate::index::lookup::row_order;
use crate::resolve::Gateway;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::Cause;

/// One row of an answer; the original's keys, all strings.
#[derive(Serialize)]
struct JsonRow {
    buildid: String,
    elf: String,
    rpm: String,
    distro: String,
    url: String,
}

/// `/serverversion`
pub(super) async fn server_version() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "server-version": env!("CARGO_PKG_VERSION") }))
}

/// `/buildids/ID[,ID...]`. A text that is no build-id matches nothing.
pub(super) async fn build_ids(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let ids: Vec<BuildId> = match tail(&request) {
        Ok(tail) => tail.split(',').filter_map(|id| id.trim_matches([' ', '/']).parse().ok()).collect(),
        Err(_) => Vec::new(),
    };
    let until = Deadline::after(gateway.config.request.budget).end();
    let links = Links::of(&request, &gateway);
    let json = match ids.as_slice() {
        // Nearly all requests; the JSON is cached with the records.
        [id] => gateway.lookup.records(id, until).await.map(|known| {
            let records = known.value;
            records.json(&links.base, || links.rows(&records, &records.claims))
        }),
        ids => {
            let found = Box::pin(gateway.lookup.records_of_all(ids, until)).await;
            found.map(|found| links.rows(&found.records, &found.claims))
        }
    };
    rows(&gateway, json)
}

/// `/rpm2buildids/NVRA[.rpm]`
pub(super) async fn rpm_to_build_ids(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let links = Links::of(&request, &gateway);
    let Some(nvra) = nvra(&request) else { return rows(&gateway, Ok(links.rows(&[], &[]))) };
    let records = gateway.lookup.query(|index| async move { index.records_by_nvra(&nvra).await }).await;
    rows(&gateway, records.map(|found| links.rows(&found.records, &found.claims)))
}

/// `/package/NVRA[.rpm]`: `{"url": ...}`, or `{}` for an unknown package as release 2.0 had it.
pub(super) async fn package(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let Some(nvra) = nvra(&request) else { return HttpResponse::Ok().json(json!({})) };
    let packages = gateway.lookup.query(|index| async move { index.packages_by_nvra(&nvra).await }).await;
    match packages {
        Ok(Packages { read, unread }) => {
            let links = Links::of(&request, &gateway);
            let read = read.iter().map(|package| (package.id, links.url(package)));
            let unread = unread.iter().map(|package| (package.id, Links::url_of_unread(package)));
            // Several packages can have one NVRA; the newest import that can be had wins, as the last row did.
            let newest = read.chain(unread).filter(|(_, url)| !url.is_empty()).max_by_key(|(id, _)| *id);
            let url = newest.map(|(_, url)| url);
            HttpResponse::Ok()
                .insert_header((VARY, HOST))
                .json(url.map_or_else(|| json!({}), |url| json!({ "url": url })))
        }
        Err(cause) => unavailable(&gateway, &cause),
    }
}

/// One trailing `.rpm` is stripped, once; `+` stays `+`.
fn nvra(request: &HttpRequest) -> Option<String> {
    let tail = tail(request).ok()?;
    let nvra = tail.trim_matches('/');
    Some(nvra.strip_suffix(".rpm").unwrap_or(nvra).to_owned()).filter(|nvra| !nvra.is_empty())
}

fn rows(gateway: &Gateway, json: Result<Bytes, Cause>) -> HttpResponse {
    match json {
        Ok(json) => {
            let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(json));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().insert(VARY, HOST);
            response
        }
        Err(cause) => unavailable(gateway, &cause),
    }
}

fn unavailable(gateway: &Gateway, cause: &Cause) -> HttpResponse {
    gateway.lookup.log_unavailable(cause);
    error::unavailable_json()
}

/// The value of Vary: links in an answer are made of the Host of its request.
const HOST: HeaderValue = HeaderValue::from_static("Host");

impl Links {
    /// One row a file, and one a claim behind them: the link that a package has for the build-id, if that is known. A
    /// file that has both kinds is one row.
    fn rows(&self, records: &[Record], claims: &[ClaimRecord]) -> Bytes {
        let mut records: Vec<&Record> = records.iter().collect();
        records.dedup_by(|a, b| row_order(a) == row_order(b));
        let row = |record: &&Record| JsonRow {
            buildid: record.artifact.build_id.to_string(),
            elf: record.artifact.path.clone(),
            rpm: record.package.package.nevra.nvra(),
            distro: record.package.distro.clone(),
            url: self.url(&record.package),
        };
        let claimed = |ClaimRecord { package, claim }: &ClaimRecord| JsonRow {
            buildid: claim.build_id.to_string(),
            elf: claim.link_path.clone().unwrap_or_default(),
            rpm: package.nevra.nvra(),
            distro: package.distro.clone(),
            url: Self::url_of_unread(package),
        };
        let rows = records.iter().map(row).chain(claims.iter().map(claimed)).collect::<Vec<_>>();
        // Strings alone: that cannot fail.
        serde_json::to_vec(&rows).unwrap_or_default().into()
    }
}
