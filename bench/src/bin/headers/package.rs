//! The contents of a generated package.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::header::{HeaderBuilder, hex, lead, payload};

/// The build time of every package: 2024-01-01, in seconds since 1970.
pub(crate) const BUILT_AT: u32 = 1_704_067_200;

/// One package and its programs.
pub(crate) struct GeneratedPackage {
    name: String,
    version: String,
    release: String,
    is_debuginfo: bool,
    /// Path and build-id of each program.
    pub(crate) programs: Vec<(String, String)>,
    numbers: RandomNumbers,
}

/// The bytes of a package, and what metadata of a repository states of it.
pub(crate) struct WrittenPackage {
    pub(crate) bytes: Vec<u8>,
    /// The main header in `bytes`.
    pub(crate) header: Range<usize>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release: String,
    pub(crate) source_rpm: String,
    pub(crate) is_debuginfo: bool,
    /// Path and build-id of each program.
    pub(crate) programs: Vec<(String, String)>,
    /// The files by path.
    pub(crate) entries: BTreeMap<String, FileEntry>,
}

/// Which package of a series is generated.
#[derive(Clone, Copy)]
pub(crate) struct PackageNumber {
    /// The seed of the build-ids.
    pub(crate) seed: u64,
    /// The number of the name.
    pub(crate) name: u64,
    pub(crate) release: u64,
    /// How many times the usual number of programs it has: 5.3 on average.
    pub(crate) times: u64,
    pub(crate) is_debuginfo: bool,
}

impl GeneratedPackage {
    pub(crate) fn new(number: PackageNumber, name: String) -> Self {
        let PackageNumber { seed, name: number, release, times, is_debuginfo } = number;
        // Both packages of a release have the same programs.
        let mut numbers = RandomNumbers::new(seed, number, release);
        let mut shape = RandomNumbers::new(seed, number, 0);
        let version = format!("{}.{}.{}", shape.next() % 9, shape.next() % 30, shape.next() % 10);
        // Half of the packages have one or two programs, few have thirty.
        let count = match shape.next() % 16 {
            0..8 => 1 + shape.next() % 2,
            8..13 => 3 + shape.next() % 5,
            13..15 => 8 + shape.next() % 9,
            _ => 17 + shape.next() % 14,
        };
        let count = count * times;
        let stem = name.rsplit('-').next().unwrap_or(&name).to_owned();
        let programs = (0..count)
            .map(|index| {
                let path = match (index + number) % 3 {
                    0 => format!("/usr/bin/{stem}-{index}"),
                    1 => format!("/usr/lib64/{}-{index}.so.{}", stem, index % 4),
                    _ => format!("/usr/lib64/{name}/plugins/{stem}{index}.so"),
                };
                (path, numbers.hex(40))
            })
            .collect();
        Self {
            name,
            version,
            release: format!("{release}.fc99"),
            is_debuginfo,
            programs,
            numbers: RandomNumbers(numbers.0 ^ u64::from(is_debuginfo)),
        }
    }

