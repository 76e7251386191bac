//! Whether a server has an archive: a HEAD request, and a GET request for one byte where HEAD tells nothing.

use std::time::Duration;

use http_client::{Client, Request, content_range, is_html, is_page, is_refusal, reason, refused_redirect};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use sql::{AbsentStatuses, Store};
use url::Url;

use super::Finding;
use crate::fetch::network::Network;

/// Maximum time until a server has answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Statuses by which servers refuse HEAD alone: URLs that are signed for GET (403), applications without HEAD.
const HEAD_REFUSED: [StatusCode; 4] =
    [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// Looks for an archive of `expected_size` bytes, if that is known.
pub(super) async fn look(network: &Network, store: &Store, url: &Url, expected_size: Option<u64>) -> Finding {
    let client = match network.client(store.redirect_hosts.as_slice(), &[], store.allow_private) {
        Ok(client) => client,
        Err(error) => return Finding::Failed { reason: format!("no HTTP client: {error:#}"), is_overloaded: false },
    };
    let _permit = network.acquire(url.host_str().unwrap_or_default()).await;
    look_by_head(&client, url, &store.absent_statuses, expected_size).await
}

async fn look_by_head(client: &Client, url: &Url, absent: &AbsentStatuses, expected_size: Option<u64>) -> Finding {
    let response = match send(client.head(url.clone())).await {
        Ok(response) => response,
        Err(finding) => return finding,
    };
    match response.status() {
        status if HEAD_REFUSED.contains(&status) => look_by_get(client, url, absent).await,
        StatusCode::OK if is_html(response.headers()) => page(StatusCode::OK),
        StatusCode::OK => {
            let size = number(response.headers().get(CONTENT_LENGTH));
            // Some applications state 0 for every HEAD request.
            if size.is_some() && expected_size.is_some() && size != expected_size {
                return look_by_get(client, url, absent).await;
            }
            Finding::Present { size }
        }
        status if absent.contains(status.as_u16()) => Finding::Gone { reason: format!("found {status}") },
        status => refused(status, response.headers()),
    }
}

/// Asks for the first byte. Servers that ignore Range begin to send the whole archive, and are cut off.
async fn look_by_get(client: &Client, url: &Url, absent: &AbsentStatuses) -> Finding {
    let mut response = match send(client.get(url.clone()).header(RANGE, "bytes=0-0")).await {
        Ok(response) => response,
        Err(finding) => return finding,
    };
    let status = response.status();
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if is_page(&mut response).await => page(status),
        StatusCode::OK => Finding::Present { size: number(response.headers().get(CONTENT_LENGTH)) },
        StatusCode::PARTIAL_CONTENT => Finding::Present { size: total(response.headers()) },
        // An empty file has no first byte.
        StatusCode::RANGE_NOT_SATISFIABLE if is_empty(response.headers()) => Finding::Present { size: Some(0) },
        _ if is_refusal(&mut response).await => page(status),
        _ if absent.contains(status.as_u16()) => Finding::Gone { reason: format!("found {status}") },
        _ => refused(status, response.headers()),
    }
}

async fn send(request: Request) -> Result<Response, Finding> {
    let response = request.timeout(ANSWER_TIMEOUT).send().await;
    let response = response.map_err(|error| Finding::Failed { reason: reason(&error), is_overloaded: false })?;
    if response.status().is_redirection() {
        return Err(Finding::Failed { reason: refused_redirect(&response), is_overloaded: false });
    }
    Ok(response)
}

fn page(status: StatusCode) -> Finding {
    let reason = format!("expected the archive, found {} with a page of HTML", status.as_u16());
    Finding::Failed { reason, is_overloaded: false }
}

fn refused(status: StatusCode, headers: &HeaderMap) -> Finding {
    let is_overloaded = status == StatusCode::TOO_MANY_REQUESTS || headers.contains_key(RETRY_AFTER);
    Finding::Failed { reason: format!("expected 200, found {status}"), is_overloaded }
}

/// The size of the whole, of which one byte was asked for.
fn total(headers: &HeaderMap) -> Option<u64> {
    content_range(headers.get(CONTENT_RANGE)?.to_str().ok()?)?.2
}

/// True of the answer for a file without bytes (RFC 9110, section 15.5.17).
fn is_empty(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_RANGE).is_some_and(|range| range.as_bytes().ends_with(b"*/0"))
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}
