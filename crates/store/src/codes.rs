//! How a database keeps what core has names for: as a number, or as a line of text. Whatever database it is.
//!
//! Invariant: what a code stands for never changes, for rows hold it.

use respoke_core::audit::Actor;
use respoke_core::id::{AdminId, AppId, EndpointId, RoleId, SecretId};
use respoke_core::ports::{CarrierKind, Change, NodeState};
use respoke_core::push_token::PushService;
use respoke_core::session::SessionEndCause;
use uuid::Uuid;

/// The kind of an actor who is an App-Secret.
pub(crate) const SECRET: i64 = 3;

/// An actor's kind and id.
pub(crate) fn actor(actor: Actor) -> (i64, Option<Uuid>) {
    match actor {
        Actor::Anonymous => (0, None),
        Actor::System => (1, None),
        Actor::Admin(id) => (2, Some(id.uuid())),
        Actor::Secret(id) => (SECRET, Some(id.uuid())),
        Actor::Endpoint => (4, None),
    }
}

/// The actor of that kind and id. None: there is no such kind, or it has no such id.
pub(crate) fn actor_of(kind: i64, id: Option<Uuid>) -> Option<Actor> {
    match (kind, id) {
        (0, None) => Some(Actor::Anonymous),
        (1, None) => Some(Actor::System),
        (2, Some(id)) => Some(Actor::Admin(AdminId::from_uuid(id))),
        (SECRET, Some(id)) => Some(Actor::Secret(SecretId::from_uuid(id))),
        (4, None) => Some(Actor::Endpoint),
        _ => None,
    }
}

/// What ended a session.
pub(crate) const fn end_cause(cause: SessionEndCause) -> i64 {
    match cause {
        SessionEndCause::SignedOut => 1,
        SessionEndCause::Revoked => 2,
        SessionEndCause::Superseded => 3,
    }
}

/// The cause of that code.
pub(crate) const fn end_cause_of(code: i64) -> Option<SessionEndCause> {
    match code {
        1 => Some(SessionEndCause::SignedOut),
        2 => Some(SessionEndCause::Revoked),
        3 => Some(SessionEndCause::Superseded),
        _ => None,
    }
}

/// A push service.
pub(crate) const fn push_service(service: PushService) -> i64 {
    match service {
        PushService::Google => 1,
        PushService::Apple => 2,
    }
}

/// The push service of that code.
pub(crate) const fn push_service_of(code: i64) -> Option<PushService> {
    match code {
        1 => Some(PushService::Google),
        2 => Some(PushService::Apple),
        _ => None,
    }
}

/// What nodes talk by.
pub(crate) const fn carrier(carrier: CarrierKind) -> i64 {
    match carrier {
        CarrierKind::Postgres => 1,
        CarrierKind::Nats => 2,
    }
}

/// The carrier of that code.
pub(crate) const fn carrier_of(code: i64) -> Option<CarrierKind> {
    match code {
        1 => Some(CarrierKind::Postgres),
        2 => Some(CarrierKind::Nats),
        _ => None,
    }
}

/// What a node does.
pub(crate) const fn node_state(state: NodeState) -> i64 {
    match state {
        NodeState::Starting => 0,
        NodeState::Serving => 1,
        NodeState::Draining => 2,
    }
}

/// The state of that code.
pub(crate) const fn node_state_of(code: i64) -> Option<NodeState> {
    match code {
        0 => Some(NodeState::Starting),
        1 => Some(NodeState::Serving),
        2 => Some(NodeState::Draining),
        _ => None,
    }
}

/// The change of which nodes there are, in words.
const NODES: &str = "nodes";

/// A change, in words.
pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::Session(number) => format!("session {number}"),
        Change::Endpoint(app, endpoint) => format!("endpoint {} {endpoint}", app.uuid()),
        Change::Role(app, role) => format!("role {} {}", app.uuid(), role.uuid()),
        Change::Secret(app, secret) => format!("secret {} {}", app.uuid(), secret.uuid()),
        Change::App(app) => format!("app {}", app.uuid()),
        Change::Admin(admin) => format!("admin {}", admin.uuid()),
        Change::Nodes => NODES.to_owned(),
    }
}

