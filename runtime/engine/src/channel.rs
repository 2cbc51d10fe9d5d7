//! Numbered messages from one partition to another: what the sender keeps until it is confirmed, and
//! how far the receiver has taken it. The receiver's mark is part of its commits, so a repeat is
//! recognised and nothing is taken twice.

use std::collections::VecDeque;
use std::sync::Arc;

use dormouse_protocol::{Message, Partition};
use smallvec::SmallVec;

/// One frame between the owners of two partitions.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The partition that the frame comes from (not always the sender of the messages).
    pub from: Partition,
    pub to: Partition,
    pub body: FrameBody,
}

/// The messages of a batch. Between two partitions mostly one or two go at a time: these cost no list.
pub type BatchMessages = SmallVec<[Arc<Message>; 2]>;

#[derive(Clone, Debug)]
pub enum FrameBody {
    /// All messages numbered `after + 1 ..= after + messages.len()`, from `from` to `to`.
    Batch { epoch: u64, after: u64, opens: bool, messages: BatchMessages },
    /// `from` has taken everything numbered at most `taken`, and will not lose that.
    Confirm { epoch: u64, taken: u64 },
    /// `from` misses messages: it has taken `taken` and got a batch that begins later.
    Gap { epoch: u64, taken: u64 },
    /// How far has `to` taken the messages of `from`?
    Ask,
    /// The answer: what `from` has taken and will not lose.
    Status { epoch: u64, taken: u64 },
}

/// The sender's side of a channel.
#[derive(Debug)]
pub(crate) struct OutChannel {
    pub(crate) epoch: u64,
    /// The next number to give out; numbers begin at 1. And what it was in the last commit that says so.
    pub(crate) next: u64,
    pub(crate) sealed_next: u64,
    /// Confirmed by the receiver.
    pub(crate) trimmed: u64,
    /// Highest number whose commit may leave.
    pub(crate) released: u64,
    /// Highest number handed to the driver since the channel was opened.
    pub(crate) sent: u64,
    /// Entries in memory: numbered `window_first ..`, without a gap.
    pub(crate) window: VecDeque<Arc<Message>>,
    pub(crate) window_first: u64,
    pub(crate) window_bytes: usize,
    /// Entries after the window wait in the store.
    pub(crate) spilled: bool,
    pub(crate) loading: bool,
    /// The receiver said how far it is (or the channel is new).
    pub(crate) is_open: bool,
    /// `trimmed` when the receiver was asked last: its owner knows of no less.
    pub(crate) asked: u64,
    /// The next batch opens a new epoch at the receiver.
    pub(crate) opens: bool,
    /// Already listed in the open commit.
    pub(crate) is_touched: bool,
}

impl OutChannel {
    /// A channel that nothing was sent on.
    pub(crate) fn fresh() -> Self {
        Self { opens: true, is_open: true, ..Self::stored(1, 1, 0) }
    }

    /// A channel as stored: the receiver has to be asked how far it is.
    pub(crate) fn stored(epoch: u64, next: u64, trimmed: u64) -> Self {
        Self {
            epoch,
            next,
            sealed_next: next,
            trimmed,
            released: next - 1,
            sent: trimmed,
            window: VecDeque::new(),
            window_first: trimmed + 1,
            window_bytes: 0,
            spilled: next > trimmed + 1,
            loading: false,
            is_open: false,
            asked: trimmed,
            opens: false,
            is_touched: false,
        }
    }

    /// Whether the receiver has confirmed everything.
    pub(crate) fn is_drained(&self) -> bool {
        self.trimmed + 1 == self.next
    }

    /// The number after the last one in memory.
    pub(crate) fn window_end(&self) -> u64 {
        self.window_first + self.window.len() as u64
    }

    pub(crate) fn push(&mut self, message: Arc<Message>) {
        self.window_bytes += message.weight();
        self.window.push_back(message);
    }

    /// Forgets what is confirmed.
    pub(crate) fn trim(&mut self, taken: u64) {
        self.trimmed = self.trimmed.max(taken);
        while self.window_first <= self.trimmed {
            let Some(message) = self.window.pop_front() else {
                break;
            };
            self.window_bytes -= message.weight();
            self.window_first += 1;
        }
        if self.window.is_empty() {
            self.window_first = self.window_first.max(self.trimmed + 1);
        }
    }
}

/// The receiver's side of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InMark {
    pub(crate) epoch: u64,
    pub(crate) taken: u64,
    /// Of these, what will not be lost: all that the sender may be told.
    pub(crate) confirmed: u64,
    /// Already listed in the open commit.
    pub(crate) is_touched: bool,
}
