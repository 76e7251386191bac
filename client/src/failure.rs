//! What can go wrong, and the exit codes: those of the original, which scripts rely on.

/// The exit code when the server knows nothing.
pub(crate) const NO_DATA: u8 = 1;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server answered something else than its interface promises.
    #[error("{0}")]
    Garbled(String),
    /// The server could not be reached, or answered with an error status.
    #[error("{0}")]
    Unreachable(String),
    /// This machine failed: standard input, standard output, a configuration file or the HTTP client could not be used.
    #[error("{0}")]
    Local(String),
    /// A word on the command line or on standard input is no build-id.
    #[error("{0}")]
    Usage(String),
    /// None of ids, rpm and package was given. The text is the original's.
    #[error("Please provide rpm or id details")]
    NoQuestion,
    /// No server is configured, or its URL is none.
    #[error("{0}")]
    NoServer(String),
}

impl Failure {
    /// A failure of this machine.
    pub(crate) fn local(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Local(format!("{:#}", error.into()))
    }

    /// The exit code, the same as the original's. Wrong options never get here: clap exits with 2.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Garbled(_) => NO_DATA,
            Failure::Unreachable(_) | Failure::Local(_) | Failure::Usage(_) => 2,
            Failure::NoQuestion => 4,
            Failure::NoServer(_) => 5,
        }
    }
}
