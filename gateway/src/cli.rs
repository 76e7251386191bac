//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use sql::redact_passwords;
use url::Url;

use crate::logging::LogFormat;

/// Serves debuginfod clients (GDB, LLDB, perf, valgrind...) and the darkserver JSON API from a build-id index.
#[derive(Debug, Parser)]
#[command(name = "darkserver", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    arguments: Arguments,
}

const EXAMPLES: &str = "\
Every option can also be set in the environment (as shown) or in the configuration file. The file has further settings
(trusted proxies, limits, caching, federation): see docs/configuration.md.
Precedence: flag, environment, configuration file, the original darkserver's files, default.

Examples:
  darkserver --database sqlite:darkserver.db
  darkserver serve --listen 0.0.0.0:8002 --upstream https://debuginfod.example.org
  darkserver upstream check
  DEBUGINFOD_URLS=http://127.0.0.1:8002 gdb ./program core";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve. This is the default without a subcommand.
    Serve(Box<Arguments>),
    /// Other debuginfod servers that this gateway asks.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
}

#[derive(Debug, Subcommand)]
enum UpstreamCommand {
    /// Try the configured upstreams one by one, and state what to configure. Exits with 0 if all answer as debuginfod
    /// servers do, with 1 if one does not, and with 2 if the configuration or the command line is wrong.
    Check(Box<CheckArguments>),
}

/// Options of `upstream check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Names of upstreams, also of those that are not enabled [default: all that are enabled].
    pub(crate) names: Vec<String>,
    /// Print an array of JSON objects.
    #[arg(long)]
    pub(crate) json: bool,
    /// Longest time for each answer.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) arguments: Arguments,
}

/// What the command line asks for.
pub(crate) enum Task {
    Serve(Arguments),
    CheckUpstreams(CheckArguments),
}

/// Options of the command line and the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Arguments {
    /// The index: sqlite:PATH or `mysql://USER:PASSWORD@HOST[:PORT]/DATABASE` [default: sqlite:darkserver.db].
    /// Other users can see a password on a command line: use the environment or a file.
    // A string, like the upstreams: clap's errors show the value, which can contain a password.
    #[arg(long, value_name = "URL", env = "DARKSERVER_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Address to listen on: ADDRESS:PORT, NAME:PORT or *:PORT, with the prefix tls: for TLS, or unix:/PATH; repeatable
    /// [default: 127.0.0.1:8002, or the sockets that systemd passes].
    #[arg(long, value_name = "ADDRESS", env = "DARKSERVER_LISTEN", value_delimiter = ' ', hide_env_values = true)]
    pub(crate) listen: Vec<String>,
    /// Certificate for the addresses with `tls:`: a PEM file, followed by its intermediate certificates.
    #[arg(long, value_name = "FILE", env = "DARKSERVER_TLS_CERTIFICATE", hide_env_values = true)]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Private key of the certificate: a PEM file.
    #[arg(long, value_name = "FILE", env = "DARKSERVER_TLS_KEY", hide_env_values = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// URL at which clients reach this gateway, for links in JSON answers [default: from each request].
    #[arg(long, value_name = "URL", env = "DARKSERVER_PUBLIC_URL", hide_env_values = true)]
    pub(crate) public_url: Option<Url>,
    /// Cache directory for extracted files; one gateway per directory [default: /var/cache/darkserver for root, else
    /// darkserver in $XDG_CACHE_HOME or ~/.cache].
    #[arg(long, value_name = "DIR", env = "DARKSERVER_CACHE_DIR", hide_env_values = true)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Maximum disk space of the extracted files [default: 10GiB].
    #[arg(long, value_name = "SIZE", env = "DARKSERVER_CACHE_SIZE", hide_env_values = true)]
    pub(crate) cache_size: Option<ByteSize>,
    /// Another debuginfod server for build-ids that are not in the index; repeatable [default: $DEBUGINFOD_URLS].
    #[arg(
        long = "upstream",
        value_name = "URL",
        env = "DARKSERVER_UPSTREAMS",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub(crate) upstreams: Vec<String>,
    /// Keep a filter of all build-ids in memory, 9 bits each, which answers for absent ones without the database
    /// [default: true].
    #[arg(long, value_name = "BOOL", env = "DARKSERVER_INDEX_FILTER", hide_env_values = true)]
    pub(crate) index_filter: Option<bool>,
    /// Configuration file [default: /etc/darkserver/gateway.toml, if it exists].
    #[arg(long, value_name = "FILE", env = "DARKSERVER_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Format of the log [default: text].
    #[arg(long, value_enum, value_name = "FORMAT", env = "DARKSERVER_LOG_FORMAT", hide_env_values = true)]
    pub(crate) log_format: Option<LogFormat>,
}

impl Cli {
    /// Reads the command line and the environment. Help and the version are printed, and end the process.
    ///
    /// # Errors
    /// If an argument or a variable is wrong: the text for standard error, without passwords.
    pub(crate) fn read() -> Result<Self, String> {
        Self::try_parse().map_err(|error| if error.use_stderr() { refusal(&error) } else { error.exit() })
    }

    /// Returns what to do, with the arguments. Without a subcommand, that is to serve.
    pub(crate) fn task(self) -> Task {
        match self.command {
            Some(Command::Serve(arguments)) => Task::Serve(*arguments),
            Some(Command::Upstream(UpstreamCommand::Check(arguments))) => Task::CheckUpstreams(*arguments),
            None => Task::Serve(self.arguments),
        }
    }
}

/// Returns the text of an error without the passwords of URLs: clap quotes the wrong argument.
fn refusal(error: &clap::Error) -> String {
    redact_passwords(&error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_subcommand() {
        for line in
            [vec!["darkserver", "--listen", "127.0.0.1:1"], vec!["darkserver", "serve", "--listen", "127.0.0.1:1"]]
        {
            let Task::Serve(arguments) = Cli::parse_from(line).task() else { panic!("expected to serve") };
            assert_eq!(arguments.listen, ["127.0.0.1:1"]);
        }
    }

    #[test]
    fn errors_have_no_passwords() {
        for arguments in [
            ["--cache-size", "mysql://u:secret@h"].as_slice(),
            &["--log-format", "mysql://u:secret@h"],
            &["--index-filter", "mysql://u:secret@h"],
            &["--public-url", "https://u:secret@x:y"],
            &["serve", "--public-url=https://u:secret@x:y"],
            &["mysql://u:secret@h"],
            &["serve", "mysql://u:secret@h"],
            &["--mysql://u:secret@h"],
        ] {
            let line = ["darkserver"].iter().chain(arguments);
            let refusal = refusal(&Cli::try_parse_from(line).unwrap_err());
            assert!(refusal.contains("u:***@") && !refusal.contains("secret"), "{refusal}");
        }
    }
}
