//! The way of one event to the sockets it is for. It is encoded once for each protocol in which one of them speaks, and offered to
//! each, and waits for none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use respoke_core::event::{Content, Event, Presence, Signal};
use respoke_core::id::{AppId, ConnectionId, GroupName, RequestId};
use respoke_core::ports::{Audience, Delivery, Departed};
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use respoke_wire::dialect::Dialect;
use respoke_wire::event;

use crate::Hub;
use crate::departures::{Departure, Step};
use crate::registry::Connection;
use crate::signal_shape::{self, Translation};
use crate::tails::shown_payload;

/// Events of one request, or groups that hear of one departure, before sockets get their turn to write: one who is in
/// all those groups hears of each, and is not to be closed for what it could not read yet.
const AT_ONCE: usize = 64;

/// Frames of departures before sockets, and all else that waits, get their turn: half a millisecond's work.
const FRAMES_AT_ONCE: usize = 1_000;

/// Lets sockets write what was offered to them so far, every now and then.
pub(crate) async fn let_others_write(nth: usize) {
    if nth % AT_ONCE == AT_ONCE - 1 {
        tokio::task::yield_now().await;
    }
}

/// Hands an event to whoever of its audience is connected here.
pub(crate) fn push(hub: &Hub, app: AppId, to: &Audience, event: &Event) {
    match to {
        Audience::Endpoint { endpoint, only, except } => {
            let connections = hub.local.registry.connections_of(app, endpoint);
            let meant = |connection: &&Arc<Connection>| only.is_none_or(|only| connection.id == only);
            let meant = connections.iter().filter(meant);
            match &event.content {
                Content::Signal(signal) => offer_signal(hub, meant, *except, event, signal),
                Content::Message { .. }
                | Content::Published { .. }
                | Content::Joined { .. }
                | Content::Left { .. }
                | Content::Presence(_)
                | Content::Missed => offer(hub, meant, *except, event),
            }
        }
        Audience::Group { group, except } => offer(hub, hub.local.registry.heard_in(app, group).iter(), *except, event),
        Audience::Observers { endpoint, except } => {
            offer(hub, hub.local.registry.observers(app, endpoint).iter(), *except, event);
        }
    }
}

/// Hands an event to a group's members here, and publishes nothing. Returns what is to be shown of it to other nodes.
#[must_use]
pub(crate) fn push_quietly(
    hub: &Hub,
    app: AppId,
    group: &GroupName,
    except: Option<ConnectionId>,
    event: &Event,
) -> Vec<Delivery> {
    offer_quietly(hub, hub.local.registry.heard_in(app, group).iter(), except, event)
}

impl Hub {
    /// Tells everybody of departures as they fall due. Never ends.
    ///
    /// One who shares many groups with a connection hears as many frames, so sockets get their turn to write in between.
    pub async fn announce_departures(&self) {
        let (mut nth, mut since_turn) = (0, 0);
        loop {
            let connection = self.local.departures.due().await;
            match self.announce_step(connection) {
                Some(told) => since_turn += told,
                None => {
                    (nth, since_turn) = (0, 0);
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            if since_turn > FRAMES_AT_ONCE {
                since_turn = 0;
                tokio::task::yield_now().await;
            } else {
                let_others_write(nth).await;
            }
            nth += 1;
        }
    }

    /// Tells of one group that a connection left as it ended, and how many hear of it. None: of that departure all is told.
    fn announce_step(&self, connection: ConnectionId) -> Option<usize> {
        let (told, ended) = self.alone_with(connection, || match self.local.departures.step(connection) {
            None => (None, None),
            Some(Step::Left { departed, group, at }) => (Some(self.tell_left_behind(&departed, group, at)), None),
            Some(Step::Last(departure)) => {
                self.tell_gone(&departure);
                (None, departure.ended)
            }
        });
        // Those that ended later wait for their own time.
        if let Some(group) = ended {
            self.tell_ended_of(connection, &group);
        }
        told
    }

    /// Tells what is not told yet of a connection's ends, before what is newer. To be called by who alone tells of it.
    pub(crate) fn tell_departures_of(&self, connection: ConnectionId) {
        for mut departure in self.local.departures.take_of(connection) {
            for group in std::mem::take(&mut departure.departed.groups) {
                self.tell_left_behind(&departure.departed, group, departure.at);
            }
            self.tell_gone(&departure);
        }
    }

    /// Tells the members of a group that a connection is gone: those who were left behind and are still there. A member
    /// learns who is in it by asking, and who asked later never saw the connection. How many that are.
    fn tell_left_behind(&self, departed: &Departed, group: GroupName, at: u64) -> usize {
        let Departed { app_id, endpoint, connection, groups: _ } = departed;
        let told = self.local.registry.members_before(*app_id, &group, at);
        if !told.is_empty() {
            let content = Content::Left { group, endpoint: endpoint.clone(), connection: *connection };
            let left = self.event(endpoint, Some(*connection), RequestId::new(self.broker.chance()), content);
            offer(self, told.iter(), None, &left);
        }
        told.len()
    }

    /// Tells whoever observes an endpoint that a connection of it is gone. An observer is told what is, and one that comes
    /// before the departure is told awaits it: clients register beside the connection's end.
    fn tell_gone(&self, Departure { departed, observed, .. }: &Departure) {
        let Departed { app_id, endpoint, connection, groups: _ } = departed;
        if !observed {
            return;
        }
        let told = self.local.registry.observers(*app_id, endpoint);
        self.local.departures.told(*app_id, endpoint);
        if !told.is_empty() {
            let content = Content::Presence(Presence::unavailable());
            let gone = self.event(endpoint, Some(*connection), RequestId::new(self.broker.chance()), content);
            offer(self, told.iter(), None, &gone);
        }
    }
}

/// What an event is on sockets, each made for the first that speaks its protocol.
struct Frames<'a> {
    hub: &'a Hub,
    event: &'a Event,
    /// Among how many what a frame takes is shared out.
    most: usize,
    made: [Option<(Bytes, usize)>; Dialect::COUNT],
}

impl Frames<'_> {
    /// The frame, and how much of it counts for each whom it waits for.
    fn of(&mut self, dialect: Dialect) -> &(Bytes, usize) {
        self.made[dialect.place()].get_or_insert_with(|| {
            let frame = self.hub.local.sockets.notes().counted(dialect.event(self.event));
            let share = frame.len().div_ceil(self.most);
            (frame, share)
        })
    }
}

