//! Hooks: requests that tell of a build or an archive, and uploads of packages.
//!
//! A request needs a bearer token ([`tokens`]) and is counted ([`rates`]) before anything else is done for it. A hook
//! answers once its job is committed. An upload ([`upload`]) answers once the package is in the index.
//!
//! | status | reason |
//! |---|---|
//! | 202 | the job is in the database: `{"job": KEY}` |
//! | 201, 200 | the package is in the index; 200: it was uploaded before |
//! | 400 | no JSON of the expected form, a wrong name, a wrong digest, a body that ends early |
//! | 401, 403 | no valid token; no tokens are configured |
//! | 404, 405 | unknown path or store; another method |
//! | 408 | the body comes too slowly |
//! | 409 | another file has the name |
//! | 413, 415 | the body is too large, or of another type |
//! | 422 | nothing of the configuration, a store that does not exist, a package with another name |
//! | 429 | too many requests with this token |
//! | 503, 507 | the database or the disk failed; the disk is full |

mod body;
pub(crate) mod digest;
pub(crate) mod file_name;
mod place;
mod rates;
mod refusal;
mod requests;
mod tokens;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use tokio::time::timeout;

use self::rates::Rates;
use self::refusal::Refusal;
use self::requests::{ARCHIVE_BODY, ArchiveRequest, KOJI_BODY, KojiRequest};
use self::tokens::{Access, Tokens};
use self::upload::Uploads;
pub(crate) use self::upload::file_digest;
pub(super) use self::upload::recover as recover_uploads;
use super::Service;
use super::http::LINGER_TIMEOUT;
use crate::jobs::Work;

/// Maximum time for the database. Then the client is asked to come back.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client is told when the database fails.
const DATABASE: &str = "the database did not answer";

/// What the requests to hooks share.
pub(crate) struct Hooks {
    service: Arc<Service>,
    tokens: Tokens,
    rates: Rates,
    uploads: Uploads,
}

/// The result of a hook.
type Answer = Result<HttpResponse, Refusal>;

impl Hooks {
    /// Returns the hooks of a service, and removes what uploads of earlier processes left.
    pub(crate) fn new(service: &Arc<Service>) -> web::Data<Self> {
        let table = &service.settings.hooks;
        let (tokens, rates) = (Tokens::new(table.token_file.clone()), Rates::new(table));
        web::Data::new(Self { service: Arc::clone(service), tokens, rates, uploads: Uploads::new() })
    }

    /// Checks the token and the rate of a request.
    fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let mut values = request.headers().get_all(AUTHORIZATION);
        let authorization = values.next().filter(|_| values.next().is_none());
        let access = self.tokens.check(authorization.map(|value| value.as_bytes()));
        let token = match &access {
            Access::Granted(token) => Some(token),
            Access::Denied | Access::Disabled => None,
        };
        self.rates.check(token).map_err(Refusal::too_many_requests)?;
        match access {
            Access::Granted(_) => Ok(()),
            Access::Denied if request.headers().contains_key(AUTHORIZATION) => {
                let peer = request.peer_addr().map(|peer| peer.ip().to_string());
                tracing::debug!(peer, path = request.path(), "a hook was refused: another token");
                Err(Refusal::without_token("another token"))
            }
            Access::Denied => Err(Refusal::without_token("none")),
            Access::Disabled => Err(Refusal::disabled()),
        }
    }

    /// Returns the stores of the index.
    async fn stores(&self) -> Result<Vec<sql::Store>, Refusal> {
        let index = self.service.index.clone();
        self.ask("reading the stores", Box::pin(async move { index.stores().await })).await
    }

    /// Writes a job that is due after `delay`, and wakes the worker.
    async fn enqueue(&self, work: Work, delay: Duration) -> Answer {
        let (index, job) = (self.service.index.clone(), work.job(delay));
        self.ask("writing a job", Box::pin(async move { index.enqueue(&[job]).await })).await?;
        self.service.new_jobs.notify_one();
        let key = work.key();
        tracing::info!(job = key, "a hook asked for work");
        Ok(HttpResponse::Accepted().insert_header((CACHE_CONTROL, "no-store")).json(json!({ "job": key })))
    }

    /// Asks the database.
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        query: impl Future<Output = sql::Result<T>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match self.service.run_shared(timeout(DATABASE_TIMEOUT, query)).await {
            Ok(Ok(Ok(found))) => return Ok(found),
            Ok(Ok(Err(error))) => tracing::error!(%error, what, "a hook failed"),
            Ok(Err(_)) => tracing::error!(timeout = ?DATABASE_TIMEOUT, what, "the database does not answer a hook"),
            Err(error) => tracing::error!(%error, what, "a hook failed"),
        }
        Err(Refusal::unavailable(DATABASE))
    }

    /// Returns the response of a hook, which is counted. `payload` is what is left of the body.
    fn respond(&self, hook: &'static str, answer: Answer, payload: web::Payload) -> HttpResponse {
        if answer.is_err() {
            // The rest of a chunked body that was dropped would be read to its end, however long that takes. One that
            // is still there is read until the time to linger is over.
            actix_web::rt::spawn(async move {
                tokio::time::sleep(LINGER_TIMEOUT).await;
                drop(payload);
            });
        }
        let response = answer.unwrap_or_else(Refusal::response);
        self.service.metrics.count_hook_request(hook, response.status().as_u16());
        response
    }
}

