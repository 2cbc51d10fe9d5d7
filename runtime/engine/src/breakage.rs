//! Ways to break the engine on purpose, so that the simulator can show that it would notice. Without
//! the feature `breakages`, which only the simulator's tests turn on, none of this is compiled in.

/// One promise not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "breakages"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Breakage {
    /// A batch that was taken before is taken again.
    SkipDedupe,
    /// A batch that begins after the next number is taken.
    SkipGapCheck,
    /// What waits for durability leaves when the commit is appended.
    ReleaseEarly,
    /// Inputs that are not finished are not written when the commit is sealed.
    DropPending,
    /// A question that takes long is told to be accepted without being written.
    ForgetQuestion,
    /// Finished inputs are not deleted.
    KeepPending,
    /// New messages go before those that a crash left pending.
    PendingAfterNew,
    /// A cancellation is not written.
    CancelInMemory,
    /// Messages are confirmed before their mark is appended.
    ConfirmEarly,
    /// The mark is not written.
    ForgetMark,
    /// Instances are put to sleep before their last write can be read.
    SleepEarly,
    /// A second message of a batch that failed goes out with the first.
    RetryTogether,
    /// An egress record that was left to the store is not looked for.
    ForgetEgress,
    /// A message put aside for want of memory is not looked for.
    ForgetAside,
    /// The nonce of a fence is not compared.
    IntegerFence,
    /// Commits have no number: one is taken although the one before it is missing.
    NoCommitNumber,
    /// A sender is told what was taken before that is safe.
    StatusEarly,
    /// A reply that nothing was written for leaves without asking the store.
    UnfencedReply,
    /// The same, and it does not wait for what was appended before it either.
    SkipEmptyCommit,
    /// Where outbox entries are deleted, the head does not say up to which.
    ForgetTrim,
    /// A sender is told that something was taken before the commit that says so is durable.
    TrimEarly,
    /// The answer to an earlier invocation is taken for the one in flight.
    StaleGeneration,
    /// Delayed messages are sent before their time.
    FireEarly,
    /// That a value was seen expired is not written, and a partition has no time of its own.
    ReviveExpired,
    /// A report of missing messages that a confirmation has overtaken is not heeded.
    DropStaleGap,
    /// A read of later delayed messages does not wait for a cancellation to be readable.
    ScanBeforeCancel,
    /// A delayed message sent for a time that the cursor has passed does not move it back.
    TimerBehindCursor,
    /// Instances are put to sleep before their finished messages are gone from reads.
    SleepBeforeUsedUp,
    /// A message that is given up is not written as a dead letter.
    LoseDeadLetter,
    /// One that has become a dead letter is still pending.
    KeepBuried,
    /// A dead letter stays when its message is put back.
    KeepReplayed,
    /// A batch that failed for the last time is given up without trying its messages alone.
    BuryTogether,
    /// A read of entries does not wait for the address's last write to be readable.
    ReadBeforeWrite,
    /// An entry that is read where it expires after its last use does not live on.
    ForgetUse,
    /// Deleting what was given up does not wait until that is readable.
    CleanEarly,
    /// A start does not look for entries that were given up and not deleted.
    ForgetCleared,
}

#[cfg(feature = "breakages")]
mod chosen {
    use std::cell::Cell;

    use super::Breakage;

    thread_local! {
        static CHOSEN: Cell<Option<Breakage>> = const { Cell::new(None) };
    }

    /// Breaks all engines of this thread from now on, or none.
    pub fn choose(breakage: Option<Breakage>) {
        CHOSEN.set(breakage);
    }

    pub(crate) fn breaks(breakage: Breakage) -> bool {
        CHOSEN.get() == Some(breakage)
    }
}

#[cfg(feature = "breakages")]
pub(crate) use chosen::breaks;
#[cfg(feature = "breakages")]
pub use chosen::choose;

#[cfg(not(feature = "breakages"))]
#[inline(always)]
pub(crate) const fn breaks(_: Breakage) -> bool {
    false
}
