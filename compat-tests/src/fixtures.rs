//! The committed RPMs (`fixtures/README.md`), and what the real tools say of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// One line of `truth.tsv`: an ELF file with a build-id inside a fixture, as `eu-readelf -n` reads it from the unpacked payload.
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

/// The folder of the fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The folder of one family.
pub fn family(name: &str) -> PathBuf {
    let folder = folder().join("rpms").join(name);
    assert!(folder.is_dir(), "{}: expected a fixture family", folder.display());
    folder
}

/// The names of all families.
pub fn families() -> Vec<String> {
    let folders = std::fs::read_dir(folder().join("rpms")).expect("the fixtures");
    let names: BTreeSet<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.is_empty(), "expected fixture families, found none");
    names.into_iter().collect()
}

/// The RPMs of one family, sorted.
pub fn rpms(name: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(family(name)).expect("a family");
    let files: BTreeSet<PathBuf> =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "rpm")).collect();
    files.into_iter().collect()
}

/// What the real tools found in one family.
pub fn truth(name: &str) -> Vec<Truth> {
    let text = std::fs::read_to_string(folder().join("truth.tsv")).expect("truth.tsv");
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

/// Unpacks an RPM into a folder, by the real tools.
pub fn unpack(rpm: &Path, into: &Path) {
    std::fs::create_dir_all(into).expect("make a folder");
    let mut command = Command::new("bsdtar");
    command.arg("-xf").arg(rpm).arg("-C").arg(into);
    let output = run(&mut command, "libarchive-tools (Debian) or bsdtar (Fedora)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The bytes of one member of an RPM, by the real tools.
pub fn member(rpm: &Path, path: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    unpack(rpm, folder.path());
    let file = folder.path().join(path.trim_start_matches('/'));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{} of {}: {error}", path, rpm.display()))
}
