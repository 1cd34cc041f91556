//! The other nodes: what they are told of this node's sockets, what is kept here of theirs, and what is asked of them.
//!
//! A node alone tells what its sockets do. Before anybody can be told that a socket is there for something, its node says
//! that it holds for that (`Bus::hold`). Then it asks the others who was there before (`surveys.rs`), and from then on goes
//! by what they tell (`kept.rs`). So what is held here is known here: the members of a group are counted, those of a lost
//! node are told as gone, and a gap is repaired. What is not held here is asked for.
//!
//! A node that is alone has none of this.

mod asks;
mod count;
mod counts;
mod errands;
mod kept;
mod surveys;
mod untold;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::event::{Content, Event, Presence};
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Arrived, Audience, Bus, Confirmation, Departed, Gap, Holder, Interest, Moved, Node};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use self::count::Count;
use self::counts::Counts;
use self::errands::Errands;
pub(crate) use self::errands::{Asked, Awaited};
use self::kept::{Going, Kept, News};
use self::untold::{Found, Telling};
use crate::departures::Departure;
use crate::in_order::{Group, InOrder};

/// The other nodes, for one that is not alone.
pub(crate) struct Others {
    bus: Arc<dyn Bus>,
    /// Locked while the bus is told what is held, so that both count alike.
    kept: Mutex<Kept>,
    /// What was found out of others and is not told here yet. Locked before what is kept.
    untold: Telling,
    /// How many connections others had when they were asked last.
    counts: Counts,
    /// What is done for others, and for this node's requests by them.
    errands: Errands,
    /// Something is to be asked by and by.
    wanted: watch::Sender<()>,
    /// A node is gone, and what it had is to be taken leave of.
    lost: Notify,
    /// Something is to be told that is not told at once.
    found: Notify,
    /// Something that was for sockets here is lost, of which they are not told yet.
    missed: AtomicBool,
    /// Kept messages that wait for those before them.
    pub(crate) in_order: InOrder,
    /// When it was last noted in the log that an answer is not whole.
    noted: Mutex<Option<Instant>>,
}

/// How long an answer is waited for. Who answers later is as good as gone, and will be declared so.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Things that connections of a node that is gone were in, of which leave is taken in one go: some milliseconds' work, for
/// which what is kept is locked. Of one connection leave is taken whole.
const TAKEN_LEAVE_OF_AT_ONCE: usize = 1_000;

/// How often the log says that answers are not whole: while a node is silent they all are not.
const NOTED_EVERY: Duration = Duration::from_secs(1);

impl std::fmt::Debug for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Others").finish_non_exhaustive()
    }
}

impl Others {
    /// None: the node of that bus is alone.
    pub(crate) fn beside(bus: &Arc<dyn Bus>) -> Option<Self> {
        (bus.node() != Node::ALONE).then(|| Self {
            bus: bus.clone(),
            kept: Mutex::default(),
            untold: Telling::default(),
            counts: Counts::default(),
            errands: Errands::default(),
            wanted: watch::Sender::new(()),
            lost: Notify::new(),
            found: Notify::new(),
            missed: AtomicBool::new(false),
            in_order: InOrder::default(),
            noted: Mutex::default(),
        })
    }

    /// So long, and as long as a question and its answer are on their way besides.
    pub(crate) fn and_the_way(&self, within: Duration) -> Duration {
        (within + self.bus.round_trip()).min(ANSWER_WITHIN)
    }

    /// Something here is there for this, once more.
    pub(crate) fn hold(&self, interest: &Interest) -> Confirmation {
        // Nothing is kept of others because of an endpoint's own connections.
        if let Interest::Endpoint(..) = interest {
            return self.bus.hold(interest);
        }
        let mut kept = self.kept.lock();
        let is_first = kept.hold(interest);
        if let Interest::Group(app, group) = interest
            && is_first
        {
            self.in_order.come(*app, group);
        }
        let held = self.bus.hold(interest);
        kept.tell(interest, &held);
        held
    }

