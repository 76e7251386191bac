//! The options of `koji`.

use clap::{Args, Subcommand, ValueEnum};

use crate::feeders::koji::importer::JOBS;
use crate::report::time::read_time;

/// Examples of `koji`.
const KOJI_EXAMPLES: &str = "\
An instance is a [[koji]] of /etc/darkserver/indexer.toml, or an entry of the original's
koji_info.json beside it. Without --instance it is the first one; --hub and --topurl alone name
another:

  [[koji]]
  name = \"primary\"
  hub = \"https://koji.fedoraproject.org/kojihub\"
  topurl = \"https://kojipkgs.fedoraproject.org\"

Examples:
  One build, by its name or its number:
    darkserver-import koji build bash-5.2.37-1.fc42
    darkserver-import koji build 2900001

  Every build of a Koji, the newest first:
    darkserver-import koji backfill --newest-first

  The builds of one year of another Koji:
    darkserver-import koji --hub https://kojihub.stream.centos.org/kojihub \\
        --topurl https://kojihub.stream.centos.org/kojifiles \\
        backfill --after 2025-01-01 --before 2026-01-01

The hub is asked what is true: builds that were deleted, moved or signed since are recorded so.
What is interrupted is continued by the same command. Builds that are in the index cost no request.

Exit status: 0 all builds are in the index; 1 some are not (each is named), or the hub or the
database failed; 2 wrong usage; 130 stopped by a signal.";

#[derive(Args)]
#[command(after_help = KOJI_EXAMPLES)]
pub(crate) struct KojiArgs {
    #[command(flatten)]
    pub(crate) instance: InstanceArgs,
    #[command(subcommand)]
    pub(crate) command: KojiCommand,
}

/// Heading of the options of both commands.
const INSTANCE: &str = "Options of an instance";

/// Options that name an instance, and say how it is read.
#[derive(Args)]
pub(crate) struct InstanceArgs {
    /// URL of the hub's XML-RPC interface
    #[arg(long, global = true, help_heading = INSTANCE, value_name = "URL")]
    pub(crate) hub: Option<String>,
    /// URL of the directory with packages/ and vol/
    #[arg(long, global = true, help_heading = INSTANCE, value_name = "URL")]
    pub(crate) topurl: Option<String>,
    /// Name of the instance [default: the first of the configuration file]
    #[arg(long, global = true, help_heading = INSTANCE, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// Where headers come from [default: topurl, or as configured]
    #[arg(long, global = true, help_heading = INSTANCE, value_name = "FROM")]
    pub(crate) headers: Option<HeadersOption>,
    /// Number of headers to read in parallel
    #[arg(short, long, global = true, help_heading = INSTANCE, value_name = "N", default_value_t = JOBS as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
}

/// Where headers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadersOption {
    /// The archives below the topurl
    Topurl,
    /// The hub: build-ids are claims until a gateway reads the archive
    Hub,
}

#[derive(Subcommand)]
pub(crate) enum KojiCommand {
    /// Import single builds, or record what became of them
    Build {
        /// Name-version-release, or number of a build
        #[arg(required = true, value_name = "NVR|ID")]
        builds: Vec<String>,
    },
    /// Import all builds, by the time when they completed; continues where a former run ended
    Backfill(BackfillArgs),
}

#[derive(Args)]
pub(crate) struct BackfillArgs {
    /// Builds that completed after this day or time of UTC, like 2026-05-04 or 2026-05-04T10:30:00Z
    #[arg(long, value_name = "DATE", value_parser = read_time)]
    pub(crate) after: Option<i64>,
    /// Builds that completed before this day or time
    #[arg(long, value_name = "DATE", value_parser = read_time)]
    pub(crate) before: Option<i64>,
    /// Begin with the newest builds
    #[arg(long)]
    pub(crate) newest_first: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_examples_are_not_wrapped() {
        for line in KOJI_EXAMPLES.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
