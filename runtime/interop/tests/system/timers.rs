//! Delayed messages and their cancellation, over a `kill -9`: of functions inside of the runtime and of
//! remote ones, few of them and many.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::application::{Application, lasting_port};
use crate::restart::endpoint;

/// Long enough to send everything before it and to kill the process.
const DELAY: Duration = Duration::from_secs(8);

/// Long enough for whatever would come twice.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Instances that send delayed messages.
const INSTANCES: usize = 50;

/// The function server; killed when dropped.
struct FarPuppet(Child);

impl FarPuppet {
    fn start(port: u16) -> Result<Self> {
        Ok(Self(Command::new(env!("CARGO_BIN_EXE_far-puppet")).arg(port.to_string()).spawn()?))
    }
}

impl Drop for FarPuppet {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn delayed_messages_and_cancellations_survive_a_kill() -> Result<()> {
    survive_a_kill("sys/puppet", "")
}

#[test]
fn so_do_those_of_remote_functions() -> Result<()> {
    let port = lasting_port()?;
    let _far = FarPuppet::start(port)?;
    survive_a_kill("far/puppet", &endpoint("far/*", port).replace("/f\n", "/statefun\n"))
}

fn notes(application: &Application, puppet: &str, number: usize) -> Result<Vec<String>> {
    let mut notes = application.ask(&format!("/{puppet}/p{number}"), "list")?;
    notes.truncate(notes.trim_end().len());
    let mut notes: Vec<_> = notes.split_terminator('\n').map(str::to_owned).collect();
    notes.sort_unstable();
    Ok(notes)
}

fn survive_a_kill(puppet: &str, documents: &str) -> Result<()> {
    let mut application = Application::new()?;
    application.start(documents, &[])?;
    let began = Instant::now();
    for number in 0..INSTANCES {
        let path = format!("/{puppet}/p{number}");
        for line in [
            "after 8000 - plain",
            "after 8000 gone never",
            "cancel gone",
            // Used again while it is live, a token is taken from the message that holds it.
            "after 7500 changed first",
            "after 8000 changed last",
            // Free again: its message was cancelled.
            "after 8000 gone again",
            "after 3600000 later never",
        ] {
            application.accepted(&path, line)?;
        }
        // An answer: all of it is durable, and nothing of it has fired.
        application.ask(&path, "list")?;
    }
    ensure!(began.elapsed() < DELAY, "this machine is too slow to tell anything");
    ensure!(notes(&application, puppet, 0)?.is_empty());
    application.kill()?;

    application.start(documents, &[])?;
    // A token is still good for cancelling after the restart.
    application.accepted(&format!("/{puppet}/p0"), "cancel later")?;
    application.wait_for("everything that was due has come", |application| {
        let mut fired = 0;
        for number in 0..INSTANCES {
            fired += notes(application, puppet, number)?.len();
        }
        Ok(fired >= 3 * INSTANCES)
    })?;
    ensure!(began.elapsed() >= DELAY, "it fired too early");
    std::thread::sleep(AFTERWARDS);
    for _ in 0..2 {
        for number in 0..INSTANCES {
            let notes = notes(&application, puppet, number)?;
            ensure!(notes == ["again", "last", "plain"], "p{number}: {notes:?}");
        }
        application.kill()?;
        application.start(documents, &[])?;
    }
    application.stop()
}

#[test]
fn many_delayed_messages_stay_on_the_disk_and_come_once() -> Result<()> {
    const PUPPETS: usize = 40;
    const EACH: usize = 5_000;
    const BOUND_MIB: f64 = 128.0;
    let memory = ["--memory", "128MB"];
    let mut application = Application::new()?;
    application.start("", &memory)?;
    for number in 0..PUPPETS {
        application.tell(&format!("p{number}"), &format!("alarms {EACH} 8000 6000"))?;
    }
    application.wait_for("all are sent", |application| {
        Ok(application.metric("dormouse_effects_total")? >= (PUPPETS * EACH) as f64)
    })?;
    application.kill()?;
    let began = Instant::now();
    application.start("", &memory)?;
    println!("ready after {:?} with {} pending", began.elapsed(), PUPPETS * EACH);
    application.wait_for("all have fired", |application| {
        let counts = (0..PUPPETS).map(|number| Ok(notes(application, "sys/puppet", number)?.len()));
        Ok(counts.collect::<Result<Vec<_>>>()?.iter().all(|count| *count >= EACH))
    })?;
    for number in 0..PUPPETS {
        let count = notes(&application, "sys/puppet", number)?.len();
        ensure!(count == EACH, "p{number}: {count} of {EACH} have come");
    }
    let peak = application.peak_mib()?;
    println!("peak {peak:.0} MiB");
    ensure!(peak < BOUND_MIB, "{peak:.0} MiB");
    application.stop()
}
