//! Turns at making what takes long: by app, and within one by caller, so that whoever asks for much waits behind itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::id::{AdminId, AppId, EndpointId};
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use tokio::sync::oneshot;

/// How long one may wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests of one caller may wait; more than a client has a use for.
const WAITING_MAX: usize = 100;

/// Who wants a turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    /// None: of no app, as admins are.
    app: Option<AppId>,
    who: Who,
}

/// A caller of an app, or of none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Endpoint(EndpointId),
    Backend,
    Admin(AdminId),
    Anybody,
}

impl Party {
    pub(crate) fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Anonymous => Self { app: None, who: Who::Anybody },
            Caller::Admin { admin_id, .. } => Self { app: None, who: Who::Admin(*admin_id) },
            Caller::App { app, .. } => Self { app: Some(app.id), who: Who::Backend },
            Caller::Endpoint { app, session } => {
                Self { app: Some(app.id), who: Who::Endpoint(session.record.grant.endpoint_id.clone()) }
            }
        }
    }
}

/// So many turns, of which one app never has all.
#[derive(Debug)]
pub(crate) struct Turns {
    max: usize,
    of_app_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    apps: HashMap<Option<AppId>, OfApp>,
    /// The apps that wait, the next one first.
    next: VecDeque<Option<AppId>>,
}

/// What an app has and waits for; there is none of an app that has and waits for nothing.
#[derive(Debug, Default)]
struct OfApp {
    under_way: usize,
    waiting: HashMap<Who, VecDeque<oneshot::Sender<Turn>>>,
    /// The callers that wait, the next one first.
    next: VecDeque<Who>,
}

/// A turn, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    app: Option<AppId>,
}

impl Turns {
    /// `max` at a time, at most `of_app_max` of them for one app.
    pub(crate) fn new(max: usize, of_app_max: usize) -> Arc<Self> {
        Arc::new(Self { max, of_app_max, state: Mutex::default() })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`Refusal::Overloaded`] if none comes in time, or too many of the same caller wait already.
    pub(crate) async fn take(self: &Arc<Self>, party: Party) -> Result<Turn, Refusal> {
        match tokio::time::timeout(TIMEOUT, self.wait(party, WAITING_MAX)).await {
            Ok(turn) => turn,
            Err(_) => Err(Refusal::Overloaded),
        }
    }

    /// Waits for a turn to go on with what was begun, which is broken off otherwise: for as long as it takes. Each answer
    /// under way waits for one at most, so they need no bound of their own.
    ///
    /// # Errors
    ///
    /// [`Refusal::Overloaded`] if there are no turns any more.
    pub(crate) async fn take_again(self: &Arc<Self>, party: Party) -> Result<Turn, Refusal> {
        self.wait(party, usize::MAX).await
    }

    async fn wait(self: &Arc<Self>, party: Party, waiting_max: usize) -> Result<Turn, Refusal> {
        let waiting = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let of_app = state.apps.entry(party.app).or_default();
            // Where there is room nobody waits who could be here before.
            if state.under_way < self.max && of_app.under_way < self.of_app_max {
                state.under_way += 1;
                of_app.under_way += 1;
                return Ok(Turn { turns: self.clone(), app: party.app });
            }
            if of_app.waiting.is_empty() {
                state.next.push_back(party.app);
            }
            of_app.wait(party.who, waiting_max)?
        };
        // Nobody lets go of who waits but with the turn.
        waiting.await.map_err(|_| Refusal::Overloaded)
    }

    /// Takes a turn back, and hands it on.
    fn end(self: &Arc<Self>, app: Option<AppId>) {
        let next = {
            let mut state = self.state.lock();
            state.under_way -= 1;
            if let Some(of_app) = state.apps.get_mut(&app) {
                of_app.under_way -= 1;
                if of_app.is_idle() {
                    state.apps.remove(&app);
                }
            }
            state.begin_next(self.of_app_max)
        };
        if let Some((app, waiting)) = next {
            // Who has just given up drops it, and so hands it on.
            drop(waiting.send(Turn { turns: self.clone(), app }));
        }
    }
}

impl State {
    /// Begins the turn of who is next, if anybody waits whose app has not too many under way.
    fn begin_next(&mut self, of_app_max: usize) -> Option<(Option<AppId>, oneshot::Sender<Turn>)> {
        for _ in 0..self.next.len() {
            let app = self.next.pop_front()?;
            let Some(of_app) = self.apps.get_mut(&app) else { continue };
            let found = if of_app.under_way < of_app_max { of_app.pop() } else { None };
            if !of_app.waiting.is_empty() {
                self.next.push_back(app);
            }
            if let Some(waiting) = found {
                self.under_way += 1;
                of_app.under_way += 1;
                return Some((app, waiting));
            }
            if of_app.is_idle() {
                self.apps.remove(&app);
            }
        }
        None
    }
}

