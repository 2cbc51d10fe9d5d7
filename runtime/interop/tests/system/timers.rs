//! Delayed messages and their cancellation, over a `kill -9`: of functions inside of the runtime and of
//! remote ones, few of them and many.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::application::{Application, lasting_port};
use crate::restart::endpoint;

const DELAY: Duration = Duration::from_secs(2);

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
            "after 2000 - plain",
            "after 2000 gone never",
            "cancel gone",
            // Used again while it is live, a token is taken from the message that holds it.
            "after 1500 changed first",
            "after 2000 changed last",
            // Free again: its message was cancelled.
            "after 2000 gone again",
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
    // Long enough for whatever would come twice.
    std::thread::sleep(DELAY);
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
