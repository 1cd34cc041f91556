//! Connections that ended, until others are told.
//!
//! They are told a little later, and only those who are there then. When several clients go together, none of them is told
//! of the others on its way out. Who begins to observe meanwhile is told too.
//!
//! # Source
//!
//! Section 7 of docs/protocol.md: the original service took its time, and the Node client's own tests rely on that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::Departed;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How much later. Below 100 ms clients that close together hear of each other, above 250 ms it is felt.
const DELAY: Duration = Duration::from_millis(150);

/// A connection that ended, or that left a group as that ended elsewhere.
#[derive(Debug)]
pub(crate) struct Departure {
    /// Which, and what it was in. By name: thousands who leave a large group at once must not each hold a list of all the
    /// others until these are told.
    pub departed: Departed,
    /// Not the connection ended but this group, on another node; the connection's leaving waits among what is untold
    /// (`others/untold.rs`), and may be told before.
    pub ended: Option<GroupName>,
    /// When it ended, or that was heard, on the registry's own count.
    pub at: u64,
    /// Whether those are told who observe its endpoint.
    pub observed: bool,
    /// Whether it was this node's.
    pub own: bool,
}

impl Departure {
    /// Whether this connection ended, and not a group that it was in.
    fn is_of(&self, connection: ConnectionId) -> bool {
        self.departed.connection == connection && self.ended.is_none()
    }
}

/// A departure that waits.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    departure: Departure,
    /// How many of its groups are told.
    told: usize,
}

/// Those that wait, in order.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// How many of them are of this connection, which ended.
    of: HashMap<ConnectionId, usize>,
}

impl Line {
    fn push(&mut self, departure: Departure) {
        if departure.ended.is_none() {
            *self.of.entry(departure.departed.connection).or_default() += 1;
        }
        self.waiting.push_back(Waiting { due: Instant::now() + DELAY, departure, told: 0 });
    }

    fn remove(&mut self, at: usize) -> Option<Waiting> {
        let removed = self.waiting.remove(at)?;
        if removed.departure.ended.is_none()
            && let Entry::Occupied(mut count) = self.of.entry(removed.departure.departed.connection)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(removed)
    }
}

/// What is to be told next of a departure.
#[derive(Debug)]
pub(crate) enum Step {
    /// That a connection left this group, in which others were at that time, on the registry's own count.
    Left { departed: Departed, group: GroupName, at: u64 },
    /// Nothing of its groups any more.
    Last(Departure),
}

/// Bounded by the connections that there were: also one that nobody knows of may be observed before it is told.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    line: Mutex<Line>,
    /// How many connections of an endpoint went of which its observers are not told yet.
    untold: Mutex<HashMap<(AppId, EndpointId), usize>>,
    added: Notify,
    /// Whether nobody is to be told any more.
    muted: AtomicBool,
}

impl Departures {
    /// From here on nobody is told: all are sent away, and each would hear of all who went before it.
    pub(crate) fn mute(&self) {
        self.muted.store(true, Ordering::Relaxed);
    }

    /// A connection is about to end of which observers are to be told: [`Self::add`] follows, or [`Self::told`].
    pub(crate) fn expect(&self, app: AppId, endpoint: &EndpointId) {
        *self.untold.lock().entry((app, endpoint.clone())).or_default() += 1;
    }

    /// Lets a connection that ended be told of. If observers are to be, that was expected before.
    pub(crate) fn add(&self, departure: Departure) {
        if self.muted.load(Ordering::Relaxed) {
            return;
        }
        self.line.lock().push(departure);
        self.added.notify_one();
    }

