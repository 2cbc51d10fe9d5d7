//! Messages whose senders wait for the reply, as clients of an HTTP ingress do. Such a sender is told
//! nothing before the reply, so the message need not be durable before its effects are: it is written as
//! pending only when it takes long. A call of a remote function then costs one commit instead of two.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use dormouse_protocol::{Message, Partition};

use crate::action::Action;
use crate::breakage::{Breakage, breaks};
use crate::event::SubmitToken;
use crate::finish::{Target, is_reply_address};
use crate::shard::Shard;

/// The questions of a shard that need not be written yet.
#[derive(Debug)]
pub(crate) struct Questions {
    /// In the order in which they came.
    asked: VecDeque<Question>,
    /// Number of the first of them. They are numbered without a gap; 1 follows the largest number.
    first: NonZeroU32,
}

#[derive(Debug)]
struct Question {
    write_at_ms: u64,
    partition: Partition,
    /// Where it is, if it is not finished.
    slot: u32,
    /// `None`: the sender is told by the commit that finishes it, or was forgotten.
    token: Option<SubmitToken>,
}

impl Default for Questions {
    fn default() -> Self {
        Self { asked: VecDeque::new(), first: NonZeroU32::MIN }
    }
}

impl Questions {
    /// When the next one has to be written, if it is not finished by then.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.asked.front().map(|question| question.write_at_ms)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// A partition belongs to another shard by now, and its activations are gone.
    pub(crate) fn forget(&mut self, partition: Partition) {
        let of_partition = self.asked.iter_mut().filter(|question| question.partition == partition);
        of_partition.for_each(|question| question.token = None);
    }

    /// The number of the next one.
    fn next_number(&self) -> NonZeroU32 {
        let number = u64::from(self.first.get()) + self.asked.len() as u64;
        let wrapped = (number - 1) % u64::from(u32::MAX) + 1;
        NonZeroU32::new(wrapped as u32).expect("it is at least 1, and fits")
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<(NonZeroU32, Question)> {
        let question = self.asked.pop_front_if(|question| question.write_at_ms <= now_ms)?;
        let number = self.first;
        self.first = number.checked_add(1).unwrap_or(NonZeroU32::MIN);
        Some((number, question))
    }

    fn get_mut(&mut self, number: NonZeroU32) -> Option<&mut Question> {
        let (first, number) = (self.first.get(), number.get());
        let place = if number >= first { number - first } else { u32::MAX - first + number };
        self.asked.get_mut(place as usize)
    }
}

impl Shard {
    pub(crate) fn is_question(&self, message: &Message) -> bool {
        message.caller.as_ref().is_some_and(is_reply_address)
            && self.questions.asked.len() < self.config.limits.questions_max
            && self.config.limits.question_ms > 0
    }

    /// Takes a message whose sender waits for the reply.
    pub(crate) fn take_question(&mut self, at: Target, message: Message, token: SubmitToken) {
        let number = self.questions.next_number();
        let Some(slot) = self.enqueue_at(at, Arc::new(message), Some(number)) else {
            // It was left to the store: it is durable with the open commit.
            self.scope(at.partition).release_when_durable(Action::Accepted(token));
            return;
        };
        let write_at_ms = self.now_ms + self.config.limits.question_ms;
        let (partition, token) = (at.partition, Some(token));
        self.questions.asked.push_back(Question { write_at_ms, partition, slot, token });
    }

    /// The open commit finishes a question, or leaves it to the store: then the sender is told that it was
    /// accepted.
    pub(crate) fn settle_question(&mut self, number: NonZeroU32) {
        let question = self.questions.get_mut(number).expect("what is not written is still known");
        if let Some(token) = question.token.take() {
            let partition = question.partition;
            self.scope(partition).release_when_durable(Action::Accepted(token));
        }
    }

    /// Those that take long are written after all.
    pub(crate) fn write_questions(&mut self) {
        while let Some((number, question)) = self.questions.pop_due(self.now_ms) {
            let Question { partition, slot, token: Some(token), .. } = question else {
                continue;
            };
            let activation = self.activations.get(slot);
            activation
                .batch
                .iter_mut()
                .chain(activation.mailbox.iter_mut())
                .find(|entry| entry.question == Some(number))
                .expect("a question that is not settled is held")
                .question = None;
            if !breaks(Breakage::ForgetQuestion) {
                self.list_input(slot);
            }
            self.scope(partition).release_when_durable(Action::Accepted(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(write_at_ms: u64) -> Question {
        Question { write_at_ms, partition: Partition(0), slot: 0, token: None }
    }

    #[test]
    fn numbers_begin_again_after_the_largest() {
        let mut questions = Questions { first: NonZeroU32::MAX, ..Questions::default() };
        let numbers = [u32::MAX, 1, 2];
        for (at_ms, number) in (1..).zip(numbers) {
            assert_eq!(questions.next_number().get(), number);
            questions.asked.push_back(question(at_ms));
        }
        for (at_ms, number) in (1..).zip(numbers.map(|number| NonZeroU32::new(number).unwrap())) {
            assert_eq!(questions.get_mut(number).unwrap().write_at_ms, at_ms);
        }
        for (at_ms, number) in (1..).zip(numbers) {
            assert_eq!(questions.next_ms(), Some(at_ms));
            assert!(questions.pop_due(at_ms - 1).is_none());
            assert_eq!(questions.pop_due(at_ms).unwrap().0.get(), number);
        }
        assert_eq!(questions.next_number().get(), 3);
    }
}
