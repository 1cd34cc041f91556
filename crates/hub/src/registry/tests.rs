use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicBool;

use serde_json::value::RawValue;

use super::*;
use crate::outbox::{Outbox, OutboxLimits};

pub(crate) fn connection(app_id: AppId, endpoint: &str) -> Arc<Connection> {
    Arc::new(Connection {
        id: ConnectionId::random(),
        app_id,
        endpoint: EndpointId::parse(endpoint).unwrap(),
        role_id: None,
        client_type: "WEB".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trickle_ice: true,
        ice_final_candidates: false,
        home: Home::Here(Arc::new(Outbox::new(OutboxLimits { frames_max: 10, bytes_max: 1_000 }))),
        gone: AtomicBool::new(false),
        telling: Mutex::default(),
        parked: AtomicBool::new(false),
        inherited: parking_lot::Mutex::default(),
    })
}

fn room() -> GroupName {
    GroupName::parse("room").unwrap()
}

pub(crate) fn said(kind: &str) -> Presence {
    Presence { kind: RawValue::from_string(format!("\"{kind}\"")).unwrap(), show: None, status: None }
}

/// Takes a portion out of a group that ends. Returns who was a member.
fn end_some(registry: &Registry, app: AppId, group: &GroupName, ending: &mut Ending) -> Vec<Arc<Connection>> {
    let portion = registry.next_to_end(app, group, ending);
    registry.end_of(app, group, ending, &portion)
}

/// Ends a group at once. Returns who was a member.
pub(crate) fn end(registry: &Registry, app: AppId, group: &GroupName) -> Vec<ConnectionId> {
    let (mut ending, mut members) = (registry.begin_to_end(), Vec::new());
    while !ending.is_over {
        members.extend(end_some(registry, app, group, &mut ending).iter().map(|member| member.id));
    }
    members
}

#[test]
fn a_group_ends_in_portions_and_who_joins_meanwhile_stays() {
    let (registry, app) = (Registry::default(), AppId::random());
    let all: Vec<_> = (0..=3 * remains::PORTION).map(|_| connection(app, "alice")).collect();
    let (newcomer, members) = all.split_last().unwrap();
    for one in &all {
        registry.add(one, None, Caps::default()).unwrap();
    }
    for one in members {
        registry.join(one, &room(), Caps::default());
    }
    let mut ending = registry.begin_to_end();
    registry.join(newcomer, &room(), Caps::default());
    let left = end_some(&registry, app, &room(), &mut ending);
    assert!(!left.is_empty() && left.len() <= remains::PORTION && !ending.is_over);
    // One of them comes back, and one that is still there leaves by itself.
    registry.join(&left[0], &room(), Caps::default());
    let still_there = registry.members(app, &room()).last().unwrap().clone();
    assert!(registry.leave(app, still_there.id, &room()));
    let mut gone: HashSet<_> = left.iter().map(|one| one.id).chain([still_there.id]).collect();
    while !ending.is_over {
        for one in end_some(&registry, app, &room(), &mut ending) {
            assert!(gone.insert(one.id), "it left twice");
        }
    }
    assert_eq!(gone, members.iter().map(|one| one.id).collect());
    let there: HashSet<_> = registry.members(app, &room()).iter().map(|one| one.id).collect();
    assert_eq!(there, HashSet::from([left[0].id, newcomer.id]));
    let in_room =
        |one: &Connection| registry.states_of(app, &one.endpoint).iter().filter(|one| one.groups.len() == 1).count();
    assert_eq!(in_room(newcomer), 2);
    assert_eq!(end(&registry, app, &room()).len(), 2);
    assert!(!registry.group_exists(app, &room()) && end(&registry, app, &room()).is_empty());
    assert!(end(&registry, AppId::random(), &room()).is_empty(), "nobody is there");
}

#[test]
fn who_leaves_or_joins_anew_before_its_portion_is_taken_out_of_a_group_is_passed_over() {
    let (registry, app) = (Registry::default(), AppId::random());
    let all @ [stays, leaves, joins_anew, is_gone] = &["a", "b", "c", "d"].map(|endpoint| connection(app, endpoint));
    for one in all {
        registry.add(one, None, Caps::default()).unwrap();
        registry.join(one, &room(), Caps::default());
    }
    let mut ending = registry.begin_to_end();
    let portion = registry.next_to_end(app, &room(), &mut ending);
    assert_eq!((portion.len(), ending.is_over), (4, true));
    for one in [leaves, joins_anew] {
        assert!(registry.leave(app, one.id, &room()));
    }
    registry.join(joins_anew, &room(), Caps::default());
    registry.remove(app, is_gone.id);
    let out = registry.end_of(app, &room(), &ending, &portion);
    assert_eq!(out.iter().map(|one| one.id).collect::<Vec<_>>(), [stays.id]);
    assert_eq!(registry.members(app, &room()).iter().map(|one| one.id).collect::<Vec<_>>(), [joins_anew.id]);
}

