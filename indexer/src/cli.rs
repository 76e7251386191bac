//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use artifact::Format;
use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use sql::AbsentStatuses;

use crate::feeders::formats;

const EXAMPLES: &str = "\
Examples:
  Index every package below a directory, into ./darkserver.db:
    darkserver-import dir /srv/mirror/fedora/40

  The same, known to gateways elsewhere as a URL, and into MariaDB:
    export DARKSERVER_DATABASE=mysql://writer:PASSWORD@db.example.org/darkserver
    darkserver-import migrate
    darkserver-import dir /srv/mirror --store mirror --url https://mirror.example.org/pub

  Again, after the directory has changed: reads only what is new, and marks what is gone.
    darkserver-import dir /srv/mirror

  Debian and Arch packages are found as well. Also plain ELF files, as in build trees and below /usr/lib/debug:
    darkserver-import dir /usr/lib/debug --formats elf

  Without directories called `old`, and of the rest debug packages alone:
    darkserver-import dir /srv/mirror --exclude old/ --exclude '*.rpm' --include '*-debug*.rpm'

  Single packages, of a distribution that their names do not tell:
    darkserver-import rpm ./*.rpm --distro fedora-40-x86_64

  The original's form:
    darkserver-import -r attica-0.2.0-1.fc15.x86_64.rpm -d fedora-15-x86_64

Database, the first of these that is there:
  1. --database URL
  2. the environment variable DARKSERVER_DATABASE
  3. `database = \"URL\"` in /etc/darkserver/indexer.toml, or in the file that --config names
  4. darkserver.conf or darkjobworker.conf of the original, in /etc/darkserver
  5. sqlite:darkserver.db
  A command line is seen by every user of the machine: put passwords into a file.

Exit codes:
  0    everything is in the index
  1    something was broken or unreadable (the rest is in the index), or the database failed
  2    wrong usage or configuration, also of one PATH among several (the others are imported)
  130  stopped by a signal; the same command goes on from there";

/// Fills the index of darkserver: which package does a build-id come from?
///
/// Reads the headers of RPM files, and their contents only where the header cannot say; other packages are read whole, once. Can be interrupted and started again at
/// any moment, and ends with the same index.
#[derive(Parser)]
#[command(name = "darkserver-import", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
#[command(override_usage = "darkserver-import [OPTIONS] COMMAND ...\n       darkserver-import -r FILE -d DISTRO")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) original: Original,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The original's options. Both are required, which the original said in its own words.
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
    /// Is one of the options there?
    pub(crate) fn is_given(&self) -> bool {
        self.rpm.is_some() || self.distro.is_some()
    }
}

/// Options of every command.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The index: sqlite:PATH or mysql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, global = true, value_name = "URL", env = "DARKSERVER_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Read this file instead of /etc/darkserver/indexer.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory of configuration files, for installations that are not in /etc
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "DIR",
        env = "DARKSERVER_ETC",
        default_value = "/etc/darkserver"
    )]
    pub(crate) etc: PathBuf,
    /// How long to wait, in seconds, for a database that goes away, hangs or is locked by others
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) wait: u64,
    /// Say nothing but what is wrong
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print the result on standard output as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Index every package below directories, and mark what is gone from them
    Dir(DirArgs),
    /// Index single RPM files, or others by the endings of their names
    Rpm(RpmArgs),
    /// Bring the database's schema up to date
    Migrate,
    /// The places that archives are in
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Args)]
pub(crate) struct DirArgs {
    /// The directories
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Name of the store that is added for the directory [default: the directory's path]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// Where the directory can be downloaded
    #[arg(long, value_name = "BASE")]
    pub(crate) url: Option<String>,
    /// What to look for; everything else below the directories is left as the index has it
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', default_value = "rpm,deb,arch")]
    pub(crate) formats: Vec<FormatOption>,
    /// A further ending of names of tar, cpio or zip archives, like .tpkg, which adds tar to the formats; may be given several times
    #[arg(long, value_name = "EXT", value_parser = formats::suffix)]
    pub(crate) suffix: Vec<String>,
    /// Leave out what this glob matches below the store's directory: '*.tmp' and 'old/' at any depth, '/a/**/old/' from
    /// there on; may be given several times. What it matches is marked as gone
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Read what this glob matches although an --exclude or a default leaves it out; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Look into directories that links lead to, too, if these lie below the store's directory; others are named
    #[arg(long)]
    pub(crate) follow_links: bool,
    #[command(flatten)]
    pub(crate) import: ImportArgs,
}

