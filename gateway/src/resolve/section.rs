//! `/section/NAME`: the first candidate whose file has data of the section.
//!
//! Debuginfo is tried before executables, as with elfutils' server. Sections that only executables have data of are the
//! exception: a gigabyte of debuginfo need not be extracted to learn that its `.text` is empty. Debuginfo without the
//! section settles the question: no upstream is asked. A file that cannot be read as ELF is no candidate. Relayed
//! files are searched by [`super::relayed`].

use artifact::{ArtifactType, BuildId};
use sql::Record;

use super::answer::FoundFile;
use super::artifact::{Certainty, candidates, key};
use super::member::Need;
use super::search::{Search, found};
use crate::cache::{Content, SectionPosition};

impl Search<'_> {
    /// The section of the first candidate that has it.
    pub(super) async fn section(&mut self, records: &[Record], build_id: &BuildId, name: &str) -> Option<FoundFile> {
        // Files that may be one or the other are tried between them.
        let mut steps = [
            (ArtifactType::Debuginfo, Certainty::Certain),
            (ArtifactType::Executable, Certainty::Unknown),
            (ArtifactType::Executable, Certainty::Certain),
        ];
        if is_of_executables(name) {
            steps.reverse();
        }
        for (wanted, certainty) in steps {
            // Executables have no DWARF that their debuginfo lacks.
            if (wanted, certainty) == (ArtifactType::Executable, Certainty::Certain)
                && self.is_settled
                && is_dwarf(name)
            {
                continue;
            }
            let is_first = |record: &&Record| {
                certainty == Certainty::Certain || record.artifact.serves(ArtifactType::Debuginfo) != Some(true)
            };
            for record in candidates(records, wanted, certainty).into_iter().filter(is_first) {
                if let Some(content) = self.section_of(record, build_id, name).await {
                    return Some(found(content, &record.artifact.path, &record.package));
                }
            }
        }
        None
    }

    async fn section_of(&mut self, record: &Record, build_id: &BuildId, name: &str) -> Option<Content> {
        let (key, cache) = (key(record), self.gateway.cache.clone());
        let known = cache.known_section(key, build_id, name).await;
        let (entry, place) = match known {
            // The file may have been evicted since: absence does not need it.
            Some(place @ (SectionPosition::Missing | SectionPosition::Unreadable(_))) => (None, place),
            known => {
                let need = match known {
                    Some(SectionPosition::At(range)) => Need::Part(range),
                    _ => Need::Section(name),
                };
                let entry = self.file(record, build_id, need).await?;
                match cache.find_section(key, &entry, build_id, name).await {
                    Ok(place) => (Some(entry), place),
                    Err(failure) => {
                        self.failed(failure);
                        return None;
                    }
                }
            }
        };
        match place {
            SectionPosition::At(range) => entry.map(|entry| Content::section(entry, range)),
            SectionPosition::Missing => {
                // Symbols alone do not prove that there is no DWARF.
                let has_dwarf = record.artifact.dwarf == Some(true) || !is_dwarf(name);
                self.is_settled |= has_dwarf && record.artifact.serves(ArtifactType::Debuginfo) == Some(true);
                None
            }
            SectionPosition::Unreadable(reason) => {
                let package = &record.package.package;
                tracing::debug!(nvra = %package.nevra, path = record.artifact.path, reason, "no sections");
                None
            }
        }
    }
}

/// Sections that are loaded when a program runs. Debuginfo that was split off has them without data.
pub(super) fn is_of_executables(name: &str) -> bool {
    const NAMES: [&str; 32] = [
        ".ctors",
        ".data",
        ".data.rel.ro",
        ".dtors",
        ".dynamic",
        ".dynstr",
        ".dynsym",
        ".eh_frame",
        ".eh_frame_hdr",
        ".fini",
        ".fini_array",
        ".gcc_except_table",
        ".gnu.hash",
        ".gnu.version",
        ".gnu.version_d",
        ".gnu.version_r",
        ".gnu_debugdata",
        ".gnu_debuglink",
        ".got",
        ".got.plt",
        ".hash",
        ".init",
        ".init_array",
        ".interp",
        ".opd",
        ".plt",
        ".plt.sec",
        ".rela.dyn",
        ".rela.plt",
        ".rodata",
        ".tdata",
        ".text",
    ];
    NAMES.binary_search(&name).is_ok()
}

/// Sections that debuginfo is split off for. Programs keep `.debug_gdb_scripts`.
pub(super) fn is_dwarf(name: &str) -> bool {
    let begins = |prefix| name.starts_with(prefix);
    begins(".debug_") && name != ".debug_gdb_scripts"
        || begins(".zdebug_")
        || name == ".gdb_index"
        || name == ".gnu_debugaltlink"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_executables_or_of_debuginfo_or_of_both() {
        for name in [".text", ".ctors", ".rodata", ".gnu_debuglink"] {
            assert!(is_of_executables(name) && !is_dwarf(name), "{name}");
        }
        for name in [".debug_info", ".zdebug_info", ".gdb_index", ".gnu_debugaltlink"] {
            assert!(!is_of_executables(name) && is_dwarf(name), "{name}");
        }
        for name in [".symtab", ".strtab", ".comment", ".debug_gdb_scripts", ".note.gnu.build-id", ".textual", ""] {
            assert!(!is_of_executables(name) && !is_dwarf(name), "{name}");
        }
    }
}
