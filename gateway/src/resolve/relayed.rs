//! What was relayed before, or is being relayed: it is cached here, so no upstream is asked for it.
//!
//! A section is a slice of a relayed file. Debuginfo is tried before the executable, or the other way round, as with
//! files of the index ([`super::section`]).

use artifact::{ArtifactType, BuildId};
use tokio::time::timeout_at;

use super::Gateway;
use super::answer::FoundFile;
use super::deadline::Deadline;
use super::question::{Question, Resource};
use super::search::SearchOutcome;
use super::section::{is_dwarf, is_of_executables};
use crate::cache::{Content, MemberKey, Readable, SectionPosition};

impl Gateway {
    /// Searches what was relayed or is being relayed. A file whose bytes come too slowly counts as absent: the
    /// upstreams have the other half of the time.
    pub(super) async fn search_relayed(&self, question: &Question, deadline: Deadline) -> SearchOutcome {
        let search = async {
            match &question.resource {
                Resource::Section(name) => self.relayed_section(&question.build_id, name).await,
                Resource::Artifact(_) | Resource::Source(_) => {
                    self.federation.relayed(question).await.map_or(SearchOutcome::Absent, SearchOutcome::Found)
                }
            }
        };
        timeout_at(deadline.half().end().into(), search).await.unwrap_or(SearchOutcome::Absent)
    }

    /// The section of the first relayed file that has it.
    async fn relayed_section(&self, build_id: &BuildId, name: &str) -> SearchOutcome {
        let mut kinds = [ArtifactType::Debuginfo, ArtifactType::Executable];
        if is_of_executables(name) {
            kinds.reverse();
        }
        for kind in kinds {
            let whole = Question { build_id: build_id.clone(), resource: Resource::Artifact(kind) };
            let Some(found) = self.federation.relayed(&whole).await else { continue };
            let (key, file) = (self.federation.relay_key(&whole), found.content.file.clone());
            match self.cache.find_section(key, &file, build_id, name).await {
                Ok(SectionPosition::At(range)) => {
                    let content = Content::section(file, range);
                    match content.ready().await {
                        Ok(()) => return SearchOutcome::Found(FoundFile { content, ..found }),
                        Err(miss) => tracing::debug!(%whole, %miss, "a relay broke off"),
                    }
                }
                Ok(SectionPosition::Missing) if self.settles(kind, key, &file, name).await => {
                    return SearchOutcome::Settled;
                }
                Ok(SectionPosition::Missing | SectionPosition::Unreadable(_)) => {}
                Err(miss) => tracing::debug!(%whole, %miss, "a relay broke off"),
            }
        }
        // A section that was relayed by itself.
        let section = Question { build_id: build_id.clone(), resource: Resource::Section(name.to_owned()) };
        self.federation.relayed(&section).await.map_or(SearchOutcome::Absent, SearchOutcome::Found)
    }

    /// True if a relayed file without the section `name` proves that there is none: debuginfo with DWARF does. What is
    /// loaded when a program runs may be in the executable, which an upstream has.
    async fn settles(&self, kind: ArtifactType, key: MemberKey, file: &Readable, name: &str) -> bool {
        kind == ArtifactType::Debuginfo
            && !is_of_executables(name)
            && (!is_dwarf(name) || self.cache.classify(key, file).await.is_ok_and(|contents| contents.dwarf))
    }
}
