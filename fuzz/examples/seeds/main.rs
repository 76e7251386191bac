//! Writes the inputs that fuzzing starts from to a directory: `cargo run --example seeds DIRECTORY`. They are made from
//! the fixture packages, or generated.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use artifact::header::Header;
use artifact::payload::{Members, decompress};
use fuzz::payload::WHOLE_RPM;

#[path = "../../../artifact/src/elf/image.rs"]
mod image;

mod elf;
mod formats;
mod header;
mod metadata;
mod payload;

/// The maximum size of a seed. Larger ones make fuzzing slow.
const MAX_BYTES: usize = 24 << 10;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("expected a directory to write to"));
    let mut seeds = Seeds { dir, count: 0 };
    add_texts(&mut seeds);
    for elf in elf::elf_files() {
        seeds.add("elf", &elf);
    }
    for elf in elf::files_with_dwarf() {
        seeds.add("dwarf", &elf);
    }
    payload::add_archives(&mut seeds);
    formats::add_formats(&mut seeds);
    seeds.add("header", &header::many_files_in_a_long_directory());
    metadata::add_metadata(&mut seeds);
    add_packages(&mut seeds);
    println!("{} seeds", seeds.count);
}

struct Seeds {
    dir: PathBuf,
    count: usize,
}

impl Seeds {
    fn add(&mut self, target: &str, bytes: &[u8]) {
        let dir = self.dir.join(target);
        fs::create_dir_all(&dir).expect("a directory for the seeds");
        if bytes.len() <= MAX_BYTES {
            self.count += 1;
            fs::write(dir.join(format!("seed-{:04}", self.count)), bytes).expect("a seed");
        }
    }
}

/// Adds NEVRAs, build-ids and paths, usual and unusual.
fn add_texts(seeds: &mut Seeds) {
    for nevra in [
        "libstdc++-4.6.2-1.fc16.x86_64",
        "java-1.7.0-openjdk-1.7.0.3-2.1.fc17.8.i686.rpm",
        "bidtest-3:1.2~rc1-4.fc99.x86_64",
        "kernel-debuginfo-common-x86_64-6.9.6-200.el7_9.2.aarch64",
        "n-4294967295:1-1.module+el8.x",
        "n-+1:2:3-1.rpm.rpm",
        "a/../b-1^git-1.\u{e9}",
    ] {
        seeds.add("nevra", nevra.as_bytes());
    }
    let digits = "420e9e3308971f4b817cc5bf83928b41a6909d88";
    for build_id in [
        digits,
        &digits.repeat(4)[..128],
        "42/0e9e3308.3",
        "/usr/lib/debug/.build-id/42/0e9e3308.12.debug",
        "setuid ELF 64-bit LSB pie executable, BuildID[sha1]=420e9e3308971f4b, with debug_info, not stripped",
        "ELF 64-bit LSB executable, BuildID[xxHash]=0x0011223344556677, stripped",
    ] {
        seeds.add("build_id", build_id.as_bytes());
    }
    for path in [
        "/usr/src/debug/hello3-1.0-2.x86_64/foobar///./../hello.c",
        "./../..//a/.../..b/c.",
        "/usr/lib/debug/.build-id/d4/4d\0../../../../local/bin/hello",
        "/usr/bin/sym\0/usr//bin/./a/",
    ] {
        seeds.add("source_path", path.as_bytes());
    }
}

/// Adds the fixtures: their headers, the small ones whole, and their ELF files.
fn add_packages(seeds: &mut Seeds) {
    for path in fixtures() {
        let archive = fs::read(&path).expect("a fixture");
        let header = Header::parse(&archive).expect("a fixture with a valid header");
        let (head, payload) = archive.split_at(usize::try_from(header.range.end).expect("a small header"));
        seeds.add("header", head);
        seeds.add("payload", &[&[WHOLE_RPM], &archive[..]].concat());
        let payload = decompress(payload).expect("a known compressor");
        let mut members = Members::new(payload, &header);
        while let Some(mut member) = members.next().expect("a valid payload") {
            let mut contents = Vec::new();
            member.read_to_end(&mut contents).expect("a valid member");
            if artifact::elf::read_elf(&mut Cursor::new(&contents)).expect("a valid ELF file").is_some() {
                seeds.add("elf", &contents);
            }
        }
    }
}

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/fixtures/rpms");
    let list =
        |dir: &Path| fs::read_dir(dir).expect("a directory of fixtures").map(|entry| entry.expect("an entry").path());
    let mut packages: Vec<PathBuf> = list(&root).flat_map(|family| list(&family).collect::<Vec<_>>()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "rpm"));
    packages.sort();
    packages
}
