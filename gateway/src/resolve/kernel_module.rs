//! The file of a record as clients want it: of a compressed kernel module the ELF file inside.

use artifact::{BuildId, modules};
use sql::Record;

use super::artifact::key;
use super::member::{Begin, Need};
use super::outcome::{Cause, CauseKind};
use super::search::Run;
use crate::cache::Readable;
use crate::providers::archives::Wanted;

impl Run<'_> {
    /// The file of a record, as soon as there is as much of it as `need` asks for. A compressed kernel module is
    /// extracted whole, decompressed, and served only if its own note has the build-id: the index may know it from a
    /// debug file alone.
    pub(super) async fn file(&mut self, record: &Record, build_id: &BuildId, need: Need<'_>) -> Option<Readable> {
        let wanted = Wanted::of(&record.artifact);
        if !modules::is_compressed(&record.artifact.path) {
            return self.member(&record.package, wanted, Some(build_id), need, None).await.map(Readable::from);
        }
        let (key, cache) = (key(record), self.search.cache.clone());
        let module = match cache.known_module(key).await {
            Some(module) => module,
            None => {
                let compressed = self.member(&record.package, wanted, Some(build_id), Need::Whole, None).await?;
                let begin = self.permit(|| cache.known_module(key)).await;
                let module = match begin {
                    Ok(Begin::Now(permit)) => cache.module(key, &compressed, permit).await,
                    Ok(Begin::Here(module)) => Ok(module),
                    Err(failure) => Err(failure),
                };
                module.map_err(|failure| self.failed(failure)).ok()?
            }
        };
        match module.carries(build_id).await {
            Ok(true) => Some(module),
            Ok(false) => {
                let (nvra, path) = (&record.package.package.nevra, &record.artifact.path);
                tracing::warn!(%nvra, path, %build_id, "a kernel module has another build-id than the index knows");
                None
            }
            Err(error) => {
                self.causes.push(Cause::gateway(CauseKind::of_io(&error), error.to_string()));
                None
            }
        }
    }
}
