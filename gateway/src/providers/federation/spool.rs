//! Answers whose size is not told: they are taken whole before a byte is sent, because a client that is told no size
//! cannot tell the end of a file from a broken connection.

use std::io::{self, ErrorKind, Seek, Write};
use std::time::Duration;

use artifact::elf;
use bytes::Bytes;
use reqwest::header::TRANSFER_ENCODING;
use reqwest::{Response, Version};
use tempfile::SpooledTempFile;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::upstream::Upstream;
use crate::cache::{MemberCache, MemberKey};
use crate::providers::Fault;
use crate::resolve::outcome::{CauseKind, Miss};
use crate::resolve::question::{Question, Resource};

/// Bytes that are taken in memory; more in a file without a name.
const MEMORY_BYTES: usize = 1 << 20;
/// The largest answer, bytes, and its share of the cache: until they are whole, files take space beside the cache.
const MAX_BYTES: u64 = 1 << 30;
const MAX_SHARE: u64 = 4;
/// How long an answer may take as a whole, and without a byte. Clients give up after 90 s without a byte.
const TIMEOUT: Duration = Duration::from_secs(75);
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer is taken that nobody waits for: a client that comes back within this time finds it.
const ABANDONED_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the whole body, which begins with `start`, to fill the member `key`. Returns its size and its bytes.
///
/// # Errors
/// It did not end in time or is too large; nobody waits for it; its end is not proved; it cannot be written.
pub(super) async fn spool(
    cache: &MemberCache,
    key: MemberKey,
    question: &Question,
    upstream: &Upstream,
    start: Bytes,
    mut response: Response,
) -> Result<(u64, SpooledTempFile), Miss> {
    let failed = |kind, text: String| Miss::Failed(Fault::new(kind, text).of_upstream(upstream.name()));
    let (end, has_end) = (Instant::now() + TIMEOUT, tells_its_end(&response));
    let max_bytes = MAX_BYTES.min(cache.max_bytes() / MAX_SHARE);
    let mut awaited_at = Instant::now();
    let (mut file, mut size) = (cache.scratch_file(MEMORY_BYTES), 0);
    let mut chunk = Some(upstream.received(start));
    while let Some(bytes) = chunk {
        size += bytes.len() as u64;
        if size > max_bytes {
            return Err(failed(CauseKind::Broken, format!("expected at most {max_bytes} bytes, found more")));
        }
        if cache.is_opening_awaited(key) {
            awaited_at = Instant::now();
        } else if awaited_at.elapsed() >= ABANDONED_TIMEOUT {
            return Err(Miss::local(format!("{question}: cancelled, since nobody waits for it")));
        }
        file = write(cache, file, bytes).await?;
        let next = timeout_at(end, timeout(STALL_TIMEOUT, response.chunk())).await;
        let Ok(Ok(next)) = next else {
            let text = format!("expected an answer without a stated size to end in time, found {size} bytes of it");
            return Err(failed(CauseKind::Timeout, text));
        };
        chunk = next
            .map_err(|error| Fault::from(error).of_upstream(upstream.name()))?
            .map(|bytes| upstream.received(bytes));
    }
    let is_artifact = matches!(question.resource, Resource::Artifact(_));
    let is_whole = has_end || is_artifact && is_complete_elf(&mut file);
    if !is_whole {
        let text = format!("expected a body that tells its end, found {size} bytes and a closed connection");
        return Err(failed(CauseKind::Broken, text));
    }
    file.rewind().map_err(|error| Miss::local(format!("a temporary file: {error}")))?;
    Ok((size, file))
}

/// True unless the end of the connection is the only end of the body: then a part of it looks like all of it.
fn tells_its_end(response: &Response) -> bool {
    let encoding = response.headers().get(TRANSFER_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    response.version() > Version::HTTP_11
        || encoding.to_ascii_lowercase().split(',').any(|name| name.trim() == "chunked")
}

/// True if the tables and all sections of an ELF file lie inside of it.
fn is_complete_elf(file: &mut SpooledTempFile) -> bool {
    elf::is_complete(file).unwrap_or(false)
}

async fn write(cache: &MemberCache, mut file: SpooledTempFile, bytes: Bytes) -> Result<SpooledTempFile, Miss> {
    let cache = cache.clone();
    let write = move || {
        if file.is_rolled() && !cache.has_space(bytes.len() as u64) {
            return Err(ErrorKind::StorageFull.into());
        }
        file.write_all(&bytes).map(|()| file)
    };
    let written = spawn_blocking(write).await.map_err(io::Error::other).flatten();
    written.map_err(|error| Miss::local(format!("a temporary file: {error}")))
}
