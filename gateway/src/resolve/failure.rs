//! Why something was not to be had.

/// Why a location gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It definitely does not have the file.
    #[error("{0}")]
    Absent(String),
    /// It could not be asked, or what it gave is broken.
    #[error("{0}")]
    Unknown(String),
    /// It is not to blame: this machine could not take the file, wherever it comes from.
    #[error("{0}")]
    Here(String),
}
