//! The formats that the first bytes of an archive allow.

use super::{ar, cpio, tar, zip};
use crate::elf;
use crate::payload::Compression;

/// True if a tar archive, perhaps compressed, can begin with `start`: its first block, or all of a shorter archive. The
/// first header of an archive that is not compressed has to be valid.
pub(crate) fn begins_tar(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(tar::is_start) || Compression::detect(start).is_some()
}

/// True if a tar or cpio archive can begin with `start`, as [`begins_tar`].
pub(super) fn begins_stream(start: &[u8]) -> bool {
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
