//! Log lines on standard error. `RUST_LOG` selects them.

use std::env;
use std::io::{self, IsTerminal, Write};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::report::output::{print_error, printable};

/// What a command logs: warnings of libraries and of the index. Its own results are printed.
const COMMAND: &str = "warn";
/// What the service logs. It logs the subjects of these libraries' lines itself.
const SERVICE: &str = "info,sqlx=warn,sqlx::pool=off,sqlx::query=off,sqlx_core::pool=off,actix_server=warn,\
                       actix_http=off,lapin=off";

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging of a command that ends by itself.
pub(crate) fn start_command() {
    let builder = tracing_subscriber::fmt().log_internal_errors(false);
    let builder = builder.with_env_filter(filter(COMMAND)).with_ansi(io::stderr().is_terminal());
    builder.with_writer(io::stderr).init();
}

/// Starts logging of the service.
pub(crate) fn start_service(format: LogFormat) {
    // An error of a write would be written to standard error again, and panic where that is closed.
    let builder = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter(SERVICE));
    match format {
        LogFormat::Text if io::stderr().is_terminal() => builder.with_writer(io::stderr).init(),
        LogFormat::Text => builder.with_ansi(false).with_writer(|| OneLine).init(),
        LogFormat::Json => builder.with_writer(io::stderr).json().flatten_event(true).init(),
    }
}

/// Returns the default directives with those of `RUST_LOG` behind them. If the variable is malformed, a warning is
/// written and the default is used.
fn filter(default: &str) -> EnvFilter {
    let given = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    EnvFilter::try_new(format!("{default},{given}")).unwrap_or_else(|error| {
        print_error(&format_args!(
            "darkserver-import: RUST_LOG: expected directives like `info,sqlx=debug`, found `{given}`: {error}; the \
             default is used"
        ));
        EnvFilter::new(default)
    })
}

/// Writes each event to standard error as one line: control characters inside it are escaped, because a message may
/// quote a line feed of a server.
struct OneLine;

impl Write for OneLine {
    /// Writes one event, which ends with a line feed: the subscriber formats it first.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = printable(&text);
        line.push('\n');
        io::stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_directives_are_accepted() {
        for default in [COMMAND, SERVICE] {
            assert!(EnvFilter::try_new(default).is_ok(), "{default}");
            assert!(EnvFilter::try_new(format!("{default},")).is_ok(), "{default}");
        }
    }
}
