//! Every one-byte change and every truncation of small packages. Each mutant is in the index, or named in an error that
//! states what was expected and found. The index has the same of an accepted mutant as of the whole package, where a
//! digest protects it.
//!
//! A seeded sample in `make test`, all of them in `make soak`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use artifact::header::Header;
use compat_tests::{fixtures, scale};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sql::{Index, PathHash};

use crate::builders::{Made, elf, file, newc};
use crate::limits;
use crate::support::ImportFixture;

/// Values that a byte is changed to.
const BYTES: [u8; 4] = [0x00, 0x7f, 0x80, 0xff];
/// Mutants in one run of the program.
const BATCH: usize = 4_000;
/// Mutants of one package in `make test`.
const SAMPLE: usize = 1_200;

/// Returns the digest of bytes, in hex.
type DigestHex = fn(&[u8]) -> String;

/// A small package of which mutants are made.
struct Whole {
    bytes: Vec<u8>,
    /// Seven letters, so that each mutant can have a number there, and with it an identity of its own: the payload of a
    /// package that the index knows already is not read again.
    name: &'static str,
    release: &'static str,
    payload_start: usize,
    main_start: usize,
    /// Offsets of digests of the main header in the signature header, with their functions.
    digests: Vec<(usize, DigestHex)>,
    /// True if the files have digests.
    has_file_digests: bool,
}

impl Whole {
    fn new(bytes: Vec<u8>, name: &'static str, release: &'static str) -> Self {
        let header = Header::parse(&bytes).unwrap();
        let (main_start, payload_start) = (header.range.start as usize, header.range.end as usize);
        let digests: [DigestHex; 2] =
            [|main| faster_hex::hex_string(&Sha256::digest(main)), |main| faster_hex::hex_string(&Sha1::digest(main))];
        let position = |digest: DigestHex| {
            let hex = digest(&bytes[main_start..payload_start]);
            bytes[..main_start].windows(hex.len()).position(|window| window == hex.as_bytes()).map(|at| (at, digest))
        };
        Self {
            name,
            release,
            payload_start,
            main_start,
            digests: digests.into_iter().filter_map(position).collect(),
            has_file_digests: header.files.iter().any(|file| file.digest.is_some()),
            bytes,
        }
    }

    fn fixture(rpm: &str, name: &'static str, release: &'static str) -> Self {
        Self::new(fs::read(fixtures::rpm(rpm)).unwrap(), name, release)
    }

    /// The sound package with this number for a name.
    fn numbered(&self, number: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let name = format!("\0{}\0", self.name);
        let in_main = bytes[self.main_start..].windows(9).position(|window| window == name.as_bytes()).expect("a name");
        let at = self.main_start + in_main + 1;
        bytes[at..at + 7].copy_from_slice(format!("m{number:06}").as_bytes());
        for (at, digest) in &self.digests {
            let hex = digest(&bytes[self.main_start..self.payload_start]);
            bytes[*at..at + hex.len()].copy_from_slice(hex.as_bytes());
        }
        bytes
    }

    fn mutants(&self) -> usize {
        self.bytes.len() * (BYTES.len() + 1)
    }

