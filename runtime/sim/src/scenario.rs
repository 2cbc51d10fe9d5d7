//! What a seed decides up front: how large the world is, which kind of store it has, what goes wrong
//! how often. Bounds are drawn small, so that a short run meets all of them.

use dormouse_engine::{Limits, Scoping};

use crate::rng::Rng;

/// What differs from seed to seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub partitions: u16,
    pub scoping: Scoping,
    /// One log for all shards; otherwise each partition's commits are taken alone.
    pub is_prefix: bool,
    pub ids: u64,
    pub submits: u64,
    /// Submissions and faults fall into this many microseconds.
    pub busy_us: u64,
    pub crashes: u64,
    pub clock_steps: u64,
    /// Frames are repeated and overtake each other.
    pub frames_stray: bool,
    /// In so many of a thousand invocations.
    pub fails: u64,
    pub hangs: u64,
    pub asks_in_vain: u64,
    pub answers_twice: u64,
    /// In so many of a thousand messages.
    pub poisoned: u64,
    pub call_us_max: u64,
    pub store_us_max: u64,
    pub frame_us_max: u64,
    pub confirm_us_max: u64,
    pub delay_ms_max: u64,
    /// In so many of a thousand messages a delayed one is sent or cancelled, and after it another.
    pub delays: u64,
    /// Among those, so many of a thousand are cancellations.
    pub cancels: u64,
    /// Delays are spread over their whole range, not mostly short.
    pub spreads_delays: bool,
    pub ttl_ms: u64,
    /// In so many of a thousand turns the commit stays open.
    pub unsealed: u64,
}

impl Scenario {
    #[must_use]
    pub fn draw(rng: &mut Rng, submits_max: u64) -> Self {
        let is_prefix = rng.chance(650);
        let scoping = if is_prefix { Scoping::Shard } else { Scoping::Partition };
        let is_rough = rng.chance(700);
        let mut rate = |per_mille: u64| {
            if is_rough && rng.chance(600) { rng.range(0, per_mille) } else { 0 }
        };
        let (fails, hangs, asks_in_vain) = (rate(200), rate(60), rate(40));
        let (answers_twice, poisoned) = (rate(200), rate(100));
        let mixed = Self {
            partitions: rng.pick(&[1, 2, 3, 4, 8, 16]),
            scoping,
            is_prefix,
            ids: rng.pick(&[1, 2, 3, 5, 8, 20]),
            submits: rng.range(5, submits_max),
            busy_us: rng.pick(&[20_000, 200_000, 2_000_000, 8_000_000]),
            crashes: rng.pick(&[0, 1, 1, 2, 3, 5]),
            clock_steps: if rng.chance(200) { rng.range(1, 3) } else { 0 },
            frames_stray: rng.chance(300),
            fails,
            hangs,
            asks_in_vain,
            answers_twice,
            poisoned,
            call_us_max: rng.pick(&[0, 100, 5_000, 200_000]),
            store_us_max: rng.pick(&[10, 1_000, 20_000, 300_000]),
            frame_us_max: rng.pick(&[0, 100, 5_000, 100_000]),
            confirm_us_max: rng.pick(&[0, 1_000, 100_000, 2_000_000]),
            delay_ms_max: rng.pick(&[0, 10, 500, 5_000]),
            delays: rng.pick(&[100, 350, 600]),
            cancels: rng.pick(&[0, 250, 500]),
            spreads_delays: rng.chance(500),
            ttl_ms: rng.pick(&[1, 20, 400, 3_000]),
            unsealed: rng.pick(&[0, 0, 200, 600]),
        };
        if rng.chance(100) { mixed.with_many_timers(rng) } else { mixed }
    }

    /// Many delayed messages of few ids, and a slow store: memory never knows all of them.
    fn with_many_timers(self, rng: &mut Rng) -> Self {
        Self {
            partitions: rng.pick(&[1, 2]),
            ids: rng.pick(&[2, 5]),
            busy_us: 2_000_000,
            crashes: rng.pick(&[0, 1, 2, 6]),
            hangs: 0,
            store_us_max: rng.pick(&[20_000, 300_000]),
            call_us_max: rng.pick(&[0, 5_000]),
            delay_ms_max: rng.pick(&[500, 2_000]),
            delays: 700,
            cancels: 300,
            spreads_delays: true,
            unsealed: rng.pick(&[0, 600]),
            ..self
        }
    }
}

/// Bounds of the shards of one life.
#[must_use]
pub fn limits(rng: &mut Rng) -> Limits {
    if rng.chance(100) {
        return Limits { retry_delay_ms_min: 10, retry_delay_ms_max: 500, ..Limits::default() };
    }
    let mut limits = Limits {
        mailbox_len_max: rng.range(1, 5) as usize,
        mailbox_bytes_max: rng.pick(&[1, 400, 1 << 20]),
        batch_len_max: rng.pick(&[1, 2, 3, 100]),
        batch_bytes_max: rng.pick(&[1, 500, 1 << 20]),
        in_flight_max: rng.pick(&[1, 2, 100]),
        handshakes_max: rng.pick(&[1, 2, 8]),
        handshake_rounds_max: rng.range(0, 3) as u32,
        memory_bytes_max: rng.pick(&[1, 1_000, 4_000, 1 << 20]),
        idle_ms: rng.pick(&[0, 1, 50, 60_000]),
        channel_window_bytes: rng.pick(&[1, 300, 2_000, 1 << 20]),
        egress_window_len: rng.range(1, 4) as usize,
        timers_near_max: rng.pick(&[4, 5, 8, 1_024]),
        timers_per_turn: rng.pick(&[1, 2, 100]),
        scan_rows_max: rng.pick(&[1, 2, 5, 1_024]),
        scan_bytes_max: rng.pick(&[1, 300, 1 << 20]),
        recovering_max: rng.range(1, 3) as usize,
        commits_in_flight_max: rng.pick(&[1, 2, 100]),
        retry_delay_ms_min: rng.pick(&[1, 20, 200]),
        retry_delay_ms_max: rng.range(200, 2_000),
        mailboxes_bytes_max: 0,
    };
    // Not drawn, so that the schedules of known seeds stay what they were.
    limits.mailboxes_bytes_max = limits.scan_bytes_max;
    limits
}
