//! The committed RPMs (`fixtures/README.md`), and their contents as read by the real tools.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// One line of `truth.tsv`: an ELF file with a build-id inside a fixture, as `eu-readelf -n` reads it from the unpacked
/// payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truth {
    /// `FAMILY/FILE.rpm`
    pub rpm: String,
    /// Lowercase hex.
    pub build_id: String,
    /// Absolute member path.
    pub path: String,
}

impl Truth {
    /// The package's name-version-release.arch.
    pub fn nvra(&self) -> &str {
        let file = self.rpm.rsplit_once('/').map_or(self.rpm.as_str(), |(_, file)| file);
        file.strip_suffix(".rpm").expect("a name that ends in .rpm")
    }
}

/// The directory of the fixtures.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The directory of one family.
pub fn family(name: &str) -> PathBuf {
    let directory = directory().join("rpms").join(name);
    assert!(directory.is_dir(), "{}: expected a fixture family", directory.display());
    directory
}

/// The file of `FAMILY/FILE.rpm`.
pub fn rpm(name: &str) -> PathBuf {
    let file = directory().join("rpms").join(name);
    assert!(file.is_file(), "{}: expected a fixture", file.display());
    file
}

/// The names of all families.
pub fn families() -> Vec<String> {
    let directories = std::fs::read_dir(directory().join("rpms")).expect("the fixtures");
    let names: BTreeSet<String> =
        directories.map(|directory| directory.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.is_empty(), "expected fixture families, found none");
    names.into_iter().collect()
}

/// The RPMs of one family, sorted.
pub fn rpms(name: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(family(name)).expect("a family");
    let files: BTreeSet<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "rpm"))
        .collect();
    files.into_iter().collect()
}

/// The RPM of this name-version-release.arch in a family.
pub fn package(family: &str, nvra: &str) -> PathBuf {
    rpm(&format!("{family}/{nvra}.rpm"))
}

/// Copies RPMs into a directory. Makes the directory if it is missing.
pub fn copy(rpms: &[PathBuf], into: &Path) {
    std::fs::create_dir_all(into).expect("make a directory");
    for rpm in rpms {
        std::fs::copy(rpm, into.join(rpm.file_name().expect("a file's name"))).expect("copy an RPM");
    }
}

/// The rows of `truth.tsv` of one family.
pub fn truth(name: &str) -> Vec<Truth> {
    let text = std::fs::read_to_string(directory().join("truth.tsv")).expect("truth.tsv");
    let rows = text.lines().map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut cell = || cells.next().expect("three cells");
        Truth { rpm: cell(), build_id: cell(), path: cell() }
    });
    rows.filter(|row| row.rpm.split('/').next() == Some(name)).collect()
}

/// The build-id of a member of `FAMILY/FILE.rpm`.
pub fn build_id(rpm: &str, path: &str) -> String {
    let family = rpm.split('/').next().expect("FAMILY/FILE.rpm");
    let row = truth(family).into_iter().find(|row| row.rpm == rpm && row.path == path);
    row.unwrap_or_else(|| panic!("{path} of {rpm}: expected a row in truth.tsv")).build_id
}

/// Unpacks an RPM into a directory, by the real tools.
pub fn unpack(rpm: &Path, into: &Path) {
    std::fs::create_dir_all(into).expect("make a directory");
    let mut command = Command::new("bsdtar");
    command.arg("-xf").arg(rpm).arg("-C").arg(into);
    let output = run(&mut command, "libarchive-tools (Debian) or bsdtar (Fedora)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Path and bytes of every regular file of an RPM, by the fixtures' own reader: bsdtar does not know rpm's stripped
/// archives.
pub fn members(rpm: &Path) -> Vec<(String, Vec<u8>)> {
    const SCRIPT: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import rpmfile
for file, content in rpmfile.Package.read(sys.argv[2]).members():
    sys.stdout.buffer.write(b'%s\\t%d\\n%s' % (file.path.encode(), len(content), content))
";
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", SCRIPT]).arg(directory().join("make")).arg(rpm);
    let output = run(&mut command, "python3 and zstd");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let (mut rest, mut members) = (output.stdout.as_slice(), Vec::new());
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line before each member");
        let (path, size) = std::str::from_utf8(&rest[..end]).unwrap().split_once('\t').unwrap();
        let (bytes, behind) = rest[end + 1..].split_at(size.parse().expect("a size"));
        members.push((path.to_owned(), bytes.to_owned()));
        rest = behind;
    }
    members
}

/// The bytes of one member of an RPM, by the fixtures' own reader.
pub fn member(rpm: &Path, path: &str) -> Vec<u8> {
    let found = members(rpm).into_iter().find(|(member, _)| member == path);
    found.unwrap_or_else(|| panic!("{}: expected the member {path}", rpm.display())).1
}

/// The rows of [`truth`] with the bytes of their members.
pub fn truth_with_bytes(name: &str) -> Vec<(Truth, Vec<u8>)> {
    let mut of_rpm: HashMap<String, HashMap<String, Vec<u8>>> = HashMap::new();
    let bytes = |row: Truth| {
        let members = of_rpm.entry(row.rpm.clone());
        let members = members.or_insert_with(|| members_of(&row).into_iter().collect());
        let bytes = members.get(&row.path).expect("a member that truth.tsv names").clone();
        (row, bytes)
    };
    truth(name).into_iter().map(bytes).collect()
}

fn members_of(row: &Truth) -> Vec<(String, Vec<u8>)> {
    members(&rpm(&row.rpm))
}
