//! What can be typed. Values that are settings too are kept as text: the table of settings checks
//! them, so that a flag, `--set` and a configuration file mean the same and complain alike.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs stateful functions: small pieces of logic that keep their state and talk by messages,
/// exactly once.
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an application until it is asked to stop (SIGTERM, Ctrl-C)
    Run(Box<RunArguments>),
    /// Report everything that is wrong with manifests, and run nothing
    Check(CheckArguments),
    /// Check a data directory that no process uses for damage
    Scrub(ScrubArguments),
    /// Make a new application in Rust: a function, a manifest and a test
    New(NewArguments),
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Manifests, or directories that hold one [default: ./module.yaml]
    #[arg(value_name = "MODULE.yaml | DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Data directory [default: `.dormouse` beside the first manifest]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// `embedded`, or `memory`: everything is gone with the process [default: embedded]
    #[arg(long, value_name = "KIND")]
    pub(crate) store: Option<String>,
    /// Threads that run functions [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Fixed when the data directory is made [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<String>,
    /// Bound of the peak resident memory [default: 512MB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Where health and metrics listen [default: 127.0.0.1:9095]
    #[arg(long, value_name = "ADDR | off")]
    pub(crate) admin: Option<String>,
    /// Start although an egress with unconfirmed records is no longer in the manifest
    #[arg(long)]
    pub(crate) allow_orphans: bool,
    /// A YAML file with settings; all keys are in docs/configuration.md
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting; wins over the configuration file
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// Manifests, or directories that hold one [default: ./module.yaml]
    #[arg(value_name = "MODULE.yaml | DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ScrubArguments {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct NewArguments {
    /// Name of the application, and of its directory
    pub(crate) name: String,
}
