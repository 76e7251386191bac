//! Errors that end a command, and exit statuses.

use std::process::ExitCode;

use crate::report::output::{OutputError, print, print_error};

/// An archive was broken or unreadable, or the database failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration; clap uses it too.
pub(crate) const USAGE: u8 = 2;
/// Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// The result of a command.
pub(crate) type Result<T, E = CommandFailure> = std::result::Result<T, E>;

/// The reason why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandFailure {
    /// The command line or a configuration file is wrong.
    #[error("{0}")]
    Usage(String),
    /// A sentence of the original's command.
    #[error("{sentence}")]
    Original {
        /// The sentence, as the original printed it.
        sentence: &'static str,
        /// The reason, which the original did not print.
        detail: Option<String>,
    },
    /// The index failed.
    #[error(transparent)]
    Index(sql::Error),
    /// Anything else.
    #[error("{0:#}")]
    Local(anyhow::Error),
}

impl CommandFailure {
    /// Returns a failure of this machine.
    pub(crate) fn local(error: impl Into<anyhow::Error>) -> Self {
        Self::Local(error.into())
    }

    /// Prints the error and returns the exit status. The original's sentences are printed on standard output, as
    /// before.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Original { sentence, detail } = self {
            if let Some(detail) = detail {
                print_error(&format_args!("darkserver-import: {detail}"));
            }
            // An error of standard output cannot be reported anywhere.
            let _ = print(sentence);
        } else {
            print_error(&format_args!("darkserver-import: {self}"));
        }
        ExitCode::from(match self {
            Self::Usage(_) | Self::Original { .. } => USAGE,
            Self::Index(_) | Self::Local(_) => FAILED,
        })
    }
}

impl From<OutputError> for CommandFailure {
    fn from(error: OutputError) -> Self {
        Self::local(error)
    }
}

impl From<sql::Error> for CommandFailure {
    fn from(error: sql::Error) -> Self {
        match error {
            sql::Error::Url { .. }
            | sql::Error::Configuration { .. }
            | sql::Error::File { .. }
            | sql::Error::Toml { .. } => Self::Usage(error.to_string()),
            error => Self::Index(error),
        }
    }
}