    /// Of one departure that was expected it is settled who is told as an observer.
    pub(crate) fn told(&self, app: AppId, endpoint: &EndpointId) {
        let mut untold = self.untold.lock();
        if let Entry::Occupied(mut count) = untold.entry((app, endpoint.clone())) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Of how many departures one is told that begins to observe these endpoints now, each counted once however often it
    /// is named.
    pub(crate) fn untold_of(&self, app: AppId, endpoints: &[EndpointId]) -> usize {
        let untold = self.untold.lock();
        if untold.is_empty() {
            return 0;
        }
        let named: HashSet<_> = endpoints.iter().collect();
        named.into_iter().filter_map(|endpoint| untold.get(&(app, endpoint.clone()))).sum()
    }

    /// This node's connections of an endpoint that ended, of which its observers are not told yet.
    pub(crate) fn own_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<Departed> {
        if self.untold_of(app, std::slice::from_ref(endpoint)) == 0 {
            return Vec::new();
        }
        let line = self.line.lock();
        let departures = line.waiting.iter().map(|waiting| &waiting.departure);
        let departed = departures.filter(|departure| departure.own).map(|departure| &departure.departed);
        departed.filter(|departed| departed.app_id == app && departed.endpoint == *endpoint).cloned().collect()
    }

    /// How many wait, and of how many it is expected that observers are told.
    #[cfg(feature = "inspected")]
    pub(crate) fn left(&self) -> usize {
        self.line.lock().waiting.len() + self.untold.lock().values().sum::<usize>()
    }

    /// Waits until a departure is due, and says of which connection. All wait equally long, so the first in is the first out.
    pub(crate) async fn due(&self) -> ConnectionId {
        loop {
            let added = self.added.notified();
            let first = self.line.lock().waiting.front().map(|first| (first.due, first.departure.departed.connection));
            match first {
                None => added.await,
                Some((due, connection)) if due <= Instant::now() => return connection,
                Some((due, _)) => tokio::time::sleep_until(due).await,
            }
        }
    }

    /// What is to be told next of the first departure, which is due. None: that is not this connection's any more.
    pub(crate) fn step(&self, connection: ConnectionId) -> Option<Step> {
        let mut line = self.line.lock();
        let first = line.waiting.front_mut().filter(|first| first.departure.departed.connection == connection)?;
        let Departure { departed, at, .. } = &first.departure;
        let Departed { app_id, endpoint, connection, groups } = departed;
        if let Some(group) = groups.get(first.told).cloned() {
            first.told += 1;
            let (app_id, endpoint, connection) = (*app_id, endpoint.clone(), *connection);
            let departed = Departed { app_id, endpoint, connection, groups: Vec::new() };
            return Some(Step::Left { departed, group, at: *at });
        }
        line.remove(0).map(|first| Step::Last(first.departure))
    }

    /// Whether a connection ended, and that is not told, or in part.
    pub(crate) fn awaits(&self, connection: ConnectionId) -> bool {
        self.line.lock().of.contains_key(&connection)
    }

    /// Departures of a connection that are not told, or in part, for who has to tell something newer of it.
    pub(crate) fn take_of(&self, connection: ConnectionId) -> Vec<Departure> {
        let mut line = self.line.lock();
        let mut taken = Vec::new();
        // Only of some that there are, for the line may be long.
        while line.of.contains_key(&connection)
            && let Some(at) = line.waiting.iter().position(|waiting| waiting.departure.is_of(connection))
        {
            taken.extend(line.remove(at).map(|Waiting { mut departure, told, .. }| {
                departure.departed.groups.drain(..told);
                departure
            }));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::{AppId, ConnectionId, EndpointId};

    use super::*;

    fn departure(endpoint: &str) -> Departure {
        let (app_id, endpoint) = (AppId::random(), EndpointId::parse(endpoint).unwrap());
        let departed = Departed { app_id, endpoint, connection: ConnectionId::random(), groups: Vec::new() };
        Departure { departed, ended: None, at: 0, observed: true, own: true }
    }

    async fn next(departures: &Departures) -> (String, Duration) {
        let start = Instant::now();
        let connection = departures.due().await;
        let Some(Step::Last(departure)) = departures.step(connection) else { panic!("it is in no group") };
        (departure.departed.endpoint.to_string(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_due_as_much_later_as_it_came_and_in_order() {
        let departures = Departures::default();
        departures.add(departure("first"));
        tokio::time::advance(Duration::from_millis(100)).await;
        departures.add(departure("second"));
        departures.add(departure("third"));
        assert_eq!(next(&departures).await, ("first".to_owned(), DELAY.saturating_sub(Duration::from_millis(100))));
        assert_eq!(next(&departures).await, ("second".to_owned(), Duration::from_millis(100)));
        assert_eq!(next(&departures).await, ("third".to_owned(), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_while_nobody_was_waited_for_is_not_missed() {
        let departures = Departures::default();
        let waiting = next(&departures);
        let adding = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            departures.add(departure("late"));
        };
        let (found, ()) = tokio::join!(waiting, adding);
        assert_eq!(found, ("late".to_owned(), Duration::from_secs(5) + DELAY));
        // Whoever stops waiting takes nothing along.
        departures.add(departure("again"));
        assert!(tokio::time::timeout(DELAY / 2, departures.due()).await.is_err());
        assert_eq!(next(&departures).await.0, "again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_is_to_hear_is_not_kept() {
        let departures = Departures::default();
        departures.add(departure("alone"));
        assert_eq!(departures.line.lock().waiting.len(), 1, "somebody may yet observe it");
        departures.mute();
        departures.add(departure("sent away"));
        assert_eq!(departures.line.lock().waiting.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_tells_something_newer_takes_what_is_untold_and_the_others_have_their_turn() {
        let departures = Departures::default();
        let mut first = departure("first");
        let groups = ["a", "b", "c"].map(|name| GroupName::parse(name).unwrap());
        first.departed.groups = groups.to_vec();
        let connection = first.departed.connection;
        let ended = Departure {
            departed: Departed { groups: Vec::new(), ..first.departed.clone() },
            ended: Some(groups[0].clone()),
            at: 0,
            observed: false,
            own: false,
        };
        departures.add(first);
        departures.add(ended);
        departures.add(departure("second"));
        assert_eq!(departures.due().await, connection);
        assert!(matches!(departures.step(connection), Some(Step::Left { group, .. }) if group == groups[0]));
        let taken = departures.take_of(connection);
        assert_eq!(taken.iter().map(|taken| &taken.departed.groups[..]).collect::<Vec<_>>(), [&groups[1..]]);
        assert!(departures.take_of(connection).is_empty() && !departures.awaits(connection));
        assert_eq!(departures.due().await, connection, "what left with a group waits for its own time");
        assert!(matches!(departures.step(connection), Some(Step::Last(ended)) if ended.ended.is_some()));
        assert!(departures.step(connection).is_none());
        assert_eq!(next(&departures).await.0, "second");
    }
}
