//! Writes packages for measurements at scale: each has a lead, a signature header, a main header with classes and
//! build-id links, and a payload that is valid and empty. The same arguments give the same bytes.
//!
//! A name has ten packages: five releases of NAME and of NAME-debuginfo, whose build-ids agree. They lie in
//! FOLDER/na/NAME/.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use sha2::{Digest, Sha256};

/// Five releases of a package and of its -debuginfo.
const RELEASES: u64 = 5;
const PACKAGES_OF_A_NAME: u64 = RELEASES * 2;
/// 2024-01-01.
const BUILT: u32 = 1_704_067_200;

/// Writes generated packages of build-ids.
#[derive(Parser)]
struct Arguments {
    /// Where to; made if it is not there.
    folder: PathBuf,
    /// How many.
    #[arg(long, default_value_t = 100_000)]
    packages: u64,
    /// Leave out so many before them: further packages of the same series.
    #[arg(long, default_value_t = 0, value_name = "PACKAGES")]
    after: u64,
    /// Another seed gives other build-ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    let names = arguments.packages.div_ceil(PACKAGES_OF_A_NAME);
    let before = arguments.after / PACKAGES_OF_A_NAME;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let artifacts: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let arguments = &arguments;
                scope.spawn(move || {
                    (thread..names)
                        .step_by(threads as usize)
                        .map(|name| write_name(arguments, before, name))
                        .sum::<Result<u64>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
            .sum::<Result<u64>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let rate = arguments.packages as f64 / seconds;
    eprintln!("{} packages, {artifacts} ELF files, {seconds:.1} s, {rate:.0} packages/s", arguments.packages);
    Ok(())
}

/// Writes the packages of the name with this place, behind those of `before` names; returns how many ELF files they
/// name.
fn write_name(arguments: &Arguments, before: u64, place: u64) -> Result<u64> {
    let number = before + place;
    let name = name(number);
    let folder = arguments.folder.join(&name[..2]).join(&name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut artifacts = 0;
    for place in 0..PACKAGES_OF_A_NAME.min(arguments.packages - place * PACKAGES_OF_A_NAME) {
        let package = Package::new(arguments.seed, number, name.clone(), place / 2 + 1, place % 2 == 1);
        artifacts += package.programs.len() as u64;
        let file = folder.join(package.file_name());
        fs::write(&file, package.bytes()).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(artifacts)
}

/// A name of its own for every number: `libkarivo`, `python3-mesutaba`.
fn name(number: u64) -> String {
    const KINDS: [&str; 8] = ["lib", "python3-", "", "perl-", "rust-", "golang-", "kf6-", "ghc-"];
    const ONSETS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "x", "z"];
    const VOWELS: [&str; 4] = ["a", "e", "i", "o"];
    let mut name = KINDS[(number % 8) as usize].to_owned();
    // The order of the names is not that of the numbers (Knuth's multiplicative hash, one to one).
    let mut rest = (number as u32).wrapping_mul(2_654_435_761);
    for _ in 0..5 {
        name += ONSETS[(rest % 16) as usize];
        name += VOWELS[(rest / 16 % 4) as usize];
        rest /= 64;
    }
    // The two bits that five syllables leave over.
    name + ["", "n", "r", "s"][(rest % 4) as usize]
}

/// Numbers of a seed (splitmix64, Steele and others 2014).
struct Numbers(u64);

impl Numbers {
    fn of(seed: u64, number: u64, release: u64) -> Self {
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
            // Writing to a string does not fail.
            let _ = write!(hex, "{:016x}", self.next());
        }
        hex.truncate(digits);
        hex
    }
}

/// A file of the header.
struct Entry {
    mode: u16,
    size: u32,
    digest: String,
    link: String,
    class: String,
}

/// One package: who it is and the programs that it is about.
struct Package {
    name: String,
    version: String,
    release: String,
    debuginfo: bool,
    /// Path and build-id of each program.
    programs: Vec<(String, String)>,
    numbers: Numbers,
}

impl Package {
    fn new(seed: u64, number: u64, name: String, release: u64, debuginfo: bool) -> Self {
        // Both packages of a release draw the same programs.
        let mut numbers = Numbers::of(seed, number, release);
        let mut shape = Numbers::of(seed, number, 0);
        let version = format!("{}.{}.{}", shape.next() % 9, shape.next() % 30, shape.next() % 10);
        // Half of the packages have one or two programs, few have thirty.
        let count = match shape.next() % 16 {
            0..8 => 1 + shape.next() % 2,
            8..13 => 3 + shape.next() % 5,
            13..15 => 8 + shape.next() % 9,
            _ => 17 + shape.next() % 14,
        };
        let stem = name.rsplit('-').next().unwrap_or(&name).to_owned();
        let programs = (0..count)
            .map(|place| {
                let path = match (place + number) % 3 {
                    0 => format!("/usr/bin/{stem}-{place}"),
                    1 => format!("/usr/lib64/{}-{place}.so.{}", stem, place % 4),
                    _ => format!("/usr/lib64/{name}/plugins/{stem}{place}.so"),
                };
                (path, numbers.hex(40))
            })
            .collect();
        Self {
            name,
            version,
            release: format!("{release}.fc99"),
            debuginfo,
            programs,
            numbers: Numbers(numbers.0 ^ u64::from(debuginfo)),
        }
    }

    fn full_name(&self) -> String {
        format!("{}{}", self.name, if self.debuginfo { "-debuginfo" } else { "" })
    }

    fn file_name(&self) -> String {
        format!("{}-{}-{}.x86_64.rpm", self.full_name(), self.version, self.release)
    }

    /// The files by path, as rpmbuild lists them.
    fn entries(&mut self) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::new();
        let folder = |entries: &mut BTreeMap<String, Entry>, path: &str| {
            entries.entry(path.to_owned()).or_insert_with(|| Entry::plain(0o040_755, "directory"));
        };
        let top = if self.debuginfo { "/usr/lib/debug/.build-id" } else { "/usr/lib/.build-id" };
        folder(&mut entries, top);
        for (path, id) in &self.programs {
            let (first, rest) = id.split_at(2);
            folder(&mut entries, &format!("{top}/{first}"));
            let link =
                |target: String| Entry { size: target.len() as u32, link: target, ..Entry::plain(0o120_777, "") };
            let program = if self.debuginfo {
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
            let stripped = if self.debuginfo { "with debug_info, not stripped" } else { "stripped" };
            let class = format!(
                "ELF 64-bit LSB {kind}, x86-64, version 1 (SYSV), dynamically linked, {interpreter}BuildID[sha1]={id}, for GNU/Linux 3.2.0, {stripped}"
            );
            let size = 4096 + (self.numbers.next() % (1 << 20)) as u32;
            entries.insert(program, Entry { size, digest: self.numbers.hex(64), ..Entry::plain(0o100_755, &class) });
        }
        if !self.debuginfo {
            for (path, class) in [
                (format!("/usr/share/doc/{}/NEWS", self.name), "UTF-8 Unicode text"),
                (format!("/usr/share/doc/{}/README.md", self.name), "ASCII text"),
                (format!("/usr/share/licenses/{}/COPYING", self.name), "ASCII text"),
            ] {
                entries
                    .insert(path, Entry { size: 2000, digest: self.numbers.hex(64), ..Entry::plain(0o100_644, class) });
            }
        }
        entries
    }

    /// The whole package.
    fn bytes(mut self) -> Vec<u8> {
        let payload = payload();
        let entries = self.entries();
        let main = self.header(&entries, &payload).bytes(63);
        let mut signature = Header::default();
        signature.text(273, &hex(&Sha256::digest(&main)));
        signature.int32(1000, [(main.len() + payload.len()) as u32]);
        let mut bytes = lead(&format!("{}-{}-{}", self.full_name(), self.version, self.release));
        bytes.extend(signature.bytes(62));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(main);
        bytes.extend(payload);
        bytes
    }

    fn header(&self, entries: &BTreeMap<String, Entry>, payload: &[u8]) -> Header {
        let name = self.full_name();
        let each = || entries.values();
        let count = entries.len();
        let mut header = Header::default();
        header.texts(100, 8, ["C"]);
        header.text(1000, &name);
        header.text(1001, &self.version);
        header.text(1002, &self.release);
        header.texts(1004, 9, ["A generated package"]);
        header.texts(1005, 9, ["Its header is made for measurements; its payload is empty."]);
        header.int32(1006, [BUILT]);
        header.text(1007, "corpus.example");
        header.int32(1009, [each().map(|entry| entry.size).sum()]);
        header.text(1014, "none");
        header.texts(1016, 9, ["Unspecified"]);
        header.text(1021, "linux");
        header.text(1022, "x86_64");
        header.int32(1028, each().map(|entry| entry.size));
        header.int16(1030, each().map(|entry| entry.mode));
        header.int16(1033, each().map(|_| 0));
        header.int32(1034, each().map(|_| BUILT));
        header.texts(1035, 8, each().map(|entry| entry.digest.as_str()));
        header.texts(1036, 8, each().map(|entry| entry.link.as_str()));
        header.int32(1037, each().map(|_| 0));
        header.texts(1039, 8, each().map(|_| "root"));
        header.texts(1040, 8, each().map(|_| "root"));
        header.text(1044, &format!("{}-{}-{}.src.rpm", self.name, self.version, self.release));
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

impl Entry {
    fn plain(mode: u16, class: &str) -> Self {
        Self { mode, size: 0, digest: String::new(), link: String::new(), class: class.to_owned() }
    }
}

/// A header: type, number of values and data of each tag.
#[derive(Default)]
struct Header(BTreeMap<u32, (u32, u32, Vec<u8>)>);

impl Header {
    fn text(&mut self, tag: u32, text: &str) {
        self.texts(tag, 6, [text]);
    }

    /// Type 6 is one text, 8 a list, 9 a list by language.
    fn texts<'text>(&mut self, tag: u32, kind: u32, texts: impl IntoIterator<Item = &'text str>) {
        let (mut count, mut data) = (0, Vec::new());
        for text in texts {
            data.extend_from_slice(text.as_bytes());
            data.push(0);
            count += 1;
        }
        self.0.insert(tag, (kind, count, data));
    }

    fn int32(&mut self, tag: u32, numbers: impl IntoIterator<Item = u32>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
        self.0.insert(tag, (4, data.len() as u32 / 4, data));
    }

    fn int16(&mut self, tag: u32, numbers: impl IntoIterator<Item = u16>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
        self.0.insert(tag, (3, data.len() as u32 / 2, data));
    }

    /// Folder of each file, name of each file, folders.
    fn paths<'path>(&mut self, paths: impl Iterator<Item = &'path String> + Clone) {
        let split = |path: &'path String| path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        let mut folders: Vec<&str> = paths.clone().map(|path| split(path).0).collect();
        folders.sort_unstable();
        folders.dedup();
        self.int32(1116, paths.clone().map(|path| folders.partition_point(|folder| *folder < split(path).0) as u32));
        self.texts(1117, 8, paths.map(|path| split(path).1));
        self.texts(1118, 8, folders);
    }

    /// Class of each file, classes.
    fn classes<'class>(&mut self, classes: impl Iterator<Item = &'class str> + Clone) {
        let mut known: Vec<&str> = classes.clone().collect();
        known.sort_unstable();
        known.dedup();
        self.int32(1141, classes.map(|class| known.partition_point(|other| *other < class) as u32));
        self.texts(1142, 8, known);
    }

    /// The header with its region, whose tag is 62 in the signature and 63 in the main header.
    fn bytes(&self, region: u32) -> Vec<u8> {
        let mut data = Vec::new();
        let mut index = Vec::new();
        for (tag, (kind, count, values)) in &self.0 {
            let align = match kind {
                3 => 2,
                4 => 4,
                _ => 1,
            };
            data.resize(data.len().next_multiple_of(align), 0);
            index.extend([*tag, *kind, data.len() as u32, *count]);
            data.extend_from_slice(values);
        }
        let entries = self.0.len() as u32 + 1;
        let region_at = data.len() as u32;
        let trailer = [region, 7, (entries * 16).wrapping_neg(), 16];
        data.extend(trailer.into_iter().flat_map(u32::to_be_bytes));
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        let numbers = [entries, data.len() as u32, region, 7, region_at, 16].into_iter().chain(index);
        bytes.extend(numbers.flat_map(u32::to_be_bytes));
        bytes.extend(data);
        bytes
    }
}

/// The first 96 bytes: a binary package of format 3.0 (as every rpm since writes) for x86_64 and Linux.
fn lead(name: &str) -> Vec<u8> {
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1];
    lead.extend(name.bytes().take(65));
    lead.resize(76, 0);
    lead.extend([0, 1, 0, 5]);
    lead.resize(96, 0);
    lead
}

/// A cpio archive without a file in one zstd frame with one raw block.
fn payload() -> Vec<u8> {
    let mut archive = b"070701".to_vec();
    for field in [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0] {
        archive.extend(format!("{field:08x}").into_bytes());
    }
    archive.extend(b"TRAILER!!!\0");
    archive.resize(archive.len().next_multiple_of(4), 0);
    let size = archive.len() as u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, size as u8];
    frame.extend(&((size << 3) | 1).to_le_bytes()[..3]);
    frame.extend(archive);
    frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
