//! Log lines: on stderr, structured; `RUST_LOG` chooses what is said.

use std::env;
use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::OptionalWriter;

/// How log lines look.
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
    let filter = filter();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(unlocked_stderr);
    match format {
        LogFormat::Text if io::stderr().is_terminal() => builder.with_timer(Utc).init(),
        LogFormat::Text => builder.with_timer(Utc).with_ansi(false).fmt_fields(PlainFields).init(),
        LogFormat::Json => builder.with_timer(Utc).json().flatten_event(true).init(),
    }
}

/// What of the libraries is logged unless `RUST_LOG` names them. What their other lines are about is logged by the gateway
/// itself, once: sqlx writes one for each connection that is refused and for each slow statement, actix_http one for each
/// client's malformed request.
const LIBRARIES: [(&str, LevelFilter); 6] = [
    ("sqlx", LevelFilter::WARN),
    ("sqlx::pool", LevelFilter::OFF),
    ("sqlx::query", LevelFilter::OFF),
    ("sqlx_core::pool", LevelFilter::OFF),
    ("actix_server", LevelFilter::WARN),
    ("actix_http", LevelFilter::OFF),
];

/// What `RUST_LOG` lets through in addition to the default. The default alone holds without the variable, and, with a warning,
/// where the variable cannot be read.
fn filter() -> EnvFilter {
    let given = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    EnvFilter::try_new(directives(&given)).unwrap_or_else(|error| {
        crate::say(&format_args!(
            "RUST_LOG: expected directives like `info,access=warn`, found `{given}`: {error}; the default is used"
        ));
        EnvFilter::new(directives(""))
    })
}

/// The default directives with the `given` ones behind them. Left out are those of libraries that a given one names, whole or
/// in part, and those that would let through more than a given level for everything.
fn directives(given: &str) -> String {
    let given_targets = || {
        let targets = given.split(',').filter_map(|directive| directive.split(['=', '[']).next()).map(str::trim);
        targets.filter(|target| !target.is_empty())
    };
    let level = given_targets().filter_map(|word| word.parse().ok()).next_back().unwrap_or(LevelFilter::INFO);
    let is_named = |library: &str| given_targets().any(|target| library.starts_with(target));
    let libraries = LIBRARIES.iter().filter(|(library, most)| !is_named(library) && *most <= level);
    let mut directives = LevelFilter::INFO.to_string();
    for (library, most) in libraries {
        directives += &format!(",{library}={most}");
    }
    if given.is_empty() { directives } else { directives + "," + given }
}

/// Standard error without its lock, for which the threads would queue up: a line is one write(2), and up to 4,096 bytes, which every
/// request's line stays below, the kernel does not mix it with others (pipe(7), PIPE_BUF). Nothing, where it is closed.
fn unlocked_stderr() -> OptionalWriter<&'static File> {
    static STDERR: LazyLock<Option<File>> =
        LazyLock::new(|| io::stderr().as_fd().try_clone_to_owned().ok().map(File::from));
    STDERR.as_ref().map_or_else(OptionalWriter::none, OptionalWriter::some)
}

/// The time as the subscriber writes it itself, `2026-11-25T18:51:04.123456Z`, at a fifth of the price.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_micros(SystemTime::now()))
    }
}

/// Fields as the subscriber writes them itself, `name=value name="text"`, without looking for colours: every request is a line, and this
/// was a tenth of what a request costs. Fractions are those of JSON, 0.000012 rather than 1.2e-5.
struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = PlainVisitor { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct PlainVisitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl PlainVisitor<'_> {
    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // Of events that came through the crate log, the subscriber has written these already.
        if self.result.is_err() || field.name().starts_with("log.") {
            return;
        }
        let gap = if std::mem::take(&mut self.is_first) { "" } else { " " };
        self.result = match field.name() {
            MESSAGE => self.writer.write_str(gap),
            name => [gap, name, "="].into_iter().try_for_each(|text| self.writer.write_str(text)),
        };
        self.result = self.result.and_then(|()| write(&mut self.writer));
    }
}

/// The field that stands without its name.
const MESSAGE: &str = "message";