#[test]
fn a_connection_that_is_gone_is_nowhere() {
    let (registry, app) = (Registry::default(), AppId::random());
    let (alice, bob) = (connection(app, "alice"), connection(app, "bob"));
    for one in [&alice, &bob] {
        registry.add(one, None, Caps::default()).unwrap();
        assert!(matches!(registry.join(one, &room(), Caps::default()), Join::Joined { .. }));
        assert!(registry.observe(one, &[alice.endpoint.clone(), bob.endpoint.clone()]).unwrap().is_some());
    }
    assert_eq!(registry.join(&bob, &room(), Caps::default()), Join::Already);
    let all = Counts { connections: 2, endpoints: 2, groups: 1, members: 2, observers: 4 };
    assert_eq!(registry.counts(), all);
    assert_eq!(registry.remove(app, alice.id).unwrap().departed.groups, [room()]);
    assert!(registry.remove(app, alice.id).is_none());
    // It is not brought back by what was on its way.
    assert_eq!(registry.join(&alice, &room(), Caps::default()), Join::Gone);
    assert!(!registry.set_presence(app, alice.id, said("away")));
    assert!(registry.observe(&alice, std::slice::from_ref(&bob.endpoint)).unwrap().is_none());
    let one = Counts { connections: 1, endpoints: 1, groups: 1, members: 1, observers: 2 };
    assert_eq!(registry.counts(), one);
    assert_eq!(registry.remove(app, bob.id).unwrap().departed.groups, [room()]);
    assert_eq!(registry.counts(), Counts::default());
    assert!(registry.apps.read().is_empty(), "the app goes with its last connection");
}

#[test]
fn limits_are_reached_exactly_and_one_that_is_replaced_counts_for_none() {
    let (registry, app) = (Registry::default(), AppId::random());
    let caps = Caps { connections: Some(3), endpoint_connections: Some(2), groups: Some(1), members: Some(2) };
    let all: Vec<_> = ["a", "a", "a", "b", "c"].map(|endpoint| connection(app, endpoint)).into();
    assert_eq!([0, 1].map(|at| registry.add(&all[at], None, caps)), [Ok(()), Ok(())]);
    assert_eq!(registry.add(&all[2], None, caps), Err(Full::Endpoint));
    assert_eq!(registry.add(&all[3], None, caps), Ok(()));
    assert_eq!(registry.add(&all[4], None, caps), Err(Full::App));
    // Its own place is no place of another endpoint, and there once.
    assert_eq!(registry.add(&all[2], Some(&all[3]), caps), Err(Full::Endpoint));
    assert_eq!(registry.add(&all[2], Some(&all[0]), caps), Ok(()));
    registry.remove(app, all[0].id).unwrap();
    assert_eq!(registry.add(&connection(app, "c"), Some(&all[0]), caps), Err(Full::App));
    assert_eq!(registry.counts().endpoints, 2, "who was refused left no trace");

    let other = GroupName::parse("other").unwrap();
    assert_eq!(registry.join(&all[1], &room(), caps), Join::Joined { others: 0 });
    assert_eq!(registry.join(&all[1], &other, caps), Join::Full(Full::Connection));
    assert_eq!(registry.join(&all[2], &room(), caps), Join::Joined { others: 1 });
    assert_eq!(registry.join(&all[3], &room(), caps), Join::Full(Full::Group));
    assert_eq!(registry.join(&all[2], &room(), caps), Join::Already);
    assert!(!registry.group_exists(app, &other));
    assert!(registry.leave(app, all[2].id, &room()) && !registry.leave(app, all[2].id, &room()));
    assert_eq!(registry.join(&all[3], &room(), caps), Join::Joined { others: 1 });
}

#[test]
fn a_snapshot_names_every_connection_in_the_order_they_came() {
    let (registry, app) = (Registry::default(), AppId::random());
    let (one, two) = (connection(app, "alice"), connection(app, "alice"));
    for one in [&one, &two] {
        registry.add(one, None, Caps::default()).unwrap();
    }
    assert!(registry.set_presence(app, two.id, said("away")));
    let found = registry.presences(app, vec![one.endpoint.clone()]);
    let kinds: Vec<_> = found[0].1.iter().map(|(id, said)| (*id, said.as_ref().map(|said| said.kind.get()))).collect();
    assert_eq!(kinds, [(one.id, None), (two.id, Some("\"away\""))]);
}

