//! Every bound of the engine, with its unit, and how the bounds relate.

/// Bounds of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that one address holds in memory; later ones wait in the store.
    pub mailbox_len_max: usize,
    /// Bytes that one address's mailbox holds in memory (one message may exceed it).
    pub mailbox_bytes_max: usize,
    /// Messages of one invocation.
    pub batch_len_max: usize,
    /// Bytes of messages of one invocation (one message may exceed it).
    pub batch_bytes_max: usize,
    /// Invocations under way at once. One type may have as many of them as places are free.
    pub in_flight_max: usize,
    /// First invocations under way at once for a type whose states are not known yet; doubled after each
    /// second in which none has answered.
    pub handshakes_max: usize,
    /// Rounds in which a function may ask for states without naming a new one.
    pub handshake_rounds_max: u32,
    /// Bytes of awake instances: mailboxes, cached state and the activation itself.
    pub memory_bytes_max: usize,
    /// Bytes of messages in all mailboxes of the shard; beyond it, those for busy addresses wait in the
    /// store. Below what closes the ingresses, so that a few that are stuck do not hold up the rest.
    pub mailboxes_bytes_max: usize,
    /// Milliseconds after which an idle instance is put to sleep.
    pub idle_ms: u64,
    /// Bytes of unconfirmed messages that one channel holds in memory; more wait in the store.
    pub channel_window_bytes: usize,
    /// Unconfirmed records that one egress queue of one partition is handed.
    pub egress_window_len: usize,
    /// Delayed messages of one partition that are held in memory; later ones wait in the store.
    pub timers_near_max: usize,
    /// Bytes of them, also those read at once (one message may exceed it).
    pub timers_near_bytes_max: usize,
    /// Delayed messages fired per turn.
    pub timers_per_turn: usize,
    /// Rows of one scan.
    pub scan_rows_max: usize,
    /// Bytes of one scan.
    pub scan_bytes_max: usize,
    /// Addresses with pending messages woken at once by recovery.
    pub recovering_max: usize,
    /// Commits handed to the store and not acknowledged, per scope.
    pub commits_in_flight_max: usize,
    /// Milliseconds for which a message whose sender waits for the reply need not be written, and how many
    /// such messages there may be; further ones are written at once.
    pub question_ms: u64,
    pub questions_max: usize,
    /// First and last pause of a blocked address before it is tried again, in milliseconds.
    pub retry_delay_ms_min: u64,
    pub retry_delay_ms_max: u64,
    /// Longest pause that a function may ask for after a failure, in milliseconds.
    pub retry_after_ms_max: u64,
    /// Dead letters of one partition; at the bound, messages that would become one stay and block their
    /// addresses.
    pub dead_letters_max: u64,
    /// Bytes of the dead letters of one partition (the last one may exceed it).
    pub dead_letter_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_len_max: 10_000,
            mailbox_bytes_max: 1 << 20,
            batch_len_max: 1_000,
            batch_bytes_max: 768 << 10,
            in_flight_max: 16_384,
            handshakes_max: 8,
            handshake_rounds_max: 3,
            memory_bytes_max: 64 << 20,
            mailboxes_bytes_max: 16 << 20,
            idle_ms: 60_000,
            channel_window_bytes: 256 << 10,
            egress_window_len: 256,
            timers_near_max: 1_024,
            timers_near_bytes_max: 512 << 10,
            timers_per_turn: 4_096,
            scan_rows_max: 1_024,
            scan_bytes_max: 1 << 20,
            recovering_max: 1_024,
            commits_in_flight_max: 65_536,
            question_ms: 20,
            questions_max: 16_384,
            retry_delay_ms_min: 1_000,
            retry_delay_ms_max: 300_000,
            retry_after_ms_max: 3_600_000,
            dead_letters_max: 10_000,
            dead_letter_bytes_max: 8 << 20,
        }
    }
}

impl Limits {
    /// Asserts how the bounds relate; called once when a shard is made.
    pub fn check(&self) {
        assert!(self.mailbox_len_max >= 1);
        assert!(self.batch_len_max >= 1);
        assert!(self.in_flight_max >= 1);
        assert!(self.handshakes_max >= 1);
        assert!(self.egress_window_len >= 1);
        assert!(self.timers_near_max >= 4, "timers are reloaded at a quarter of the bound");
        assert!(self.scan_rows_max >= 1);
        assert!(self.recovering_max >= 1);
        assert!(self.commits_in_flight_max >= 1);
        assert!(self.retry_delay_ms_min <= self.retry_delay_ms_max);
    }
}
