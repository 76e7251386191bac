//! Relays: the bytes of an upstream through this gateway, into the same cache entries as extractions.

use std::sync::Arc;
use std::time::Duration;

use http_client::refused_redirect;
use tokio::time::timeout;

use super::relay_input::{Body, RelayInput};
use super::relayed_headers::{length, told};
use super::reply::StartedReply;
use super::spool::spool;
use super::{Asked, FederationState};
use crate::cache::{Content, Filler, MemberCache, MemberKey, MemberPlace, Reader};
use crate::permits::{POLL_INTERVAL, PermitOr};
use crate::providers::Fault;
use crate::resolve::answer::FoundFile;
use crate::resolve::deadline::EXTRACTION_PERMIT_TIMEOUT;
use crate::resolve::outcome::{CauseKind, Miss, Outcome};
use crate::resolve::question::{Question, Resource};

/// A relay that has no first bytes and receives none for so long does not keep another upstream's answer waiting.
const QUIET_TIMEOUT: Duration = Duration::from_secs(1);

/// A file that was relayed before, or is being relayed, once its first bytes may be sent.
pub(super) async fn cached(cache: &MemberCache, question: &Question) -> Option<FoundFile> {
    let reader = cache.find(key(question)).await?;
    reader.content().ready().await.ok()?;
    Some(found(reader.content()))
}

/// Begins to relay what the upstream `number` sends. Returns when the first bytes may be sent.
///
/// # Errors
/// The upstream broke off, or the bytes are not what was asked for.
pub(super) async fn begin(
    shared: &Arc<FederationState>,
    asked: &Asked,
    number: usize,
    begun: StartedReply,
) -> Outcome<FoundFile> {
    let (cache, question, upstream) = (&shared.cache, &asked.question, &shared.upstreams[number]);
    if !begun.can_be_relayed() {
        let fault = Fault::new(CauseKind::Refused, refused_redirect(&begun.response));
        return Err(fault.of_upstream(upstream.name()).into());
    }
    let key = key(question);
    let permit = match permit(shared, asked, key).await? {
        PermitOr::Permit(permit) => permit,
        PermitOr::Found(reader) => return Ok(found(reader.content())),
    };
    let build_id = matches!(question.resource, Resource::Artifact(_)).then_some(&question.build_id);
    let filler = filler(shared.clone(), asked.clone(), number, begun);
    let reader = cache.fill(key, vec![MemberPlace::Upstream(number)], build_id, permit, filler).await?;
    reader.content().ready().await?;
    Ok(found(reader.content()))
}

/// The bytes of an answer as the filler of an entry. An answer whose size is not told is taken whole before.
///
/// # Errors
/// The upstream broke off, or the bytes are not what was asked for.
async fn filler(shared: Arc<FederationState>, asked: Asked, number: usize, begun: StartedReply) -> Outcome<Filler> {
    let (question, upstream) = (&asked.question, &shared.upstreams[number]);
    let StartedReply { url, response, start, .. } = begun;
    let headers = response.headers().clone();
    let start = start.into();
    let (size, body) = match length(&headers, question) {
        Some(size) => (size, Body::Response(start, response)),
        None => match spool(&shared.cache, key(question), question, upstream, start, response).await {
            Ok((size, file)) => (size, Body::File(file)),
            Err(Miss::Failed(cause)) if cause.kind != CauseKind::Local => {
                upstream.health.failed(&cause.text);
                return Err(cause.into());
            }
            Err(miss) => return Err(miss),
        },
    };
    let told = told(&headers, question, upstream.name(), size);
    let upstreams = shared.serving(question).map(|(_, upstream)| upstream.clone());
    let identity = shared.identity.clone();
    let asked = (question.clone(), asked.caller.clone());
    Ok(Filler::Relay(Box::new(RelayInput::new(told, asked, identity, upstreams, url, &headers, body))))
}

/// Waits for a permit, or for the first bytes of a relay of the same file.
async fn permit(shared: &FederationState, asked: &Asked, key: MemberKey) -> Result<PermitOr<Reader>, Miss> {
    let relayed = || being_relayed(&shared.cache, key);
    if let Some(reader) = relayed().await {
        return Ok(PermitOr::Found(reader));
    }
    let permit = shared.relay_permits.acquire_unless(asked.caller.client, EXTRACTION_PERMIT_TIMEOUT, relayed).await;
    permit.ok_or_else(|| {
        Miss::local(format!("expected a permit to relay within {EXTRACTION_PERMIT_TIMEOUT:?}, found none"))
    })
}

/// A reader of a file that is relayed, once its first bytes may be sent; `None` if there is none, or it receives
/// nothing.
async fn being_relayed(cache: &MemberCache, key: MemberKey) -> Option<Reader> {
    let reader = cache.find(key).await?;
    loop {
        match timeout(POLL_INTERVAL, reader.content().ready()).await {
            Ok(ready) => return ready.is_ok().then_some(reader),
            Err(_) if cache.detach(key, &reader, QUIET_TIMEOUT) => return None,
            Err(_) => {}
        }
    }
}

/// The key in the cache of what is relayed for `question`.
pub(super) fn key(question: &Question) -> MemberKey {
    MemberKey::relayed(&question.to_string())
}

/// The bytes with what the upstream told of them.
fn found(content: Content) -> FoundFile {
    let origin = content.file.origin();
    let member = origin.and_then(|origin| origin.file.clone()).unwrap_or_default();
    let archive = origin.and_then(|origin| origin.archive.clone());
    FoundFile { content, member, archive, is_poor: false }
}
