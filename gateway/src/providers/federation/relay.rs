//! Relays: the bytes of an upstream through this gateway, into the same cache entries as extractions.

use std::sync::Arc;

use super::reply::Begun;
use super::{Asked, Shared};
use crate::cache::MemberCache;
use crate::resolve::answer::FoundFile;
use crate::resolve::outcome::{Miss, Outcome};
use crate::resolve::question::Question;

/// A file that was relayed before, or is being relayed, once its first bytes may be sent.
pub(super) async fn cached(_cache: &MemberCache, _question: &Question) -> Option<FoundFile> {
    None
}

/// Begins to relay what the upstream `number` sends. Returns when the first bytes may be sent.
///
/// # Errors
/// The upstream broke off, or the bytes are not what was asked for.
pub(super) async fn begin(_shared: &Arc<Shared>, _asked: &Asked, _number: usize, _begun: Begun) -> Outcome<FoundFile> {
    Err(Miss::local("relays are not there yet"))
}
