//! The file of a record as clients want it: the member, or the ELF file in a compressed kernel module.

use artifact::{BuildId, modules};
use sql::Record;

use super::artifact::key;
use super::member::Need;
use super::outcome::{Cause, CauseKind};
use super::search::Search;
use crate::cache::{Readable, Reader};
use crate::permits::PermitOr;
use crate::providers::archives::WantedMember;

impl Search<'_> {
    /// The file of a record, once as much of it is there as `need` names. It has to state the build-id, which the
    /// index may know from a header or from a debug file alone.
    pub(super) async fn file(&mut self, record: &Record, build_id: &BuildId, need: Need<'_>) -> Option<Readable> {
        let wanted = WantedMember::of(&record.artifact);
        let file = match modules::is_compressed(&record.artifact.path) {
            false => self.member(&record.package, wanted, Some(build_id), need, None).await?.into(),
            true => match self.gateway.cache.known_module(key(record)).await {
                Some(module) => module,
                None => {
                    let compressed = self.member(&record.package, wanted, Some(build_id), Need::Whole, None).await?;
                    self.decompress(record, &compressed).await?
                }
            },
        };
        match file.carries(build_id).await {
            Ok(true) => Some(file),
            Ok(false) => {
                let (nvra, path) = (&record.package.package.nevra, &record.artifact.path);
                tracing::warn!(%nvra, path, %build_id, "a file states another build-id than the index has");
                None
            }
            Err(error) => {
                self.causes.push(Cause::gateway(CauseKind::of_io(&error), error.to_string()));
                None
            }
        }
    }

    /// The ELF file in a complete compressed kernel module.
    async fn decompress(&mut self, record: &Record, compressed: &Reader) -> Option<Readable> {
        let (key, cache) = (key(record), &self.gateway.cache);
        let module = match self.permit(|| cache.known_module(key)).await {
            Ok(PermitOr::Permit(permit)) => cache.module(key, compressed, permit).await,
            Ok(PermitOr::Found(module)) => Ok(module),
            Err(miss) => Err(miss),
        };
        module.map_err(|miss| self.failed(miss)).ok()
    }
}
