//! What this node answers others: what its own sockets hold.

use std::sync::Arc;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, RequestId};
use respoke_core::ports::{
    Answer, BooksAnswer, ConnectionStateFacts, Deed, Done, Holder, Interest, Present, Question, Sealed,
};

use crate::registry::{Connection, Members, Registry, Sibling};

/// Lines of the longest list that is answered.
const LIST_LEN_MAX: usize = 1_000;
/// What an answer takes at most besides its last line, in bytes: as much as a frame between nodes. A longer one goes in parts.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;
/// What a line takes besides its texts, about.
const LINE_LEN: usize = 64;

/// Answers a node's question from what is here; what it wants done `carry_out` does, and clients that it wants `hand_over`
/// gives.
pub(crate) fn answer(
    registry: &Registry,
    question: Question,
    carry_out: impl FnOnce(AppId, RequestId, Deed) -> Done,
    hand_over: impl FnOnce(&Sealed) -> Option<Sealed>,
) -> Answer {
    match question {
        Question::Connection { app_id, connection } => {
            Answer::Connections(registry.connection(app_id, connection).iter().map(|found| found.facts()).collect())
        }
        Question::Connections { app_id, of, after, most } => {
            let most = usize::from(most).min(LIST_LEN_MAX);
            let found = match of {
                Holder::App => registry.connections_after(app_id, after, most),
                Holder::Endpoint(endpoint) => {
                    let mut found = registry.connections_of(app_id, &endpoint);
                    found.retain(|one| after.is_none_or(|after| one.id > after));
                    found.sort_unstable_by_key(|one| one.id);
                    found.truncate(most);
                    found
                }
                Holder::Group(group) => behind(&registry.heard_in(app_id, &group), after).take(most).cloned().collect(),
                Holder::Observers(endpoint) => {
                    behind(&registry.observers(app_id, &endpoint), after).take(most).cloned().collect()
                }
            };
            Answer::Connections(found.iter().map(|found| found.facts()).collect())
        }
        Question::Groups { app_id, endpoint, after, most } => {
            let most = usize::from(most).min(LIST_LEN_MAX);
            Answer::Groups(match endpoint {
                None => registry.groups(app_id, after.as_ref(), most),
                Some(endpoint) => registry.some_groups_of(app_id, &endpoint, after.as_ref(), most),
            })
        }
        Question::States { app_id, endpoint, after } => states(registry, app_id, &endpoint, after),
        Question::Count { app_id, of } => Answer::Count(match of {
            Holder::App => registry.connection_count(app_id),
            Holder::Endpoint(endpoint) => registry.sibling_count(app_id, &endpoint),
            Holder::Group(group) => registry.member_count(app_id, &group),
            Holder::Observers(endpoint) => registry.observer_count(app_id, &endpoint),
        } as u64),
        // The books of sockets were asked before.
        Question::Sessions { .. } => Answer::Sessions(Vec::new()),
        // Whoever keeps the books was asked before.
        Question::Books(_) => Answer::Books(BooksAnswer::None),
        Question::Snapshot { of, after } => snapshot(registry, &of, after),
        Question::Do { app_id, request_id, deed } => Answer::Done(carry_out(app_id, request_id, deed)),
        Question::Client { which } => Answer::Client(hand_over(&which)),
        // Who parks was asked before.
        Question::Parks => Answer::Done(Done::Before { settled: true }),
        Question::Parked(_) => Answer::States { found: Vec::new(), more: false },
    }
}

/// Those behind one who are not gone, of a list in the order of ids.
fn behind(list: &Members, after: Option<ConnectionId>) -> impl Iterator<Item = &Arc<Connection>> {
    let from = after.map_or(0, |after| list.partition_point(|one| one.id <= after));
    list[from..].iter().filter(|one| !one.is_gone())
}

/// What fits an answer. Only that is copied, for there may be far more, and each part of it is another answer.
#[derive(Default)]
struct Room {
    lines: usize,
    bytes: usize,
}

impl Room {
    fn is_left(&self) -> bool {
        self.bytes <= ANSWER_BYTES_MAX && self.lines < LIST_LEN_MAX
    }

