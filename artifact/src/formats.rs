//! Formats other than RPM: Debian packages, Arch packages, other tar, cpio and zip archives, plain files.
//!
//! None of them has a header that lists its files, so an import reads them whole, once. Their SHA-256 is their
//! identity. Size, time and digest of a file with a build-id become part of its [`Artifact`]. A gateway serves the file
//! as it serves a member of an RPM. A [`Catalog`] lists the other files (sources).
//!
//! - `ar`, `tar`, `extended`, `cpio`, `zip`, `deb`: walks over archives that bound what they keep;
//! - [`TarBlockIndex`]: where the tar archive inside can be entered without reading it from its first byte;
//! - `names`: package, version and arch out of `control`, `.PKGINFO` or the file's name.
//!
//! Paths of members are labels: none of them is opened on a disk.

mod ar;
mod bounded;
mod bytes;
mod catalog;
mod cpio;
mod deb;
mod extended;
mod member;
mod names;
mod tar;
mod tar_block_index;
mod zip;

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Seek, Write};
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use crate::digest::FileDigest;
use crate::header::{Class, File};
use crate::payload::{self, Compression, deliver, fill, refuse, unwrap};
use crate::{Artifact, Contents, Error, Format, Identity, Package, Result, elf, modules};
use member::{ArchiveMember, Each, MemberKind};
use tar::Tar;

pub use bytes::{ArchiveBytes, Seekable};
pub use catalog::{Catalog, Listed};
pub use tar_block_index::TarBlockIndex;

