//! Why a function failed. A failure blocks the function's own address only: nothing of its batch is
//! applied, and the runtime calls again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Any error that can move between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A function's failure, made from any error by `?`.
pub struct FunctionError(Box<Failure>);

struct Failure {
    source: BoxError,
    retry_after: Option<Duration>,
}

impl FunctionError {
    /// A failure with a text of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self::from_box(message.into().into())
    }

    /// A failure with another error behind it.
    #[must_use]
    pub fn from_box(source: BoxError) -> Self {
        Self(Box::new(Failure { source, retry_after: None }))
    }

    /// Asks the runtime to leave this address alone for so long.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// How long the runtime is asked to leave this address alone.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The error that it was made from.
    #[must_use]
    pub fn source(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.source
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for FunctionError {
    fn from(error: E) -> Self {
        Self::from_box(Box::new(error))
    }
}

impl fmt::Display for FunctionError {
    /// The error and everything behind it: `a: b: c`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.source)?;
        let mut behind = self.0.source.source();
        while let Some(error) = behind {
            write!(f, ": {error}")?;
            behind = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the order was refused")]
    struct Refused(#[from] std::num::ParseIntError);

    fn order() -> Result<i32, Refused> {
        Ok("x".parse::<i32>()?)
    }

    fn function() -> Result<(), FunctionError> {
        order()?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_a_failure_with_all_its_causes() {
        assert_eq!(
            function().unwrap_err().to_string(),
            "the order was refused: invalid digit found in string"
        );
    }

    #[test]
    fn a_failure_can_ask_for_a_pause() {
        let error = FunctionError::new("busy").retry_after(Duration::from_secs(3));
        assert_eq!(error.to_string(), "busy");
        assert_eq!(error.pause(), Some(Duration::from_secs(3)));
    }
}