impl Visit for PlainVisitor<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |writer| writer.write_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |writer| writer.write_str(if value { "true" } else { "false" }));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, |writer| writer.write_str(zmij::Buffer::new().format(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // To the end in any case: without a way out the loop takes many bytes at once.
        let is_plain = value
            .bytes()
            .fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~' if byte != b'"' && byte != b'\\'));
        match field.name() {
            MESSAGE => self.record_debug(field, &format_args!("{value}")),
            _ if is_plain => {
                self.write(field, |writer| ["\"", value, "\""].into_iter().try_for_each(|text| writer.write_str(text)))
            }
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != MESSAGE {
            return self.write(field, |writer| write!(writer, "{value:?}"));
        }
        // A message may quote what somebody sent: no line ends in the middle of it, and no terminal is steered by it.
        let text = format!("{value:?}");
        self.write(field, |writer| {
            text.chars().try_for_each(|c| {
                if c.is_control() { write!(writer, "{}", c.escape_default()) } else { writer.write_char(c) }
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
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
            // Who names a library has all of it.
            ("sqlx=debug", "info,actix_server=warn,actix_http=off,sqlx=debug".to_owned()),
            ("sqlx::query=debug", format!("{},sqlx::query=debug", default.replace(",sqlx::query=off", ""))),
            (
                "actix_server=info, actix_http",
                format!("{},actix_server=info, actix_http", &default[..default.find(",actix").unwrap()]),
            ),
            // No library is louder than everything else.
            ("error", "info,sqlx::pool=off,sqlx::query=off,sqlx_core::pool=off,actix_http=off,error".to_owned()),
        ] {
            assert_eq!(directives(given), expected, "{given}");
            assert!(EnvFilter::try_new(directives(given)).is_ok(), "{given}");
        }
        let documented = include_str!("../../docs/configuration.md");
        assert!(documented.contains(&format!("`{default}`")), "docs/configuration.md states another default");
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(builder: impl FnOnce(Lines) -> Box<dyn tracing::Subscriber + Send + Sync>) -> String {
        let lines = Lines::default();
        tracing::subscriber::with_default(builder(lines.clone()), || {
            tracing::info!(path = "/buildid/ab/debuginfo", status = 200, seconds = 0.25, was_reset = false, "plain");
            tracing::info!(status = 200_u16, whole = 1.0, tiny = 1.5e-9, none = f64::NAN, "numbers");
            tracing::info!(path = "a \"quoted\"\n line", agent = ?"gdb", "two {}", 2);
            tracing::warn!(cause = %"refused", "away");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_are_those_of_the_subscriber_itself() {
        let ours = |lines: Lines| {
            let builder = tracing_subscriber::fmt().without_time().with_ansi(false).fmt_fields(PlainFields);
            Box::new(builder.with_writer(move || lines.clone()).finish()) as Box<dyn tracing::Subscriber + Send + Sync>
        };
        let usual = |lines: Lines| {
            let builder = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || lines.clone());
            Box::new(builder.finish()) as Box<dyn tracing::Subscriber + Send + Sync>
        };
        assert_eq!(said(ours), said(usual));
        assert!(
            said(ours).contains(r#"plain path="/buildid/ab/debuginfo" status=200 seconds=0.25 was_reset=false"#),
            "{}",
            said(ours)
        );
    }

    #[test]
    fn a_time_is_that_of_the_subscriber_itself() {
        let text = |timer: &dyn Fn(&mut Writer<'_>) -> fmt::Result| {
            let mut text = String::new();
            timer(&mut Writer::new(&mut text)).unwrap();
            text
        };
        let usual = text(&|writer| tracing_subscriber::fmt::time::SystemTime.format_time(writer));
        let ours = text(&|writer| Utc.format_time(writer));
        let read = |text: &str| humantime::parse_rfc3339(text).unwrap();
        assert_eq!(ours.len(), usual.len(), "{ours} {usual}");
        assert!(
            read(&ours).duration_since(read(&usual)).unwrap() < std::time::Duration::from_secs(5),
            "{ours} {usual}"
        );
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).fmt_fields(PlainFields);
        tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), || {
            tracing::info!("{}", "one\ntwo\u{1b}[31m");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("one\\ntwo\\u{1b}[31m\n") && text.lines().count() == 1, "{text:?}");
    }
}
