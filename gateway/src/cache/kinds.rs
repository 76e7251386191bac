//! What extracted files turned out to be, where no header tells: programs, debug files or both. It is remembered longer than the file
//! is kept, so that a file that is not what was asked for is not extracted again.

use std::sync::Arc;

use artifact::{ArtifactType, Kind, elf};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::sections::Begun;
use super::{Entry, Files, Key};
use crate::resolve::outcome::{CauseKind, Miss};

/// Files that are remembered.
const MAX_FILES: u64 = 100_000;

/// What the contents of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// `None` if the file is neither executable nor debuginfo.
    kind: Option<Kind>,
    /// Whether it holds DWARF.
    pub(crate) dwarf: bool,
}

impl Contents {
    /// Whether the file can be served as this type.
    pub(crate) fn serves(self, wanted: ArtifactType) -> bool {
        match wanted {
            ArtifactType::Executable => matches!(self.kind, Some(Kind::Executable | Kind::Both)),
            ArtifactType::Debuginfo => matches!(self.kind, Some(Kind::Debuginfo | Kind::Both)),
        }
    }
}

/// The contents of members. Verified files only.
#[derive(Clone)]
pub(super) struct Kinds(Cache<Key, Contents>);

impl Kinds {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_FILES))
    }
}

impl Files {
    /// What the contents of a member say, if that is known without its file.
    pub(crate) async fn known_contents(&self, key: Key) -> Option<Contents> {
        self.kinds.0.get(&key).await
    }

    /// Classifies a member once it is whole: the tables that tell are at its end.
    ///
    /// # Errors
    /// Why the extraction failed, or that the file cannot be read.
    pub(crate) async fn contents(&self, key: Key, entry: &Arc<Entry>) -> Result<Contents, Miss> {
        if let Some(known) = self.known_contents(key).await {
            return Ok(known);
        }
        let mut file = Begun::whole(entry.whole_file().await?, entry.size());
        let failed = |error: String| Miss::gateway(CauseKind::Broken, format!("{}: {error}", entry.path().display()));
        let read = spawn_blocking(move || elf::read(&mut file)).await.map_err(|error| failed(error.to_string()))?;
        let contents = match read {
            Ok(Some(elf)) => Contents { kind: elf.kind, dwarf: elf.dwarf },
            // An ELF file without tables, or something else: as it is, it is no debug file.
            Ok(None) | Err(artifact::Error::Elf { .. }) => Contents { kind: Some(Kind::Executable), dwarf: false },
            Err(error) => return Err(failed(error.to_string())),
        };
        self.kinds.0.insert(key, contents).await;
        Ok(contents)
    }
}
