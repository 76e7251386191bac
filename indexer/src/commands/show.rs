//! The command `show`: everything that the index knows of a build-id or a package.

use std::process::ExitCode;

use artifact::{BuildId, Nevra};
use clap::Args;
use serde::Serialize;
use sql::{Build, BuildHistory, BuildTag, History, HistoryFile, Index, Location};

use crate::cli::Common;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};
use crate::report::urls::{address, link, without_url_secrets};

mod page;

/// Examples for `show --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  Which package has this build-id, which repositories had it, and where can it be had now:
    darkserver-import show 49f0ee2d4a2b3ab0b1bbd2ca6a1f2c7f3d2b1c77
  The same of a package, for a program:
    darkserver-import show bash-5.2-6.fc44.x86_64 --json

Exit status: 0 if it is known, 1 if it is not or the database failed, 2 on wrong usage";

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Hex digits of a build-id, or NAME-VERSION-RELEASE.ARCH of a package
    #[arg(value_name = "BUILD-ID|NVRA")]
    subject: String,
}

/// What is known of a build-id or a package: the object that `--json` prints. Times are seconds since 1970.
#[derive(Serialize)]
struct Known {
    /// `None` if a package was asked for.
    build_id: Option<String>,
    packages: Vec<ShownPackage>,
}

#[derive(Serialize)]
struct ShownPackage {
    nvra: String,
    source_rpm: Option<String>,
    /// Empty if unknown.
    distro: String,
    /// `claimed`, `legacy`, `open` or `complete`.
    state: &'static str,
    /// When its build was deleted, or when that was noticed.
    deleted_at: Option<i64>,
    /// Its build in Koji; `None` if it comes from elsewhere.
    build: Option<ShownBuild>,
    /// The files with the build-id, or all with any build-id if a package was asked for.
    files: Vec<KnownFile>,
    /// Present and former places, best first.
    places: Vec<ShownPlace>,
    memberships: Vec<Membership>,
    /// By the time when they began.
    successors: Vec<Successor>,
}

/// A build in Koji.
#[derive(Serialize)]
struct ShownBuild {
    /// Name of the Koji.
    instance: String,
    /// Its number there.
    id: i64,
    nvr: String,
    /// `complete` or `deleted`, for instance.
    state: &'static str,
    /// True until a draft is promoted.
    draft: bool,
    volume: String,
    completed_at: Option<i64>,
    /// When all its packages were in the index.
    imported_at: Option<i64>,
    /// When the hub was asked last.
    checked_at: i64,
    /// When it was deleted, or when that was noticed.
    deleted_at: Option<i64>,
    /// The last time when it existed, 0 if none is known. `None` if `deleted_at` is exact.
    deleted_after: Option<i64>,
    tags: Vec<ShownTag>,
}

/// A tag that a build has or had.
#[derive(Serialize)]
struct ShownTag {
    tag: String,
    tagged_at: Option<i64>,
    untagged_at: Option<i64>,
    /// True if the build has it.
    current: bool,
}

#[derive(Serialize)]
struct KnownFile {
    path: Option<String>,
    kind: &'static str,
    /// True if metadata claims it, and no header confirmed it yet.
    claimed: bool,
    /// Its build-id, for the page.
    #[serde(skip)]
    build_id: String,
}

#[derive(Serialize)]
struct ShownPlace {
    /// Name of the store.
    store: String,
    tier: &'static str,
    /// Without its secrets. `None` if the store cannot be downloaded from.
    url: Option<String>,
    /// True if the place follows from the store's pattern.
    derived: bool,
    /// Bytes of the archive.
    size: Option<u64>,
    /// Of the archive: `sha256:DIGITS`.
    checksum: Option<String>,
    signing_key: Option<String>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    checked_at: Option<i64>,
    /// `present`, `gone` or `failed: REASON`.
    check_result: Option<String>,
    /// `None` while the archive is present.
    gone_at: Option<i64>,
    /// URL or path, for the page.
    #[serde(skip)]
    address: String,
}

#[derive(Serialize)]
struct Membership {
    repository: String,
    first_seen: i64,
    last_seen: i64,
    /// `None` while the package is listed.
    ended_at: Option<i64>,
}

#[derive(Serialize)]
struct Successor {
    nvra: String,
    repository: String,
    first_seen: i64,
}

