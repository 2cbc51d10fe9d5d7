//! The messages that wait for one address, in order. Mostly there is one: it costs no list, and lies
//! where the processor looks anyway.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use dormouse_protocol::Message;

/// A message in a mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) arrival: u64,
    /// Written as pending: it has to be deleted by the commit that finishes it.
    pub(crate) is_persisted: bool,
    /// Its number among the questions, while it is one that need not be written.
    pub(crate) question: Option<NonZeroU32>,
    pub(crate) message: Arc<Message>,
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// The front; `rest` is empty while there is none.
    first: Option<Entry>,
    /// Boxed: most mailboxes never have it, and a pointer is a third of an empty list.
    #[expect(clippy::box_collection, reason = "a pointer is a third of an empty list")]
    rest: Option<Box<VecDeque<Entry>>>,
    bytes: usize,
}

impl Mailbox {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The messages' [`Message::weight`]s together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.first.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()))
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.message.weight();
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.rest.get_or_insert_default().push_back(entry);
        }
    }

    pub(crate) fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.message.weight();
        if let Some(second) = self.first.replace(entry) {
            self.rest.get_or_insert_default().push_front(second);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.first.take()?;
        self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        self.bytes -= entry.message.weight();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::{Address, FunctionType, TypedValue};

    use super::*;

    fn entry(arrival: u64) -> Entry {
        let target = Address::new(FunctionType::new("test", "mailbox"), "a");
        let message = Message { target, caller: None, value: TypedValue::default() };
        Entry { arrival, is_persisted: false, question: None, message: Arc::new(message) }
    }

    fn arrivals(mailbox: &Mailbox) -> Vec<u64> {
        mailbox.iter().map(|entry| entry.arrival).collect()
    }

    #[test]
    fn messages_leave_in_the_order_in_which_they_came() {
        let mut mailbox = Mailbox::default();
        assert!(mailbox.is_empty() && mailbox.pop().is_none());
        (1..=3).for_each(|arrival| mailbox.push(entry(arrival)));
        assert_eq!(mailbox.pop().map(|entry| entry.arrival), Some(1));
        mailbox.push(entry(4));
        assert_eq!(arrivals(&mailbox), [2, 3, 4]);
        assert_eq!(mailbox.front().map(|entry| entry.arrival), Some(2));
    }

    #[test]
    fn messages_that_are_put_back_are_first() {
        let mut mailbox = Mailbox::default();
        mailbox.push_front(entry(2));
        mailbox.push(entry(3));
        mailbox.push_front(entry(1));
        assert_eq!(arrivals(&mailbox), [1, 2, 3]);
        mailbox.iter_mut().for_each(|entry| entry.is_persisted = true);
        assert!(mailbox.iter().all(|entry| entry.is_persisted));
    }

    #[test]
    fn length_and_bytes_are_those_of_what_is_there() {
        let mut mailbox = Mailbox::default();
        let weight = entry(0).message.weight();
        for count in 1..=3 {
            mailbox.push(entry(count as u64));
            assert_eq!((mailbox.len(), mailbox.bytes()), (count, count * weight));
        }
        while mailbox.pop().is_some() {}
        assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
    }
}
