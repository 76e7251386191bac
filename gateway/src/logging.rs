//! Log lines: on stderr, structured; `RUST_LOG` chooses what is said.

use std::env;
use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
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

/// What `RUST_LOG` lets through, else the default: without the variable, with an empty one, and, with a word about it, with one that
/// cannot be read.
fn filter() -> EnvFilter {
    // actix_http calls a client's nonsense an error; what matters of it is logged here, too.
    let default = || EnvFilter::new("info,sqlx=warn,actix_server=warn,actix_http=off");
    match env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives).unwrap_or_else(|error| {
            eprintln!(
                "darkserver: RUST_LOG: expected directives like `info,access=warn`, found `{directives}`: {error}; the default is used"
            );
            default()
        }),
        _ => default(),
    }
}

/// Standard error without its lock, for which the threads would queue up: a line is one write(2), and up to 4,096 bytes, which every
/// request's line stays below, the kernel does not mix it with others (pipe(7), PIPE_BUF). Nothing, where it is closed.
fn unlocked_stderr() -> OptionalWriter<&'static File> {
    static STDERR: LazyLock<Option<File>> = LazyLock::new(|| io::stderr().as_fd().try_clone_to_owned().ok().map(File::from));
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
        let is_plain =
            value.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~' if byte != b'"' && byte != b'\\'));
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
            text.chars()
                .try_for_each(|c| if c.is_control() { write!(writer, "{}", c.escape_default()) } else { writer.write_char(c) })
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

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
        assert!(read(&ours).duration_since(read(&usual)).unwrap() < std::time::Duration::from_secs(5), "{ours} {usual}");
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
