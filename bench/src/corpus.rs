//! What the benches ask for: the build-ids of a directory of archives, with what is behind them.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use artifact::header::Header;
use artifact::{BuildId, Kind, artifacts};
use walkdir::WalkDir;

/// One file that can be asked for.
#[derive(Clone)]
pub(crate) struct CorpusMember {
    pub(crate) build_id: BuildId,
    pub(crate) kind: Kind,
    /// Of the file itself, bytes.
    pub(crate) size: u64,
    /// Its path in the package.
    pub(crate) path: String,
    /// The archive that holds it.
    pub(crate) archive: PathBuf,
}

impl CorpusMember {
    /// `/buildid/ID/debuginfo`
    pub(crate) fn url_path(&self) -> String {
        format!("/buildid/{}/{}", self.build_id, if self.kind == Kind::Debuginfo { "debuginfo" } else { "executable" })
    }
}

/// The archives below a directory, in the order of their names.
pub(crate) fn archives(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let entry = entry.with_context(|| format!("walk {}", directory.display()))?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|ending| ending == "rpm") {
            archives.push(entry.into_path());
        }
    }
    ensure!(!archives.is_empty(), "{}: expected archives, found none (make corpus)", directory.display());
    Ok(archives)
}

/// Every member with a build-id, each build-id and kind once, in the order of the archives.
pub(crate) fn members(archives: &[PathBuf]) -> Result<Vec<CorpusMember>> {
    let mut members = Vec::new();
    let mut met = HashSet::new();
    for archive in archives {
        let file = File::open(archive).with_context(|| archive.display().to_string())?;
        let header = Header::read(&mut BufReader::new(file)).with_context(|| archive.display().to_string())?;
        for found in artifacts::from_header(&header).artifacts {
            let size = header.file_by_ordinal(found.ordinal).map_or(0, |file| file.size);
            if met.insert((found.build_id.clone(), found.kind)) {
                let (build_id, kind) = (found.build_id, found.kind);
                members.push(CorpusMember { build_id, kind, size, path: found.path, archive: archive.clone() });
            }
        }
    }
    Ok(members)
}

/// The archives of some members in a directory, as hard links.
pub(crate) fn link<'m>(members: impl Iterator<Item = &'m CorpusMember>, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    let archives: HashSet<&PathBuf> = members.map(|member| &member.archive).collect();
    for archive in archives {
        let name = into.join(archive.file_name().with_context(|| archive.display().to_string())?);
        std::fs::hard_link(archive, &name).or_else(|_| std::fs::copy(archive, &name).map(drop))?;
    }
    Ok(())
}

/// The first of `parts` parts of a list of archives, as a directory of hard links: neighbours are packages of one
/// family.
pub(crate) fn part(archives: &[PathBuf], parts: usize, into: &Path) -> Result<()> {
    for (at, archive) in archives.iter().take(archives.len().div_ceil(parts)).enumerate() {
        // Few files a directory, as repositories have it.
        let directory = into.join(format!("{:03}", at / 1000));
        std::fs::create_dir_all(&directory)?;
        let name = archive.file_name().with_context(|| archive.display().to_string())?;
        let name = directory.join(format!("{at}-{}", name.display()));
        std::fs::hard_link(archive, &name).or_else(|_| std::fs::copy(archive, &name).map(drop))?;
    }
    Ok(())
}
