//! Compressed kernel modules: `x.ko.xz`, `x.ko.zst`, `x.ko.gz`. Their build-id is in the ELF file inside.
//!
//! An RPM's header lists such a module as compressed data, and seldom has a build-id link for it. The debug file of
//! the same build is at the path of the module with `/usr/lib/debug` before it and `.debug` behind it, and has the
//! same build-id. [`module_path_of_installed`] and [`module_path_of_debug_file`] reduce both paths to one, by which
//! they are paired (docs/adr/0026).

use std::io::{Cursor, Read, Seek, Write};

use tempfile::SpooledTempFile;

use crate::elf::{self, Elf};
use crate::payload::{self, Compression, fill, refuse};
use crate::{Error, Result};

/// Modules up to this size are decompressed in memory, larger ones to a temporary file.
const MEMORY_BYTES: usize = 1 << 20;
/// A module is at most this many times larger than its compressed form, or as large as `MIN_LIMIT_BYTES` if that is
/// more. Real ones are larger by a factor of 2 to 20.
const MAX_EXPANSION: u64 = 250;
const MIN_LIMIT_BYTES: u64 = 64 << 20;
const MAX_LIMIT_BYTES: u64 = 1 << 30;
/// The size of the buffer for decompressed bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The bytes at the start of an ELF file that [`elf::rpm_arch`] needs.
const START_BYTES: usize = 20;

/// A compressed kernel module that a header lists without a build-id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Module {
    /// The file's number in the header, from 0.
    pub ordinal: u32,
    /// Its absolute path.
    pub path: String,
}

/// True if a file with this name is a compressed kernel module.
pub fn is_compressed(path: &str) -> bool {
    strip_compression_suffix(path).is_some()
}

/// Returns the path of a compressed module without the suffix of its compression. `None` for every other path.
pub fn strip_compression_suffix(path: &str) -> Option<&str> {
    let module = [".xz", ".zst", ".gz"].into_iter().find_map(|ending| path.strip_suffix(ending))?;
    (module.ends_with(".ko") && !module.ends_with("/.ko")).then_some(module)
}

/// Returns the path of the module that is installed at `path`, without compression suffix and leading `/usr`:
/// `/lib/modules/V/kernel/fs/x.ko` of `/usr/lib/modules/V/kernel/fs/x.ko.xz`. `None` for every other path.
pub fn module_path_of_installed(path: &str) -> Option<&str> {
    below_modules(strip_compression_suffix(path)?)
}

/// Returns the path, in the same form, of the module whose debug file is at `path`: `/lib/modules/V/kernel/fs/x.ko` of
/// `/usr/lib/debug/lib/modules/V/kernel/fs/x.ko.debug`. Where debug files have unique names, it is
/// `x.ko-VERSION-RELEASE.ARCH.debug` (find-debuginfo's `--unique-debug-suffix`). `None` for every other path.
pub fn module_path_of_debug_file(path: &str) -> Option<&str> {
    let path = below_modules(path.strip_prefix("/usr/lib/debug")?)?.strip_suffix(".debug")?;
    let name_start = path.rfind('/')? + 1;
    let name = &path[name_start..];
    let name = if name.ends_with(".ko") { name } else { &name[..name.find(".ko-")? + ".ko".len()] };
    (name != ".ko").then(|| &path[..name_start + name.len()])
}

fn below_modules(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/usr").unwrap_or(path);
    path.starts_with("/lib/modules/").then_some(path)
}

/// Returns the maximum size, in bytes, to which a module of `compressed_bytes` is decompressed.
pub fn max_bytes(compressed_bytes: u64) -> u64 {
    compressed_bytes.saturating_mul(MAX_EXPANSION).clamp(MIN_LIMIT_BYTES, MAX_LIMIT_BYTES)
}

