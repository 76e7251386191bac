//! Listings of Debian packages and of Arch packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Compression;
use crate::compiled::succeed;
use crate::process::run;

/// Writes `NAME` (`Packages.gz` or `Packages.xz`) for the `.deb` files in a directory, by the real dpkg-scanpackages.
pub fn deb_packages(directory: &Path, name: &str) -> PathBuf {
    let mut command = Command::new("dpkg-scanpackages");
    let output = run(command.current_dir(directory).args(["--multiversion", "."]), "dpkg-dev");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let compression = if name.ends_with(".gz") { Compression::Gzip } else { Compression::Xz };
    let file = directory.join(name);
    std::fs::write(&file, compression.compress(&output.stdout)).expect("write Packages");
    file
}

/// Writes the files database `REPOSITORY.files` of these packages of Arch Linux, as `repo-add` writes it: for each
/// package a directory `NAME-VERSION` with `desc` and `files`, compressed by gzip.
pub fn arch_database(directory: &Path, repository: &str, packages: &[(&str, &str, &str, PathBuf)]) -> PathBuf {
    let tree = tempfile::tempdir().expect("a temporary directory");
    for (name, base, version, package) in packages {
        let entry = tree.path().join(format!("{name}-{version}"));
        std::fs::create_dir(&entry).expect("make a directory");
        let bytes = std::fs::read(package).expect("a package");
        let file = package.file_name().unwrap_or_default().to_string_lossy();
        let desc = format!(
            "%FILENAME%\n{file}\n\n%NAME%\n{name}\n\n%BASE%\n{base}\n\n%VERSION%\n{version}\n\n%DESC%\nmade for a \
             test\n\n%CSIZE%\n{}\n\n%ISIZE%\n1\n\n%SHA256SUM%\n{}\n\n%ARCH%\nx86_64\n\n%BUILDDATE%\n1700000000\n\n",
            bytes.len(),
            super::sha256(&bytes)
        );
        std::fs::write(entry.join("desc"), desc).expect("write desc");
        let listed =
            run(Command::new("bsdtar").arg("-tf").arg(package), "libarchive-tools (Debian) or bsdtar (Fedora)");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files: Vec<&str> = listed.lines().filter(|line| !line.starts_with('.')).collect();
        std::fs::write(entry.join("files"), format!("%FILES%\n{}\n", files.join("\n"))).expect("write files");
    }
    let database = directory.join(format!("{repository}.files"));
    let mut command = Command::new("tar");
    succeed(command.arg("-czf").arg(&database).arg("-C").arg(tree.path()).arg("."), "tar");
    database
}
