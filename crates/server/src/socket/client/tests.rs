use respoke_core::ports::NodeId;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use respoke_bus::LocalBus;
use respoke_core::chance::of_this_test;
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::ops::{Broker, Caller, Credential};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::{Hub, HubSettings, Opening};
use respoke_store::{Options, SqliteStore};
use respoke_wire::dialect::Dialect;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PACE: Pace = Pace { heartbeat_interval: Duration::from_secs(25), patience: Duration::from_secs(60) };

/// A door with nobody at it.
struct Door {
    hub: Hub,
    clients: Clients,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Door {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("door.db"), Options::default()).unwrap();
        let (bus, clock) = (Arc::new(LocalBus::default()), Arc::new(ManualClock::at(Timestamp::from_secs(0))));
        let broker = Arc::new(Broker::new(Arc::new(store), bus.clone(), clock, of_this_test(), 10));
        let outbox = OutboxLimits { frames_max: 100, bytes_max: 10_000 };
        let settings = HubSettings { outbox, heartbeat_timeout: PACE.patience, sockets_max: 10_000 };
        let hub = Hub::new(broker, bus, settings);
        Self { hub, clients: Clients::new(PACE), stop: CancellationToken::new(), _folder: folder }
    }

    fn shake_hands(&self) -> Arc<Client> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (credential, caller) = (Credential::None, Caller::Anonymous);
        let socket = self
            .hub
            .open(Opening { credential, caller, address, origin: None, host: None, dialect: Dialect::SocketIo })
            .unwrap();
        self.clients.add(Sid::new(&*of_this_test(), None), socket, AckStyle::of_handshake(""), Share::unbounded())
    }

    fn websocket(&self, client: &Client) {
        client.attach_websocket(&self.stop);
        self.clients.plan(client);
    }

    fn poll(&self, client: &Client) {
        client.attach_polling(&self.stop);
        self.clients.plan(client);
    }

    /// What a second does: how many clients were looked at, who got a heartbeat, and who was forgotten.
    fn tick(&self) -> (usize, BTreeSet<u64>, BTreeSet<u64>) {
        let now = Instant::now();
        let (mut looks, mut beats, mut over) = (0, BTreeSet::new(), BTreeSet::new());
        let ended = std::iter::from_fn(|| self.hub.next_ended());
        for number in ended.chain(std::iter::from_fn(|| self.clients.next_due(now))) {
            looks += 1;
            match self.clients.look(number, now) {
                None => {}
                Some(Due::Heartbeat(client)) => assert!(beats.insert(client.socket.number)),
                Some(Due::Forgetting(client, _)) => {
                    self.clients.forget(&client);
                    over.insert(number);
                }
            }
        }
        (looks, beats, over)
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_looks_at_those_alone_whose_heartbeats_are_due_and_misses_none() {
    let door = Door::new();
    let mut all = Vec::new();
    for second in 0..200 {
        // Four come each second for as long as a heartbeat takes.
        if second < 25 {
            for _ in 0..4 {
                let client = door.shake_hands();
                door.websocket(&client);
                all.push(client);
            }
        }
        tokio::time::advance(SECOND).await;
        let (looks, beats, over) = door.tick();
        let is_due = |client: &&Arc<Client>| client.opened.elapsed().as_secs().is_multiple_of(25);
        let walk: BTreeSet<_> = all.iter().filter(is_due).map(|client| client.socket.number).collect();
        assert_eq!(beats, walk, "in second {second}");
        assert!(looks <= 4 && over.is_empty(), "{looks} in second {second}");
    }
    // A tick that comes late makes up for nothing.
    tokio::time::advance(60 * SECOND).await;
    assert_eq!([door.tick().1.len(), door.tick().1.len()], [all.len(), 0]);
    for client in &all {
        door.clients.forget(client);
    }
    assert!(door.clients.looks.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_heartbeats_from_when_it_has_a_websocket_and_as_long_as_it_has() {
    let door = Door::new();
    let client = door.shake_hands();
    tokio::time::advance(30 * SECOND).await;
    assert_eq!(door.tick().0, 0);
    // What was due before is sent with the next second.
    door.websocket(&client);
    door.websocket(&client);
    assert_eq!(door.tick().1, [client.socket.number].into());
    assert!(door.tick().1.is_empty());
    door.poll(&client);
    tokio::time::advance(30 * SECOND).await;
    assert!(door.tick().1.is_empty());
    door.websocket(&client);
    assert_eq!(door.tick().1, [client.socket.number].into());
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_is_forgotten_when_nobody_comes_for_it_any_more() {
    let door = Door::new();
    let [unused, early, polling, turning, carried] = std::array::from_fn(|_| door.shake_hands());
    door.poll(&polling);
    for client in [&turning, &carried] {
        door.websocket(client);
    }
    // One was closed before there was a client to find.
    door.clients.forget(&early);
    early.socket.outbox.close(Close::SessionEnded);
    while door.hub.next_ended().is_some() {}
    door.clients.add(
        Sid::new(&*of_this_test(), None),
        early.socket.clone(),
        AckStyle::of_handshake(""),
        Share::unbounded(),
    );
    for client in [&unused, &polling, &turning, &carried] {
        client.socket.outbox.close(Close::SlowConsumer);
    }
    assert_eq!(door.hub.view().sockets, 4);
    assert_eq!(door.tick().2, [unused.socket.number, early.socket.number].into());
    assert_eq!(door.hub.view().sockets, 0, "they are out of everything, whoever closed them");
    // Its websocket never came up, and it polls.
    tokio::time::advance(10 * SECOND).await;
    door.poll(&turning);
    tokio::time::advance(49 * SECOND).await;
    assert!(door.tick().2.is_empty());
    tokio::time::advance(SECOND).await;
    assert_eq!(door.tick().2, [polling.socket.number, turning.socket.number].into());
    // The end of this one is its websocket's.
    tokio::time::advance(1_000 * SECOND).await;
    door.tick();
    assert_eq!(door.tick().0, 0);
    assert_eq!(door.clients.all().len(), 1);
}

#[test]
fn a_session_id_names_its_node_among_others_and_nothing_of_a_server_that_is_alone() {
    let chance = of_this_test();
    let (alone, one, two) =
        (Sid::new(&*chance, None), Sid::new(&*chance, Some(NodeId(7))), Sid::new(&*chance, Some(NodeId(7))));
    assert_eq!((one.node(), &one.text()[..8]), (NodeId(7), "00000007"));
    assert!(one != two && alone.node() != NodeId(7) && alone.bytes()[..4] != [0; 4]);
    assert!(Sid::parse(&one.text()).unwrap() == one);
    for text in ["", &one.text()[1..], &one.text()[2..], &format!("{}00", one.text()), &"G".repeat(32)] {
        assert!(Sid::parse(text).is_none(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_given_up_once_and_has_no_transport_here_from_then_on() {
    let door = Door::new();
    let client = door.shake_hands();
    let sid = &client.sid;
    assert!(client.is_awaited());
    assert!(door.clients.give_up(sid).is_some());
    assert!(door.clients.give_up(sid).is_none() && door.clients.find(&sid.text()).is_none());
    // A request may have found it before.
    assert!(client.attach_websocket(&door.stop).is_none() && client.attach_polling(&door.stop).is_none());
    client.detach();
    assert!(client.attach_websocket(&door.stop).is_none());
    assert!(!client.is_awaited());
    // Its node closes it, and nothing is left of it.
    door.hub.close(&client.socket, Close::Left);
    door.tick();
    assert!(door.clients.all().is_empty() && door.clients.looks.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_came_or_was_closed_is_not_given_up() {
    let door = Door::new();
    let (websocket, polls, closed) = (door.shake_hands(), door.shake_hands(), door.shake_hands());
    door.websocket(&websocket);
    door.poll(&polls);
    door.hub.close(&closed.socket, Close::SessionEnded);
    for client in [&websocket, &polls, &closed] {
        assert!(!client.is_awaited() && door.clients.give_up(&client.sid).is_none());
        assert!(door.clients.find(&client.sid.text()).is_some());
    }
}
