use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use respoke_core::app::App;
use respoke_core::grant::Grant;
use respoke_core::id::{AdminId, RoleId, SecretId};

use super::*;
use crate::registry::tests::connection;
use crate::socket::tests::{admin, app, in_session, opened_by};

const SOCKETS_MAX: usize = 1_000;
const NAMES: [&str; 2] = ["ann", "bob"];
const KINDS: usize = 24;
const PATIENCE: Duration = Duration::from_secs(60);

fn node() -> Sockets {
    Sockets::new(SOCKETS_MAX, PATIENCE)
}

/// Two of everything that can be stood on.
struct World {
    apps: [Arc<App>; 2],
    roles: [RoleId; 2],
    secrets: [SecretId; 2],
    admins: [AdminId; 2],
}

impl World {
    fn new() -> Self {
        Self {
            apps: [app(), app()],
            roles: [RoleId::random(), RoleId::random()],
            secrets: [SecretId::random(), SecretId::random()],
            admins: [AdminId::random(), AdminId::random()],
        }
    }

    /// One of the callers that there are.
    fn caller(&self, kind: usize) -> Caller {
        let (app, more) = (&self.apps[kind % 2], kind / 2);
        match more % 6 {
            0 => Caller::App { app: app.clone(), secret_id: self.secrets[more % 2] },
            1 => admin(self.admins[kind % 2]),
            _ => {
                let grant = Grant {
                    app_id: app.id,
                    endpoint_id: name(NAMES[more % 2]),
                    role_id: (more % 3 > 0).then_some(self.roles[more % 2]),
                    secret_id: (more % 5 > 0).then_some(self.secrets[more / 6]),
                };
                in_session(app, (more % 4) as u64, grant)
            }
        }
    }

    /// All that may change.
    fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<_> = (0..4).map(Change::Session).collect();
        changes.extend(self.admins.map(Change::Admin));
        for app in self.apps.iter().map(|app| app.id) {
            changes.push(Change::App(app));
            changes.extend(NAMES.map(|of| Change::Endpoint(app, name(of))));
            changes.extend(self.roles.map(|role| Change::Role(app, role)));
            changes.extend(self.secrets.map(|secret| Change::Secret(app, secret)));
        }
        changes
    }
}

fn name(of: &str) -> EndpointId {
    EndpointId::parse(of).unwrap()
}