/// The change of these words. None: another version wrote them.
pub(crate) fn change_of(words: &str) -> Option<Change> {
    if words == NODES {
        return Some(Change::Nodes);
    }
    let (kind, of) = words.split_once(' ')?;
    let uuid = |text: &str| Uuid::try_parse(text).ok();
    let of_app = || {
        let (app, of) = of.split_once(' ')?;
        Some((AppId::from_uuid(uuid(app)?), of))
    };
    Some(match kind {
        "session" => Change::Session(of.parse().ok()?),
        "endpoint" => {
            let (app, endpoint) = of_app()?;
            Change::Endpoint(app, EndpointId::parse(endpoint).ok()?)
        }
        "role" => {
            let (app, role) = of_app()?;
            Change::Role(app, RoleId::from_uuid(uuid(role)?))
        }
        "secret" => {
            let (app, secret) = of_app()?;
            Change::Secret(app, SecretId::from_uuid(uuid(secret)?))
        }
        "app" => Change::App(AppId::from_uuid(uuid(of)?)),
        "admin" => Change::Admin(AdminId::from_uuid(uuid(of)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let (app, id) = (AppId::from_uuid(Uuid::from_u128(7)), Uuid::from_u128(8));
        let endpoint = EndpointId::parse("Jo of the 2nd floor").unwrap();
        let (seven, eight) = ("00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000008");
        for (of, words) in [
            (Change::Session(7), "session 7".to_owned()),
            (Change::Session(u64::MAX), "session 18446744073709551615".to_owned()),
            (Change::Endpoint(app, endpoint), format!("endpoint {seven} Jo of the 2nd floor")),
            (Change::Role(app, RoleId::from_uuid(id)), format!("role {seven} {eight}")),
            (Change::Secret(app, SecretId::from_uuid(id)), format!("secret {seven} {eight}")),
            (Change::App(app), format!("app {seven}")),
            (Change::Admin(AdminId::from_uuid(id)), format!("admin {eight}")),
            (Change::Nodes, "nodes".to_owned()),
        ] {
            assert_eq!((change(&of), change_of(&words)), (words.clone(), Some(of.clone())));
            assert!(change_of(&words[..words.len() / 2]).is_none() || matches!(of, Change::Session(_)), "{words}");
        }
        for damaged in ["", "session", "session x", "role x y", "app", "tenant 7"] {
            assert!(change_of(damaged).is_none(), "{damaged}");
        }
    }

    #[test]
    fn an_actor_is_read_as_it_was_written_and_no_other() {
        let id = Uuid::from_u128(7);
        for (of, code) in [
            (Actor::Anonymous, (0, None)),
            (Actor::System, (1, None)),
            (Actor::Admin(AdminId::from_uuid(id)), (2, Some(id))),
            (Actor::Secret(SecretId::from_uuid(id)), (SECRET, Some(id))),
            (Actor::Endpoint, (4, None)),
        ] {
            assert_eq!((actor(of), actor_of(code.0, code.1)), (code, Some(of)));
        }
        for (kind, id) in [(2, None), (SECRET, None), (5, None), (1, Some(id)), (-1, None)] {
            assert_eq!(actor_of(kind, id), None, "{kind} {id:?}");
        }
    }

    #[test]
    fn a_cause_and_a_push_service_are_read_as_they_were_written() {
        for (cause, code) in
            [(SessionEndCause::SignedOut, 1), (SessionEndCause::Revoked, 2), (SessionEndCause::Superseded, 3)]
        {
            assert_eq!((end_cause(cause), end_cause_of(code)), (code, Some(cause)));
        }
        for (service, code) in [(PushService::Google, 1), (PushService::Apple, 2)] {
            assert_eq!((push_service(service), push_service_of(code)), (code, Some(service)));
        }
        assert!(end_cause_of(0).is_none() && end_cause_of(4).is_none());
        assert!(push_service_of(0).is_none() && push_service_of(3).is_none());
    }
}
