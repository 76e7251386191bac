//! The command line.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process;
use std::thread::available_parallelism;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::commands::show::{self, ShowArgs};
use crate::commands::verify::{self, VerifyArgs};
use crate::feeders::formats::{self, FormatOption};
use crate::logging::LogFormat;
use crate::settings::tables;
pub(crate) use koji::{BackfillArgs, HeadersOption, InstanceArgs, KojiArgs, KojiCommand};
pub(crate) use legacy::LegacyArgs;
pub(crate) use push::PushArgs;
pub(crate) use repo::{RepoArgs, RepositoryFormat};
pub(crate) use store::{OrNone, StoreArgs, StoreCommand};

mod koji;
mod legacy;
mod push;
mod repo;
mod store;

const EXAMPLES: &str = "\
Examples:
  Index all packages below a directory, into ./darkserver.db:
    darkserver-import dir /srv/mirror/fedora/40

  The same into MariaDB, with a URL for gateways on other machines:
    export DARKSERVER_DATABASE=mysql://writer:PASSWORD@db.example.org/darkserver
    darkserver-import migrate
    darkserver-import dir /srv/mirror --store mirror --url https://mirror.example.org/pub

  Again, after the directory has changed: reads new packages, and marks removed ones as gone:
    darkserver-import dir /srv/mirror

  Plain ELF files, as in build trees and below /usr/lib/debug (RPM, Debian and Arch packages are the default):
    darkserver-import dir /usr/lib/debug --formats elf

  Only debug packages, without directories called `old`:
    darkserver-import dir /srv/mirror --exclude old/ --exclude '*.rpm' --include '*-debug*.rpm'

  A repository, from the headers of its packages over HTTP:
    darkserver-import repo https://repo.example.org/el9/x86_64 --name tools

  A build of a Koji, and all of them:
    darkserver-import koji build bash-5.2.37-1.fc42
    darkserver-import koji backfill --newest-first

  Single packages, with their distribution:
    darkserver-import rpm ./*.rpm --distro fedora-40-x86_64

  What is known of a build-id or a package, and of the whole index:
    darkserver-import show bash-5.2-6.fc44.x86_64
    darkserver-import status

  The original's command:
    darkserver-import -r attica-0.2.0-1.fc15.x86_64.rpm -d fedora-15-x86_64

Database, in order of precedence:
  1. --database URL
  2. the environment variable DARKSERVER_DATABASE
  3. `database = \"URL\"` in /etc/darkserver/indexer.toml, or in the file of --config
  4. darkserver.conf or darkjobworker.conf of the original, in /etc/darkserver
  5. sqlite:darkserver.db
  Every user of the machine can see command lines: put passwords into a file.

Exit status:
  0    all packages are in the index
  1    an archive was broken or unreadable, a package or repository was refused (the others are in
       the index), or the database failed
  2    wrong usage or configuration, also for one PATH among several (the others are imported)
  130  stopped by a signal; the same command continues";

/// Examples of `listen`.
const LISTEN_EXAMPLES: &str = "\
Examples:
  With [[koji]], [[messages]], [[repository]] and [hooks] of /etc/darkserver/indexer.toml:
    darkserver-import listen

  For a try, with another file and readable logs of each message:
    RUST_LOG=darkserver_import=debug darkserver-import listen --config ./indexer.toml --listen 127.0.0.1:9003

  Is it ready? What waits, and what failed?
    curl --fail http://127.0.0.1:8003/readyz
    darkserver-import status

It logs to standard error and prints nothing else: --quiet and --json change nothing. RUST_LOG and
--log-format choose what is logged, and how.

Exit status: 0 stopped by a signal; 1 the address cannot be listened on; 2 wrong usage or
configuration; 130 stopped by a second signal, at once.";

/// Fills the index of darkserver, which maps build-ids to packages.
///
/// Reads the headers of RPM files, and their payloads only where headers leave files open. Archives of other formats
/// are read as a whole, once. Can be interrupted and restarted at any time, with the same result.
#[derive(Parser)]
#[command(name = "darkserver-import", version, after_help = EXAMPLES)]
#[command(max_term_width = 100, arg_required_else_help = true)]
#[command(override_usage = "darkserver-import [OPTIONS] COMMAND ...\n       darkserver-import -r FILE -d DISTRO")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) original: Original,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of the original's command. Both are required; the original has its own messages for that.
#[derive(Args)]
pub(crate) struct Original {
    /// One RPM file (the original's form)
    #[arg(short = 'r', long = "rpm", value_name = "FILE")]
    pub(crate) rpm: Option<PathBuf>,
    /// Its distribution (the original's form)
    #[arg(id = "original_distro", short = 'd', long = "distro", value_name = "DISTRO")]
    pub(crate) distro: Option<String>,
}

impl Original {
    /// True if one of the options is given.
    pub(crate) fn is_given(&self) -> bool {
        self.rpm.is_some() || self.distro.is_some()
    }
}

/// Heading of the options of every command.
const COMMON: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The index: sqlite:PATH or mysql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, global = true, help_heading = COMMON, value_name = "URL")]
    #[arg(env = "DARKSERVER_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Read this file instead of /etc/darkserver/indexer.toml
    #[arg(long, global = true, help_heading = COMMON, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory of configuration files, for installations outside /etc
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "DIR",
        env = "DARKSERVER_ETC",
        default_value = "/etc/darkserver"
    )]
    pub(crate) etc: PathBuf,
    /// Seconds to retry while the database (with `push`: the indexer) is unavailable, does not answer or is locked
    #[arg(long, global = true, help_heading = COMMON, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) wait: u64,
    /// Print errors only
    #[arg(short, long, global = true, help_heading = COMMON)]
    pub(crate) quiet: bool,
    /// Print the result on standard output as JSON
    #[arg(long, global = true, help_heading = COMMON)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Index all packages below directories, and mark removed ones as gone
    Dir(DirArgs),
    /// Index single RPM files, or other archives by their file name suffixes
    Rpm(RpmArgs),
    /// Index the packages of a repository over HTTP, from their headers or from its metadata alone
    Repo(Box<RepoArgs>),
    /// Index the builds of a Koji: single ones, or all of them by the time when they completed
    Koji(Box<KojiArgs>),
    /// Run the service: messages, hooks, the reconciler of Koji and refreshes of repositories, until a signal
    #[command(after_help = LISTEN_EXAMPLES)]
    Listen(ListenArgs),
    /// Upload RPM files to an indexer that runs `listen`, for build machines that no Koji knows
    Push(PushArgs),
    /// Show everything that is known of a build-id or a package: its places, its life, its successors
    #[command(after_help = show::EXAMPLES)]
    Show(ShowArgs),
    /// Show the state of the index: stores, repositories, counts, what is open, what failed and why
    Status,
    /// Compare the index with the archives of random packages; the index stays as it is
    #[command(after_help = verify::EXAMPLES)]
    Verify(VerifyArgs),
    /// Import the rows of an original darkserver's database, or of a dump of it
    #[command(after_help = legacy::EXAMPLES)]
    Legacy(LegacyArgs),
    /// Migrate the database schema
    Migrate,
    /// Add, list and remove stores, the places that hold archives
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Args)]
pub(crate) struct ListenArgs {
    /// Address of the HTTP listener for hooks, metrics and readiness [default: 127.0.0.1:8003]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Format of the log [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "DARKSERVER_LOG_FORMAT", hide_env_values = true)]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Args)]
pub(crate) struct DirArgs {
    /// Directories to import
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Name of the store to add for the directory [default: the directory's path]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// URL under which the directory can be downloaded
    #[arg(long, value_name = "BASE")]
    pub(crate) url: Option<String>,
    /// Formats to import; files of other formats stay in the index as they are
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', default_value = "rpm,deb,arch")]
    pub(crate) formats: Vec<FormatOption>,
    /// Another file name suffix of tar, cpio or zip archives, like .tpkg; adds tar to the formats; may be repeated
    #[arg(long, value_name = "EXT", value_parser = formats::suffix)]
    pub(crate) suffix: Vec<String>,
    /// Exclude paths below the store's directory that match this glob: '*.tmp' and 'old/' at any depth, '/a/**/old/'
    /// from the root; may be repeated. Packages in the index that match are marked as gone
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Include paths that match this glob although an --exclude or a default matches; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Follow links to directories below the store's directory; links to others are reported
    #[arg(long)]
    pub(crate) follow_links: bool,
    #[command(flatten)]
    pub(crate) import: ImportArgs,
}

