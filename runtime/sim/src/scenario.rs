//! What a seed decides up front: how large the world is, which kind of store it has, what goes wrong
//! how often. Bounds are drawn small, so that a short run meets all of them.

use dormouse_engine::{Limits, Scoping};

use crate::rng::Rng;
use crate::shrink::Overrides;

/// Declares the scenario: every value is a number (a flag is 0 or 1), so that each can be overridden by
/// its name.
macro_rules! scenario {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What differs from seed to seed.
        #[derive(Clone, Debug)]
        pub struct Scenario {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Scenario {
            /// The names of all values.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// All values with their names.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            fn set(&mut self, name: &str, value: u64) {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    other => unreachable!("`{other}` was refused when it was read"),
                }
            }
        }
    };
}

scenario! {
    partitions,
    /// Shards of one life at most.
    shards,
    /// One log for all shards; otherwise each partition's commits are taken alone, may be refused
    /// alone, and other shards may take its partitions away.
    is_prefix,
    ids,
    submits,
    /// Submissions and faults fall into this many microseconds.
    busy_us,
    /// All processes die at once, between two steps.
    crashes,
    /// The same, after so few of the actions of a turn.
    crashes_at_action,
    /// A sync fails: the process ends.
    disk_failures,
    /// The disk answers nothing for a while.
    disk_stalls,
    clock_steps,
    /// A shard does nothing for a while, and comes back with what it knew.
    pauses,
    /// A partition is opened by another shard, whatever its owner does. (These and the next need a
    /// store that takes each partition's commits alone.)
    takeovers,
    /// One shard dies, the others live on.
    deaths,
    /// The store forgets what it had acknowledged of a partition, but not synced.
    failovers,
    /// In so many of a thousand commits, one is refused although nothing is wrong with it.
    refusals,
    /// In so many of a thousand commits, the answer is lost and the commit handed in again.
    answers_lost,
    /// Frames are repeated and overtake each other.
    frames_stray,
    /// In so many of a thousand invocations.
    fails,
    hangs,
    asks_in_vain,
    answers_twice,
    /// In so many of a thousand messages.
    poisoned,
    /// A client whose message was not acknowledged before a crash sends it again; the router of the
    /// new life may know another target.
    repeats,
    /// In so many of a thousand invocations the function is ready at once, within the same turn.
    ready_at_once,
    call_us_max,
    store_us_max,
    frame_us_max,
    confirm_us_max,
    delay_ms_max,
    /// In so many of a thousand messages a delayed one is sent or cancelled, and after it another.
    delays,
    /// Among those, so many of a thousand are cancellations.
    cancels,
    /// Delays are spread over their whole range, not mostly short.
    spreads_delays,
    ttl_ms,
    /// In so many of a thousand turns the commit stays open.
    unsealed,
    /// Functions have tables, and in so many of a thousand calls they read of them before they answer.
    entries,
    /// Functions have failure policies, and somebody replays and discards dead letters.
    gives_up,
    /// Another schedule of the same scenario.
    salt,
}

impl Scenario {
    /// The scenario of a seed, with some values overridden.
    #[must_use]
    pub fn of(seed: u64, overrides: &Overrides) -> Self {
        let mut scenario = Self::draw(&mut Rng::new(seed), SUBMITS_MAX);
        // Not drawn: the other seeds, and what else these draw, have nothing to do with it.
        if matches!(seed % 10, 0 | 2 | 8) {
            scenario.entries = [100, 500, 900][(seed / 10 % 3) as usize];
        }
        // Not drawn either.
        scenario.gives_up = u64::from(matches!(seed % 20, 1 | 8 | 9 | 17 | 19));
        for (name, value) in &overrides.0 {
            scenario.set(name, *value);
        }
        if scenario.is_prefix == 1 {
            (scenario.takeovers, scenario.deaths, scenario.failovers) = (0, 0, 0);
            (scenario.refusals, scenario.answers_lost) = (0, 0);
        }
        scenario
    }

    #[must_use]
    pub fn scoping(&self) -> Scoping {
        if self.is_prefix == 1 { Scoping::Shard } else { Scoping::Partition }
    }