impl OfApp {
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.waiting.is_empty()
    }

    fn wait(&mut self, caller: Who, waiting_max: usize) -> Result<oneshot::Receiver<Turn>, Refusal> {
        let of_caller = self.waiting.entry(caller.clone()).or_default();
        if of_caller.is_empty() {
            self.next.push_back(caller);
        } else if of_caller.len() >= waiting_max {
            of_caller.retain(|waiting| !waiting.is_closed());
            if of_caller.len() >= waiting_max {
                return Err(Refusal::Overloaded);
            }
        }
        let (sender, receiver) = oneshot::channel();
        of_caller.push_back(sender);
        Ok(receiver)
    }

    /// The next one that still waits.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(caller) = self.next.pop_front() {
            let Some(of_caller) = self.waiting.get_mut(&caller) else { continue };
            let found = std::iter::from_fn(|| of_caller.pop_front()).find(|waiting| !waiting.is_closed());
            if of_caller.is_empty() {
                self.waiting.remove(&caller);
            } else {
                self.next.push_back(caller);
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.end(self.app);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    fn app(number: u128) -> AppId {
        AppId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn endpoint(app: AppId, id: &str) -> Party {
        Party { app: Some(app), who: Who::Endpoint(EndpointId::parse(id).unwrap()) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_asks_for_much_leaves_a_turn_to_others() {
        let turns = Turns::new(4, 2);
        let _one = turns.take(endpoint(app(1), "a")).await.unwrap();
        let _other = turns.take(endpoint(app(1), "b")).await.unwrap();
        let mut third = pin!(turns.take(endpoint(app(1), "c")));
        assert!(poll!(&mut third).is_pending());
        let others = [turns.take(endpoint(app(2), "d")).await, turns.take(endpoint(app(3), "e")).await];
        assert!(others.iter().all(Result::is_ok));
        assert!(matches!(third.await, Err(Refusal::Overloaded)));
    }

    #[tokio::test(start_paused = true)]
    async fn apps_take_turns_and_so_do_the_callers_of_one() {
        let turns = Turns::new(1, 1);
        let mut held = turns.take(endpoint(app(9), "first")).await.unwrap();
        let asked = [(1, "storm"), (1, "storm"), (1, "storm"), (1, "storm"), (1, "calm"), (2, "other")];
        let mut waiting: Vec<_> =
            asked.map(|(number, id)| (id, Box::pin(turns.take(endpoint(app(number), id))))).into_iter().collect();
        for (_, turn) in &mut waiting {
            assert!(poll!(turn).is_pending());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held);
            let mut next = None;
            for (index, (_, turn)) in waiting.iter_mut().enumerate() {
                if let Poll::Ready(turn) = poll!(turn) {
                    assert!(next.is_none(), "one at a time");
                    next = Some((index, turn.unwrap()));
                }
            }
            let (index, turn) = next.unwrap();
            order.push(waiting.remove(index).0);
            held = turn;
        }
        assert_eq!(order, ["storm", "other", "calm", "storm", "storm", "storm"]);
        drop(held);
        assert!(turns.state.lock().apps.is_empty() && turns.state.lock().next.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_never_lost_on_who_gave_up() {
        let turns = Turns::new(1, 1);
        let held = turns.take(endpoint(app(1), "a")).await.unwrap();
        let mut gave_up = Box::pin(turns.take(endpoint(app(1), "b")));
        let mut took_it_and_left = Box::pin(turns.take(endpoint(app(1), "c")));
        let mut last = Box::pin(turns.take(endpoint(app(2), "d")));
        for waiting in [&mut gave_up, &mut took_it_and_left, &mut last] {
            assert!(poll!(waiting).is_pending());
        }
        drop(gave_up);
        drop(held);
        // Its turn has come, and it has not looked.
        drop(took_it_and_left);
        drop(last.await.unwrap());
        assert!(turns.state.lock().apps.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_one_caller_is_bounded() {
        let turns = Turns::new(1, 1);
        let _held = turns.take(endpoint(app(1), "a")).await.unwrap();
        let wait = || Box::pin(turns.take(endpoint(app(1), "a")));
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| wait()).collect();
        for turn in &mut waiting {
            assert!(poll!(turn).is_pending());
        }
        assert!(matches!(wait().await, Err(Refusal::Overloaded)));
        // What was begun goes on, however long it has to wait.
        let mut begun = Box::pin(turns.take_again(endpoint(app(1), "a")));
        assert!(poll!(&mut begun).is_pending());
        tokio::time::advance(10 * TIMEOUT).await;
        assert!(poll!(&mut begun).is_pending());
        let mut another = Box::pin(turns.take(endpoint(app(1), "b")));
        assert!(poll!(&mut another).is_pending());
        // Those who gave up take no room.
        waiting.clear();
        assert!(poll!(&mut wait()).is_pending());
    }
}