/// Adds the hooks to the service of a worker.
pub(super) fn configure(config: &mut web::ServiceConfig, hooks: &web::Data<Hooks>) {
    let resource = |path: &str, allowed: &'static str| {
        let refuse = move |request: HttpRequest| {
            let response = Refusal::wrong_method(allowed, request.method().as_str()).response();
            async move { response }
        };
        web::resource(path).default_service(web::to(refuse))
    };
    config.service(
        web::scope("/hooks")
            .app_data(hooks.clone())
            .service(resource("/koji", "POST").route(web::post().to(koji)))
            .service(resource("/archive", "POST").route(web::post().to(archive)))
            .service(resource("/upload/{place:.*}", "PUT").route(web::put().to(uploaded)))
            .default_service(web::to(unknown)),
    );
}

/// `POST /hooks/koji`
async fn koji(hooks: web::Data<Hooks>, request: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    let answer = async {
        hooks.admit(&request)?;
        let settings = &hooks.service.settings;
        let body: KojiRequest =
            body::read_json(&request, &mut payload, settings.hooks.max_body.as_u64(), KOJI_BODY).await?;
        let instances: Vec<&str> = settings.koji.iter().map(|instance| instance.name.as_str()).collect();
        let (work, delay) = body.work(&instances)?;
        hooks.enqueue(work, delay).await
    }
    .await;
    hooks.respond("koji", answer, payload)
}

/// `POST /hooks/archive`
async fn archive(hooks: web::Data<Hooks>, request: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    let answer = async {
        hooks.admit(&request)?;
        let max_bytes = hooks.service.settings.hooks.max_body.as_u64();
        let body: ArchiveRequest = body::read_json(&request, &mut payload, max_bytes, ARCHIVE_BODY).await?;
        let stores = hooks.stores().await?;
        hooks.enqueue(body.work(&stores)?, Duration::ZERO).await
    }
    .await;
    hooks.respond("archive", answer, payload)
}

/// `PUT /hooks/upload/STORE/NAME`
async fn uploaded(hooks: web::Data<Hooks>, request: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    let answer = async {
        hooks.admit(&request)?;
        upload::receive(&hooks, &request, &mut payload).await
    }
    .await;
    hooks.respond("upload", answer, payload)
}

/// Every other path below `/hooks`.
async fn unknown(request: HttpRequest) -> HttpResponse {
    let expected = "/hooks/koji, /hooks/archive or /hooks/upload/STORE/NAME";
    Refusal::expected(StatusCode::NOT_FOUND, expected, request.path()).response()
}
