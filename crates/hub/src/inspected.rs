//! What tests of several hubs look at: all that a hub holds of its own, all that it keeps of others, and what a request has
//! to pay for.
//!
//! Behind a feature of its own, for nothing else needs it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use respoke_core::app::App;
use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Interest, Node};
use respoke_core::refusal::Refusal;

use crate::hub::Hub;
use crate::ops::{Asker, Purse};
use crate::reach::Reach;

/// All that a hub holds and keeps.
#[derive(Debug)]
pub struct Inspected {
    /// Its own connections.
    pub own: BTreeMap<ConnectionId, OwnState>,
    /// What it keeps of others.
    pub kept: BTreeMap<Interest, KeptState>,
    /// What is not as it always has to be, in words.
    pub faults: Vec<String>,
    /// Departures that wait to be told, and those of which it waits to know whether they are.
    pub untold: usize,
}

/// What a connection of a hub's own is in and says.
#[derive(Clone, Debug)]
pub struct OwnState {
    /// In which app.
    pub app_id: AppId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
    /// What it observes.
    pub observed: BTreeSet<EndpointId>,
    /// What it said last.
    pub presence: Option<Presence>,
}

/// What a hub keeps of others, because of one thing that something on its own node is there for.
#[derive(Clone, Debug, Default)]
pub struct KeptState {
    /// How often something is there for it.
    pub count: usize,
    /// Whether it is known of every node who is there.
    pub is_whole: bool,
    /// Who is there: on which node, and what it says.
    pub there: BTreeMap<ConnectionId, (Node, Option<Presence>)>,
}

impl Hub {
    /// All that this hub holds and keeps.
    #[must_use]
    pub fn inspected(&self) -> Inspected {
        let own = self.local.registry.inspected();
        let (kept, faults) = self.others.as_ref().map(crate::others::Others::inspected).unwrap_or_default();
        Inspected { own, kept, faults, untold: self.local.departures.left() }
    }
}

/// The purse of who can pay for all, which notes what that was.
#[derive(Debug, Default)]
pub struct Noting(Mutex<Vec<Reach>>);

impl Noting {
    /// Takes what was paid since this was asked last, and says how many frames that was for, with those that could not be
    /// foreseen.
    #[must_use]
    pub fn take_frames(&self) -> u64 {
        self.0.lock().drain(..).map(|reach| reach.frames).sum()
    }
}

impl Purse for Noting {
    fn pay(&self, _: &Asker<'_>, _: &App, reach: Reach) -> Result<(), Refusal> {
        self.0.lock().push(reach);
        Ok(())
    }

    fn owe(&self, _: &Asker<'_>, _: &App, reach: Reach) {
        self.0.lock().push(reach);
    }
}
