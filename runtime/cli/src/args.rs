//! What can be typed. Values that are settings too are kept as text: the table of settings checks
//! them, so that a flag, `--set` and a configuration file mean the same and complain alike.

use std::net::SocketAddr;
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
    /// Look at messages that a running process has given up, replay or discard them
    DeadLetters(DeadLettersArguments),
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
pub(crate) struct DeadLettersArguments {
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters, a line each
    List {
        #[command(flatten)]
        selection: Selection,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: usize,
        /// As JSON, an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show everything of single dead letters, with the message's value
    Show {
        /// As the list names them, such as `17-42`
        #[arg(value_name = "LETTER", required = true)]
        letters: Vec<String>,
        /// Where the process's admin listener is
        #[arg(long, value_name = "ADDR", default_value = ADMIN)]
        admin: SocketAddr,
        /// As JSON, an object a line
        #[arg(long)]
        json: bool,
    },
    /// Send messages to their addresses again, behind those that wait there
    Replay {
        /// As the list names them, such as `17-42`
        #[arg(value_name = "LETTER")]
        letters: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "letters")]
        all: bool,
        #[command(flatten)]
        selection: Selection,
    },
    /// Throw messages away
    Discard {
        /// As the list names them, such as `17-42`
        #[arg(value_name = "LETTER")]
        letters: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "letters")]
        all: bool,
        #[command(flatten)]
        selection: Selection,
    },
}

const ADMIN: &str = "127.0.0.1:9095";

/// Which letters, and of which process. Everything given has to fit.
#[derive(Args, Debug)]
pub(crate) struct Selection {
    /// Of this function type
    #[arg(long = "type", value_name = "NAMESPACE/NAME")]
    pub(crate) function_type: Option<String>,
    /// Of this id
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Of this address
    #[arg(long, value_name = "NAMESPACE/NAME/ID", conflicts_with_all = ["function_type", "id"])]
    pub(crate) address: Option<String>,
    /// With this text in the cause
    #[arg(long, value_name = "TEXT")]
    pub(crate) cause: Option<String>,
    /// Where the process's admin listener is
    #[arg(long, value_name = "ADDR", default_value = ADMIN)]
    pub(crate) admin: SocketAddr,
}

#[derive(Args, Debug)]
pub(crate) struct NewArguments {
    /// Name of the application, and of its directory
    pub(crate) name: String,
}
