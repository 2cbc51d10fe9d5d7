//! `dormouse-chaos [--minutes M] [--seed S]`: hurts a real application under load and keeps exact
//! accounts. Rounds follow each other until the time is over; in each, clients work while faults
//! happen, then everything comes to rest, the application is killed once more, and the accounts are
//! compared.
//!
//! Read in this order: [`faults`] (what happens, to [`processes`] and [`disk`]) → [`client`] and
//! [`ledger`] (the load) → [`tape`] (the records) → [`audit`].

mod audit;
mod client;
mod connection;
mod disk;
mod faults;
mod ledger;
mod processes;
mod tape;
mod timeline;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use rustix::process::geteuid;

use crate::client::Work;
use crate::disk::Disk;
use crate::faults::{Chaos, EndpointChaos};
use crate::ledger::Ledger;
use crate::processes::{Application, Endpoint, Ports};
use crate::tape::Tape;
use crate::timeline::Timeline;

/// Clients that work at the same time.
const CLIENTS: u32 = 16;
/// Set when this process has mounts of its own.
const INSIDE: &str = "DORMOUSE_CHAOS_INSIDE";

/// Hurts an application under load, and checks that nothing is lost and nothing doubled.
#[derive(Debug, Parser)]
#[command(name = "dormouse-chaos")]
struct Arguments {
    /// How long: the round in which the time is over is the last
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What all faults are drawn from [default: by chance]
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if std::env::var_os(INSIDE).is_some() { run(&arguments) } else { go_inside() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts itself again with mounts that nobody else sees, and that end with it.
fn go_inside() -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "filling and breaking a disk takes root, to mount one: run `sudo -E $(which cargo) xtask chaos`"
        );
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(command.exec()).context("cannot start `unshare`; install util-linux")
}

fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("seed {seed}, {} minutes", arguments.minutes);
    // `target/chaos`: what a failed or interrupted run leaves goes with `cargo clean`.
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is in no target directory")?;
    let chaos = target.join("chaos");
    std::fs::create_dir_all(&chaos)?;
    let name = format!("seed-{seed}-");
    let directory = tempfile::Builder::new().prefix(&name).tempdir_in(chaos)?;
    let done = hurt(arguments.minutes, seed, directory.path());
    done.map_err(|error| {
        let kept = directory.keep();
        let again = format!("cargo xtask chaos --minutes {} --seed {seed}", arguments.minutes);
        anyhow!("{error:#}\nseed {seed} (`{again}`); data and logs are in {}", kept.display())
    })
}

fn hurt(minutes: f64, seed: u64, directory: &Path) -> Result<()> {
    let timeline = Timeline::begin();
    let disk = Disk::make(directory)?;
    let ports = Ports::choose()?;
    let data = disk.path().join("data");
    let application = Application::new(directory.to_owned(), data.clone(), ports)?;
    let endpoint = Endpoint::new(directory.to_owned(), ports.endpoint);
    let rng = fastrand::Rng::with_seed(seed);
    let mut chaos = Chaos { application, disk, timeline, rng };
    let done = rounds(&mut chaos, endpoint, minutes, seed);
    if done.is_err() {
        // Whatever state it is in: as it was when the failure was found.
        drop(chaos.application.kill());
        let copy = Command::new("cp").arg("-a").arg(&data).arg(directory.join("data")).status();
        if !copy.is_ok_and(|status| status.success()) {
            eprintln!("the data directory could not be copied whole from the disk");
        }
    }
    done
}

fn rounds(chaos: &mut Chaos, endpoint: Endpoint, minutes: f64, seed: u64) -> Result<()> {
    let ports = chaos.application.ports;
    let mut endpoint = EndpointChaos::begin(endpoint, chaos.timeline, seed);
    let tape = Tape::read(ports.egress);
    let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(Ledger::new).collect();
    chaos.start()?;
    for round in 1.. {
        chaos.timeline.say(format!("round {round}"));
        let is_over = AtomicBool::new(false);
        let work = Arc::new(Work { seed, round, port: ports.ingress, is_over });
        let begin = |ledger| {
            let work = Arc::clone(&work);
            std::thread::spawn(move || client::work(work, ledger))
        };
        let clients: Vec<_> = ledgers.drain(..).map(begin).collect();
        endpoint.go_on();
        let played = chaos.play();
        let calm = endpoint.calm();
        work.is_over.store(true, Ordering::Relaxed);
        played.and(calm)?;
        ledgers = clients.into_iter().map(ended).collect::<Result<_>>()?;
        audit::await_rest(&mut chaos.application, &tape)?;
        chaos.kill()?;
        chaos.start()?;
        audit::await_rest(&mut chaos.application, &tape)?;
        let totals = audit::compare(seed, &chaos.application, &ledgers, &tape)?;
        chaos.timeline.say(format!("nothing lost, nothing doubled: {totals}"));
        if chaos.timeline.minutes() >= minutes {
            break;
        }
    }
    Ok(())
}

fn ended(client: JoinHandle<Result<Ledger>>) -> Result<Ledger> {
    client.join().map_err(|_| anyhow!("a client panicked"))?.context("a client")
}
