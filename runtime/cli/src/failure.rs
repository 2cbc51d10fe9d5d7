//! Why a command ends without having done what it was asked to, and with which exit code.

use std::process::ExitCode;

/// One clear line, or several when there is more than one thing wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// What was given is wrong: arguments, settings, manifests.
    #[error("{0}")]
    Input(String),
    /// Everything that is wrong was printed already.
    #[error("the input has errors")]
    Reported,
    /// What was given is fine, and yet it cannot be done: a port is taken, a disk is full.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Input(_) | Self::Reported => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}
