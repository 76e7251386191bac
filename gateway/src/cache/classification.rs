//! What extracted files are, where no header tells: executables, debuginfo or both. It is remembered longer than the
//! file is cached, so that a file that is not what a request asks for is not extracted again. Of relayed files nothing
//! is remembered: the next one with the same key may have other bytes.

use artifact::{ArtifactType, Kind, elf};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::sections::PartialFile;
use super::{MemberCache, MemberKey, Readable};
use crate::resolve::outcome::{CauseKind, Miss};

/// Maximum of remembered files.
const MAX_FILES: u64 = 100_000;

/// What the contents of a file tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classification {
    /// `None` if the file is neither executable nor debuginfo.
    kind: Option<Kind>,
    /// True if it has DWARF.
    pub(crate) dwarf: bool,
}

impl Classification {
    /// True if the file can be served as this type.
    pub(crate) fn serves(self, wanted: ArtifactType) -> bool {
        match wanted {
            ArtifactType::Executable => matches!(self.kind, Some(Kind::Executable | Kind::Both)),
            ArtifactType::Debuginfo => matches!(self.kind, Some(Kind::Debuginfo | Kind::Both)),
        }
    }
}

/// Classifications of verified members.
#[derive(Clone)]
pub(super) struct Classifications(Cache<MemberKey, Classification>);

impl Classifications {
    /// Nothing is remembered.
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_FILES))
    }
}

impl MemberCache {
    /// The classification of a member, if it is known without its file.
    pub(crate) async fn known_classification(&self, key: MemberKey) -> Option<Classification> {
        self.classifications.0.get(&key).await
    }

    /// Classifies a member once it is complete: the tables that tell are at its end.
    ///
    /// # Errors
    /// Why the bytes could not be had, or that the file cannot be read.
    pub(crate) async fn classify(&self, key: MemberKey, file: &Readable) -> Result<Classification, Miss> {
        let is_remembered = file.origin().is_none();
        if is_remembered && let Some(known) = self.known_classification(key).await {
            return Ok(known);
        }
        let mut complete = PartialFile::complete(file.complete_file().await?, file.size());
        let failed = |error: String| Miss::gateway(CauseKind::Broken, format!("{}: {error}", file.name()));
        let read =
            spawn_blocking(move || elf::read_elf(&mut complete)).await.map_err(|error| failed(error.to_string()))?;
        let classification = match read {
            Ok(Some(elf)) => Classification { kind: elf.kind, dwarf: elf.dwarf },
            // An ELF file without tables, or something else: as it is, it is no debug file.
            Ok(None) | Err(artifact::Error::Elf { .. }) => {
                Classification { kind: Some(Kind::Executable), dwarf: false }
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        if is_remembered {
            self.classifications.0.insert(key, classification).await;
        }
        Ok(classification)
    }
}
