//! Relays: the bytes of an upstream through this gateway, into the same cache entries as extractions.

use std::sync::Arc;

use artifact::Identity;
use sha2::{Digest, Sha256};

use super::reply::Begun;
use super::{Asked, Shared};
use crate::cache::{MemberCache, MemberKey};
use crate::resolve::answer::FoundFile;
use crate::resolve::outcome::{Miss, Outcome};
use crate::resolve::question::Question;

/// The key in the cache of what is relayed for `question`.
pub(super) fn key(question: &Question) -> MemberKey {
    MemberKey { identity: Identity::from_bytes(Sha256::digest(format!("/{question}")).into()), ordinal: 0 }
}

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
