//! In which way a request failed.

use std::error::Error as _;
use std::io;

use crate::addresses::NotPublic;

/// In which way a request, or the reading of its response, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No answer, or no further byte, came in time.
    Timeout,
    /// The connection was refused.
    Refused,
    /// The connection ended before the answer was complete.
    Reset,
    /// The answer cannot be read.
    Broken,
}

impl FailureKind {
    /// Classifies an HTTP error.
    pub fn of(error: &reqwest::Error) -> Self {
        let mut below = error.source();
        while let Some(error) = below {
            match error.downcast_ref::<io::Error>().map(Self::of_io) {
                None | Some(Self::Broken) => below = error.source(),
                Some(kind) => return kind,
            }
        }
        match error {
            error if error.is_timeout() => Self::Timeout,
            error if error.is_connect() => Self::Refused,
            error if error.is_request() || error.is_body() => Self::Reset,
            _ => Self::Broken,
        }
    }

    /// Classifies an error of reading or writing.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            _ => Self::Broken,
        }
    }
}

/// True if a later request would fail alike: the host has no public address and must have one, or its certificate is
/// not trusted.
pub fn is_permanent(error: &reqwest::Error) -> bool {
    let mut below = error.source();
    while let Some(error) = below {
        if error.downcast_ref::<io::Error>().is_some_and(is_permanent_io) {
            return true;
        }
        below = error.source();
    }
    false
}

/// [`is_permanent`] for one error of input or output, which can have another one inside.
fn is_permanent_io(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        let is_nested = inner.downcast_ref::<io::Error>().is_some_and(is_permanent_io);
        inner.is::<NotPublic>() || inner.is::<rustls::Error>() || is_nested
    })
}

/// An HTTP error with what lies below it, without the URL: that may hold credentials.
pub fn reason(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::from("request failed") };
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}
