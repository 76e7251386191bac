//! Log lines on standard error, formatted by tracing-subscriber. `RUST_LOG` selects them.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::LazyLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::OptionalWriter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the whole process.
pub(crate) fn start(format: LogFormat) {
    // An error of a write would be written to standard error again, and panic where that is closed.
    let builder = tracing_subscriber::fmt().log_internal_errors(false);
    let builder = builder.with_env_filter(filter()).with_writer(unlocked_stderr);
    match format {
        LogFormat::Text if io::stderr().is_terminal() => builder.init(),
        LogFormat::Text => builder.with_ansi(false).with_writer(|| OneLine(unlocked_stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// The levels of libraries that `RUST_LOG` does not name. The gateway logs the subjects of their other lines itself,
/// once: sqlx logs each refused connection and each slow statement, actix_http each malformed request.
const LIBRARIES: [(&str, LevelFilter); 6] = [
    ("sqlx", LevelFilter::WARN),
    ("sqlx::pool", LevelFilter::OFF),
    ("sqlx::query", LevelFilter::OFF),
    ("sqlx_core::pool", LevelFilter::OFF),
    ("actix_server", LevelFilter::WARN),
    ("actix_http", LevelFilter::OFF),
];

/// Returns the default directives with those of `RUST_LOG` behind them. If the variable is malformed, a warning is
/// written and the default is used.
fn filter() -> EnvFilter {
    let given = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    EnvFilter::try_new(directives(&given)).unwrap_or_else(|error| {
        crate::say(&format_args!(
            "RUST_LOG: expected directives like `info,access=warn`, found `{given}`: {error}; the default is used"
        ));
        EnvFilter::new(directives(""))
    })
}

/// Returns the default directives with the `given` ones behind them. A default of a library is left out if a given
/// directive names the library or a part of it, or if it would let through more than a given level for everything.
fn directives(given: &str) -> String {
    let given_targets = || {
        let targets = given.split(',').filter_map(|directive| directive.split(['=', '[']).next()).map(str::trim);
        targets.filter(|target| !target.is_empty())
    };
    let level = given_targets().filter_map(|word| word.parse().ok()).next_back().unwrap_or(LevelFilter::INFO);
    let is_named = |library: &str| given_targets().any(|target| library.starts_with(target));
    let libraries = LIBRARIES.iter().filter(|(library, max_level)| !is_named(library) && *max_level <= level);
    let mut directives = LevelFilter::INFO.to_string();
    for (library, max_level) in libraries {
        directives += &format!(",{library}={max_level}");
    }
    if given.is_empty() { directives } else { directives + "," + given }
}

/// Standard error without its lock, which the threads would contend for. A line is one write(2), and the kernel does
/// not mix lines of up to 4,096 bytes (pipe(7), PIPE_BUF). Where standard error is closed, lines are dropped.
fn unlocked_stderr() -> OptionalWriter<&'static File> {
    static STDERR: LazyLock<Option<File>> =
        LazyLock::new(|| io::stderr().as_fd().try_clone_to_owned().ok().map(File::from));
    STDERR.as_ref().map_or_else(OptionalWriter::none, OptionalWriter::some)
}

/// Writes each event as one line: control characters inside it are escaped. The subscriber escapes those of terminals
/// alone, but a message may quote a line feed of a client or an upstream.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// Writes one event, which ends with a line feed: the subscriber formats it first.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        // Without an early exit the loop is vectorized.
        if text.iter().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~')) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let mut line = String::with_capacity(event.len() + 16);
        for c in String::from_utf8_lossy(text).chars() {
            if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn given_directives_are_read_behind_the_default_ones() {
        let default =
            "info,sqlx=warn,sqlx::pool=off,sqlx::query=off,sqlx_core::pool=off,actix_server=warn,actix_http=off";
        for (given, expected) in [
            ("", default.to_owned()),
            ("info,access=warn", format!("{default},info,access=warn")),
            ("debug", format!("{default},debug")),
            // A named library has no default.
            ("sqlx=debug", "info,actix_server=warn,actix_http=off,sqlx=debug".to_owned()),
            ("sqlx::query=debug", format!("{},sqlx::query=debug", default.replace(",sqlx::query=off", ""))),
            (
                "actix_server=info, actix_http",
                format!("{},actix_server=info, actix_http", &default[..default.find(",actix").unwrap()]),
            ),
            // No library has a higher level than everything else.
            ("error", "info,sqlx::pool=off,sqlx::query=off,sqlx_core::pool=off,actix_http=off,error".to_owned()),
        ] {
            assert_eq!(directives(given), expected, "{given}");
            assert!(EnvFilter::try_new(directives(given)).is_ok(), "{given}");
        }
        let documented = include_str!("../../docs/configuration.md");
        assert!(documented.contains(&format!("`{default}`")), "docs/configuration.md states another default");
    }

    #[test]
    fn an_event_is_one_line_with_its_fields() {
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);

        impl Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let buffer = Buffer::default();
        let lines = buffer.clone();
        let builder = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
        let subscriber = builder.with_writer(move || OneLine(lines.clone())).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                path = "/buildid/ab/debuginfo",
                status = 200_u16,
                seconds = 0.25,
                was_reset = false,
                "plain"
            );
            tracing::info!(path = "a \"quoted\"\n line", "two {}", 2);
            tracing::warn!(cause = %"refused\nforged", "unavailable");
            tracing::info!("{}", "one\ntwo\r\u{1b}[31m \u{e9}");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                r#"INFO plain path="/buildid/ab/debuginfo" status=200 seconds=0.25 was_reset=false"#,
                r#"INFO two 2 path="a \"quoted\"\n line""#,
                r"WARN unavailable cause=refused\nforged",
                "INFO one\\ntwo\\r\\x1b[31m \u{e9}",
            ]
        );
    }
}
