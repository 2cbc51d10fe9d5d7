//! The simulator finds what it is there for: each way to break the engine is found within a thousand
//! seeds. With `--nocapture` it prints at which, and what it says.

use dormouse_engine::breakage::{Breakage, choose};

const SEEDS_MAX: u64 = 1_000;

/// The first seed that fails with the engine broken like this, and what it says.
fn find(breakage: Breakage) {
    choose(Some(breakage));
    let found = (1..=SEEDS_MAX)
        .find_map(|seed| dormouse_sim::run(seed, false).result.err().map(|error| (seed, error)));
    choose(None);
    let (seed, error) = found.unwrap_or_else(|| panic!("{breakage:?} is not found"));
    println!("{breakage:?}: seed {seed}: {}", error.replace('\n', " "));
}

macro_rules! finds {
    ($($name:ident: $breakage:ident,)*) => {
        $(#[test]
        fn $name() {
            find(Breakage::$breakage);
        })*
    };
}

finds! {
    a_repeated_batch_taken_twice: SkipDedupe,
    a_batch_taken_after_a_gap: SkipGapCheck,
    what_leaves_before_it_is_durable: ReleaseEarly,
    inputs_not_written_at_seal: DropPending,
    questions_accepted_and_not_written: ForgetQuestion,
    finished_inputs_not_deleted: KeepPending,
    new_messages_before_pending_ones: PendingAfterNew,
    cancellations_not_written: CancelInMemory,
    confirmations_before_their_mark: ConfirmEarly,
    confirmations_before_their_mark_is_durable: TrimEarly,
    marks_told_before_they_are_durable: StatusEarly,
    marks_not_written: ForgetMark,
    sleep_before_the_last_write_is_readable: SleepEarly,
    a_failed_batch_tried_again_as_one: RetryTogether,
    egress_records_left_in_the_store: ForgetEgress,
    messages_put_aside_and_not_looked_for: ForgetAside,
    trims_not_written: ForgetTrim,
    sleep_before_finished_messages_are_gone: SleepBeforeUsedUp,
    a_fence_without_a_nonce: IntegerFence,
    commits_without_a_number: NoCommitNumber,
    a_reply_that_nobody_fenced: UnfencedReply,
    later_messages_read_before_a_cancellation: ScanBeforeCancel,
    a_reply_that_skips_the_empty_commit: SkipEmptyCommit,
    an_answer_to_an_earlier_call: StaleGeneration,
    delayed_messages_before_their_time: FireEarly,
    delayed_messages_sent_for_a_time_that_was_passed: TimerBehindCursor,
    expired_values_that_come_back: ReviveExpired,
    reports_of_gaps_that_were_overtaken: DropStaleGap,
    entries_read_before_they_are_written: ReadBeforeWrite,
    entries_that_expire_while_they_are_used: ForgetUse,
    given_up_entries_looked_for_too_early: CleanEarly,
    given_up_entries_not_looked_for_after_a_start: ForgetCleared,
    a_dead_letter_that_nobody_wrote: LoseDeadLetter,
    a_dead_letter_that_is_still_pending: KeepBuried,
    a_dead_letter_that_stays_when_it_is_replayed: KeepReplayed,
    a_batch_given_up_as_one: BuryTogether,
}