    fn full_name(&self) -> String {
        format!("{}{}", self.name, if self.is_debuginfo { "-debuginfo" } else { "" })
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}-{}.x86_64.rpm", self.full_name(), self.version, self.release)
    }

    /// Returns the files by path, in the order in which rpmbuild lists them.
    fn entries(&mut self) -> BTreeMap<String, FileEntry> {
        let mut entries = BTreeMap::new();
        let add_directory = |entries: &mut BTreeMap<String, FileEntry>, path: &str| {
            entries.entry(path.to_owned()).or_insert_with(|| FileEntry::plain(0o040_755, "directory"));
        };
        let top = if self.is_debuginfo { "/usr/lib/debug/.build-id" } else { "/usr/lib/.build-id" };
        add_directory(&mut entries, top);
        for (path, id) in &self.programs {
            let (first, rest) = id.split_at(2);
            add_directory(&mut entries, &format!("{top}/{first}"));
            let link = |target: String| FileEntry {
                size: target.len() as u32,
                link: target,
                ..FileEntry::plain(0o120_777, "")
            };
            let program = if self.is_debuginfo {
                let program = format!("/usr/lib/debug{path}-{}-{}.x86_64.debug", self.version, self.release);
                entries.insert(format!("{top}/{first}/{rest}"), link(format!("../../../.build-id/{first}/{rest}")));
                entries.insert(format!("{top}/{first}/{rest}.debug"), link(format!("../../../../..{program}")));
                program
            } else {
                entries.insert(format!("{top}/{first}/{rest}"), link(format!("../../../..{path}")));
                path.clone()
            };
            let kind = if path.starts_with("/usr/bin/") { "pie executable" } else { "shared object" };
            let interpreter =
                if path.starts_with("/usr/bin/") { "interpreter /lib64/ld-linux-x86-64.so.2, " } else { "" };
            let stripped = if self.is_debuginfo { "with debug_info, not stripped" } else { "stripped" };
            let class = format!(
                "ELF 64-bit LSB {kind}, x86-64, version 1 (SYSV), dynamically linked, {interpreter}BuildID[sha1]={id}, \
                 for GNU/Linux 3.2.0, {stripped}"
            );
            let size = 4096 + (self.numbers.next() % (1 << 20)) as u32;
            entries.insert(
                program,
                FileEntry { size, digest: self.numbers.hex(64), ..FileEntry::plain(0o100_755, &class) },
            );
        }
        if !self.is_debuginfo {
            for (path, class) in [
                (format!("/usr/share/doc/{}/NEWS", self.name), "UTF-8 Unicode text"),
                (format!("/usr/share/doc/{}/README.md", self.name), "ASCII text"),
                (format!("/usr/share/licenses/{}/COPYING", self.name), "ASCII text"),
            ] {
                entries.insert(
                    path,
                    FileEntry { size: 2000, digest: self.numbers.hex(64), ..FileEntry::plain(0o100_644, class) },
                );
            }
        }
        entries
    }

    fn source_rpm(&self) -> String {
        format!("{}-{}-{}.src.rpm", self.name, self.version, self.release)
    }

    /// Returns the whole package.
    pub(crate) fn write(mut self) -> WrittenPackage {
        let payload = payload();
        let entries = self.entries();
        let main = self.header(&entries, &payload).bytes(63);
        let mut signature = HeaderBuilder::default();
        signature.text(273, &hex(&Sha256::digest(&main)));
        signature.int32(1000, [(main.len() + payload.len()) as u32]);
        let mut bytes = lead(&format!("{}-{}-{}", self.full_name(), self.version, self.release));
        bytes.extend(signature.bytes(62));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let header = bytes.len()..bytes.len() + main.len();
        bytes.extend(main);
        bytes.extend(payload);
        let (name, source_rpm) = (self.full_name(), self.source_rpm());
        let Self { version, release, is_debuginfo, programs, .. } = self;
        WrittenPackage { bytes, header, name, version, release, source_rpm, is_debuginfo, programs, entries }
    }

    fn header(&self, entries: &BTreeMap<String, FileEntry>, payload: &[u8]) -> HeaderBuilder {
        let name = self.full_name();
        let each = || entries.values();
        let count = entries.len();
        let mut header = HeaderBuilder::default();
        header.texts(100, 8, ["C"]);
        header.text(1000, &name);
        header.text(1001, &self.version);
        header.text(1002, &self.release);
        header.texts(1004, 9, ["A generated package"]);
        header.texts(1005, 9, ["Its header is made for measurements; its payload is empty."]);
        header.int32(1006, [BUILT_AT]);
        header.text(1007, "corpus.example");
        header.int32(1009, [each().map(|entry| entry.size).sum()]);
        header.text(1014, "none");
        header.texts(1016, 9, ["Unspecified"]);
        header.text(1021, "linux");
        header.text(1022, "x86_64");
        header.int32(1028, each().map(|entry| entry.size));
        header.int16(1030, each().map(|entry| entry.mode));
        header.int16(1033, each().map(|_| 0));
        header.int32(1034, each().map(|_| BUILT_AT));
        header.texts(1035, 8, each().map(|entry| entry.digest.as_str()));
        header.texts(1036, 8, each().map(|entry| entry.link.as_str()));
        header.int32(1037, each().map(|_| 0));
        header.texts(1039, 8, each().map(|_| "root"));
        header.texts(1040, 8, each().map(|_| "root"));
        header.text(1044, &self.source_rpm());
        header.int32(1045, each().map(|_| u32::MAX));
        header.texts(1047, 8, [name.as_str()]);
        header.text(1064, "4.18.0");
        header.int32(1095, each().map(|_| 1));
        header.int32(1096, 1..=count as u32);
        header.texts(1097, 8, each().map(|_| ""));
        header.int32(1112, [8]);
        header.texts(1113, 8, [format!("{}-{}", self.version, self.release).as_str()]);
        header.paths(entries.keys());
        header.text(1124, "cpio");
        header.text(1125, "zstd");
        header.text(1126, "19");
        header.int32(1140, each().map(|entry| u32::from(entry.class.starts_with("ELF")) * 2));
        header.classes(each().map(|entry| entry.class.as_str()));
        header.int32(5011, [8]);
        header.text(5062, "utf-8");
        header.texts(5092, 8, [hex(&Sha256::digest(payload)).as_str()]);
        header.int32(5093, [8]);
        header
    }
}

/// A file in the header.
pub(crate) struct FileEntry {
    mode: u16,
    pub(crate) size: u32,
    digest: String,
    link: String,
    class: String,
}

impl FileEntry {
    pub(crate) fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    fn plain(mode: u16, class: &str) -> Self {
        Self { mode, size: 0, digest: String::new(), link: String::new(), class: class.to_owned() }
    }
}

/// Pseudorandom numbers of a seed (splitmix64, Steele and others 2014).
struct RandomNumbers(u64);

impl RandomNumbers {
    fn new(seed: u64, number: u64, release: u64) -> Self {
        let mut numbers =
            Self(seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f) ^ release.wrapping_mul(0xe703_7ed1_a0b4_28db));
        numbers.next();
        numbers
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut hex = String::with_capacity(digits + 16);
        while hex.len() < digits {
            // Writing to a String never fails.
            let _ = write!(hex, "{:016x}", self.next());
        }
        hex.truncate(digits);
        hex
    }
}
