//! What was sent to a client and may not have come: events by their numbers, and answers by the ids of their requests. From it a
//! client that lost its connection is given what it missed.
//!
//! Invariant: the events that are kept have successive numbers, and the last of them is the last that was sent. What is given up is the
//! oldest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The most events that are kept of a session.
const EVENTS_MAX: usize = 256;
/// Bytes of them.
const EVENTS_LEN_MAX: usize = 256 * 1024;
/// Bytes of all sessions' events on a node. An event of many sessions is there once and counts for each: it is the bound on what
/// may be there if nothing is shared.
const ALL_EVENTS_LEN_MAX: usize = 256 * 1024 * 1024;
/// The most answers that are kept of a session.
const ANSWERS_MAX: usize = 256;
/// The longest of them, in bytes. A longer one is a list, and can be asked for again.
const ANSWER_LEN_MAX: usize = 1_024;

/// Bytes of events that all sessions keep.
#[derive(Clone, Debug, Default)]
pub(super) struct AllRings(Arc<AtomicUsize>);

/// What is kept of one session.
#[derive(Debug, Default)]
pub(super) struct Ring {
    all: AllRings,
    events: VecDeque<Bytes>,
    len: usize,
    /// How many events were sent in all.
    sent: u64,
    answers: VecDeque<(u64, Bytes)>,
    /// How many answers were kept in all.
    answered: u64,
    /// How many of them were before the client came back last: it may ask for these again.
    before: u64,
    /// What was sent before the server asked last whether the client lives: how many events, and how many answers.
    asked: Option<(u64, u64)>,
}

impl Ring {
    pub(super) fn new(all: AllRings) -> Self {
        let mut ring = Self::default();
        ring.all = all;
        ring
    }

    /// Notes what is about to be sent.
    pub(super) fn sends(&mut self, object: &Bytes) {
        if object.starts_with(br#"{"ev":"#) {
            self.sent += 1;
            self.len += object.len();
            let all = self.all.0.fetch_add(object.len(), Ordering::Relaxed) + object.len();
            self.events.push_back(object.clone());
            if all > ALL_EVENTS_LEN_MAX {
                self.give_up_to(self.sent);
            }
            while self.events.len() > EVENTS_MAX || self.len > EVENTS_LEN_MAX {
                self.give_up_to(self.first() + 1);
            }
        } else if object == respoke_wire::respoke1::ALIVE.as_bytes() && self.asked.is_none() {
            self.asked = Some((self.sent, self.answered));
        }
    }

    /// The number of the first event that is kept: how many were sent before it.
    fn first(&self) -> u64 {
        self.sent - self.events.len() as u64
    }

    fn give_up_to(&mut self, number: u64) {
        while self.first() < number
            && let Some(event) = self.events.pop_front()
        {
            self.len -= event.len();
            self.all.0.fetch_sub(event.len(), Ordering::Relaxed);
        }
        if self.events.is_empty() {
            // Most sessions have nothing most of the time.
            self.events = VecDeque::new();
        }
    }

    /// Keeps nothing more of what was sent so far.
    pub(super) fn give_up(&mut self) {
        self.give_up_to(self.sent);
    }

    /// Notes that so many events have come. A client that counts more than there were is not believed.
    pub(super) fn got(&mut self, events: u64) {
        if events <= self.sent {
            self.give_up_to(events);
        }
    }

    /// Notes that the client answered the last question: all that was sent before it has come.
    ///
    /// False: nothing was asked.
    pub(super) fn lives(&mut self) -> bool {
        let Some((events, answers)) = self.asked.take() else { return false };
        self.give_up_to(events);
        while self.answered - (self.answers.len() as u64) < answers && self.answers.pop_front().is_some() {}
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
        true
    }

    /// What a client that comes back with so many events has missed. None: some of it is given up.
    pub(super) fn since(&mut self, got: u64) -> Option<VecDeque<Bytes>> {
        if got < self.first() || got > self.sent {
            return None;
        }
        self.got(got);
        self.asked = None;
        self.before = self.answered;
        Some(self.events.clone())
    }