/// Decompresses `compressed` to `out`; its first bytes show the compression. Returns false, and writes nothing, if it
/// is not compressed.
///
/// # Errors
/// [`Error::Payload`] if it cannot be decompressed, or has more than `max_bytes`; [`Error::Io`] if reading or writing
/// fails.
pub fn decompress(compressed: impl Read + Send, out: &mut impl Write, max_bytes: u64) -> Result<bool> {
    let Some(contents) = contents(compressed)? else { return Ok(false) };
    if copy(contents, out, max_bytes)? { Ok(true) } else { too_large(max_bytes) }
}

/// Reads the ELF file in a compressed kernel module: its build-id, kind and DWARF, and the arch it is for. `None` if
/// the file is not compressed, cannot be decompressed, or holds no ELF file that can be read. So one strange file does
/// not hide the others of its package.
///
/// # Errors
/// [`Error::Payload`] if the module has more than `max_bytes`; [`Error::Io`] if reading `compressed` or writing a
/// temporary file fails.
pub(crate) fn read_module(
    compressed: &mut (impl Read + Seek + Send),
    max_bytes: u64,
) -> Result<Option<(Elf, Option<&'static str>)>> {
    compressed.rewind()?;
    let Some(mut contents) = contents(compressed)? else { return Ok(None) };
    let mut start = [0; START_BYTES];
    let is_elf = sound(fill(&mut contents, &mut start))?.is_some_and(|filled| filled == START_BYTES);
    if !is_elf || !start.starts_with(&elf::MAGIC) {
        return Ok(None);
    }
    let mut module = SpooledTempFile::new(MEMORY_BYTES);
    match sound(copy(Cursor::new(start).chain(contents), &mut module, max_bytes))? {
        Some(true) => {}
        Some(false) => return too_large(max_bytes),
        None => return Ok(None),
    }
    match elf::read_elf(&mut module) {
        Err(Error::Elf { .. }) => Ok(None),
        read => Ok(read?.map(|elf| (elf, elf::rpm_arch(&start)))),
    }
}

/// Returns a reader of the decompressed contents; the first bytes show the compression. `None` if it is not compressed.
fn contents<'a>(mut compressed: impl Read + Send + 'a) -> Result<Option<Box<dyn Read + Send + 'a>>> {
    let mut start = [0; Compression::MAGIC_BYTES];
    let filled = fill(&mut compressed, &mut start)?;
    let compression = Compression::detect(&start[..filled]);
    if compression.is_none() {
        return Ok(None);
    }
    let start = Cursor::new(start).take(filled as u64);
    payload::decompress_with(compression, start.chain(compressed)).map(Some)
}

/// Copies `contents` to `out`. False if they have more than `max_bytes`.
fn copy(contents: impl Read, out: &mut impl Write, max_bytes: u64) -> Result<bool> {
    let (mut contents, mut chunk, mut copied) = (contents, vec![0; CHUNK_BYTES], 0);
    loop {
        let filled = fill(&mut contents, &mut chunk)?;
        copied += filled as u64;
        if copied > max_bytes {
            return Ok(false);
        }
        out.write_all(&chunk[..filled])?;
        if filled < chunk.len() {
            return Ok(true);
        }
    }
}

/// `None` for data that cannot be decompressed.
fn sound<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(Error::Payload { .. }) => Ok(None),
        read => read.map(Some),
    }
}