    /// One of them: changes first, then truncations.
    fn mutant(&self, number: usize) -> (Change, Vec<u8>) {
        let mut bytes = self.numbered(number);
        let (at, which) = (number / BYTES.len(), number % BYTES.len());
        if at >= bytes.len() {
            let length = number - bytes.len() * BYTES.len();
            bytes.truncate(length);
            return (Change::CutOff, bytes);
        }
        let was = std::mem::replace(&mut bytes[at], BYTES[which]);
        let change = if was == BYTES[which] {
            Change::None
        } else if at >= self.payload_start {
            Change::Payload
        } else if at >= self.main_start {
            Change::MainHeader
        } else {
            Change::Signature
        };
        (change, bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    /// Of lead or signature header.
    Signature,
    MainHeader,
    Payload,
    CutOff,
}

/// The numbers below `count` that are tried, the same every time.
fn chosen(count: usize) -> Vec<usize> {
    let most = scale(SAMPLE, usize::MAX);
    if count <= most {
        return (0..count).collect();
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut numbers = BTreeSet::new();
    while numbers.len() < most {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.insert((state % count as u64) as usize);
    }
    numbers.into_iter().collect()
}

async fn survives(whole: &Whole) {
    let mut tally: BTreeMap<(Change, &str), usize> = BTreeMap::new();
    let expected = {
        let fixture = ImportFixture::new();
        fs::write(fixture.packages().join("m000000.rpm"), whole.numbered(0)).unwrap();
        limits::import(&fixture, &["--payload", "always"]).counts(&[("imported", 1), ("broken", 0)]);
        artifacts(&fixture.index().await, &nvra(whole, 0)).await
    };
    assert!(!expected.is_empty());
    for batch in chosen(whole.mutants()).chunks(BATCH) {
        let fixture = ImportFixture::new();
        let mut changes = Vec::new();
        for number in batch {
            let (change, bytes) = whole.mutant(*number);
            fs::write(fixture.packages().join(format!("m{number:06}.rpm")), bytes).unwrap();
            changes.push((*number, change));
        }
        let output = limits::import(&fixture, &["--payload", "always"]);
        output.counts(&[("found", changes.len() as u64), ("unreadable", 0), ("gone", 0)]);
        let mut errors: BTreeMap<&str, &str> = BTreeMap::new();
        for line in output.stderr.lines() {
            let (path, wrong) =
                line.split_once(".rpm: ").unwrap_or_else(|| panic!("expected PATH: WHAT, found {line}"));
            assert!(wrong.contains("expected") && wrong.contains("found"), "{line}");
            assert!(errors.insert(&path[path.len() - 7..], wrong).is_none(), "{line}: twice");
        }
        let index = fixture.index().await;
        let store = index.stores().await.unwrap().remove(0);
        let known = index.known_locations(store.id).await.unwrap();
        for (number, change) in changes {
            let name = format!("m{number:06}");
            let indexed = known.contains_key(&PathHash::of_path(&format!("{name}.rpm")));
            let error = errors.get(&*name);
            let came = match (indexed, error) {
                (true, None) => "indexed",
                (true, Some(_)) => "indexed from its header",
                (false, Some(_)) => "refused",
                (false, None) => panic!("{name}: {change:?}: neither in the index nor in an error"),
            };
            let allowed: &[&str] = match change {
                Change::None => &["indexed"],
                Change::CutOff => &["refused"],
                Change::MainHeader if !whole.digests.is_empty() => &["refused"],
                Change::Payload => &["indexed", "indexed from its header"],
                Change::Signature | Change::MainHeader => &["indexed", "indexed from its header", "refused"],
            };
            assert!(allowed.contains(&came), "{name}: {change:?} {came}: {error:?}");
            if came == "indexed"
                && (change != Change::MainHeader && (change != Change::Payload || whole.has_file_digests))
            {
                assert_eq!(artifacts(&index, &nvra(whole, number)).await, expected, "{name}: {change:?}");
            }
            *tally.entry((change, came)).or_default() += 1;
        }
        no_strange_rows(&fixture);
    }
    eprintln!("{} {}: {} bytes, {tally:?}", whole.name, whole.release, whole.bytes.len());
    // A test that refused everything, or took everything, would have looked at nothing.
    for (change, came) in [(Change::CutOff, "refused"), (Change::Signature, "indexed"), (Change::Signature, "refused")]
    {
        assert!(tally.contains_key(&(change, came)), "{change:?} {came}: {tally:?}");
    }
}

fn nvra(whole: &Whole, number: usize) -> String {
    format!("m{number:06}-{}.x86_64", whole.release)
}

async fn artifacts(index: &Index, nvra: &str) -> Vec<String> {
    let records = index.records_by_nvra(nvra).await.unwrap().records;
    records.iter().map(|record| format!("{:?}", record.artifact)).collect()
}

/// Asks the database itself, not the code that wrote it.
fn no_strange_rows(fixture: &ImportFixture) {
    const SCRIPT: &str = "
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
rows = database.execute('''
    select 'artifact', build_id, dir, file_name from artifacts a left join packages p on p.id = a.package_id
    where build_id glob '*[^0-9a-f]*' or length(build_id) % 2 <> 0 or build_id = '' or ordinal < 0 or p.id is null
        or kind not in ('executable', 'debuginfo', 'both', 'unknown') or dir not like '/%'
        or file_name like '%/%' or size is not null
    union all
    select 'package', nvra, source_rpm, state from packages
    where length(identity) <> 64 or identity glob '*[^0-9a-f]*' or name = '' or version = '' or arch = ''
        or name like '%/%'
        or nvra <> name || '-' || version || '-' || `release` || '.' || arch or state not in ('open', 'complete')
        or identity_kind <> 'header'
    union all
    select 'location', path, size, path_hash from locations l left join packages p on p.id = l.package_id
    where length(path_hash) <> 16 or path like '/%' or header_start < 112 or header_end > size or p.id is null
    union all
    select 'include', dir, package_id, null from includes
    where dir not like '/usr/%' or package_id not in (select id from packages)
    union all
    select 'claim', build_id, package_id, null from claims''').fetchall()
sys.exit(repr(rows[:5]) if rows else 0)
";
    let file = fixture.directory.path().join("index.db");
    let output = Command::new("python3").args(["-c", SCRIPT]).arg(file).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_package_of_format_3() {
    survives(&Whole::fixture("v3/ancient-1.0-1.x86_64.rpm", "ancient", "1.0-1")).await;
}

#[tokio::test]
async fn a_package_of_format_4() {
    survives(&Whole::fixture("old-noclasses/oldtool-1.0-3.el6.x86_64.rpm", "oldtool", "1.0-3.el6")).await;
}

#[tokio::test]
async fn a_package_of_format_6() {
    survives(&Whole::fixture("v6/sixpack-6.0-1.fc99.x86_64.rpm", "sixpack", "6.0-1.fc99")).await;
}

/// Neither compressed nor with a digest: the reader gets every change of the ELF file.
#[tokio::test]
async fn an_elf_file() {
    let elf = elf([0x42; 20]);
    let package = Made::new("elffile", &[file("/usr/bin/a", elf.len())], newc(&[("./usr/bin/a", &elf)]));
    survives(&Whole::new(package.bytes(), "elffile", "1.0-1")).await;
}
