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
        let (world, node) = (World::new(), Sockets::default());
        let mut all: Vec<Arc<Socket>> = Vec::new();
        let mut open = BTreeSet::new();
        for step in steps {
            let count = all.len().max(1);
            let one = |nth: usize| all.get(nth % count);
            match step {
                Step::Open { kind } => {
                    let socket = opened_by(all.len() as u64, world.caller(kind));
                    prop_assert!(node.open(&socket, SOCKETS_MAX));
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
}

#[test]
fn what_the_hash_of_another_is_is_not_concerned() {
    let (world, node) = (World::new(), Sockets::default());
    let (one, other) = (opened_by(1, world.caller(4)), opened_by(2, world.caller(5)));
    for socket in [&one, &other] {
        assert!(node.open(socket, SOCKETS_MAX));
    }
    let of_one = Change::App(world.apps[0].id);
    // As if it stood on something with the same hash.
    node.books.lock().standing.insert((node.hasher.hash_one(Footing::of_change(&of_one)), other.number));
    assert_eq!(node.found(Footing::of_change(&of_one)).len(), 2);
    assert_eq!(node.concerned(&of_one).iter().map(|socket| socket.number).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_node_and_an_endpoint_have_so_many_sockets_and_no_more() {
    let node = Sockets::default();
    let mut app = Arc::unwrap_or_clone(app());
    app.settings.limits.endpoint_connections = Some(1);
    let app = Arc::new(app);
    let grant = |endpoint| Grant { app_id: app.id, endpoint_id: name(endpoint), role_id: None, secret_id: None };
    let open = |number, endpoint| node.open(&opened_by(number, in_session(&app, number, grant(endpoint))), 30);
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
    let (world, node) = (World::new(), Sockets::default());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for change in world.changes() {
                    node.concerned(&change);
                }
            }
        });
        let threads: Vec<_> = (0..3_u64)
            .map(|thread| {
                let (world, node) = (&world, &node);
                scope.spawn(move || {
                    for turn in 0..600 {
                        let socket = opened_by(3 * turn + thread, world.caller(2 * (thread as usize % 2)));
                        assert!(node.open(&socket, SOCKETS_MAX));
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
    let (app, name_of) = (world.apps[0].id, NAMES[usize::from(turn % 2 == 0)]);
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
        if turn % 3 == 0 {
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
