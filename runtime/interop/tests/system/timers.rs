//! Delayed messages and their cancellation, over a `kill -9`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::application::Application;

const DELAY: Duration = Duration::from_secs(2);

#[test]
fn delayed_messages_and_cancellations_survive_a_kill() -> Result<()> {
    let mut application = Application::new()?;
    application.start("", &[])?;
    let began = Instant::now();
    for number in 0..50 {
        // An answer: all of it is durable, and nothing of it has fired.
        let id = format!("p{number}");
        let path = format!("/sys/puppet/{id}");
        application.tell(&id, "after 2000 - plain")?;
        application.tell(&id, "after 2000 gone never")?;
        application.tell(&id, "cancel gone")?;
        application.tell(&id, "after 1500 changed first")?;
        application.tell(&id, "after 2000 changed last")?;
        application.tell(&id, "after 3600000 later never")?;
        application.ask(&path, "list")?;
    }
    ensure!(began.elapsed() < DELAY, "this machine is too slow to tell anything");
    ensure!(application.notes("p0")?.is_empty());
    application.kill()?;

    application.start("", &[])?;
    // A token is still good for cancelling after the restart.
    application.tell("p0", "cancel later")?;
    application.wait_for("everything that was due has come", |application| {
        let mut fired = 0;
        for number in 0..50 {
            fired += application.notes(&format!("p{number}"))?.len();
        }
        Ok(fired >= 100)
    })?;
    ensure!(began.elapsed() >= DELAY, "it fired too early");
    // Long enough for whatever would come twice.
    std::thread::sleep(DELAY);
    for _ in 0..2 {
        for number in 0..50 {
            let mut notes = application.notes(&format!("p{number}"))?;
            notes.sort_unstable();
            ensure!(notes == ["last", "plain"], "p{number}: {notes:?}");
        }
        application.kill()?;
        application.start("", &[])?;
    }
    application.stop()
}
