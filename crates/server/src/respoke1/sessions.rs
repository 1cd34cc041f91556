//! Sessions by the keys with which their clients come back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use respoke_core::chance::Chance;
use respoke_core::secret::Secret;

/// Whoever knows it and the session's token takes the connection over. It comes from a [`Chance`] and is never logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn text(self) -> Secret {
        Secret::new(HEXLOWER.encode(&self.0))
    }
}

/// The keys of one session.
#[derive(Default)]
pub(super) struct Keys {
    present: Option<Key>,
    /// The one before, until it is known that the client has the present one.
    former: Option<Key>,
}

/// All sessions of a node that can be come back to.
pub(super) struct Sessions<T> {
    by_key: Mutex<HashMap<Key, Weak<T>>>,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self { by_key: Mutex::default() }
    }
}

impl<T> Sessions<T> {
    /// Gives a session another key. The present one becomes the former, and the one before that holds no more.
    pub(super) fn rotate(&self, session: &Arc<T>, keys: &Mutex<Keys>, chance: &dyn Chance) -> Key {
        let (key, mut keys) = (Key(chance.bytes()), keys.lock());
        let mut by_key = self.by_key.lock();
        by_key.insert(key, Arc::downgrade(session));
        let present = keys.present.replace(key);
        let given_up = std::mem::replace(&mut keys.former, present);
        if let Some(given_up) = given_up {
            by_key.remove(&given_up);
        }
        key
    }

    pub(super) fn find(&self, key: &str) -> Option<Arc<T>> {
        self.by_key.lock().get(&Key::parse(key)?)?.upgrade()
    }

    /// The client has the present key: the former holds no more.
    pub(super) fn settle(&self, keys: &Mutex<Keys>) {
        if let Some(former) = keys.lock().former.take() {
            self.by_key.lock().remove(&former);
        }
    }

    /// Nobody comes back to a session any more.
    pub(super) fn forget(&self, keys: &Mutex<Keys>) {
        let keys = std::mem::take(&mut *keys.lock());
        let mut by_key = self.by_key.lock();
        for key in [keys.present, keys.former].into_iter().flatten() {
            by_key.remove(&key);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.by_key.lock().values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::chance::of_this_test;

    use super::*;

    #[test]
    fn the_last_two_keys_hold_until_the_client_has_the_last() {
        let (sessions, keys, chance) = (Sessions::default(), Mutex::new(Keys::default()), of_this_test());
        let session = Arc::new(7);
        let rotate = || sessions.rotate(&session, &keys, &*chance).text();
        let found = |key: &Secret| sessions.find(key.expose()).is_some();
        let (one, two) = (rotate(), rotate());
        assert!(found(&one) && found(&two));
        let three = rotate();
        assert!(!found(&one) && found(&two) && found(&three));
        sessions.settle(&keys);
        assert!(!found(&two) && found(&three));
        assert!(sessions.find("").is_none() && sessions.find("CANARY").is_none());
        sessions.forget(&keys);
        assert!(!found(&three) && sessions.by_key.lock().is_empty());
        let last = rotate();
        drop(session);
        assert!(sessions.find(last.expose()).is_none());
    }
}
