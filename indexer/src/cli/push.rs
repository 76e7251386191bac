//! The options of `push`.

use std::path::PathBuf;

use clap::Args;

/// Examples of `push`.
const PUSH_EXAMPLES: &str = "\
Examples:
  The packages of a build, with the token of a file:
    darkserver-import push results/*.rpm --to https://indexer.example.org \\
        --token-file ~/.config/darkserver/token

  The same in a CI job, whose secret is a variable:
    export DARKSERVER_HOOK_TOKEN
    darkserver-import push results/*.rpm --to https://indexer.example.org --quiet

  To an indexer with an own certificate authority, into another store:
    darkserver-import push a.rpm --to https://indexer.lan:8003 --ca ca.pem --store nightly

The same command again is harmless: a package that is there already is not changed.

It opens no database: --wait is the time in which each file is sent again while the indexer is away.

Exit status: 0 every package is in the index; 1 a file was broken or refused (the others are in
the index); 2 wrong usage, a wrong token or a wrong store.";

#[derive(Args)]
#[command(after_help = PUSH_EXAMPLES)]
pub(crate) struct PushArgs {
    /// RPM files, named NAME-VERSION-RELEASE.ARCH.rpm
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// URL of the indexer's hooks: that of `darkserver-import listen`, or of the proxy before it
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Store of the indexer that takes the packages: one of its hooks.upload_stores
    #[arg(long, value_name = "NAME", default_value = "uploads")]
    pub(crate) store: String,
    /// File with the token in its first line [default: the variable DARKSERVER_HOOK_TOKEN has the token]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates of authorities, in PEM, that are trusted beside those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}
