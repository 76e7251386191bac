//! Formats other than RPM: Debian packages, Arch packages, other tar, cpio and zip archives, plain files.
//!
//! None of them has a header that lists its files, so an import reads them whole, once. Their SHA-256 is their
//! identity. Size, time and digest of a file with a build-id become part of its [`Artifact`]. A gateway serves the file
//! as it serves a member of an RPM. A [`Catalog`] lists the other files (sources).
//!
//! - `detect`: the formats that first bytes allow; `walk`: the members of an archive of any format, one by one;
//! - `ar`, `tar`, `extended`, `cpio`, `zip`, `deb`: the single formats, whose readers bound what they keep;
//! - `elf_member`: members that are ELF files;
//! - [`TarBlockIndex`]: members of compressed tar archives, extracted without decompressing from the first byte;
//! - `names`: package, version and arch from `control`, `.PKGINFO` or the name of the archive.
//!
//! Paths of members are labels: no file is ever opened by one.

mod ar;
mod bounded;
mod bytes;
mod catalog;
mod cpio;
mod deb;
mod detect;
mod elf_member;
mod extended;
mod member;
mod names;
mod tar;
mod tar_block_index;
mod walk;
mod zip;

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use crate::digest::FileDigest;
use crate::header::{Class, File};
use crate::payload::{self, deliver, fill, refuse};
use crate::{Artifact, Contents, Error, Format, Identity, Package, Result, elf, modules};
use elf_member::ElfMember;
use member::{ArchiveMember, MemberKind};
use walk::{Hashed, PackageInfo, ReadMode, max_unpacked_bytes, text, walk};

pub use bytes::{ArchiveBytes, Seekable};
pub use catalog::{Catalog, Listed};
pub(crate) use detect::{begins_archive, begins_deb, begins_file, begins_tar};
pub use names::{arch_source, debian_source, nevra_from_version};
pub use tar_block_index::TarBlockIndex;

/// ELF files up to this size are read in memory, larger ones from a temporary file: their tables are at their ends.
const MEMORY_BYTES: usize = 1 << 20;
/// The maximum size of all paths of an archive that are held in memory.
const MAX_PATH_BYTES: usize = 64 << 20;

/// The facts about an archive that are known before it is read.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveInfo<'a> {
    /// Not [`Format::Rpm`].
    pub format: Format,
    /// Name of the file.
    pub name: &'a str,
    /// Bytes of the file.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// The package and the artifacts of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedArchive {
    /// The package, as the archive describes itself.
    pub package: Package,
    /// Sorted.
    pub artifacts: Vec<Artifact>,
    /// The message of the [`Error::Payload`] for the first of the ELF files that are larger than the limit. Their
    /// build-ids are not known.
    pub too_large: Option<String>,
}

/// Reads an archive from its first byte to its last. ELF files of more than `max_elf_bytes` are not copied, and those
/// that cannot be read ([`Error::Elf`]) have no artifacts either.
///
/// # Errors
/// [`Error::Payload`] where the archive is broken, cut off or larger than allowed; [`Error::Io`] where reading it, or
/// writing a temporary file, fails.
pub fn read_archive(archive: ArchiveBytes<'_>, about: &ArchiveInfo<'_>, max_elf_bytes: u64) -> Result<ParsedArchive> {
    let mut hasher = Sha256::new();
    let (mut artifacts, mut arch, mut path_bytes, mut too_large) = (Vec::<Artifact>::new(), None, 0, None);
    // Indexes of artifacts by path: a hard link has the contents of its target. The last member with a path counts, as
    // it does when the archive is unpacked.
    let mut by_path: HashMap<String, usize> = HashMap::new();
    let info = walk(archive, about.format, about.size, ReadMode::Whole(&mut hasher), &mut |member, contents| {
        let artifact = match &member.kind {
            MemberKind::HardLink(target) => {
                let linked = by_path.get(target).map(|at| &artifacts[*at]);
                linked.map(|linked| Artifact { ordinal: member.ordinal, path: member.path.clone(), ..linked.clone() })
            }
            _ => ElfMember::read(member, contents, max_elf_bytes, &mut too_large)?.and_then(|elf| {
                arch = arch.or(elf.machine);
                elf.artifact(member.ordinal, &member.path)
            }),
        };
        let Some(artifact) = artifact else {
            by_path.remove(&member.path);
            return Ok(ControlFlow::Continue(()));
        };
        path_bytes += member.path.len();
        if path_bytes > MAX_PATH_BYTES {
            return refuse(format!("at most {MAX_PATH_BYTES} bytes of paths in an archive"), "more");
        }
        by_path.insert(member.path.clone(), artifacts.len());
        artifacts.push(artifact);
        Ok(ControlFlow::Continue(()))
    })?;
    let identity = Identity::from_bytes(hasher.finalize().into());
    artifacts.sort();
    Ok(ParsedArchive { package: names::package(about, &info, identity, arch)?, artifacts, too_large })
}