fn too_large<T>(max_bytes: u64) -> Result<T> {
    refuse(format!("a kernel module of at most {max_bytes} bytes when it is decompressed"), "more")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::elf::image::Image;
    use crate::payload::archive::compress;

    const ID: [u8; 20] = [0x42; 20];

    #[test]
    fn compressed_modules_are_recognized_by_name() {
        for path in ["/lib/modules/6.1/x.ko.xz", "x.ko.zst", "/a/x.y.ko.gz"] {
            assert!(is_compressed(path), "{path}");
        }
        for path in ["/lib/modules/6.1/x.ko", "/x.ko.bz2", "/x.xz", "/a/.ko.xz", "/xko.xz", "/x.ko.debug", ""] {
            assert!(!is_compressed(path), "{path}");
        }
    }

    #[test]
    fn a_debug_file_and_its_module_have_one_path() {
        let path = "/lib/modules/6.5.6-300.fc39.x86_64/kernel/fs/x.ko";
        for installed_path in [format!("{path}.xz"), format!("/usr{path}.zst"), format!("{path}.gz")] {
            assert_eq!(module_path_of_installed(&installed_path), Some(path), "{installed_path}");
        }
        for debug in [
            format!("/usr/lib/debug{path}.debug"),
            format!("/usr/lib/debug/usr{path}.debug"),
            format!("/usr/lib/debug{path}-6.5.6-300.fc39.x86_64.debug"),
        ] {
            assert_eq!(module_path_of_debug_file(&debug), Some(path), "{debug}");
        }
        for other in [
            "/usr/lib/debug/lib/modules/6.5/vmlinux.debug",
            "/usr/lib/debug/lib/modules/6.5/x.ko",
            "/usr/lib/debug/lib/modules/6.5/.ko.debug",
            "/usr/lib/debug/lib/modules/6.5/x.ko.old.debug",
            "/usr/lib/debug/lib/modules/6.5.ko-x/y.debug",
            "/usr/lib/debug/usr/bin/x.ko.debug",
            "/lib/modules/6.5/x.ko.debug",
            "/usr/lib/debug",
        ] {
            assert_eq!(module_path_of_debug_file(other), None, "{other}");
        }
        for other in ["/opt/lib/modules/6.5/x.ko.xz", "/lib/modules/6.5/x.ko", "/usr/lib/debug/lib/modules/6.5/x.ko.xz"]
        {
            assert_eq!(module_path_of_installed(other), None, "{other}");
        }
    }

    #[test]
    fn the_compression_of_a_module_is_detected() {
        let module = Image::program(&ID).bytes();
        for compressor in ["xz", "zstd", "gzip"] {
            let compressed = compress(Some(compressor), &module);
            let (elf, machine) = read_module(&mut Cursor::new(&compressed), 1 << 20).unwrap().unwrap();
            assert_eq!((elf.build_id.unwrap().as_bytes(), machine), (&ID[..], Some("x86_64")), "{compressor}");
            let mut out = Vec::new();
            assert!(decompress(&*compressed, &mut out, module.len() as u64).unwrap() && out == module, "{compressor}");
            for end in 0..compressed.len() {
                let cut = &compressed[..end];
                assert!(read_module(&mut Cursor::new(cut), 1 << 20).unwrap().is_none(), "{compressor}: {end} bytes");
                assert!(!matches!(decompress(cut, &mut io::sink(), 1 << 20), Ok(true)), "{compressor}: {end} bytes");
            }
        }
        for other in [&module[..], b"", b"\x1f", b"text, and more of it"] {
            assert!(read_module(&mut Cursor::new(other), 1 << 20).unwrap().is_none());
            assert!(!decompress(other, &mut io::sink(), 1 << 20).unwrap());
        }
        let text = compress(Some("xz"), &b"no module".repeat(10));
        assert!(read_module(&mut Cursor::new(text), 1 << 20).unwrap().is_none());
    }

    #[test]
    fn a_module_larger_than_its_limit_is_refused() {
        let mut module = Image::program(&ID).bytes();
        module.resize(3 << 20, 0);
        for compressor in ["xz", "zstd", "gzip"] {
            let compressed = compress(Some(compressor), &module);
            let error = read_module(&mut Cursor::new(&compressed), 1 << 20).unwrap_err().to_string();
            assert!(
                error.contains("a kernel module of at most 1048576 bytes when it is decompressed, found more"),
                "{error}"
            );
            let mut out = Vec::new();
            assert!(decompress(&*compressed, &mut out, 1 << 20).is_err() && out.len() <= 1 << 20);
        }
        assert_eq!([0, 1 << 20, u64::MAX].map(max_bytes), [64 << 20, 250 << 20, 1 << 30]);
    }
}