/// The rule as one would write it down for one socket and one change.
fn is_concerned(socket: &Socket, change: &Change) -> bool {
    let connected = socket.connection();
    let (app, endpoint) = (connected.as_ref().map(|of| of.app_id), connected.as_ref().map(|of| &of.endpoint));
    let grant = match &socket.opening.caller {
        Caller::Endpoint { session, .. } => Some((session.record.number, &session.record.grant)),
        Caller::App { .. } | Caller::Admin { .. } | Caller::Anonymous => None,
    };
    let granted = |is: &dyn Fn(&Grant) -> bool| grant.is_some_and(|(_, grant)| is(grant));
    let backend = match &socket.opening.caller {
        Caller::App { app, secret_id } => Some((app.id, *secret_id)),
        Caller::Endpoint { .. } | Caller::Admin { .. } | Caller::Anonymous => None,
    };
    match change {
        Change::Session(number) => grant.is_some_and(|(of, _)| of == *number),
        Change::Endpoint(of, one) => {
            granted(&|grant| grant.app_id == *of && grant.endpoint_id == *one)
                || (app == Some(*of) && endpoint == Some(one))
        }
        Change::Role(of, role) => granted(&|grant| grant.app_id == *of && grant.role_id == Some(*role)),
        Change::Secret(of, secret) => {
            granted(&|grant| grant.app_id == *of && grant.secret_id == Some(*secret)) || backend == Some((*of, *secret))
        }
        Change::App(of) => {
            granted(&|grant| grant.app_id == *of)
                || backend.is_some_and(|(backend, _)| backend == *of)
                || app == Some(*of)
        }
        Change::Admin(id) => matches!(&socket.opening.caller, Caller::Admin { admin_id, .. } if admin_id == id),
        Change::Nodes => false,
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open {
        kind: usize,
    },
    /// A socket registers, or is refused.
    Register {
        nth: usize,
        app: usize,
        name: usize,
        taken: bool,
    },
    Unregister {
        nth: usize,
    },
    /// Its outbox overflows.
    Overflow {
        nth: usize,
    },
    Close {
        nth: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = 0..12_usize;
    let step = prop_oneof![
        4 => (0..KINDS).prop_map(|kind| Step::Open { kind }),
        6 => (nth.clone(), 0..2_usize, 0..2_usize, prop::bool::weighted(0.8))
            .prop_map(|(nth, app, name, taken)| Step::Register { nth, app, name, taken }),
        2 => nth.clone().prop_map(|nth| Step::Unregister { nth }),
        1 => nth.clone().prop_map(|nth| Step::Overflow { nth }),
        2 => nth.prop_map(|nth| Step::Close { nth }),
    ];
    prop::collection::vec(step, 1..60)
}

fn register(node: &Sockets, socket: &Socket, app: AppId, name: &str, taken: bool) -> bool {
    let connection = connection(app, name);
    let registered = node.register(socket, &connection, |_| if taken { Ok(()) } else { Err(()) });
    matches!(registered, Some(Ok(_)))
}

proptest! {
    #[test]
    fn a_change_finds_whom_a_walk_through_all_sockets_would_find(steps in steps()) {
        let (world, node) = (World::new(), node());
        let mut all: Vec<Arc<Socket>> = Vec::new();
        let mut open = BTreeSet::new();
        for step in steps {
            let count = all.len().max(1);
            let one = |nth: usize| all.get(nth % count);
            match step {
                Step::Open { kind } => {
                    let socket = opened_by(all.len() as u64, world.caller(kind));
                    prop_assert!(node.open(&socket, 0));
                    open.insert(socket.number);
                    all.push(socket);
                }
                Step::Register { nth, app, name, taken } => {
                    let Some(socket) = one(nth) else { continue };
                    // Who is in session is connected as whom the session says.
                    let (app, name) = match &socket.opening.caller {
                        Caller::Endpoint { session, .. } => {
                            (session.record.grant.app_id, session.record.grant.endpoint_id.to_string())
                        }
                        Caller::App { app, .. } => (app.id, NAMES[name].to_owned()),
                        Caller::Admin { .. } | Caller::Anonymous => (world.apps[app].id, NAMES[name].to_owned()),
                    };
                    register(&node, socket, app, &name, taken);
                }
                Step::Unregister { nth } => {
                    if let Some(socket) = one(nth) {
                        node.unregister(socket);
                    }
                }
                Step::Overflow { nth } => {
                    if let Some(socket) = one(nth) {
                        socket.outbox.close(Close::SlowConsumer);
                    }
                }
                Step::Close { nth } => {
                    let Some(socket) = one(nth) else { continue };
                    node.close(socket, Close::Left);
                    prop_assert_eq!(node.forget(socket), open.remove(&socket.number));
                }
            }
            for change in world.changes() {
                let found = node.found(Footing::of_change(&change));
                let found: BTreeSet<_> = found.iter().map(|socket| socket.number).collect();
                let walk = all.iter().filter(|socket| open.contains(&socket.number) && is_concerned(socket, &change));
                prop_assert_eq!(&found, &walk.map(|socket| socket.number).collect(), "{:?}", change);
                let concerned = node.concerned(&change);
                prop_assert_eq!(concerned.iter().map(|socket| socket.number).collect::<BTreeSet<_>>(), found);
            }
        }
        for socket in &all {
            node.close(socket, Close::Left);
            node.forget(socket);
        }
        assert_nothing_left(&node);
    }
}

fn assert_nothing_left(node: &Sockets) {
    let books = node.books.lock();
    assert!(books.sockets.is_empty() && books.of_endpoints.is_empty());
    assert!(books.standing.is_empty(), "{:?}", books.standing);
    assert!(books.silences.is_empty() && books.ends.is_empty() && books.beginnings.is_empty());
}

#[test]
fn what_the_hash_of_another_is_is_not_concerned() {
    let (world, node) = (World::new(), node());
    let (one, other) = (opened_by(1, world.caller(4)), opened_by(2, world.caller(5)));
    for socket in [&one, &other] {
        assert!(node.open(socket, 0));
    }
    let of_one = Change::App(world.apps[0].id);
    // As if it stood on something with the same hash.
    node.books.lock().standing.insert((node.hasher.hash_one(Footing::of_change(&of_one)), other.number));
    assert_eq!(node.found(Footing::of_change(&of_one)).len(), 2);
    assert_eq!(node.concerned(&of_one).iter().map(|socket| socket.number).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_node_and_an_endpoint_have_so_many_sockets_and_no_more() {
    let node = Sockets::new(30, PATIENCE);
    let mut app = Arc::unwrap_or_clone(app());
    app.settings.limits.endpoint_connections = Some(1);
    let app = Arc::new(app);
    let grant = |endpoint| Grant { app_id: app.id, endpoint_id: name(endpoint), role_id: None, secret_id: None };
    let open = |number, endpoint| node.open(&opened_by(number, in_session(&app, number, grant(endpoint))), 0);
    let most = 2 + SPARE_SOCKETS as u64;
    assert!((0..most).all(|number| open(number, "ann")) && !open(most, "ann"));
    assert!((most..30).all(|number| open(number, "bob")) && !open(30, "cat"));
    // Who is not let in leaves nothing behind.
    for socket in node.all() {
        node.close(&socket, Close::Left);
        assert!(node.forget(&socket) && !node.forget(&socket));
    }
    assert_nothing_left(&node);
    assert!(open(31, "ann"));
}

/// Backends register as one after the other, take that back and are closed, all at once, while changes look for them.
#[test]
fn of_registering_and_closing_at_once_nothing_is_left_behind_or_missed() {
    let (world, node) = (World::new(), node());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for change in world.changes() {
                    node.concerned(&change);
                }
            }
        });
        let threads: Vec<_> = [0, 2, 0]
            .into_iter()
            .zip(0_u64..)
            .map(|(kind, thread)| {
                let (world, node) = (&world, &node);
                scope.spawn(move || {
                    for turn in 0..600 {
                        let socket = opened_by(3 * turn + thread, world.caller(kind));
                        assert!(node.open(&socket, 0));
                        registering_and_closing(node, world, &socket, turn);
                    }
                })
            })
            .collect();
        let done: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        looking.join().unwrap();
        assert!(done.iter().all(Result::is_ok));
    });
    assert_nothing_left(&node);
}