    /// Keeps an answer.
    pub(super) fn answers(&mut self, id: u64, answer: &Bytes) {
        if answer.len() > ANSWER_LEN_MAX {
            return;
        }
        self.answered += 1;
        self.answers.push_back((id, answer.clone()));
        if self.answers.len() > ANSWERS_MAX {
            self.answers.pop_front();
        }
    }

    /// What this request was answered before the client came back, if it was and that is kept.
    pub(super) fn answer(&self, id: u64) -> Option<Bytes> {
        let first = self.answered - self.answers.len() as u64;
        let before = usize::try_from(self.before.saturating_sub(first)).unwrap_or(usize::MAX);
        self.answers.iter().take(before).find(|(of, _)| *of == id).map(|(_, answer)| answer.clone())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Bytes {
        format!(r#"{{"ev":"x","n":{number}}}"#).into()
    }

    fn alive() -> Bytes {
        Bytes::from_static(b"{}")
    }

    /// A ring in which so many events were sent.
    fn sent(count: u64) -> Ring {
        let mut ring = Ring::default();
        (0..count).for_each(|number| ring.sends(&event(number)));
        ring
    }

    #[test]
    fn who_comes_back_is_given_what_it_has_not_got() {
        for (count, got) in [(0, 0), (5, 0), (5, 3), (5, 5), (256, 0)] {
            let missed = sent(count).since(got).unwrap();
            assert_eq!(missed, (got..count).map(event).collect::<VecDeque<_>>(), "{got} of {count}");
        }
        assert!(sent(5).since(6).is_none(), "it counts what was not sent");
        let mut ring = sent(300);
        assert!(ring.since(43).is_none() && ring.since(44).unwrap().len() == 256);
        ring.got(299);
        assert!(ring.since(298).is_none());
        // Coming back takes nothing away: the welcome may be lost.
        assert_eq!((ring.since(299).unwrap().len(), ring.since(299).unwrap().len()), (1, 1));
        ring.got(1_000);
        assert_eq!(ring.since(299).unwrap().len(), 1, "nobody can have got that many");
    }

    #[test]
    fn what_is_kept_has_a_most() {
        let all = AllRings::default();
        let long = Bytes::from(format!(r#"{{"ev":"{}"}}"#, "x".repeat(100_000)));
        let mut ring = Ring::new(all.clone());
        (0..10).for_each(|_| ring.sends(&long));
        assert_eq!((ring.events.len(), ring.since(7), all.0.load(Ordering::Relaxed)), (2, None, 2 * long.len()));
        all.0.fetch_add(ALL_EVENTS_LEN_MAX, Ordering::Relaxed);
        ring.sends(&long);
        assert!(ring.events.is_empty() && ring.since(11).is_some());
        drop(ring);
        assert_eq!(all.0.load(Ordering::Relaxed), ALL_EVENTS_LEN_MAX);
    }

    #[test]
    fn an_answer_to_the_question_whether_it_lives_says_that_all_before_it_has_come() {
        let mut ring = sent(3);
        ring.answers(7, &alive());
        ring.sends(&alive());
        ring.sends(&event(3));
        ring.answers(8, &alive());
        // Another question before the first is answered.
        ring.sends(&alive());
        assert!(ring.lives());
        assert!(ring.since(2).is_none() && ring.since(3).unwrap().len() == 1);
        assert!(ring.answer(7).is_none() && ring.answer(8).is_some());
        // Nothing is asked now.
        assert!(!ring.lives());
        assert_eq!(ring.since(3).unwrap().len(), 1);
    }

    #[test]
    fn an_answer_is_given_again_to_who_came_back_alone() {
        let mut ring = Ring::default();
        ring.answers(7, &event(0));
        assert!(ring.answer(7).is_none(), "an id that is used twice on one socket is two requests");
        ring.since(0).unwrap();
        ring.answers(8, &event(1));
        assert_eq!((ring.answer(7), ring.answer(8)), (Some(event(0)), None));
        for id in 100..100 + ANSWERS_MAX as u64 {
            ring.answers(id, &alive());
        }
        ring.since(0).unwrap();
        assert!(ring.answer(7).is_none() && ring.answer(101).is_some());
        ring.answers(9, &vec![b'x'; ANSWER_LEN_MAX + 1].into());
        ring.since(0).unwrap();
        assert!(ring.answer(9).is_none());
    }
}
