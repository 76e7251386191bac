//! The command line: the original's options, and a few more.

use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use reqwest::Url;

const USAGE: &str = "darkclient [OPTIONS] -i ID... | -r NVRA | -p NVRA";

const EXAMPLES: &str = "\
Examples:
  Which package does this build-id come from?
    darkclient -i 868357887701f51d867eacd0da6e5af6d8c70ce2

  Which packages does this core dump need?
    eu-unstrip -n --core=core | darkclient -i -

  Which build-ids are in this package, and where can it be downloaded?
    darkclient -r apr-1.4.5-1.fc16.x86_64
    darkclient -p apr-debuginfo-1.4.5-1.fc16.x86_64

One question is asked: -i before -r before -p. Of several -i the last comes first.

Output:
  -i and -r print one line per ELF file: BUILDID RPM ELF. -p prints the URL alone.
  Nothing is printed when the server knows nothing. Messages go to standard error.

Exit codes:
  0  found
  1  no data: the server knows nothing, or its answer is not what was expected
  2  network error, HTTP status error, a configuration file that cannot be read, a word that is no
     build-id (nothing is asked then), or wrong usage
  4  none of -i, -r, -p given
  5  no server: no configuration file, or no URL in it

Configuration:
  The server's URL is --server, or else the environment variable DARKSERVER_URL, or else the first
  line of ./darkclient.conf, or else the first line of /etc/darkclient.conf.";

/// Asks a darkserver which package a build-id comes from, and where that package is
#[derive(Debug, Parser)]
#[command(name = "darkclient", version, override_usage = USAGE, after_help = EXAMPLES, infer_long_args = true, max_term_width = 100)]
pub(crate) struct Args {
    /// Build-ids to look for; "-" reads them from standard input: any number a line, or the output of eu-unstrip -n
    #[arg(short, long, value_name = "ID", num_args = 1.., action = clap::ArgAction::Append)]
    ids: Vec<String>,

    /// Package whose build-ids are listed: NAME-VERSION-RELEASE.ARCH, with or without .rpm
    #[arg(short, long, value_name = "NVRA", overrides_with = "rpm")]
    rpm: Option<String>,

    /// Package whose download URL is printed: NAME-VERSION-RELEASE.ARCH, with or without .rpm
    #[arg(short, long, value_name = "NVRA", overrides_with = "package")]
    package: Option<String>,

    /// Print the server's JSON instead of lines
    #[arg(long)]
    pub(crate) json: bool,

    /// Server to ask, for example `https://darkserver.example.org`
    #[arg(long, value_name = "URL", value_parser = crate::config::base_url)]
    pub(crate) server: Option<Url>,

    /// Seconds until a request is given up; a connection has 5 of them
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// What the server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Question {
    /// Which packages hold these build-ids?
    Ids(Vec<String>),
    /// Which build-ids does this package hold?
    Rpm(String),
    /// Where can this package be downloaded?
    Package(String),
}

impl Args {
    /// Parses the command line; on wrong usage explains it and exits with 2.
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

    /// The one question that is asked: ids before rpm before package.
    pub(crate) fn question(&self) -> Option<Question> {
        if !self.ids.is_empty() {
            return Some(Question::Ids(self.ids.clone()));
        }
        let rpm = self.rpm.clone().map(Question::Rpm);
        rpm.or_else(|| self.package.clone().map(Question::Package))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
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

    fn question(line: &str) -> Option<Question> {
        parse(line).unwrap().question()
    }

    fn ids(words: &[&str]) -> Option<Question> {
        Some(Question::Ids(words.iter().map(|word| word.to_string()).collect()))
    }

    #[test]
    fn command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn ids_take_all_words_up_to_the_next_option() {
        assert_eq!(question("darkclient --ids a b c --json"), ids(&["a", "b", "c"]));
        assert_eq!(question("darkclient -i - --timeout 3"), ids(&["-"]));
    }

    #[test]
    fn repeated_ids_come_before_earlier_ones() {
        assert_eq!(question("darkclient -i a b -i c d -i e"), ids(&["e", "c", "d", "a", "b"]));
    }

    #[test]
    fn ids_win_over_rpm_and_rpm_over_package() {
        assert_eq!(question("darkclient -p p -r r -i a"), ids(&["a"]));
        assert_eq!(question("darkclient -p p -r r"), Some(Question::Rpm("r".to_string())));
        assert_eq!(question("darkclient -p p"), Some(Question::Package("p".to_string())));
        assert_eq!(question("darkclient"), None);
    }

    #[test]
    fn last_rpm_and_package_win() {
        assert_eq!(question("darkclient -r a -r b"), Some(Question::Rpm("b".to_string())));
        assert_eq!(question("darkclient -p a --pack b"), Some(Question::Package("b".to_string())));
    }

    #[test]
    fn timeout_is_a_number_of_seconds_above_zero() {
        assert_eq!(parse("darkclient --timeout 0.5").unwrap().timeout, Duration::from_millis(500));
        for wrong in ["0", "nan", "inf", "1e300", "soon"] {
            assert!(parse(&format!("darkclient --timeout {wrong}")).is_err(), "{wrong}");
        }
    }
}