    /// Takes back one [`Self::hold`].
    pub(crate) fn release(&self, interest: &Interest) {
        if let Interest::Endpoint(..) = interest {
            return self.bus.release(interest);
        }
        let mut kept = self.kept.lock();
        let is_last = kept.release(interest);
        self.bus.release(interest);
        if let Interest::Group(app, group) = interest
            && is_last
        {
            self.in_order.leave(*app, group);
        }
    }

    /// The order of a group's kept messages, if it is held here or was a moment ago.
    pub(crate) fn in_order(&self, app: AppId, group: &GroupName) -> Option<Arc<Group>> {
        self.in_order.group(app, group).or_else(|| {
            let kept = self.kept.lock();
            kept.is_held(&Interest::Group(app, group.clone())).then(|| self.in_order.begin(app, group))
        })
    }

    /// Holds for as long as an operation needs to look at what is known because of it.
    pub(crate) fn hold_meanwhile(&self, interests: Vec<Interest>) -> Meanwhile<'_> {
        for interest in &interests {
            self.hold(interest);
        }
        Meanwhile { others: self, interests }
    }

    /// Notes in the log if it is not known of every node what it has of these: whoever is answered now is told the rest later,
    /// and the answer has no place to say so.
    pub(crate) fn note_unheard(&self, interests: &[Interest]) {
        if self.kept.lock().is_whole(interests) {
            return;
        }
        let mut noted = self.noted.lock();
        if noted.is_none_or(|noted| noted.elapsed() >= NOTED_EVERY) {
            *noted = Some(Instant::now());
            tracing::warn!(
                "it is not known of every node whom it has: who begins to observe is told of those connections later"
            );
        }
    }

    /// A node tells something. False: it is known here already, or too late to be told.
    pub(crate) fn tells(&self, from: (Node, u64), app_id: AppId, to: &Audience, event: &Event) -> bool {
        match (to, &event.content) {
            (Audience::Group { group, .. }, Content::Joined { endpoint, connection, .. }) => {
                let interest = Interest::Group(app_id, group.clone());
                self.kept.lock().joined(from, interest, endpoint, *connection)
            }
            (Audience::Group { group, .. }, Content::Left { connection, .. }) => {
                self.kept.lock().left(from, &Interest::Group(app_id, group.clone()), *connection)
            }
            (Audience::Observers { endpoint, .. }, Content::Presence(presence)) => event
                .from_connection
                .is_none_or(|connection| self.kept.lock().observed(from, app_id, endpoint, connection, Some(presence))),
            (Audience::Group { .. } | Audience::Endpoint { .. } | Audience::Observers { .. }, _) => true,
        }
    }

    /// A connection of another node came.
    pub(crate) fn arrived(&self, from: (Node, u64), arrived: &Arrived) {
        let Arrived { app_id, endpoint, connection } = arrived;
        self.kept.lock().observed(from, *app_id, endpoint, *connection, None);
    }

    /// A connection of another node ended. What of that is to be told here.
    pub(crate) fn departed(&self, from: (Node, u64), departed: Departed, at: u64) -> Option<Departure> {
        let going = self.kept.lock().departed(from, departed, Instant::now())?;
        Some(departure(going, at))
    }

    /// Nobody comes to that node any more, for it parks what it has.
    pub(crate) fn parks(&self, node: Node) {
        self.kept.lock().parks(node);
    }

    /// A connection that was parked is another node's from here on, or this one's. What of that is to be told here is among
    /// what is untold then. `is_known`: those here knew all of it, for it was parked here.
    pub(crate) fn moved(&self, to: Option<(Node, u64)>, moved: &Moved, is_known: bool, at: u64) {
        let mut untold = self.untold.untold();
        let news = self.kept.lock().moved(to, moved, Instant::now());
        for news in news.into_iter().filter(|_| !is_known) {
            untold.add(Found { news, at });
        }
    }

    /// A group ended on another node, for these. With what is to be told here a little later, if it is not told before.
    pub(crate) fn group_ended(
        &self,
        from: (Node, u64),
        app: AppId,
        group: &GroupName,
        connections: &[ConnectionId],
        at: u64,
    ) -> Vec<Departure> {
        let mut untold = self.untold.untold();
        let going = self.kept.lock().group_ended(from, &Interest::Group(app, group.clone()), connections);
        let mut departures = Vec::with_capacity(going.len());
        for going in going {
            let departed = Departed { groups: Vec::new(), ..going.departed.clone() };
            departures.push(Departure { departed, ended: Some(group.clone()), at, observed: false, own: false });
            untold.add_ended(Found { news: News::Gone(going), at });
        }
        departures
    }

    /// A node is gone. What of that is to be told here is told in portions.
    pub(crate) fn lost(&self, node: Node, at: u64) {
        self.kept.lock().lost(node, at);
        self.lost.notify_one();
    }

    /// Some of what is to be told here of nodes that are gone. None: nothing is left.
    fn take_leave(&self) -> Option<Vec<Departure>> {
        let (at, going) = self.kept.lock().take_leave(TAKEN_LEAVE_OF_AT_ONCE, Instant::now())?;
        Some(going.into_iter().map(|going| departure(going, at)).collect())
    }

    /// Something that a node sent is lost for good.
    pub(crate) fn missed(&self, gap: &Gap) {
        self.kept.lock().missed(gap.from, *gap.numbers.end());
        self.missed.store(true, Ordering::Release);
        self.found.notify_one();
        self.wanted.send_replace(());
    }

    /// How many members a group that is held here has elsewhere. None: the others were not asked for that yet.
    pub(crate) fn members_known(&self, app: AppId, group: &GroupName) -> Option<Count> {
        self.kept.lock().count(&Interest::Group(app, group.clone()))
    }

    /// How many of these others have, if that is known here.
    fn count_known(&self, app: AppId, of: &Holder) -> Option<Count> {
        match of {
            Holder::Group(group) => self.members_known(app, group),
            Holder::Endpoint(endpoint) => self.kept.lock().count(&Interest::Observers(app, endpoint.clone())),
            Holder::App | Holder::Observers(_) => None,
        }
    }

    /// Whether a group that is held here has members elsewhere. None: that is not known of every node.
    pub(crate) fn is_anybody_in(&self, app: AppId, group: &GroupName) -> Option<bool> {
        self.kept.lock().is_anybody(&Interest::Group(app, group.clone()))
    }

    /// Whether a connection elsewhere is a member of a group that is held here.
    pub(crate) fn is_member(&self, app: AppId, group: &GroupName, connection: ConnectionId) -> bool {
        self.kept.lock().is_there(&Interest::Group(app, group.clone()), connection)
    }

    /// How many connections observed endpoints have elsewhere.
    pub(crate) fn observed_known(&self, app: AppId, endpoints: &[EndpointId]) -> usize {
        let mut kept = self.kept.lock();
        let count = |endpoint: &EndpointId| kept.count(&Interest::Observers(app, endpoint.clone()));
        endpoints.iter().filter_map(count).map(|count| count.known).sum()
    }

    /// What each connection elsewhere of an observed endpoint says.
    pub(crate) fn presences(&self, app: AppId, endpoint: &EndpointId) -> Vec<(ConnectionId, Option<Presence>)> {
        self.kept.lock().presences(app, endpoint)
    }

    /// All that is kept, and what of it is not as it always has to be.
    #[cfg(feature = "inspected")]
    pub(crate) fn inspected(&self) -> (std::collections::BTreeMap<Interest, crate::inspected::KeptState>, Vec<String>) {
        self.kept.lock().inspected()
    }

    /// What a connection elsewhere of an observed endpoint says.
    pub(crate) fn presence(&self, connection: ConnectionId) -> Option<Presence> {
        self.kept.lock().presence(connection)
    }
}

/// What is held for as long as somebody looks at it.
pub(crate) struct Meanwhile<'a> {
    others: &'a Others,
    pub(crate) interests: Vec<Interest>,
}

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        for interest in &self.interests {
            self.others.release(interest);
        }
    }
}

fn departure(Going { departed, observed }: Going, at: u64) -> Departure {
    Departure { departed, ended: None, at, observed, own: false }
}
