//! The ELF notes of a package's open files, and of kernel modules that are compressed in it.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use tempfile::SpooledTempFile;

use crate::elf::{self, Elf};
use crate::header::{File, Header};
use crate::payload::{self, HardLinks, Member, Members};
use crate::{Artifact, Error, Result, modules};

/// ELF files up to this size are read in memory, larger ones from a temporary file: their tables are at their ends.
const MEMORY_BYTES: usize = 1 << 20;

/// The artifacts of the open files ([`crate::artifacts::HeaderArtifacts::open`]), sorted: what the payload says where
/// the header does not say enough.
///
/// One pass over the payload, which stands at its first byte (`header.range.end` of the archive) and is still
/// compressed; it ends with the last open file. An ELF file is copied to memory or a temporary file, because its
/// tables may be anywhere in it, and one that is larger than `max_bytes` is refused before it is copied. Files that
/// are not ELF, ELF files without a build-id and ELF files that cannot be read ([`Error::Elf`]) have no artifacts: one
/// strange file does not hide the others of its package. Digests are checked. Compressed kernel modules
/// ([`modules::is_compressed`]) have the build-id of the ELF file inside, within the same limit.
///
/// # Errors
/// As [`payload::extract_member`]; [`Error::Payload`] for an ELF file that is too large; [`Error::Io`] also where a
/// temporary file cannot be written.
pub fn scan_files(payload: impl Read + Send, header: &Header, open: &[u32], max_bytes: u64) -> Result<Vec<Artifact>> {
    let hard_links = HardLinks::find(&header.files);
    // By the first file of their group of hard links: one member carries the contents of all.
    let mut wanted: BTreeMap<u32, Vec<(u32, &File)>> = BTreeMap::new();
    for ordinal in open {
        let file = payload::regular_file(header, *ordinal)?;
        wanted.entry(hard_links.first(*ordinal)).or_default().push((*ordinal, file));
    }
    let mut artifacts = Vec::new();
    if wanted.is_empty() {
        return Ok(artifacts);
    }
    let mut members = Members::new(payload::decompress(payload)?, header);
    while !wanted.is_empty() {
        let Some(mut member) = members.next()? else { break };
        if member.has_contents()
            && let Some(files) = wanted.remove(&member.group())
            && let Some(elf) = read_member(&mut member, max_bytes)?
        {
            artifacts.extend(files.iter().filter_map(|(ordinal, file)| artifact_of(*ordinal, file, &elf)));
        }
    }
    if let Some((_, file)) = wanted.values().flatten().next() {
        return Err(payload::missing_member(file));
    }
    artifacts.sort();
    artifacts.dedup();
    Ok(artifacts)
}

/// Reads a member that is an ELF file; `None` if it is none or cannot be read.
fn read_member(member: &mut Member<'_, '_, impl Read>, max_bytes: u64) -> Result<Option<Elf>> {
    let mut start = [0; elf::MAGIC.len()];
    let filled = payload::fill(member, &mut start)?;
    let file = member.file();
    let is_module = modules::is_compressed(&file.path);
    if start[..filled] != elf::MAGIC && !is_module {
        // Unless its digest says so, it may be an ELF file whose first bytes were damaged.
        payload::deliver(&mut Cursor::new(&start[..filled]).chain(member), file, &mut io::sink())?;
        return Ok(None);
    }
    if member.size() > max_bytes {
        let expected = format!("ELF files of at most {max_bytes} bytes");
        return Err(Error::Payload { expected, found: format!("{} bytes of {}", member.size(), file.path) });
    }
    let max_module_bytes = max_bytes.min(modules::max_bytes(member.size()));
    let mut copy = SpooledTempFile::new(MEMORY_BYTES);
    payload::deliver(&mut Cursor::new(&start[..filled]).chain(member), file, &mut copy)?;
    if is_module && let Some((elf, _)) = modules::read_module(&mut copy, max_module_bytes)? {
        return Ok(Some(elf));
    }
    match elf::read_elf(&mut copy) {
        Err(Error::Elf { .. }) => Ok(None),
        result => result,
    }
}

/// None without a build-id, or if it is neither executable nor debuginfo.
fn artifact_of(ordinal: u32, file: &File, elf: &Elf) -> Option<Artifact> {
    Some(Artifact {
        ordinal,
        build_id: elf.build_id.clone()?,
        kind: elf.kind?,
        dwarf: Some(elf.dwarf),
        path: file.path.clone(),
        contents: None,
    })
}

#[cfg(test)]
mod tests;