#[derive(Args)]
pub(crate) struct RpmArgs {
    /// Files to import
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) import: ImportArgs,
}

/// Options of imports.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Distribution of the packages [default: their dist tags, like fc40]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) distro: Option<String>,
    /// Number of archives to read in parallel [default: number of processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// When to read the payload of an RPM; other archives are always read as a whole
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) payload: Payload,
    /// Maximum size of an ELF file that is copied to the temporary directory (TMPDIR), once per job
    #[arg(long, value_name = "SIZE", default_value_t = TEMP_LIMIT)]
    pub(crate) temp_limit: ByteSize,
}

/// Default of `--temp-limit`. Only debuginfo of browsers with all their DWARF is larger.
const TEMP_LIMIT: ByteSize = ByteSize(artifact::limits::MAX_ELF_BYTES);

/// When the payload of an archive is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    /// Never: packages whose header leaves files open stay open
    Never,
    /// Only for packages whose header leaves files open
    #[value(alias = "open")]
    #[serde(alias = "open")]
    Missing,
    /// For every new package
    Always,
}

impl ImportArgs {
    /// Returns the options of the original's command.
    pub(crate) fn with_distro(distro: String) -> Self {
        Self { distro: Some(distro), jobs: None, payload: Payload::Missing, temp_limit: TEMP_LIMIT }
    }

    /// Returns the number of parallel readers.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get), usize::from)
    }
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Names of the stores [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Instead look at the places of packages that were not looked at for longest, and record what was found
    #[arg(long)]
    pub(crate) locations: bool,
    /// Maximum time of --locations
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", requires = "locations")]
    #[arg(value_parser = tables::read_duration)]
    pub(crate) budget: Duration,
}

impl Cli {
    /// Reads the command line; on wrong usage prints the error and exits with 2.
    pub(crate) fn from_command_line() -> Self {
        let cli = Self::try_parse().unwrap_or_else(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            // clap quotes the wrong argument.
            let _ = write!(io::stderr(), "{}", sql::redact_passwords(&error.to_string()));
            process::exit(2);
        });
        // `args_conflicts_with_subcommands` would also refuse --database before a command.
        if cli.command.is_some() && cli.original.is_given() {
            Self::command()
                .error(
                    ErrorKind::ArgumentConflict,
                    "-r and -d belong to the original's command: put options after the command",
                )
                .exit();
        }
        cli
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_the_default_database() {
        assert!(EXAMPLES.contains(&format!("  5. {}\n", sql::DatabaseUrl::default())));
    }

    #[test]
    fn the_database_option_is_accepted_before_and_after_the_command() {
        for line in ["darkserver-import --database sqlite:x migrate", "darkserver-import migrate --database sqlite:x"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cli.common.database.as_deref(), Some("sqlite:x"), "{line}");
        }
    }
}