/// Reads a plain file, which clients see at `path`. `None` if it is not ELF, has no build-id, or is neither executable
/// nor debuginfo. For a compressed kernel module, the ELF file inside counts.
///
/// # Errors
/// [`Error::Io`] where reading it fails; [`Error::Payload`] if the module in it has more than `max_elf_bytes`.
pub fn read_plain_file(
    file: &mut (impl Read + Seek + Send),
    about: &ArchiveInfo<'_>,
    path: &str,
    max_elf_bytes: u64,
) -> Result<Option<ParsedArchive>> {
    let mut start = [0; 20];
    file.rewind()?;
    let is_elf = fill(file, &mut start)? == start.len() && start.starts_with(&elf::MAGIC);
    let read = if is_elf {
        match elf::read_elf(file) {
            Err(Error::Elf { .. }) => None,
            read => read?.map(|elf| (elf, elf::rpm_arch(&start))),
        }
    } else if modules::is_compressed(path) {
        modules::read_module(file, max_elf_bytes.min(modules::max_bytes(about.size)))?
    } else {
        None
    };
    let read = read.filter(|(elf, _)| elf.build_id.is_some() && elf.kind.is_some());
    let Some((elf, machine)) = read else { return Ok(None) };
    file.rewind()?;
    let mut hasher = Sha256::new();
    let size = io::copy(&mut Hashed { input: file, hasher: Some(&mut hasher) }, &mut io::sink())?;
    let sha256 = hasher.finalize().into();
    let elf = ElfMember { elf, machine, contents: Contents { size, mtime: about.mtime, sha256, tar_offset: None } };
    let package = names::package(about, &PackageInfo::default(), Identity::from_bytes(sha256), elf.machine)?;
    Ok(Some(ParsedArchive { package, artifacts: elf.artifact(0, path).into_iter().collect(), too_large: None }))
}

/// Writes one member to `out` and stops reading `archive`, which has `archive_bytes` bytes, right after it. As with
/// [`payload::extract_member`], all bytes are written to `out` before their digest is compared.
///
/// # Errors
/// [`Error::Payload`] where the archive is broken or its member is not the one that `file` describes;
/// [`Error::FileDigest`] where the contents are others; [`Error::Io`] where reading `archive` or writing `out` fails.
pub fn extract_member(
    archive: ArchiveBytes<'_>,
    format: Format,
    archive_bytes: u64,
    ordinal: u32,
    file: &File,
    out: &mut (impl Write + Send),
) -> Result<()> {
    if format == Format::File {
        return deliver(&mut archive.take(file.size), file, out);
    }
    let mut delivered = false;
    walk(archive, format, archive_bytes, ReadMode::From(ordinal), &mut |member, mut contents| {
        if member.ordinal < ordinal {
            return Ok(ControlFlow::Continue(()));
        }
        expect_file(member, file)?;
        deliver(&mut contents, file, out)?;
        delivered = true;
        Ok(ControlFlow::Break(()))
    })?;
    if delivered { Ok(()) } else { Err(payload::missing_member(file)) }
}

/// Calls `each` with the path and the contents of every regular file of a tar archive, which may be compressed and may
/// unpack to at most `max_bytes`, until it breaks off.
///
/// # Errors
/// [`Error::Payload`] where the archive is broken, cut off or larger than allowed; [`Error::Io`] where reading it
/// fails; the errors of `each`.
pub fn walk_tar(
    archive: impl Read + Send,
    max_bytes: u64,
    mut each: impl FnMut(&str, &mut (dyn Read + Send)) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut tar = tar::Tar::new(payload::decompress(archive)?, max_bytes);
    while let Some(member) = tar.next()? {
        if member.kind == MemberKind::Regular && each(&member.path, &mut tar)?.is_break() {
            return Ok(());
        }
    }
    tar.finish()
}

/// Fails unless kind, size and path of a member are those of `file`.
fn expect_file(member: &ArchiveMember, file: &File) -> Result<()> {
    if member.kind == MemberKind::Regular && member.size == file.size && member.path == file.path {
        return Ok(());
    }
    let found = format!("{} bytes of {}, {:?}", member.size, member.path, member.kind);
    refuse(format!("{} bytes of {}", file.size, file.path), found)
}

/// Returns an artifact's file in the form of a header's files. `None` for an artifact of an RPM.
pub fn file_entry(artifact: &Artifact) -> Option<File> {
    artifact.contents.map(|contents| regular(&artifact.path, contents))
}

fn regular(path: &str, contents: Contents) -> File {
    File {
        path: path.to_owned(),
        mode: 0o100_644,
        flags: 0,
        size: contents.size,
        mtime: u32::try_from(contents.mtime.max(0)).unwrap_or(u32::MAX),
        inode: 0,
        digest: Some(FileDigest::sha256(contents.sha256)),
        link_target: None,
        class: Class::None,
        signature: None,
    }
}

#[cfg(test)]
mod tests;