/// Two threads register, one takes back, one or two close.
fn registering_and_closing(node: &Sockets, world: &World, socket: &Arc<Socket>, turn: u64) {
    let (app, name_of) = (world.apps[0].id, NAMES[usize::from(turn.is_multiple_of(2))]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if register(node, socket, app, name_of, true) {
                assert_found(node, socket);
            }
        });
        scope.spawn(|| {
            register(node, socket, app, NAMES[0], true);
            node.unregister(socket);
        });
        scope.spawn(|| {
            node.close(socket, Close::Left);
            node.forget(socket);
        });
        if turn.is_multiple_of(3) {
            node.close(socket, Close::SessionEnded);
            node.forget(socket);
        }
    });
    assert!(socket.connection().is_none());
}

/// By now its connection may have been taken back, or be another; as what it is, it is found.
fn assert_found(node: &Sockets, socket: &Socket) {
    let Some(now) = socket.connection() else { return };
    let change = Change::Endpoint(now.app_id, now.endpoint.clone());
    let found = node.found(Footing::of_change(&change)).iter().any(|found| found.number == socket.number);
    assert!(found || socket.connection().is_none_or(|still| still.id != now.id));
}

/// Opens sockets of nobody in particular.
fn open(node: &Sockets, numbers: std::ops::Range<u64>, now_secs: u64) -> Vec<Arc<Socket>> {
    let open = |number| {
        let socket = opened_by(number, Caller::Anonymous);
        socket.heard(now_secs);
        assert!(node.open(&socket, now_secs));
        socket
    };
    numbers.map(open).collect()
}

fn numbers(sockets: impl IntoIterator<Item = Arc<Socket>>) -> Vec<u64> {
    let mut numbers: Vec<_> = sockets.into_iter().map(|socket| socket.number).collect();
    numbers.sort_unstable();
    numbers
}

fn silent(node: &Sockets, now_secs: u64) -> Vec<u64> {
    numbers(std::iter::from_fn(|| node.next_silent(now_secs).map(|(socket, _)| socket)))
}

#[test]
fn a_second_looks_at_those_alone_who_may_be_silent_by_then() {
    let node = node();
    let looked_at = |now_secs| node.books.lock().silences.due(now_secs).count();
    // As they come: ten a second.
    let all: Vec<_> = (0..60).flat_map(|now| open(&node, 10 * now..10 * (now + 1), now)).collect();
    for now in 60..600 {
        // All say something every second, which costs nothing here.
        for socket in &all {
            socket.heard(now);
        }
        let due = looked_at(now);
        assert!(due <= 10, "{due} of {} at {now}", all.len());
        assert!(silent(&node, now).is_empty());
    }
    // Each is looked at once in as many seconds as it may be silent, and one more.
    assert_eq!([looked_at(599), looked_at(660)], [0, all.len()]);
}

#[test]
fn who_is_found_silent_is_found_again_until_it_is_closed() {
    let node = node();
    let all = open(&node, 0..2, 0);
    assert!(silent(&node, 60).is_empty());
    assert_eq!([silent(&node, 61), silent(&node, 61), silent(&node, 62)], [vec![0, 1], vec![], vec![0, 1]]);
    node.close(&all[0], Close::Silent);
    node.forget(&all[0]);
    assert_eq!(silent(&node, 63), [1]);
    all[1].heard(63);
    assert_eq!([silent(&node, 123), silent(&node, 124)], [vec![], vec![1]]);
    node.forget(&all[1]);
    assert_nothing_left(&node);
}

