//! The options of `repo`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::{Payload, TEMP_LIMIT};

/// Examples of `repo`.
const REPO_EXAMPLES: &str = "\
Examples:
  Fedora's updates by a metalink. Clients are sent to the store's URL, never to the mirror of
  the day:
    darkserver-import store add fedora --tier mirror \\
        --url https://dl.fedoraproject.org/pub/fedora/linux
    darkserver-import repo --store fedora --name f44-updates \\
        --path updates/44/Everything/x86_64 \\
        'https://mirrors.fedoraproject.org/metalink?repo=updates-released-f44&arch=x86_64'

  A repository with a base URL, which becomes a store:
    darkserver-import repo https://repo.example.org/el9/x86_64 --name tools --distro el9

  Which package has a build-id, without a request for each package; a later run without the
  option reads the headers:
    darkserver-import repo https://repo.example.org/el9/x86_64 --name tools --metadata-only

  A mirrorlist has no hash: with a key, the signature repomd.xml.asc is checked by gpgv:
    darkserver-import repo https://example.org/mirrorlist --store fedora --path el9 \\
        --key /etc/pki/rpm-gpg/RPM-GPG-KEY

  Debian, whose Packages file names build-ids of -dbgsym packages:
    darkserver-import store add debian-debug --tier mirror \\
        --url https://deb.debian.org/debian-debug
    darkserver-import repo --store debian-debug --distro bookworm \\
        https://deb.debian.org/debian-debug/dists/bookworm-debug/main/binary-amd64

  Every [[repository]] of /etc/darkserver/indexer.toml, then a check of places within
  check.budget:
    darkserver-import repo --all

  A repository has another name now: remove the former one, then refresh the new one:
    darkserver-import repo --remove f44-updates

A run that is interrupted is continued by the same command. An unchanged repository costs one
request.

Exit status: 0 everything is in the index; 1 a repository or single packages were refused (the
others are in the index); 2 wrong usage; 130 stopped by a signal.";

#[derive(Args)]
#[command(after_help = REPO_EXAMPLES)]
pub(crate) struct RepoArgs {
    /// Base URL, metalink or mirrorlist of the repository; none with --all
    #[arg(value_name = "URL|METALINK|MIRRORLIST")]
    pub(crate) url: Option<String>,
    /// Refresh every repository of the configuration file, then check places within check.budget
    #[arg(long, conflicts_with_all = [
        "url", "name", "store", "path", "distro", "format", "keys", "metadata_only", "payload",
    ])]
    pub(crate) all: bool,
    /// Remove the repository with this name and its memberships from the index; packages and their places stay
    #[arg(long, value_name = "NAME", conflicts_with_all = [
        "url", "all", "name", "store", "path", "distro", "format", "keys", "metadata_only", "payload",
    ])]
    pub(crate) remove: Option<String>,
    /// Name of the repository [default: derived from the URL]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Store whose archives the repository lists [default: the one whose URL is above URL, else a new one]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// Path of the repository below the store's URL [default: as URL has it]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Distribution of the packages [default: their dist tags, like fc44]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) distro: Option<String>,
    /// Format of the packages [default: rpm, or what the URL's form states]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<RepositoryFormat>,
    /// File with OpenPGP keys that must have signed the metadata; may be repeated
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,
    /// Read no headers: build-ids come from the metadata alone
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// When to read the payload of an RPM [default: missing]
    #[arg(long, value_name = "WHEN")]
    pub(crate) payload: Option<Payload>,
    /// Number of requests in parallel
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// Maximum size of an ELF file that is copied to the temporary directory (TMPDIR), once per job
    #[arg(long, value_name = "SIZE", default_value_t = TEMP_LIMIT)]
    pub(crate) temp_limit: ByteSize,
}

/// Formats of repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RepositoryFormat {
    /// repodata/repomd.xml
    Rpm,
    /// Packages.xz or Packages.gz of Debian
    Deb,
    /// NAME.files of pacman
    Arch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_examples_are_not_wrapped() {
        for line in REPO_EXAMPLES.lines() {
            assert!(line.chars().count() <= 96, "{line}");
        }
    }
}
