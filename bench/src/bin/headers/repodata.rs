//! The metadata of a repository of generated packages: `repomd.xml`, primary and filelists, compressed with zstd, as
//! createrepo_c writes them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::header::hex;
use crate::package::{BUILT_AT, WrittenPackage};

/// The repository's metadata under construction.
pub(crate) struct RepodataWriter {
    directory: PathBuf,
    /// The number of packages that it lists.
    packages: u64,
    primary: MetadataFile,
    filelists: MetadataFile,
    build_ids: u64,
    /// The path of a link to a debug file, of one of the packages.
    debug_link: Option<String>,
}

/// The elements of one package in primary and filelists.
pub(crate) struct PackageElements {
    primary: String,
    filelists: String,
    build_ids: u64,
    debug_link: Option<String>,
}

impl RepodataWriter {
    /// Starts the metadata of `packages` packages below `directory`/repodata.
    pub(crate) fn new(directory: &Path, packages: u64) -> Result<Self> {
        let repodata = directory.join("repodata");
        fs::create_dir_all(&repodata).with_context(|| format!("create {}", repodata.display()))?;
        let mut primary = MetadataFile::create(&repodata, "primary")?;
        writeln!(
            primary,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
             xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{packages}\">"
        )?;
        let mut filelists = MetadataFile::create(&repodata, "filelists")?;
        writeln!(
            filelists,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"{packages}\">"
        )?;
        let directory = directory.to_owned();
        Ok(Self { directory, packages, primary, filelists, build_ids: 0, debug_link: None })
    }

    /// The number of packages that it lists.
    pub(crate) fn packages(&self) -> u64 {
        self.packages
    }

    /// Adds a package.
    pub(crate) fn add(&mut self, package: &PackageElements) -> Result<()> {
        self.primary.write_all(package.primary.as_bytes())?;
        self.filelists.write_all(package.filelists.as_bytes())?;
        self.build_ids += package.build_ids;
        if package.debug_link.is_some() {
            self.debug_link.clone_from(&package.debug_link);
        }
        Ok(())
    }

    /// Ends the files and writes `repomd.xml`, and `repository.json` with the numbers of packages and build-ids.
    pub(crate) fn finish(mut self) -> Result<()> {
        writeln!(self.primary, "</metadata>")?;
        writeln!(self.filelists, "</filelists>")?;
        let data = [self.primary.finish()?, self.filelists.finish()?].concat();
        let repomd = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
             xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  <revision>{BUILT_AT}</revision>\n{data}</repomd>\n"
        );
        write_file(&self.directory.join("repodata/repomd.xml"), &repomd)?;
        let facts = json!({
            "packages": self.packages,
            "build_ids": self.build_ids,
            "debug_link": self.debug_link,
        });
        write_file(&self.directory.join("repository.json"), &format!("{facts}\n"))
    }
}

