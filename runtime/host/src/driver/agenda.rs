//! In which order a shard starts invocations: what an invocation has caused comes before what was there
//! already. A message is then handled while it is still in the processor's cache, and few are unfinished
//! when a commit is sealed (each of those is written as pending). Who comes round to itself, or goes on
//! for long, has to go behind the others, so nobody starves.

use std::collections::VecDeque;

/// Followers of one invocation that are started before the others.
const FOLLOWERS_MAX: usize = 1_024;

/// Invocations, each with the slot of its instance.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    /// Noted since the last call of [`Agenda::plan`], in order.
    added: Vec<(u32, T)>,
    /// What the last one taken from `waiting`, the root, has caused.
    followers: VecDeque<(u32, T)>,
    waiting: VecDeque<(u32, T)>,
    /// Followers started since the root.
    started: usize,
    /// The root's slot, while what is added was caused by it.
    root: Option<u32>,
    /// Of an earlier turn.
    last_root: Option<u32>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            added: Vec::new(),
            followers: VecDeque::new(),
            waiting: VecDeque::new(),
            started: 0,
            root: None,
            last_root: None,
        }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn len(&self) -> usize {
        self.added.len() + self.followers.len() + self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes one; its place is given by [`Agenda::plan`], together with the others of that moment.
    pub(crate) fn add(&mut self, slot: u32, item: T) {
        self.added.push((slot, item));
    }

    /// Gives places to what was added.
    pub(crate) fn plan(&mut self) {
        let Some(root) = self.root else {
            self.waiting.extend(self.added.drain(..));
            return;
        };
        for (slot, item) in self.added.drain(..).rev() {
            if slot == root {
                self.waiting.push_back((slot, item));
            } else {
                self.followers.push_front((slot, item));
            }
        }
    }

    /// The one to be started now.
    pub(crate) fn next(&mut self) -> Option<T> {
        self.root = self.root.or(self.last_root);
        if self.started >= FOLLOWERS_MAX {
            // Each is moved at most once.
            self.waiting.extend(self.followers.drain(..));
        }
        if let Some((_, item)) = self.followers.pop_front() {
            self.started += 1;
            return Some(item);
        }
        let (slot, item) = self.waiting.pop_front()?;
        self.started = 0;
        self.root = Some(slot);
        Some(item)
    }

    /// What is added from here on was not caused by an invocation.
    pub(crate) fn end_turn(&mut self) {
        self.last_root = self.root.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(agenda: &mut Agenda<u32>, items: &[u32]) {
        items.iter().for_each(|item| agenda.add(*item, *item));
        agenda.plan();
    }

    #[test]
    fn what_an_invocation_causes_comes_first_and_in_order() {
        let mut agenda = Agenda::default();
        plan(&mut agenda, &[1, 2]);
        assert_eq!(agenda.next(), Some(1));
        plan(&mut agenda, &[11, 12]);
        assert_eq!(agenda.next(), Some(11));
        plan(&mut agenda, &[111]);
        assert_eq!(agenda.len(), 3);
        let rest: Vec<u32> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(rest, [111, 12, 2]);
        assert!(agenda.is_empty());
    }

    #[test]
    fn who_comes_round_to_itself_goes_behind_the_others() {
        let mut agenda = Agenda::default();
        plan(&mut agenda, &[1, 2]);
        assert_eq!(agenda.next(), Some(1));
        plan(&mut agenda, &[11, 1]);
        assert_eq!(agenda.next(), Some(11));
        plan(&mut agenda, &[1]);
        agenda.end_turn();
        let rest: Vec<u32> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(rest, [2, 1, 1]);
    }

    #[test]
    fn what_goes_on_for_ever_lets_the_others_run() {
        let mut agenda = Agenda::default();
        plan(&mut agenda, &[1, 2]);
        assert_eq!(agenda.next(), Some(1));
        let mut runs = 0;
        plan(&mut agenda, &[3]);
        while agenda.next() != Some(2) {
            runs += 1;
            plan(&mut agenda, &[3]);
            assert!(runs <= FOLLOWERS_MAX, "the second one is never started");
        }
        assert_eq!(runs, FOLLOWERS_MAX);
    }

    #[test]
    fn a_turn_that_ends_changes_nothing_but_the_place_of_what_comes_from_outside() {
        let mut agenda = Agenda::default();
        plan(&mut agenda, &[1, 2]);
        assert_eq!(agenda.next(), Some(1));
        plan(&mut agenda, &[11, 12]);
        agenda.end_turn();
        plan(&mut agenda, &[3]);
        assert_eq!(agenda.next(), Some(11));
        plan(&mut agenda, &[111, 1]);
        let rest: Vec<u32> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(rest, [111, 12, 2, 3, 1]);
    }
}
