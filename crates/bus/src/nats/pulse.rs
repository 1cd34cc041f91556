//! Signs of life that a node sends to itself, by the way that frames take.
//!
//! Whether a subscription is in force, its server does not say: the library's `subscribe` and `flush` are done when the bytes
//! are on their way. Nor does anything say that a server has forgotten it. A message to oneself that comes shows that both
//! publishing and receiving work, and how long it takes. If none comes, the connection is made anew.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often a sign is given.
pub(super) const SIGN_EVERY: Duration = Duration::from_secs(1);
/// How long nothing at all may come while signs are given: no longer than what was sent is kept.
const SILENT: Duration = Duration::from_secs(4);
/// Signs that may be under way.
const GIVEN_MAX: usize = 8;
/// So many of the last are looked at: one that was late says nothing of the rule.
const TIMES_MAX: usize = 15;

#[derive(Debug)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug)]
struct State {
    last: u64,
    /// What did not come back yet.
    given: VecDeque<(u64, Instant)>,
    /// How long the last ones took.
    times: VecDeque<Duration>,
    came: u64,
    /// Since when nothing came, though a sign was given.
    silent_since: Option<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let (given, times) = (VecDeque::new(), VecDeque::new());
        Self(Mutex::new(State { last: 0, given, times, came: 0, silent_since: None }))
    }

    /// The number of a sign that is given now.
    pub(super) fn give(&self, now: Instant) -> u64 {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        if state.given.len() == GIVEN_MAX {
            state.given.pop_front();
        }
        state.given.push_back((number, now));
        state.silent_since.get_or_insert(now);
        number
    }

    /// Something came.
    pub(super) fn hear(&self) {
        self.0.lock().silent_since = None;
    }

    /// A sign came back. True: the first.
    pub(super) fn come_back(&self, number: u64, now: Instant) -> bool {
        let mut state = self.0.lock();
        let Some(at) = state.given.iter().position(|(given, _)| *given == number) else { return false };
        // Those before it are lost, or will be late.
        let time = state.given.drain(..=at).next_back().map(|(_, since)| now.duration_since(since));
        if state.times.len() == TIMES_MAX {
            state.times.pop_front();
        }
        state.times.extend(time);
        state.came += 1;
        state.came == 1
    }

    /// How many came back.
    #[cfg(test)]
    pub(super) fn came(&self) -> u64 {
        self.0.lock().came
    }

    /// There is another connection.
    pub(super) fn begin_anew(&self) {
        let mut state = self.0.lock();
        state.given.clear();
        state.silent_since = None;
    }

    /// Whether nothing came for so long that something must be wrong.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.0.lock().silent_since.is_some_and(|since| now.duration_since(since) >= SILENT)
    }

    /// How long a sign is under way as a rule.
    pub(super) fn delay(&self) -> Duration {
        let mut times: Vec<_> = self.0.lock().times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rule_is_what_half_of_the_last_took() {
        let pulse = Pulse::new();
        assert_eq!(pulse.delay(), Duration::ZERO);
        for nth in 0..100_u64 {
            let number = pulse.give(Instant::now());
            tokio::time::advance(Duration::from_millis(if nth % 3 == 0 { 500 } else { nth })).await;
            assert_eq!(pulse.come_back(number, Instant::now()), nth == 0);
            assert!(!pulse.come_back(number, Instant::now()), "it came before");
        }
        assert!((90..=98).contains(&pulse.delay().as_millis()), "{:?}", pulse.delay());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_is_who_hears_nothing_though_signs_are_given() {
        let pulse = Pulse::new();
        tokio::time::advance(SILENT).await;
        assert!(!pulse.is_silent(Instant::now()), "no sign was given");
        for _ in 0..20 {
            pulse.give(Instant::now());
            tokio::time::advance(SIGN_EVERY).await;
        }
        assert!(pulse.is_silent(Instant::now()) && pulse.0.lock().given.len() == GIVEN_MAX);
        pulse.hear();
        pulse.give(Instant::now());
        tokio::time::advance(SILENT.mul_f64(0.99)).await;
        assert!(!pulse.is_silent(Instant::now()));
        tokio::time::advance(SILENT.mul_f64(0.02)).await;
        assert!(pulse.is_silent(Instant::now()));
        pulse.begin_anew();
        assert!(!pulse.is_silent(Instant::now()));
    }
}
