//! What this node answers others: what its own sockets hold.

use respoke_core::id::GroupName;
use respoke_core::ports::{Answer, ConnectionFacts, Holder, Question};

use crate::registry::{Connection, Registry};

/// The longest list that is answered: one frame between nodes, whatever the names.
const LIST_LEN_MAX: usize = 1_000;

pub(crate) fn answer(registry: &Registry, question: Question) -> Answer {
    match question {
        Question::Connection { app_id, connection } => {
            Answer::Connections(registry.connection(app_id, connection).iter().map(|found| facts(found)).collect())
        }
        Question::Connections { app_id, of, after, most } => {
            let most = usize::from(most).min(LIST_LEN_MAX);
            let mut found = match of {
                Holder::App => registry.connections_after(app_id, after, most),
                Holder::Endpoint(endpoint) => registry.connections_of(app_id, &endpoint),
                Holder::Group(group) => registry.members(app_id, &group).to_vec(),
            };
            found.retain(|connection| after.is_none_or(|after| connection.id > after));
            found.sort_unstable_by_key(|connection| connection.id);
            Answer::Connections(found.iter().take(most).map(|found| facts(found)).collect())
        }
        Question::Groups { app_id, endpoint, after, most } => {
            let most = usize::from(most).min(LIST_LEN_MAX);
            Answer::Groups(match endpoint {
                None => registry.groups(app_id, after.as_ref().map(GroupName::as_str), most),
                Some(endpoint) => {
                    let mut found: Vec<_> = registry.groups_of(app_id, &endpoint).into_iter().collect();
                    found.retain(|group| after.as_ref().is_none_or(|after| group > after));
                    found.sort_unstable();
                    found.truncate(most);
                    found
                }
            })
        }
        Question::Presences { app_id, endpoint } => {
            let states = registry.states_of(app_id, &endpoint).into_iter();
            Answer::Presences(states.map(|state| (state.connection.id, state.presence)).collect())
        }
    }
}

fn facts(connection: &Connection) -> ConnectionFacts {
    ConnectionFacts {
        id: connection.id,
        endpoint: connection.endpoint.clone(),
        role_id: connection.role_id,
        client_type: connection.client_type.clone(),
        address: connection.address,
        trickle_ice: connection.trickle_ice,
        ice_final_candidates: connection.ice_final_candidates,
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::{AppId, ConnectionId};

    use super::*;
    use crate::registry::Caps;
    use crate::registry::tests::{connection, said};

    fn ids(answer: &Answer) -> Vec<ConnectionId> {
        let Answer::Connections(found) = answer else { panic!("{answer:?}") };
        found.iter().map(|facts| facts.id).collect()
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

        let connections =
            |of, after, most| ids(&answer(&registry, Question::Connections { app_id: app, of, after, most }));
        assert_eq!(connections(Holder::App, None, 9), everyone);
        assert_eq!(connections(Holder::App, Some(everyone[0]), 1), everyone[1..2]);
        assert_eq!(connections(Holder::Group(room.clone()), Some(everyone[0]), 9), everyone[1..]);
        assert_eq!(connections(Holder::Endpoint(jo.clone()), None, 9), jos);
        assert_eq!(connections(Holder::Endpoint(jo.clone()), Some(jos[0]), 9), jos[1..]);

        let one = |app_id, connection| ids(&answer(&registry, Question::Connection { app_id, connection }));
        assert_eq!(one(app, away), [away]);
        assert_eq!(one(AppId::random(), away), []);

        let groups =
            |endpoint, after| match answer(&registry, Question::Groups { app_id: app, endpoint, after, most: 9 }) {
                Answer::Groups(groups) => groups,
                other => panic!("{other:?}"),
            };
        assert_eq!(groups(None, None), vec![room.clone()]);
        assert_eq!(groups(Some(jo.clone()), None), vec![room.clone()]);
        assert_eq!(groups(Some(jo.clone()), Some(room.clone())), []);
        assert_eq!(groups(None, Some(room)), []);

        let Answer::Presences(found) = answer(&registry, Question::Presences { app_id: app, endpoint: jo }) else {
            panic!("presences were asked for");
        };
        let said: Vec<_> = found.iter().filter(|(_, presence)| presence.is_some()).map(|(id, _)| *id).collect();
        assert_eq!((found.len(), said), (2, vec![away]));
    }
}