    fn draw(rng: &mut Rng, submits_max: u64) -> Self {
        let is_rough = rng.chance(700);
        let mut rate = |per_mille: u64| {
            if is_rough && rng.chance(600) { rng.range(0, per_mille) } else { 0 }
        };
        let (fails, hangs, asks_in_vain) = (rate(200), rate(60), rate(40));
        let (answers_twice, poisoned, repeats) = (rate(200), rate(100), rate(1_000));
        let (refusals, answers_lost) = (rate(30), rate(100));
        let frames_stray = u64::from(rng.chance(400));
        let frames_us: &[u64] =
            if frames_stray == 1 { &[5_000, 100_000] } else { &[0, 100, 5_000, 100_000] };
        let some = |rng: &mut Rng, max| if rng.chance(300) { rng.range(1, max) } else { 0 };
        let mixed = Self {
            partitions: rng.pick(&[1, 2, 3, 4, 8, 16]),
            shards: rng.pick(&[1, 2, 3, 4, 4]),
            is_prefix: u64::from(rng.chance(550)),
            ids: rng.pick(&[1, 2, 3, 5, 8, 20]),
            submits: rng.range(5, submits_max),
            busy_us: rng.pick(&[20_000, 200_000, 2_000_000, 8_000_000]),
            crashes: rng.pick(&[0, 0, 1, 1, 2, 4]),
            crashes_at_action: rng.pick(&[0, 0, 1, 2]),
            disk_failures: some(rng, 2),
            disk_stalls: some(rng, 2),
            clock_steps: some(rng, 3),
            pauses: some(rng, 3),
            takeovers: rng.pick(&[0, 1, 3, 10]),
            deaths: some(rng, 2),
            failovers: some(rng, 3),
            refusals,
            answers_lost,
            frames_stray,
            fails,
            hangs,
            asks_in_vain,
            answers_twice,
            poisoned,
            repeats,
            ready_at_once: rng.pick(&[0, 0, 500, 1_000]),
            call_us_max: rng.pick(&[0, 100, 5_000, 200_000]),
            store_us_max: rng.pick(&[10, 1_000, 20_000, 300_000]),
            frame_us_max: rng.pick(frames_us),
            confirm_us_max: rng.pick(&[0, 1_000, 100_000, 2_000_000]),
            delay_ms_max: rng.pick(&[0, 10, 500, 5_000]),
            delays: rng.pick(&[100, 350, 600]),
            cancels: rng.pick(&[0, 250, 500]),
            spreads_delays: u64::from(rng.chance(500)),
            ttl_ms: rng.pick(&[1, 20, 400, 3_000]),
            unsealed: rng.pick(&[0, 0, 200, 600]),
            entries: 0,
            gives_up: 0,
            salt: 0,
        };
        match rng.below(100) {
            0..20 => mixed.with_many_timers(rng),
            20..45 => mixed.with_changing_owners(rng),
            _ => mixed,
        }
    }

    /// Partitions change hands often and nothing else goes wrong, so that former owners stay what they
    /// are for a while.
    fn with_changing_owners(self, rng: &mut Rng) -> Self {
        Self {
            partitions: rng.pick(&[2, 4, 4]),
            shards: rng.pick(&[2, 3, 4]),
            is_prefix: 0,
            ids: rng.pick(&[1, 2, 3]),
            busy_us: rng.pick(&[200_000, 2_000_000]),
            crashes: 0,
            crashes_at_action: 0,
            disk_failures: 0,
            disk_stalls: 0,
            takeovers: rng.pick(&[10, 30]),
            failovers: rng.pick(&[0, 20]),
            refusals: 0,
            hangs: 0,
            fails: 0,
            poisoned: 0,
            frames_stray: rng.below(2),
            ready_at_once: rng.pick(&[0, 1_000]),
            call_us_max: rng.pick(&[0, 100]),
            store_us_max: rng.pick(&[10, 1_000]),
            frame_us_max: rng.pick(&[100, 100_000]),
            confirm_us_max: 1_000,
            delays: rng.pick(&[0, 100]),
            unsealed: 0,
            ..self
        }
    }

    /// Many delayed messages of few ids, and a slow store: memory never knows all of them.
    fn with_many_timers(self, rng: &mut Rng) -> Self {
        Self {
            partitions: rng.pick(&[1, 2]),
            is_prefix: u64::from(rng.chance(300)),
            ids: rng.pick(&[2, 5]),
            busy_us: 2_000_000,
            crashes: rng.pick(&[0, 1, 2, 6]),
            takeovers: 0,
            failovers: 0,
            deaths: 0,
            hangs: 0,
            store_us_max: rng.pick(&[20_000, 300_000]),
            call_us_max: rng.pick(&[0, 5_000]),
            delay_ms_max: rng.pick(&[500, 2_000, 8_000]),
            delays: 700,
            cancels: rng.pick(&[300, 500]),
            spreads_delays: 1,
            unsealed: rng.pick(&[0, 600]),
            ..self
        }
    }
}

/// Messages submitted by one seed at most.
const SUBMITS_MAX: u64 = 120;

/// Bounds of the shards of one life.
#[must_use]
pub fn limits(rng: &mut Rng) -> Limits {
    if rng.chance(100) {
        return Limits { retry_delay_ms_min: 10, retry_delay_ms_max: 500, ..Limits::default() };
    }
    Limits {
        mailbox_len_max: rng.range(1, 5) as usize,
        mailbox_bytes_max: rng.pick(&[1, 400, 1 << 20]),
        batch_len_max: rng.pick(&[1, 2, 3, 100]),
        batch_bytes_max: rng.pick(&[1, 500, 1 << 20]),
        in_flight_max: rng.pick(&[1, 2, 100]),
        handshakes_max: rng.pick(&[1, 2, 8]),
        handshake_rounds_max: rng.range(0, 3) as u32,
        memory_bytes_max: rng.pick(&[1, 1_000, 4_000, 1 << 20]),
        idle_ms: rng.pick(&[0, 1, 50, 60_000, 60_000]),
        channel_window_bytes: rng.pick(&[1, 300, 2_000, 1 << 20]),
        egress_window_len: rng.range(1, 4) as usize,
        timers_near_max: rng.pick(&[4, 4, 5, 8, 1_024]),
        timers_near_bytes_max: rng.pick(&[1, 2_000, 1 << 20, 1 << 20]),
        timers_per_turn: rng.pick(&[1, 2, 100]),
        scan_rows_max: rng.pick(&[1, 2, 5, 1_024]),
        scan_bytes_max: rng.pick(&[1, 300, 1 << 20]),
        recovering_max: rng.range(1, 3) as usize,
        commits_in_flight_max: rng.pick(&[1, 2, 100]),
        retry_delay_ms_min: rng.pick(&[1, 20, 200]),
        retry_delay_ms_max: rng.range(200, 2_000),
        mailboxes_bytes_max: rng.pick(&[1, 300, 1 << 20]),
        ..Limits::default()
    }
}