#[derive(Clone, Debug)]
enum Moment {
    /// So many seconds go by, and then it is looked.
    Later(u64),
    Heard(usize),
    NotListening(usize),
    Opened,
}

proptest! {
    #[test]
    fn who_is_silent_is_found_when_a_walk_would_find_it(
        patience in 0_u64..5,
        moments in prop::collection::vec(
            prop_oneof![
                3 => (1..4_u64).prop_map(Moment::Later),
                4 => (0..6_usize).prop_map(Moment::Heard),
                1 => (0..6_usize).prop_map(Moment::NotListening),
                1 => Just(Moment::Opened),
            ],
            1..80,
        ),
    ) {
        let node = Sockets::new(SOCKETS_MAX, Duration::from_secs(patience));
        let (mut all, mut now) = (Vec::new(), 0);
        for moment in moments {
            match moment {
                Moment::Opened => all.extend(open(&node, all.len() as u64..all.len() as u64 + 1, now)),
                Moment::Heard(nth) => all.iter().skip(nth).take(1).for_each(|socket| socket.heard(now)),
                Moment::NotListening(nth) => all.iter().skip(nth).take(1).for_each(|socket| socket.heard(u64::MAX)),
                Moment::Later(secs) => {
                    now += secs;
                    let walk = all.iter().filter(|socket| socket.silent_for_secs(now) > patience).cloned();
                    prop_assert_eq!(silent(&node, now), numbers(walk));
                }
            }
        }
    }

    #[test]
    fn whose_term_is_over_is_found_whatever_the_clock_shows(
        terms in prop::collection::vec(prop::option::of((-50_i64..50, 0_i64..50)), 1..40),
        shown in prop::collection::vec(-200_i64..200, 1..20),
    ) {
        let node = node();
        let all = open(&node, 0..6, 0);
        let mut lasting = [None; 6];
        for (nth, term) in terms.into_iter().enumerate() {
            let at = Timestamp::from_millis;
            let term = term.map(|(from, lasts)| Term { from: at(from), until: at(from + lasts) });
            node.lasts(&all[nth % 6], term);
            lasting[nth % 6] = term;
            for now in &shown {
                let over = lasting.iter().zip(&all).filter(|(term, _)| term.is_some_and(|term| term.is_over(at(*now))));
                let over = numbers(over.map(|(_, socket)| socket.clone()));
                prop_assert_eq!(numbers(node.expired(at(*now))), over);
            }
        }
        for socket in &all {
            node.forget(socket);
            // What is judged while it is closed is not entered again.
            node.lasts(socket, Some(Term { from: Timestamp::from_millis(0), until: Timestamp::from_millis(1) }));
        }
        assert_nothing_left(&node);
    }
}

#[test]
fn one_that_lasts_for_ever_is_never_over() {
    let node = node();
    let all = open(&node, 0..2, 0);
    let at = Timestamp::from_millis;
    node.lasts(&all[0], Some(Term { from: at(i64::MIN), until: at(i64::MAX - 1) }));
    for now in [i64::MIN, 0, i64::MAX - 2] {
        assert!(node.expired(at(now)).is_empty(), "{now}");
    }
    assert_eq!(numbers(node.expired(at(i64::MAX))), [0]);
}

#[test]
fn a_backends_socket_is_found_by_whom_it_speaks_for_before_anybody_can_see_the_connection() {
    let (world, sockets) = (World::new(), node());
    let app = &world.apps[0];
    let socket = opened_by(1, Caller::App { app: app.clone(), secret_id: world.secrets[0] });
    assert!(sockets.open(&socket, 0));
    let (ann, bob) = (connection(app.id, "ann"), connection(app.id, "bob"));
    let found = |of: &Connection| sockets.found(Footing::Endpoint(app.id, &of.endpoint)).len();
    let register = |one: &Arc<Connection>, outcome: Result<(), ()>| {
        let registered = sockets.register(&socket, one, |present| {
            assert_eq!((found(one), present.map_or(1, found)), (1, 1));
            outcome
        });
        registered.unwrap().is_ok()
    };
    assert!(register(&ann, Ok(())) && !register(&bob, Err(())));
    assert_eq!((found(&ann), found(&bob)), (1, 0), "who is refused stands where it stood");
    assert!(register(&bob, Ok(())));
    assert_eq!((found(&ann), found(&bob)), (0, 1));
    assert!(!register(&connection(app.id, "bob"), Err(())) && found(&bob) == 1);
}