/// Prints what is known of a build-id or a package; exit status 1 if it is unknown.
pub(crate) async fn run(index: &Index, args: &ShowArgs, common: &Common) -> Result<ExitCode> {
    let subject = args.subject.as_str();
    let (build_id, histories) = match parse(subject)? {
        Subject::BuildId(build_id) => {
            let histories = index.histories_by_build_id(&build_id).await?;
            (Some(build_id.to_string()), histories)
        }
        Subject::Package(nvra) => (None, index.histories_by_nvra(&nvra).await?),
    };
    if histories.is_empty() {
        let what = if build_id.is_some() { "a build-id" } else { "the name-version-release.arch" };
        print_error(&format_args!(
            "darkserver-import: expected {what} of a package in the index, found {subject}, which none has"
        ));
        return Ok(ExitCode::from(failure::FAILED));
    }
    let known = Known { build_id, packages: histories.into_iter().map(ShownPackage::from).collect() };
    if common.json {
        print(&serde_json::to_string(&known).map_err(CommandFailure::local)?)?;
    } else {
        print(&known.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What an operator asks for.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    BuildId(BuildId),
    /// By name-version-release.arch.
    Package(String),
}

/// Reads a build-id, or the name of a package with or without epoch and `.rpm`.
///
/// # Errors
/// [`CommandFailure::Usage`] if it is neither.
fn parse(subject: &str) -> Result<Subject> {
    if let Ok(build_id) = subject.parse() {
        return Ok(Subject::BuildId(build_id));
    }
    match subject.parse::<Nevra>() {
        Ok(nevra) => Ok(Subject::Package(nevra.nvra())),
        Err(_) => Err(CommandFailure::Usage(format!(
            "expected the hex digits of a build-id, or NAME-VERSION-RELEASE.ARCH, found {subject:?}"
        ))),
    }
}

impl From<History> for ShownPackage {
    fn from(history: History) -> Self {
        let History { nevra, source_rpm, distro, state, deleted_at, build, files, locations, life, .. } = history;
        Self {
            nvra: nevra.nvra(),
            source_rpm,
            distro,
            state: state.as_str(),
            deleted_at,
            build: build.map(ShownBuild::from),
            files: files.into_iter().map(KnownFile::from).collect(),
            places: locations.iter().map(ShownPlace::from).collect(),
            memberships: life
                .memberships
                .into_iter()
                .map(|sql::Membership { repository, first_seen, last_seen, ended_at }| Membership {
                    repository,
                    first_seen,
                    last_seen,
                    ended_at,
                })
                .collect(),
            successors: life
                .successors
                .into_iter()
                .map(|sql::Successor { nvra, repository, first_seen }| Successor { nvra, repository, first_seen })
                .collect(),
        }
    }
}

impl From<BuildHistory> for ShownBuild {
    fn from(history: BuildHistory) -> Self {
        let BuildHistory { build: stored, tags } = history;
        let nvr = stored.build.nvr();
        let Build { instance, build, state, draft, volume, completed_at, .. } = stored.build;
        let tags = tags.into_iter().map(|tag| {
            let current = tag.is_current();
            let BuildTag { tag, tagged_at, untagged_at } = tag;
            ShownTag { tag, tagged_at, untagged_at, current }
        });
        Self {
            instance,
            id: build,
            nvr,
            state: state.as_str(),
            draft,
            volume,
            completed_at,
            imported_at: stored.imported_at,
            checked_at: stored.checked_at,
            deleted_at: stored.deleted_at,
            deleted_after: stored.deleted_after,
            tags: tags.collect(),
        }
    }
}

impl From<HistoryFile> for KnownFile {
    fn from(file: HistoryFile) -> Self {
        let HistoryFile { build_id, path, kind, claimed } = file;
        Self { path, kind: kind.as_str(), claimed, build_id: build_id.to_string() }
    }
}

impl From<&Location> for ShownPlace {
    fn from(location: &Location) -> Self {
        Self {
            store: location.store.name.clone(),
            tier: location.store.tier.as_str(),
            url: link(location),
            derived: location.derived,
            size: location.size,
            checksum: location.checksum.as_ref().map(ToString::to_string),
            signing_key: location.signing_key.clone(),
            first_seen: location.first_seen,
            last_seen: location.last_seen,
            checked_at: location.checked_at,
            check_result: location.check_result.as_deref().map(without_url_secrets),
            gone_at: location.gone_at,
            address: address(location),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_build_id_or_the_name_of_a_package() {
        let bash = || Subject::Package("bash-5.2-6.fc44.x86_64".into());
        for name in ["bash-5.2-6.fc44.x86_64", "bash-5.2-6.fc44.x86_64.rpm", "bash-0:5.2-6.fc44.x86_64"] {
            assert_eq!(parse(name).unwrap(), bash(), "{name}");
        }
        assert_eq!(parse("ABCDEF01").unwrap(), Subject::BuildId("abcdef01".parse().unwrap()));
        for wrong in ["", "bash", "xyz", "abc", "/usr/bin/bash"] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("build-id") && message.contains(&format!("{wrong:?}")), "{message}");
        }
    }
}