    /// Takes room for a line with so much text.
    fn take(&mut self, texts: usize) {
        self.lines += 1;
        self.bytes += LINE_LEN + texts;
    }
}

fn said_len(presence: Option<&Presence>) -> usize {
    presence.into_iter().flat_map(Presence::texts).flatten().map(str::len).sum()
}

fn states(registry: &Registry, app_id: AppId, endpoint: &EndpointId, after: Option<ConnectionId>) -> Answer {
    let (mut found, mut room) = (Vec::new(), Room::default());
    let more = registry.look_at_siblings(app_id, endpoint, after, LIST_LEN_MAX, |sibling| {
        if !room.is_left() {
            return false;
        }
        let mut groups: Vec<_> = sibling.groups.iter().cloned().collect();
        groups.sort_unstable();
        let names = groups.iter().map(|group| group.as_str().len() + 4).sum::<usize>();
        room.take(names + said_len(sibling.presence));
        let connection = sibling.connection.facts();
        found.push(ConnectionStateFacts { connection, groups, presence: sibling.presence.cloned() });
        true
    });
    Answer::States { found, more }
}

fn snapshot(registry: &Registry, of: &[Interest], after: Option<(u32, ConnectionId)>) -> Answer {
    let (mut found, mut room) = (Vec::new(), Room::default());
    for (number, interest) in (0_u32..).zip(of) {
        if after.is_some_and(|(last, _)| number < last) {
            continue;
        }
        let after = after.and_then(|(last, connection)| (last == number).then_some(connection));
        let mut add = |connection: &Connection, presence: Option<&Presence>| {
            if !room.is_left() {
                return false;
            }
            room.take(connection.endpoint.as_str().len() + said_len(presence));
            let (endpoint, presence) = (connection.endpoint.clone(), presence.cloned());
            found.push(Present { of: number, endpoint, connection: connection.id, presence });
            true
        };
        let more = match interest {
            Interest::Group(app_id, group) => {
                let members = registry.heard_in(*app_id, group);
                !behind(&members, after).all(|member| add(member, None))
            }
            Interest::Tails(..) => false,
            Interest::Endpoint(app_id, endpoint) | Interest::Observers(app_id, endpoint) => {
                let look = |sibling: Sibling<'_>| add(sibling.connection, sibling.presence);
                registry.look_at_siblings(*app_id, endpoint, after, LIST_LEN_MAX, look)
            }
        };
        if more {
            return Answer::Snapshot { found, more };
        }
    }
    Answer::Snapshot { found, more: false }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::GroupName;

    use super::*;
    use crate::registry::Caps;
    use crate::registry::tests::{connection, said};

    fn ids(answer: &Answer) -> Vec<ConnectionId> {
        let Answer::Connections(found) = answer else { panic!("{answer:?}") };
        found.iter().map(|facts| facts.id).collect()
    }

    /// The answer to a question that makes nothing happen.
    fn only_told(registry: &Registry, question: Question) -> Answer {
        let carry_out = |_, _, _| panic!("nothing is to be done");
        answer(registry, question, carry_out, |_| panic!("nobody is to be handed over"))
    }

    #[test]
    fn each_question_is_answered_from_what_is_here() {
        let (registry, app) = (Registry::default(), AppId::random());
        let mut all: Vec<_> = ["jo", "jo", "flo"].map(|endpoint| connection(app, endpoint)).into();
        let room = GroupName::parse("room").unwrap();
        for member in &all {
            registry.add(member, None, Caps::default()).unwrap();
            registry.join(member, &room, Caps::default());
        }
        registry.set_presence(app, all[0].id, said("away"));
        let (jo, away) = (all[0].endpoint.clone(), all[0].id);
        all.sort_unstable_by_key(|connection| connection.id);
        let everyone: Vec<_> = all.iter().map(|connection| connection.id).collect();
        let jos: Vec<_> = all.iter().filter(|connection| connection.endpoint == jo).map(|found| found.id).collect();

        let ask = |question| only_told(&registry, question);
        let connections = |of, after, most| ids(&ask(Question::Connections { app_id: app, of, after, most }));
        assert_eq!(connections(Holder::App, None, 9), everyone);
        assert_eq!(connections(Holder::App, Some(everyone[0]), 1), everyone[1..2]);
        assert_eq!(connections(Holder::Group(room.clone()), Some(everyone[0]), 9), everyone[1..]);
        assert_eq!(connections(Holder::Endpoint(jo.clone()), None, 9), jos);
        assert_eq!(connections(Holder::Endpoint(jo.clone()), Some(jos[0]), 9), jos[1..]);

        let one = |app_id, connection| ids(&ask(Question::Connection { app_id, connection }));
        assert_eq!(one(app, away), [away]);
        assert_eq!(one(AppId::random(), away), []);

        let groups = |endpoint, after| match ask(Question::Groups { app_id: app, endpoint, after, most: 9 }) {
            Answer::Groups(groups) => groups,
            other => panic!("{other:?}"),
        };
        assert_eq!(groups(None, None), vec![room.clone()]);
        assert_eq!(groups(Some(jo.clone()), None), vec![room.clone()]);
        assert_eq!(groups(Some(jo.clone()), Some(room.clone())), []);
        assert_eq!(groups(None, Some(room.clone())), []);

        let count = |of| match ask(Question::Count { app_id: app, of }) {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        };
        assert_eq!([Holder::App, Holder::Endpoint(jo.clone()), Holder::Group(room.clone())].map(count), [3, 2, 3]);
        assert_eq!(count(Holder::Observers(jo.clone())), 0);
        let Answer::States { found, more: false } =
            ask(Question::States { app_id: app, endpoint: jo.clone(), after: None })
        else {
            panic!("states were asked for, and there are few");
        };
        let said: Vec<_> =
            found.iter().filter(|state| state.presence.is_some()).map(|state| state.connection.id).collect();
        assert_eq!((found.len(), said), (2, vec![away]));
        assert!(found.iter().all(|state| state.groups == [room.clone()]));

        let of = vec![Interest::Group(app, room), Interest::Observers(app, jo)];
        let snapshot = |after| match ask(Question::Snapshot { of: of.clone(), after }) {
            Answer::Snapshot { found, more } => {
                (found.into_iter().map(|one| (one.of, one.connection)).collect::<Vec<_>>(), more)
            }
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = everyone.iter().map(|id| (0, *id)).chain(jos.iter().map(|id| (1, *id))).collect();
        for from in 0..all.len() {
            assert_eq!(snapshot(Some(all[from])), (all[from + 1..].to_vec(), false));
        }
        assert_eq!(snapshot(None), (all, false));
    }

    #[test]
    fn what_is_too_much_for_one_answer_is_answered_in_pieces() {
        let (registry, app) = (Registry::default(), AppId::random());
        let (jo, long) = (EndpointId::parse("jo").unwrap(), "x".repeat(4_000));
        for _ in 0..200 {
            let one = connection(app, "jo");
            registry.add(&one, None, Caps::default()).unwrap();
            registry.set_presence(app, one.id, said(&long));
        }
        let ask = |question| only_told(&registry, question);
        let (mut pieces, mut all, mut after) = (0, Vec::new(), None);
        loop {
            let of = vec![Interest::Observers(app, jo.clone())];
            let Answer::Snapshot { found, more } = ask(Question::Snapshot { of, after }) else { panic!("no snapshot") };
            pieces += 1;
            after = found.last().map(|last| (last.of, last.connection));
            all.extend(found.into_iter().map(|one| one.connection));
            if !more {
                break;
            }
        }
        assert!(all.is_sorted() && all.len() == 200 && pieces > 2, "{pieces} pieces of {}", all.len());
        let Answer::States { found, more: true } = ask(Question::States { app_id: app, endpoint: jo, after: None })
        else {
            panic!("that is too much for one");
        };
        assert_eq!(found.iter().map(|state| state.connection.id).collect::<Vec<_>>(), all[..found.len()]);
    }
}