#[test]
fn an_app_that_is_being_forgotten_is_not_added_to() {
    let (registry, app) = (Registry::default(), AppId::random());
    let (alice, bob) = (connection(app, "alice"), connection(app, "bob"));
    registry.add(&alice, None, Caps::default()).unwrap();
    // As far as another thread is that found it empty, and has not taken it out of the map yet.
    let found = registry.app(app).unwrap();
    found.lock().remove(alice.id).unwrap();
    found.lock().forgotten = true;
    registry.add(&bob, None, Caps::default()).unwrap();
    registry.forget(app, &found);
    assert_eq!(registry.connections_of(app, &bob.endpoint).len(), 1);
}

#[test]
fn who_came_after_a_departure_is_told_of_it_by_presence_and_not_by_groups() {
    let (registry, app) = (Registry::default(), AppId::random());
    let [alice, sibling, bob, carol] = ["alice", "alice", "bob", "carol"].map(|endpoint| connection(app, endpoint));
    let come = |one: &Arc<Connection>| {
        registry.add(one, None, Caps::default()).unwrap();
        registry.join(one, &room(), Caps::default());
        registry.observe(one, std::slice::from_ref(&alice.endpoint)).unwrap();
    };
    for one in [&alice, &sibling, &bob] {
        come(one);
    }
    let gone_at = registry.remove(app, alice.id).unwrap().at;
    come(&carol);
    let ids = |told: &[Arc<Connection>]| told.iter().map(|one| one.id).collect::<HashSet<_>>();
    assert_eq!(ids(&registry.members_before(app, &room(), gone_at)), [sibling.id, bob.id].into());
    assert_eq!(ids(&registry.observers(app, &alice.endpoint)), [sibling.id, bob.id, carol.id].into());
    // Who left and came back is another member.
    registry.leave(app, bob.id, &room());
    registry.join(&bob, &room(), Caps::default());
    assert_eq!(ids(&registry.members_before(app, &room(), gone_at)), [sibling.id].into());
}

#[test]
fn groups_are_listed_in_order_and_from_where_one_was() {
    let (registry, app) = (Registry::default(), AppId::random());
    let alice = connection(app, "alice");
    registry.add(&alice, None, Caps::default()).unwrap();
    for name in ["c", "a", "b", "ba"] {
        registry.join(&alice, &GroupName::parse(name).unwrap(), Caps::default());
    }
    let listed = |after: Option<&str>, most| -> Vec<String> {
        let after = after.map(|after| GroupName::parse(after).unwrap());
        registry.groups(app, after.as_ref(), most).iter().map(|name| name.as_str().to_owned()).collect()
    };
    assert_eq!(listed(None, 3), ["a", "b", "ba"]);
    assert_eq!(listed(Some("b"), 3), ["ba", "c"]);
    assert!(listed(Some("c"), 3).is_empty());
}

#[test]
fn connections_are_listed_in_order_and_from_where_one_was() {
    let (registry, app) = (Registry::default(), AppId::random());
    let mut all: Vec<_> = (0..9).map(|_| connection(app, "alice")).collect();
    for one in &all {
        registry.add(one, None, Caps::default()).unwrap();
        registry.join(one, &room(), Caps::default());
    }
    all.sort_unstable_by_key(|one| one.id);
    let ids = |listed: &[Arc<Connection>]| listed.iter().map(|one| one.id).collect::<Vec<_>>();
    let expected = ids(&all);
    assert_eq!(ids(&registry.connections_after(app, None, 4)), expected[..4]);
    assert_eq!(ids(&registry.connections_after(app, Some(expected[3]), 4)), expected[4..8]);
    assert_eq!(ids(&registry.connections_after(app, Some(expected[7]), 4)), expected[8..]);
    registry.remove(app, expected[3]).unwrap();
    let page = registry.connections_after(app, Some(expected[3]), 4);
    assert_eq!(ids(&page), expected[4..8], "the one that a page ended with may be gone");
    let members = ids(&registry.members(app, &room()));
    assert_eq!(members, [&expected[..3], &expected[4..]].concat());
}

#[test]
fn nobody_is_lost_or_left_when_an_app_empties_and_fills_at_once() {
    let (registry, app) = (Registry::default(), AppId::random());
    std::thread::scope(|scope| {
        for number in 0..4 {
            let registry = &registry;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let connection = connection(app, &format!("endpoint {}", number % 2));
                    registry.add(&connection, None, Caps::default()).unwrap();
                    let joined = registry.join(&connection, &room(), Caps::default());
                    assert!(matches!(joined, Join::Joined { .. }));
                    registry.observe(&connection, std::slice::from_ref(&connection.endpoint)).unwrap();
                    assert!(registry.members(app, &room()).iter().any(|member| member.id == connection.id));
                    assert!(registry.remove(app, connection.id).is_some());
                }
            });
        }
    });
    assert_eq!(registry.counts(), Counts::default());
    assert!(registry.apps.read().is_empty());
}