impl PackageElements {
    /// Returns the elements of a package whose archive is at `path` below the repository.
    pub(crate) fn new(package: &WrittenPackage, path: &str) -> Self {
        let name = &package.name;
        let pkgid = hex(&Sha256::digest(&package.bytes));
        let version = format!("epoch=\"0\" ver=\"{}\" rel=\"{}\"", package.version, package.release);
        let mut provides = format!("      <rpm:entry name=\"{name}\" flags=\"EQ\" {version}/>\n");
        if package.is_debuginfo {
            for (_, id) in &package.programs {
                // Writing to a String never fails.
                let _ = writeln!(
                    provides,
                    "      <rpm:entry name=\"debuginfo(build-id)\" flags=\"EQ\" epoch=\"0\" ver=\"{id}\"/>"
                );
            }
        }
        let size: u64 = package.entries.values().map(|entry| u64::from(entry.size)).sum();
        let primary_files: String =
            package.entries.keys().filter(|path| path.contains("bin/")).fold(String::new(), |mut text, path| {
                let _ = writeln!(text, "    <file>{path}</file>");
                text
            });
        let primary = format!(
            "<package type=\"rpm\">\n  <name>{name}</name>\n  <arch>x86_64</arch>\n  <version {version}/>\n  \
             <checksum type=\"sha256\" pkgid=\"YES\">{pkgid}</checksum>\n  <summary>A generated package</summary>\n  \
             <description>Its header is made for measurements; its payload is empty.</description>\n  \
             <packager></packager>\n  <url></url>\n  <time file=\"{BUILT_AT}\" build=\"{BUILT_AT}\"/>\n  \
             <size package=\"{}\" installed=\"{size}\" archive=\"{size}\"/>\n  <location href=\"{path}\"/>\n  \
             <format>\n    <rpm:license>none</rpm:license>\n    <rpm:vendor/>\n    \
             <rpm:group>Unspecified</rpm:group>\n    <rpm:buildhost>corpus.example</rpm:buildhost>\n    \
             <rpm:sourcerpm>{}</rpm:sourcerpm>\n    <rpm:header-range start=\"{}\" end=\"{}\"/>\n    \
             <rpm:provides>\n{provides}    </rpm:provides>\n{primary_files}  </format>\n</package>\n",
            package.bytes.len(),
            package.source_rpm,
            package.header.start,
            package.header.end,
        );
        let mut filelists =
            format!("<package pkgid=\"{pkgid}\" name=\"{name}\" arch=\"x86_64\">\n  <version {version}/>\n");
        for (path, entry) in &package.entries {
            let kind = if entry.is_directory() { " type=\"dir\"" } else { "" };
            let _ = writeln!(filelists, "  <file{kind}>{path}</file>");
        }
        filelists += "</package>\n";
        // A program and its debuginfo have one build-id.
        let build_ids = if package.is_debuginfo { 0 } else { package.programs.len() as u64 };
        let debug_link = package.programs.first().filter(|_| package.is_debuginfo).map(|(_, id)| {
            let (first, rest) = id.split_at(2);
            format!("/usr/lib/debug/.build-id/{first}/{rest}.debug")
        });
        Self { primary, filelists, build_ids, debug_link }
    }
}

/// A compressed file whose name has its checksum once it is complete.
struct MetadataFile {
    kind: &'static str,
    directory: PathBuf,
    open: Sha256,
    open_size: u64,
    encoder: zstd::Encoder<'static, HashingFile>,
}

/// A file and the SHA-256 of what is written to it.
struct HashingFile {
    file: File,
    sha256: Sha256,
    size: u64,
}

impl MetadataFile {
    fn create(directory: &Path, kind: &'static str) -> Result<Self> {
        let path = directory.join(kind);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let encoder = zstd::Encoder::new(HashingFile { file, sha256: Sha256::new(), size: 0 }, 3)?;
        Ok(Self { kind, directory: directory.to_owned(), open: Sha256::new(), open_size: 0, encoder })
    }

    /// Ends the file and returns its element of `repomd.xml`.
    fn finish(self) -> Result<String> {
        let Self { kind, directory, open, open_size, encoder } = self;
        let HashingFile { sha256, size, .. } = encoder.finish()?;
        let checksum = hex(&sha256.finalize());
        let name = format!("{checksum}-{kind}.xml.zst");
        fs::rename(directory.join(kind), directory.join(&name)).with_context(|| format!("rename {kind}"))?;
        Ok(format!(
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{checksum}</checksum>\n    \
             <open-checksum type=\"sha256\">{}</open-checksum>\n    <location href=\"repodata/{name}\"/>\n    \
             <timestamp>{BUILT_AT}</timestamp>\n    <size>{size}</size>\n    <open-size>{open_size}</open-size>\n  \
             </data>\n",
            hex(&open.finalize())
        ))
    }
}

impl Write for MetadataFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.encoder.write(bytes)?;
        self.open.update(&bytes[..written]);
        self.open_size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
