//! Which calls a connection answered.

use super::{Connection, Registry};

/// Answered calls remembered of one connection; nobody is in more at once.
const ANSWERED_MAX: usize = 32;
/// The longest session of a call that is remembered, in bytes; clients use UUIDs.
const SESSION_LEN_MAX: usize = 128;

impl Registry {
    /// Notes that a connection answered a session of a call.
    pub(crate) fn note_answer(&self, connection: &Connection, session: &str) {
        if session.len() > SESSION_LEN_MAX {
            return;
        }
        self.read(connection.app_id, |app| {
            let Some(seat) = app.connections.get_mut(&connection.id) else { return };
            if seat.answered.len() >= ANSWERED_MAX {
                seat.answered.remove(0);
            }
            seat.answered.push(session.into());
        });
    }

    /// Whether a connection answered that session of a call.
    pub(crate) fn answered(&self, connection: &Connection, session: &str) -> bool {
        self.read(connection.app_id, |app| {
            let seat = app.connections.get(&connection.id);
            seat.is_some_and(|seat| seat.answered.iter().any(|answered| **answered == *session))
        })
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::AppId;

    use super::*;
    use crate::registry::Caps;
    use crate::registry::tests::connection;

    #[test]
    fn answered_calls_are_remembered_up_to_a_number() {
        let (registry, app) = (Registry::default(), AppId::random());
        let alice = connection(app, "alice");
        registry.add(&alice, None, Caps::default()).unwrap();
        for call in 0..=ANSWERED_MAX {
            registry.note_answer(&alice, &call.to_string());
        }
        assert!(!registry.answered(&alice, "0") && registry.answered(&alice, "1"));
        assert!(registry.answered(&alice, &ANSWERED_MAX.to_string()));
        let long = "x".repeat(SESSION_LEN_MAX + 1);
        registry.note_answer(&alice, &long);
        assert!(!registry.answered(&alice, &long) && registry.answered(&alice, "1"));
    }
}
