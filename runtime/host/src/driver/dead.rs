//! Dead letters of a shard, on behalf of who asks for them from outside: one question at a time, so that
//! letters which are being replayed or discarded are never read a second time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use dormouse_engine::{DeadLetter, Event, Redeem, SubmitToken, keys};
use dormouse_protocol::Partition;
use dormouse_store::{Rows, StoreError};
use tokio::sync::oneshot;

use crate::dead_letters::Filter;
use crate::driver::Driver;
use crate::driver::inbox::Local;

/// Rows and bytes that one question reads, at most (but at least one row).
const ROWS_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;

/// What is asked of one partition.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) partition: Partition,
    /// Letters with a number above this one.
    pub(crate) after: u64,
    /// And up to this one; `None`: those that there are by now. A replayed message that dies again has
    /// a higher number.
    pub(crate) upto: Option<u64>,
    pub(crate) filter: Filter,
    /// What becomes of them; `None`: they are only shown.
    pub(crate) redeem: Option<Redeem>,
    /// Letters that are wanted at most.
    pub(crate) letters_max: usize,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Letters that fit, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) letters: Vec<(u64, DeadLetter)>,
    /// `after` and `upto` of the next question.
    pub(crate) next: Option<(u64, u64)>,
}

/// The questions of a shard. Bounded by who asks: see [`crate::dead_letters::DeadLetters`].
#[derive(Debug, Default)]
pub(crate) struct Desk {
    waiting: VecDeque<Question>,
    current: Step,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Free,
    Reading(Question),
    /// Waits until the change is durable, hence seen by the next read.
    Changing(SubmitToken, oneshot::Sender<Answer>, Answer),
}

impl Driver {
    pub(crate) fn ask_dead(&mut self, question: Question) -> Result<(), String> {
        self.desk.waiting.push_back(question);
        self.next_question()
    }

    fn next_question(&mut self) -> Result<(), String> {
        while matches!(self.desk.current, Step::Free) {
            let Some(mut question) = self.desk.waiting.pop_front() else {
                return Ok(());
            };
            let partition = question.partition;
            if self.shard.dead_letters(partition) == 0 || question.answer.is_closed() {
                drop(question.answer.send(Answer::default()));
                continue;
            }
            let upto = *question.upto.get_or_insert(self.shard.arrival(partition));
            let (mut from, mut to) = (Vec::new(), Vec::new());
            keys::dead(&mut from, partition, question.after.saturating_add(1));
            keys::dead(&mut to, partition, upto.saturating_add(1));
            self.desk.current = Step::Reading(question);
            let mut reading = self.store.scan(from, to, ROWS_MAX, BYTES_MAX);
            match Pin::new(&mut reading).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(read) => self.dead_read(read)?,
                Poll::Pending => {
                    let lane = self.lane.clone();
                    tokio::task::spawn_local(async move { lane.push(Local::Dead(reading.await)) });
                }
            }
        }
        Ok(())
    }

    /// Picks what fits, and changes it if that is what was asked for.
    pub(crate) fn dead_read(
        &mut self,
        read: Result<(Rows, bool), StoreError>,
    ) -> Result<(), String> {
        let (rows, more) = read.map_err(|error| error.to_string())?;
        let Step::Reading(question) = std::mem::take(&mut self.desk.current) else {
            unreachable!("one read is under way at a time");
        };
        let Question { partition, upto, filter, redeem, letters_max, answer, .. } = question;
        let upto = upto.expect("chosen before the read");
        let (mut found, mut fitting) = (Answer::default(), Vec::new());
        let count = rows.len();
        for (index, (key, value)) in rows.into_iter().enumerate() {
            let letter = DeadLetter::read(&key, &value).map_err(|error| error.to_string())?;
            let (_, number, letter) = letter;
            if filter.fits(&letter) {
                found.letters.push((number, letter));
                fitting.push((key, value));
            }
            let is_last = index + 1 == count || found.letters.len() >= letters_max;
            if is_last && (more || index + 1 < count) {
                found.next = Some((number, upto));
            }
            if is_last {
                break;
            }
        }
        match redeem {
            Some(redeem) if !fitting.is_empty() => {
                self.next_token += 1;
                let token = SubmitToken(self.next_token);
                self.desk.current = Step::Changing(token, answer, found);
                let event = Event::Redeem { partition, rows: fitting, redeem, token };
                self.shard.handle(event);
                Ok(())
            }
            _ => {
                // Who does not wait any more has lost nothing.
                drop(answer.send(found));
                self.next_question()
            }
        }
    }

    /// What was asked for is durable.
    pub(crate) fn redeemed(&mut self, token: SubmitToken) -> Result<(), String> {
        match std::mem::take(&mut self.desk.current) {
            Step::Changing(asked, answer, found) if asked == token => {
                drop(answer.send(found));
                self.next_question()
            }
            _ => Err(format!("a change of dead letters that nobody asked for: {token:?}")),
        }
    }
}
