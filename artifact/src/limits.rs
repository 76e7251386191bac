//! Limits for ELF files that are copied to the temporary directory to be read.

/// Maximum ratio of an ELF file's size to its archive's. Larger ELF files are refused if they also exceed
/// [`MIN_ELF_LIMIT_BYTES`]: a few kilobytes of archive could fill the temporary directory with zeros. Real ratios are
/// 2 to 20; zstd, xz and bzip2 reach 10,000.
const MAX_EXPANSION: u64 = 250;
/// The size in bytes up to which ELF files are read whatever the size of their archive.
const MIN_ELF_LIMIT_BYTES: u64 = 64 << 20;
/// Maximum size in bytes of an ELF file where the operator states none.
pub const MAX_ELF_BYTES: u64 = 4 << 30;

/// Returns the maximum size in bytes of an ELF file in an archive of `archive_bytes` bytes.
pub fn max_elf_bytes(archive_bytes: u64) -> u64 {
    archive_bytes.saturating_mul(MAX_EXPANSION).max(MIN_ELF_LIMIT_BYTES)
}
