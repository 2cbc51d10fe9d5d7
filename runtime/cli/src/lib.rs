//! The whole command line of Dormouse. An application with functions in Rust is a binary of its
//! own: it links its functions, calls [`main`], and has this command line.
//!
//! Read in this order: `args` → `paths` (which manifests) → `application` (a directory with a
//! `Cargo.toml` is built and becomes this process) → `options` (settings) → `command`.

mod admin_client;
mod allocator;
mod application;
mod args;
mod command;
mod descriptors;
mod failure;
mod linked;
mod logging;
mod options;
mod paths;
mod report;

/// The code in the guide is compiled with the documentation tests of this package.
#[cfg(doctest)]
#[allow(rustdoc::invalid_codeblock_attributes, reason = "commands have marks of their own")]
#[doc = include_str!("../../../docs/guide.md")]
mod guide {}

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};

/// Runs the command that this process was started with. Answers 0 when it did what it was asked to,
/// 1 when the application could not start or failed while it ran, 2 for bad input: arguments,
/// settings, manifests.
#[must_use]
pub fn main() -> ExitCode {
    allocator::configure();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody reads it when printing fails, so there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match arguments.command {
        Command::Run(arguments) => command::run::run(&arguments),
        Command::Check(arguments) => command::check::check(&arguments),
        Command::Scrub(arguments) => command::scrub::scrub(&arguments),
        Command::DeadLetters(arguments) => command::dead_letters::dead_letters(&arguments),
        Command::New(arguments) => command::new::new(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::failure(&failure);
            failure.exit_code()
        }
    }
}
