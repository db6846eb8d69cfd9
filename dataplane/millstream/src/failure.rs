//! Why a command of the command line fails. Before it: each command; after it: [`crate::cli`], which ends the process with its status.

/// Why a command did not do what it was asked, and whose move it is.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Usage or configuration: the caller's. Exit status 2.
    Configuration(anyhow::Error),
    /// Anything that went wrong while running. Exit status 1.
    Running(anyhow::Error),
}

impl Failure {
    /// For `map_err`, where the caller can mend it.
    pub(crate) fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self::Configuration(error.into())
    }

    /// For `map_err`, where the caller cannot.
    pub(crate) fn running(error: impl Into<anyhow::Error>) -> Self {
        Self::Running(error.into())
    }
}