/// ELF files up to this size are read in memory, larger ones from a temporary file: their tables are at their ends.
const MEMORY_BYTES: usize = 1 << 20;
/// The maximum size of `control` and `.PKGINFO`.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The maximum size of all paths of an archive that are held in memory.
const MAX_PATH_BYTES: usize = 64 << 20;
/// An archive unfolds by no more than this factor, or to no more than so many bytes if that is more.
const MAX_EXPANSION: u64 = 1000;
const MIN_UNPACKED_LIMIT_BYTES: u64 = 1 << 30;

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
    // By path, so that hard links are found: of a path that comes twice the last, as after unpacking.
    let mut by_path: HashMap<String, usize> = HashMap::new();
    let said = walk(archive, about.format, about.size, ReadMode::Whole(&mut hasher), &mut |member, contents| {
        let artifact = match &member.kind {
            MemberKind::HardLink(target) => {
                let linked = by_path.get(target).map(|at| &artifacts[*at]);
                linked.map(|linked| Artifact { ordinal: member.ordinal, path: member.path.clone(), ..linked.clone() })
            }
            _ => read_member(member, contents, max_elf_bytes, &mut too_large)?.and_then(|elf| {
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
    Ok(ParsedArchive { package: names::package(about, &said, identity, arch)?, artifacts, too_large })
}

/// Reads a plain file, which clients see at `path`; `None` where it is not ELF, has no build-id or no use. Of a
/// compressed kernel module the ELF file inside counts.
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
/// [`payload::extract_member`], `out` sees all bytes before their digest is compared.
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

/// Expects a member to be the one that `file` describes, but for its contents.
fn expect_file(member: &ArchiveMember, file: &File) -> Result<()> {
    if member.kind == MemberKind::Regular && member.size == file.size && member.path == file.path {
        return Ok(());
    }
    let found = format!("{} bytes of {}, {:?}", member.size, member.path, member.kind);
    refuse(format!("{} bytes of {}", file.size, file.path), found)
}

/// The file that an artifact of a package without a header is, as a header would have it.
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

/// The description that an archive has of itself.
#[derive(Debug, Default)]
struct PackageInfo {
    /// `control` or `.PKGINFO`.
    text: Option<String>,
    /// Seconds since 1970.
    built_at: Option<i64>,
}

/// The part of an archive that is read.
enum ReadMode<'h> {
    /// Every byte, which is hashed.
    Whole(&'h mut Sha256),
    /// Members from this number on, and what has to be read before them.
    From(u32),
}

/// The most bytes that an archive of `archive_bytes` bytes may unfold to.
fn max_unpacked_bytes(archive_bytes: u64) -> u64 {
    archive_bytes.saturating_mul(MAX_EXPANSION).max(MIN_UNPACKED_LIMIT_BYTES)
}

/// Calls `each` with the members of an archive until it has had enough.
fn walk(
    archive: ArchiveBytes<'_>,
    format: Format,
    archive_bytes: u64,
    reading: ReadMode<'_>,
    each: &mut Each<'_>,
) -> Result<PackageInfo> {
    let max_bytes = max_unpacked_bytes(archive_bytes);
    let mut start = [0; tar::BLOCK_BYTES];
    let (filled, archive) = archive.peek(&mut start)?;
    let start = &start[..filled];
    let (mut hasher, first) = match reading {
        ReadMode::Whole(hasher) => (Some(hasher), 0),
        ReadMode::From(first) => (None, first),
    };
    let is_told = start.is_empty() || begins_stream(start) || cpio::other_form(start).is_some();
    if matches!(format, Format::Tar | Format::Cpio | Format::Zip) && (zip::is_start(start) || !is_told) {
        let mut archive = archive.into_seekable(archive_bytes)?;
        // A zip archive is told by its end where anything stands before its first member.
        if !zip::is_start(start) && !zip::has_end(&mut archive)? {
            return no_archive(start);
        }
        if let Some(hasher) = &mut hasher {
            io::copy(&mut Hashed { input: &mut archive, hasher: Some(hasher) }, &mut io::sink()).map_err(unwrap)?;
        }
        return zip::walk(archive, archive_bytes, max_bytes, first, each).map(|()| PackageInfo::default());
    }
    let is_whole = hasher.is_some();
    let mut whole = Hashed { input: archive, hasher };
    let said = match format {
        Format::Deb => {
            deb::walk(ArchiveBytes::stream(&mut whole), Compression::detect(start).is_none(), max_bytes, each)?
        }
        Format::Arch | Format::Tar | Format::Cpio | Format::Zip => walk_stream(&mut whole, format, max_bytes, each)?,
        Format::Rpm | Format::File => return refuse("an archive of members", format.as_str()),
    };
    if is_whole {
        // The bytes behind the end of the archive are part of the file.
        io::copy(&mut whole, &mut io::sink()).map_err(unwrap)?;
    }
    Ok(said)
}

/// A tar or cpio archive, which may be compressed.
fn walk_stream(archive: impl Read + Send, format: Format, max_bytes: u64, each: &mut Each<'_>) -> Result<PackageInfo> {
    let mut archive = archive;
    let mut start = [0; tar::BLOCK_BYTES];
    let filled = fill(&mut archive, &mut start)?;
    // A name at the start of a plain archive may look like the start of a compressed one.
    let compression = if tar::is_start(&start) { None } else { Compression::detect(&start[..filled]) };
    let mut archive = payload::decompress_with(compression, Cursor::new(start).take(filled as u64).chain(archive))?;
    let filled = fill(&mut archive, &mut start)?;
    let begun = &start[..filled];
    if begun.is_empty() {
        return refuse("a tar, cpio or zip archive", "an empty file");
    }
    let is_tar = filled == start.len() && tar::is_start(&start);
    let archive = Box::new(Cursor::new(begun.to_vec()).chain(archive));
    if format != Format::Arch && !is_tar {
        if cpio::is_start(begun) {
            return cpio::walk(archive, max_bytes, each).map(|()| PackageInfo::default());
        }
        if let Some(form) = cpio::other_form(begun) {
            return refuse("a cpio archive of the form newc or crc", form);
        }
        return no_archive(begun);
    }
    let mut tar = Tar::new(archive, max_bytes);
    let mut said = PackageInfo::default();
    while let Some(member) = tar.next()? {
        if format == Format::Arch
            && member.path == "/.PKGINFO"
            && member.kind == MemberKind::Regular
            && said.text.is_none()
        {
            said.text = Some(text(&member, &mut tar)?);
        } else if each(&member, &mut tar)?.is_break() {
            return Ok(said);
        }
    }
    tar.finish()?;
    Ok(said)
}

fn no_archive<T>(start: &[u8]) -> Result<T> {
    let expected = "a tar, cpio or zip archive, plain or compressed with gzip, bzip2, xz, lzma or zstd";
    refuse(expected, payload::starting_with(start))
}

/// True if a tar archive, perhaps compressed, can begin with `start`: its first block, or all of a shorter one. The
/// first header of one that is not compressed has to be sound.
pub(crate) fn begins_tar(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(tar::is_start) || Compression::detect(start).is_some()
}

/// True if a tar or cpio archive can begin with `start`, as [`begins_tar`].
fn begins_stream(start: &[u8]) -> bool {
    begins_tar(start) || cpio::is_start(start)
}

/// True if a tar, cpio or zip archive can begin with `start`, as [`begins_tar`]. A zip archive can also begin with a
/// script's first line or a program.
pub(crate) fn begins_archive(start: &[u8]) -> bool {
    begins_stream(start) || zip::is_start(start) || zip::is_prefix(start)
}

/// True if a plain file with a build-id can begin with `start`: ELF, or a compressed kernel module.
pub(crate) fn begins_file(start: &[u8]) -> bool {
    start.starts_with(&elf::MAGIC) || Compression::detect(start).is_some()
}

/// True if a Debian package can begin with `start`, or one of opkg, which may be a compressed tar archive.
pub(crate) fn begins_deb(start: &[u8]) -> bool {
    start.starts_with(ar::MAGIC) || Compression::detect(start).is_some()
}

fn text(member: &ArchiveMember, tar: &mut Tar<'_>) -> Result<String> {
    if member.size > MAX_TEXT_BYTES {
        return refuse(format!("at most {MAX_TEXT_BYTES} bytes of {}", member.path), member.size.to_string());
    }
    let mut text = Vec::new();
    tar.read_to_end(&mut text).map_err(unwrap)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// An ELF file with a build-id, perhaps in a compressed kernel module, whose contents are the compressed ones.
struct ElfMember {
    elf: elf::Elf,
    machine: Option<&'static str>,
    contents: Contents,
}

impl ElfMember {
    /// None without a build-id, or if it is neither executable nor debuginfo.
    fn artifact(&self, ordinal: u32, path: &str) -> Option<Artifact> {
        Some(Artifact {
            ordinal,
            build_id: self.elf.build_id.clone()?,
            kind: self.elf.kind?,
            dwarf: Some(self.elf.dwarf),
            path: path.to_owned(),
            contents: Some(self.contents),
        })
    }
}

/// Reads a member that is an ELF file; `None` if it is none or cannot be read. `too_large` gets the message for the
/// first member that is larger than the limit.
fn read_member(
    member: &ArchiveMember,
    mut contents: &mut dyn Read,
    max_bytes: u64,
    too_large: &mut Option<String>,
) -> Result<Option<ElfMember>> {
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
            read => Ok(read?.map(|(elf, machine)| ElfMember { elf, machine, contents })),
        };
    }
    match elf::read_elf(&mut copy) {
        Err(Error::Elf { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok(elf) => Ok(elf.map(|elf| ElfMember { elf, machine: elf::rpm_arch(&start), contents })),
    }
}

/// Bytes that are hashed as they are read, if they are to be.
struct Hashed<'h, R> {
    input: R,
    hasher: Option<&'h mut Sha256>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