/// Offers an event to connections, but for one.
pub(crate) fn offer<'a>(
    hub: &Hub,
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    except: Option<ConnectionId>,
    event: &Event,
) {
    for shown in offer_quietly(hub, connections, except, event) {
        hub.bus.publish(shown);
    }
}

fn offer_quietly<'a>(
    hub: &Hub,
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    except: Option<ConnectionId>,
    event: &Event,
) -> Vec<Delivery> {
    let (mut offered, mut shown) = (0, Vec::new());
    let tailed = hub.tails.any();
    let most = connections.size_hint().1.unwrap_or(1).max(1);
    let mut frames = Frames { hub, event, most, made: Default::default() };
    for connection in connections.filter(|connection| Some(connection.id) != except && !connection.is_gone()) {
        let (frame, share) = frames.of(connection.dialect());
        offered += u64::from(connection.offer(frame.clone(), *share));
        if tailed {
            shown.extend(hub.tails.show(connection, |payloads| tailed_event(connection, event, frame, payloads)));
        }
    }
    hub.figures.delivered.fetch_add(offered, Ordering::Relaxed);
    shown
}

fn tailed_event(connection: &Connection, event: &Event, frame: &Bytes, payloads: Payloads) -> TailedFrame {
    let payload = match payloads {
        Payloads::Shown => Some(shown_payload(event::object(event).get().as_bytes())),
        Payloads::Redacted => None,
    };
    TailedFrame {
        at: event.at,
        connection_id: connection.id,
        kind: FrameKind::Event,
        name: event::name(event).to_owned(),
        request_id: event.request_id,
        from: Some(event.from.clone()),
        status: None,
        bytes: frame.len() as u64,
        payload,
        lost: 0,
    }
}

/// Offers a signal in the words of each client, encoded once for each kind.
fn offer_signal<'a>(
    hub: &Hub,
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    except: Option<ConnectionId>,
    event: &Event,
    signal: &Signal,
) {
    let spared = |connection: &Connection| {
        let session = signal.spares_answerers_of.as_deref();
        session.is_some_and(|session| hub.local.registry.answered(connection, session))
    };
    let (pbx, web): (Vec<_>, Vec<_>) =
        connections.filter(|connection| !spared(connection)).partition(|connection| signal_shape::is_pbx(connection));
    offer(hub, pbx.into_iter(), except, event);
    match signal_shape::for_web(signal) {
        Translation::AsSent => offer(hub, web.into_iter(), except, event),
        Translation::Rewritten(body) => {
            let content = Content::Signal(Signal { body, ..signal.clone() });
            offer(hub, web.into_iter(), except, &Event { content, ..event.clone() });
        }
        Translation::Withheld => {}
    }
}