/// What an import can look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatOption {
    /// .rpm: RPM packages
    Rpm,
    /// .deb, .ddeb: Debian packages; .ipk: those of opkg
    Deb,
    /// .pkg.tar and .pkg.tar.*: packages of Arch Linux
    Arch,
    /// .tar, .tar.*, .tgz...: other tar archives; each is read whole
    Tar,
    /// .cpio, .cpio.*: cpio archives of the forms newc and crc
    Cpio,
    /// .zip, .whl, .nupkg, .snupkg: zip archives, Python wheels, NuGet packages
    Zip,
    /// Plain ELF files; every other file is looked into. Their sources below the store's directory are served, too
    Elf,
}

impl FormatOption {
    /// In the words of the index.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Rpm => Format::Rpm,
            Self::Deb => Format::Deb,
            Self::Arch => Format::Arch,
            Self::Tar => Format::Tar,
            Self::Cpio => Format::Cpio,
            Self::Zip => Format::Zip,
            Self::Elf => Format::File,
        }
    }
}

#[derive(Args)]
pub(crate) struct RpmArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) import: ImportArgs,
}

/// How archives are read.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The distribution of the packages imported now [default: what their releases say, like fc40]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) distro: Option<String>,
    /// How many archives are read at a time [default: one for each processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// When to read what is inside an RPM; what has no header is always read whole
    #[arg(long, value_name = "WHEN", default_value = "open")]
    pub(crate) payload: Payload,
    /// The largest ELF file that is copied to the temporary directory (TMPDIR) to be read, one for each archive read at a time
    #[arg(long, value_name = "SIZE", default_value_t = TEMP_LIMIT)]
    pub(crate) temp_limit: ByteSize,
}

/// Nearly every debuginfo file of a distribution is smaller; those of browsers built with all their DWARF are not.
const TEMP_LIMIT: ByteSize = ByteSize::gib(4);

/// When the payload of an archive is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Packages whose header cannot say everything stay open
    Never,
    /// Only for packages whose header cannot say everything
    Open,
    /// For every package that is new, whatever its header says
    Always,
}

impl ImportArgs {
    /// For the original's form.
    pub(crate) fn with_distro(distro: String) -> Self {
        Self { distro: Some(distro), jobs: None, payload: Payload::Open, temp_limit: TEMP_LIMIT }
    }

    /// How many archives are read at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get), usize::from)
    }
}

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Add a store, or change the one of that name
    Add(StoreArgs),
    /// List the stores
    List,
    /// Take a store and its locations out of the index; the packages stay
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct StoreArgs {
    /// Its name
    pub(crate) name: String,
    /// What kind of place it is, in the order in which stores are asked
    #[arg(long, value_parser = ["local", "mirror", "koji", "archive", "retrace"])]
    pub(crate) tier: String,
    /// Where its archives can be downloaded
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Its directory on this machine (tier local)
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Among stores of one tier, lower is asked first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// The HTTP statuses that prove that it does not have an archive
    #[arg(long, value_name = "STATUS,...", default_value_t)]
    pub(crate) absent_statuses: AbsentStatuses,
}

impl Cli {
    /// Reads the command line; on wrong usage explains it and exits with 2.
    pub(crate) fn from_command_line() -> Self {
        let cli = Self::parse();
        // `args_conflicts_with_subcommands` would refuse --database before a command as well.
        if cli.command.is_some() && cli.original.is_given() {
            Self::command()
                .error(
                    ErrorKind::ArgumentConflict,
                    "-r and -d are the original's form, which has no command: put options behind the command",
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
    fn the_database_may_stand_before_and_behind_the_command() {
        for line in ["darkserver-import --database sqlite:x migrate", "darkserver-import migrate --database sqlite:x"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cli.common.database.as_deref(), Some("sqlite:x"), "{line}");
        }
    }
}
