//! The command line: the original's options, and a few more.

use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use reqwest::Url;

const USAGE: &str = "darkclient [OPTIONS] -i ID... | -r NVRA | -p NVRA";

const EXAMPLES: &str = "\
Examples:
  Find the package that a build-id comes from:
    darkclient -i 868357887701f51d867eacd0da6e5af6d8c70ce2

  Find the packages that a core dump needs:
    eu-unstrip -n --core=core | darkclient -i -

  List the build-ids of a package, and print its download URL:
    darkclient -r apr-1.4.5-1.fc16.x86_64
    darkclient -p apr-debuginfo-1.4.5-1.fc16.x86_64

One query is sent: -i takes precedence over -r, and -r over -p. The ids of a later -i are sent first.

Output:
  -i and -r print one line per ELF file: BUILDID RPM ELF. -p prints the URL alone.
  Nothing is printed if the server has no data. Messages go to standard error.

Exit codes:
  0  found
  1  no data, or an answer that is not the expected JSON
  2  network error, HTTP error status, unreadable configuration file, invalid build-id (nothing is
     sent then), or wrong usage
  4  none of -i, -r, -p given
  5  no server: no configuration file, or no URL in it
  141  standard output was closed before all lines were written

Configuration:
  The server's URL is the first of: --server, the environment variable DARKSERVER_URL, the first
  line of ./darkclient.conf, the first line of /etc/darkclient.conf.";

/// Looks up packages by build-id, and build-ids and download URLs by package, on a darkserver
#[derive(Debug, Parser)]
#[command(name = "darkclient", version, override_usage = USAGE, after_help = EXAMPLES)]
#[command(infer_long_args = true, max_term_width = 100)]
pub(crate) struct Args {
    /// Build-ids to look up; "-" reads them from standard input: any number per line, or the output of eu-unstrip -n
    #[arg(short, long, value_name = "ID", num_args = 1.., action = clap::ArgAction::Append)]
    ids: Vec<String>,

    /// List the build-ids of this package: NAME-VERSION-RELEASE.ARCH, with or without .rpm
    #[arg(short, long, value_name = "NVRA", overrides_with = "rpm")]
    rpm: Option<String>,

    /// Print the download URL of this package: NAME-VERSION-RELEASE.ARCH, with or without .rpm
    #[arg(short, long, value_name = "NVRA", overrides_with = "package")]
    package: Option<String>,

    /// Print the server's JSON instead of lines
    #[arg(long)]
    pub(crate) json: bool,

    /// URL of the server, for example `https://darkserver.example.org`
    #[arg(long, value_name = "URL", value_parser = crate::config::parse_base_url)]
    pub(crate) server: Option<Url>,

    /// Timeout of a request in seconds; connecting times out after 5
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
}

/// A query to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Query {
    /// The packages that hold these build-ids.
    Ids(Vec<String>),
    /// The build-ids that this package holds.
    Rpm(String),
    /// The download URL of this package.
    Package(String),
}

impl Args {
    /// Parses the command line. On wrong usage it prints a message and exits with 2.
    pub(crate) fn from_command_line() -> Args {
        let matches = Args::command().get_matches();
        Args::from_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &ArgMatches) -> Result<Args, clap::Error> {
        let mut args = Args::from_arg_matches(matches)?;
        // As in the original, the ids of a later -i come before those of an earlier one.
        if let Some(occurrences) = matches.get_occurrences::<String>("ids") {
            let words: Vec<Vec<String>> = occurrences.map(|words| words.cloned().collect()).collect();
            args.ids = words.into_iter().rev().flatten().collect();
        }
        Ok(args)
    }

    /// Returns the query to send: ids take precedence over rpm, rpm over package. `None` if none of them was given.
    pub(crate) fn query(&self) -> Option<Query> {
        if !self.ids.is_empty() {
            return Some(Query::Ids(self.ids.clone()));
        }
        let rpm = self.rpm.clone().map(Query::Rpm);
        rpm.or_else(|| self.package.clone().map(Query::Package))
    }
}

/// Parses a positive number of seconds.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("expected a number of seconds above 0, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::from_matches(&Args::command().try_get_matches_from(line.split(' '))?)
    }

    fn query(line: &str) -> Option<Query> {
        parse(line).unwrap().query()
    }

    fn ids(words: &[&str]) -> Option<Query> {
        Some(Query::Ids(words.iter().map(|word| word.to_string()).collect()))
    }

    #[test]
    fn command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn ids_take_all_words_up_to_the_next_option() {
        assert_eq!(query("darkclient --ids a b c --json"), ids(&["a", "b", "c"]));
        assert_eq!(query("darkclient -i - --timeout 3"), ids(&["-"]));
    }

    #[test]
    fn repeated_ids_precede_earlier_ones() {
        assert_eq!(query("darkclient -i a b -i c d -i e"), ids(&["e", "c", "d", "a", "b"]));
    }

    #[test]
    fn ids_take_precedence_over_rpm_and_rpm_over_package() {
        assert_eq!(query("darkclient -p p -r r -i a"), ids(&["a"]));
        assert_eq!(query("darkclient -p p -r r"), Some(Query::Rpm("r".to_string())));
        assert_eq!(query("darkclient -p p"), Some(Query::Package("p".to_string())));
        assert_eq!(query("darkclient"), None);
    }

    #[test]
    fn the_last_rpm_and_package_take_precedence() {
        assert_eq!(query("darkclient -r a -r b"), Some(Query::Rpm("b".to_string())));
        assert_eq!(query("darkclient -p a --pack b"), Some(Query::Package("b".to_string())));
    }

    #[test]
    fn timeout_is_a_number_of_seconds_above_zero() {
        assert_eq!(parse("darkclient --timeout 0.5").unwrap().timeout, Duration::from_millis(500));
        for wrong in ["0", "nan", "inf", "1e300", "soon"] {
            assert!(parse(&format!("darkclient --timeout {wrong}")).is_err(), "{wrong}");
        }
    }
}
