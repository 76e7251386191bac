//! Errors and exit codes. The exit codes are those of the original, because scripts rely on them.

/// The exit code if the server has no data.
pub(crate) const NO_DATA: u8 = 1;

/// The reason that there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The answer is not what the server's interface defines.
    #[error("{0}")]
    UnexpectedAnswer(String),
    /// The server could not be reached, or answered with an error status.
    #[error("{0}")]
    Unreachable(String),
    /// Standard input, standard output, a configuration file or the HTTP client could not be used.
    #[error("{0}")]
    Local(String),
    /// The reader of standard output closed it before it had all lines. No message is printed.
    #[error("standard output was closed")]
    ClosedOutput,
    /// A word on the command line or on standard input is no build-id.
    #[error("{0}")]
    Usage(String),
    /// None of ids, rpm and package was given. The text is the original's.
    #[error("Please provide rpm or id details")]
    NoQuery,
    /// No server is configured, or its URL is invalid.
    #[error("{0}")]
    NoServer(String),
}

impl ClientError {
    /// Returns an error of this machine.
    pub(crate) fn local(error: impl Into<anyhow::Error>) -> ClientError {
        ClientError::Local(format!("{:#}", error.into()))
    }

    /// Returns the exit code: the original's, and for closed output that of a program ended by SIGPIPE in a shell.
    /// Invalid options do not get here: clap exits with 2.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            ClientError::UnexpectedAnswer(_) => NO_DATA,
            ClientError::Unreachable(_) | ClientError::Local(_) | ClientError::Usage(_) => 2,
            ClientError::NoQuery => 4,
            ClientError::NoServer(_) => 5,
            ClientError::ClosedOutput => 128 + 13,
        }
    }
}
