//! The options of `legacy`.

use clap::Args;

/// Examples of `legacy`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  The rows of an original darkserver's MySQL database; its user needs SELECT alone:
    export DARKSERVER_LEGACY=mysql://reader:PASSWORD@old.example.org/darkserver
    darkserver-import legacy

  Those of a dump: plain, gzip, bzip2, xz or zstd:
    mysqldump darkserver | gzip > darkserver.sql.gz
    darkserver-import legacy --from darkserver.sql.gz

  Those of PostgreSQL, without a file:
    pg_dump --table=buildid_gnubuildid darkserver | darkserver-import legacy --from -

  What would be imported, and what is left out and why:
    darkserver-import legacy --from darkserver.sql.gz --dry-run

The packages are `legacy` in `show` and `status` until `dir`, `rpm` or `repo` reads their headers.
Every user of the machine can see command lines: put a URL with a password into the environment,
as DARKSERVER_LEGACY.

Exit status: 0 all rows are in the index, or left out for a stated reason; 1 the source or the
database failed; 2 wrong usage; 130 stopped by a signal.";

/// Options of `legacy`.
#[derive(Args)]
pub(crate) struct LegacyArgs {
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE, the path of a dump, or - for a dump on standard input
    /// [default: the variable DARKSERVER_LEGACY]
    #[arg(long, value_name = "SOURCE", env = "DARKSERVER_LEGACY", hide_env_values = true)]
    pub(crate) from: String,
    /// Read and check everything, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
