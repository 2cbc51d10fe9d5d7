//! `dormouse new NAME`: an application in Rust that builds, runs and has a test.

use crate::args::NewArguments;
use crate::failure::Failure;

pub(crate) fn new(arguments: &NewArguments) -> Result<(), Failure> {
    Err(Failure::Input(arguments.name.clone()))
}
