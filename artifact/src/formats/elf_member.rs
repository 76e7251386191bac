//! Members of archives that are ELF files.

use std::io::{self, Cursor, Read};

use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use super::member::{ArchiveMember, MemberKind};
use super::{Hashed, MEMORY_BYTES};
use crate::payload::{fill, unwrap};
use crate::{Artifact, Contents, Error, Result, elf, modules};

/// An ELF file, or the one in a compressed kernel module. `contents` are those of the member, so of a module the
/// compressed ones.
pub(super) struct ElfMember {
    pub(super) elf: elf::Elf,
    pub(super) machine: Option<&'static str>,
    pub(super) contents: Contents,
}

impl ElfMember {
    /// Returns the artifact. `None` without a build-id, or if the file is neither executable nor debuginfo.
    pub(super) fn artifact(&self, ordinal: u32, path: &str) -> Option<Artifact> {
        Some(Artifact {
            ordinal,
            build_id: self.elf.build_id.clone()?,
            kind: self.elf.kind?,
            dwarf: Some(self.elf.dwarf),
            path: path.to_owned(),
            contents: Some(self.contents),
        })
    }
    /// Reads a member that is an ELF file; `None` if it is none or cannot be read. `too_large` gets the message for the
    /// first member that is larger than the limit.
    pub(super) fn read(
        member: &ArchiveMember,
        mut contents: &mut dyn Read,
        max_bytes: u64,
        too_large: &mut Option<String>,
    ) -> Result<Option<Self>> {
        let mut start = [0; 20];
        if member.kind != MemberKind::Regular || fill(&mut contents, &mut start)? < start.len() {
            return Ok(None);
        }
        let is_module = modules::is_compressed(&member.path) && !start.starts_with(&elf::MAGIC);
        if !is_module && !start.starts_with(&elf::MAGIC) {
            return Ok(None);
        }
        if member.size > max_bytes {
            let expected = format!("ELF files of at most {max_bytes} bytes");
            let error = Error::Payload { expected, found: format!("{} bytes of {}", member.size, member.path) };
            too_large.get_or_insert_with(|| error.to_string());
            return Ok(None);
        }
        let mut copy = SpooledTempFile::new(MEMORY_BYTES);
        let mut hasher = Sha256::new();
        io::copy(&mut Hashed { input: Cursor::new(start).chain(contents), hasher: Some(&mut hasher) }, &mut copy)
            .map_err(unwrap)?;
        let contents = member.contents(hasher.finalize().into());
        if is_module {
            return match modules::read_module(&mut copy, max_bytes.min(modules::max_bytes(member.size))) {
                Err(Error::Payload { expected, found }) => {
                    let error = Error::Payload { expected, found: format!("{found} in {}", member.path) };
                    too_large.get_or_insert_with(|| error.to_string());
                    Ok(None)
                }
                read => Ok(read?.map(|(elf, machine)| Self { elf, machine, contents })),
            };
        }
        match elf::read_elf(&mut copy) {
            Err(Error::Elf { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(elf) => Ok(elf.map(|elf| Self { elf, machine: elf::rpm_arch(&start), contents })),
        }
    }
}
