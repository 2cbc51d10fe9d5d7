//! What is done to the two processes and the disk: which, when and how long is drawn from the run's seed.
//! Every round plays the whole deck for the application, in another order; the endpoint is hurt beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::disk::Disk;
use crate::processes::{Application, Endpoint};
use crate::timeline::Timeline;

/// What can happen to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    /// Killed again while it recovers, some times.
    KillAgain,
    Pause,
    PauseAndKill,
    /// A clean stop.
    Stop,
    FullDisk,
    /// Read-only at once, and what was not synced is lost.
    BrokenDisk,
}

const DECK: [Fault; 12] = [
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::KillAgain,
    Fault::KillAgain,
    Fault::Pause,
    Fault::Pause,
    Fault::PauseAndKill,
    Fault::Stop,
    Fault::FullDisk,
    Fault::BrokenDisk,
    Fault::BrokenDisk,
];

/// What the kernel says of a full disk, and of one that turned read-only while it was written to.
const NO_ROOM: &[&str] = &["No space left on device"];
const READ_ONLY: &[&str] = &["Read-only file system", "Input/output error"];

/// Hurts the application.
#[derive(Debug)]
pub(crate) struct Chaos {
    pub(crate) application: Application,
    pub(crate) disk: Disk,
    pub(crate) timeline: Timeline,
    pub(crate) rng: fastrand::Rng,
}

impl Chaos {
    /// Starts the application and waits until it serves.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.application.await_ready()
    }

    /// Plays the deck once; the application serves afterwards.
    pub(crate) fn play(&mut self) -> Result<()> {
        let mut deck = DECK;
        self.rng.shuffle(&mut deck);
        for fault in deck {
            self.sleep(300..5_000);
            self.application.check()?;
            self.hurt(fault).with_context(|| format!("{fault:?}"))?;
        }
        Ok(())
    }

    fn hurt(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.kill()?,
            Fault::KillAgain => {
                self.kill()?;
                for _ in 0..self.rng.u32(1..4) {
                    self.spawn()?;
                    self.sleep(0..120);
                    self.kill()?;
                }
            }
            Fault::Pause => return self.pause(),
            Fault::PauseAndKill => {
                self.pause()?;
                self.kill()?;
            }
            Fault::Stop => {
                self.timeline.say("SIGTERM");
                self.application.stop()?;
            }
            Fault::FullDisk => self.full_disk()?,
            Fault::BrokenDisk => self.broken_disk()?,
        }
        self.start()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.timeline.say("kill -9");
        self.application.kill()
    }

    fn pause(&mut self) -> Result<()> {
        let pause = Duration::from_millis(self.rng.u64(50..6_000));
        self.timeline.say(format!("SIGSTOP for {pause:?}"));
        self.application.signal("STOP")?;
        std::thread::sleep(pause);
        self.application.signal("CONT")
    }

    fn full_disk(&mut self) -> Result<()> {
        self.timeline.say("the disk is full");
        self.application.fails_with(NO_ROOM, false, || self.disk.fill())?;
        if self.rng.bool() {
            self.spawn()?;
            let failed = self.application.fails_with(NO_ROOM, true, || self.disk.fill())?;
            let word = if failed { "fails" } else { "serves" };
            self.timeline.say(format!("it {word} when it is started on a full disk"));
        }
        self.disk.free()?;
        self.timeline.say("the disk has room again");
        Ok(())
    }

    fn broken_disk(&mut self) -> Result<()> {
        self.timeline.say("the disk is read-only, unsynced data is lost");
        self.disk.breaks()?;
        self.application.fails_with(READ_ONLY, false, || Ok(()))?;
        if self.rng.bool() {
            self.spawn()?;
            self.application.fails_with(READ_ONLY, false, || Ok(()))?;
            self.timeline.say("it fails when it is started on a read-only disk");
        }
        self.disk.repair()?;
        self.timeline.say("the disk is repaired");
        Ok(())
    }

    /// With settings under which bounds are met and files are changed often.
    fn spawn(&mut self) -> Result<()> {
        let rng = &mut self.rng;
        let mut pick = |values: [&'static str; 3]| values[rng.usize(..3)];
        let settings = [
            ("shards", pick(["1", "2", "3"])),
            ("memory", pick(["96MB", "128MB", "512MB"])),
            ("idle-sleep", pick(["100ms", "1s", "60s"])),
            ("embedded.segment", pick(["1MB", "1MB", "4MB"])),
            ("embedded.log", pick(["8MB", "16MB", "32MB"])),
            ("limits.mailbox-messages", pick(["2", "50", "10000"])),
            ("limits.batch-messages", pick(["1", "10", "1000"])),
            ("limits.channel-window", pick(["1KB", "16KB", "256KB"])),
            ("limits.egress-window", pick(["4", "32", "256"])),
            ("limits.retry-delay-min", "20ms"),
            ("limits.retry-delay-max", pick(["50ms", "300ms", "1s"])),
            ("stop-timeout", "10s"),
        ];
        let settings = settings.map(|(key, value)| format!("{key}={value}"));
        self.timeline.say(format!("start: {}", settings.join(" ")));
        self.application.spawn(&settings)
    }

    fn sleep(&mut self, millis: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(millis)));
    }
}

/// Hurts the endpoint, from its start to the end of the run.
#[derive(Debug)]
pub(crate) struct EndpointChaos {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// Held as long as the endpoint is not well.
    hurt: Mutex<()>,
    is_calm: AtomicBool,
    is_over: AtomicBool,
}

impl EndpointChaos {
    /// Begins calm.
    pub(crate) fn begin(mut endpoint: Endpoint, timeline: Timeline, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            hurt: Mutex::new(()),
            is_calm: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let mut rng = fastrand::Rng::with_seed(!seed);
        let thread = std::thread::spawn(move || {
            endpoint.start()?;
            while !own.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(rng.u64(200..3_000)));
                let _hurt = own.hurt.lock().unwrap_or_else(PoisonError::into_inner);
                if !own.is_calm.load(Ordering::Relaxed) {
                    hurt(&mut endpoint, timeline, &mut rng)?;
                }
            }
            Ok(())
        });
        Self { shared, thread: Some(thread) }
    }

    /// From now on things happen to it.
    pub(crate) fn go_on(&self) {
        self.shared.is_calm.store(false, Ordering::Relaxed);
    }

    /// Nothing happens to it any more, and it is well when this returns.
    pub(crate) fn calm(&mut self) -> Result<()> {
        self.shared.is_calm.store(true, Ordering::Relaxed);
        drop(self.shared.hurt.lock().unwrap_or_else(PoisonError::into_inner));
        match self.thread.take() {
            Some(thread) if thread.is_finished() => {
                let outcome = thread.join().map_err(|_| anyhow!("its thread panicked"));
                outcome.and_then(|ended| ended).context("the endpoint")
            }
            running => {
                self.thread = running;
                Ok(())
            }
        }
    }
}

impl Drop for EndpointChaos {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn hurt(endpoint: &mut Endpoint, timeline: Timeline, rng: &mut fastrand::Rng) -> Result<()> {
    let pause = Duration::from_millis(rng.u64(50..4_000));
    if rng.bool() {
        timeline.say(format!("the endpoint vanishes for {pause:?}"));
        endpoint.kill()?;
        std::thread::sleep(pause);
        return endpoint.start();
    }
    timeline.say(format!("the endpoint hangs for {pause:?}"));
    endpoint.signal("STOP")?;
    std::thread::sleep(pause);
    endpoint.signal("CONT")
}
