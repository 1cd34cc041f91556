//! What doors of nodes tell each other of clients, so that nobody between them reads it: a credential is in it, and a session
//! id, by which whoever knows it can act as the client.
//!
//! Each message has a key of its own, which is made of the cluster's and of bytes drawn for it. So it does not matter how many
//! there are in the life of a cluster's key.

use std::fmt;

use respoke_core::chance::Chance;
use respoke_core::ports::{Cluster, Node, Sealed};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

use super::sid::Sid;

/// What the cluster's key is used for here; it has other uses.
const USE: &[u8] = b"respoked: clients handed over, 1";
/// Bytes that are drawn for the key of a message.
const DRAWN_LEN: usize = 20;

/// Seals for the other nodes of a cluster, and opens what they sealed.
pub(super) struct Seals {
    key: Prk,
    cluster: [u8; 16],
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seals(..)")
    }
}

/// What a message is. It opens as nothing else.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    /// A session id: its client is wanted.
    Wanted,
    /// What the client of this session id showed.
    Given(&'a Sid),
}

impl Seals {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let key = Salt::new(HKDF_SHA256, USE).extract(cluster.key.expose().as_bytes());
        Self { key, cluster: cluster.id }
    }

    /// Seals `said`, which `from` says to `to`.
    pub(super) fn seal(
        &self,
        (from, to): (Node, Node),
        message: Message<'_>,
        mut said: Vec<u8>,
        chance: &dyn Chance,
    ) -> Sealed {
        let (drawn, nonce): ([u8; DRAWN_LEN], [u8; NONCE_LEN]) = (chance.bytes(), chance.bytes());
        let bound = Aad::from(bound((from, to), message));
        self.key_of(&drawn)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut said)
            .expect("only what is longer than 256 GiB cannot be sealed");
        Sealed([&drawn[..], &nonce, &said].concat().into())
    }

    /// What `from` said to `to`. None: it did not, or something else than that.
    pub(super) fn open(
        &self,
        (from, to): (Node, Node),
        message: Message<'_>,
        sealed: &Sealed,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (drawn, rest) = sealed.0.split_first_chunk::<DRAWN_LEN>()?;
        let (nonce, said) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut said = Zeroizing::new(said.to_vec());
        let bound = Aad::from(bound((from, to), message));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self.key_of(drawn).open_in_place(nonce, bound, &mut said).ok()?.len();
        said.truncate(len);
        Some(said)
    }

    fn key_of(&self, drawn: &[u8; DRAWN_LEN]) -> LessSafeKey {
        let info = [&self.cluster[..], drawn];
        let key = self.key.expand(&info, &CHACHA20_POLY1305).expect("a key is not too long for HKDF");
        LessSafeKey::new(UnboundKey::from(key))
    }
}

/// Who says it to whom, in which of their lives, and what it is.
fn bound((from, to): (Node, Node), message: Message<'_>) -> Vec<u8> {
    let mut bound = Vec::new();
    for node in [from, to] {
        bound.extend(node.id.0.to_be_bytes());
        bound.extend(node.incarnation.0.to_be_bytes());
    }
    if let Message::Given(sid) = message {
        bound.extend(sid.bytes());
    }
    bound
}

#[cfg(test)]
mod tests {
    use respoke_core::chance::of_this_test;
    use respoke_core::ports::{Incarnation, NodeId};
    use respoke_core::secret::Secret;

    use super::*;

    const A: Node = Node { id: NodeId(1), incarnation: Incarnation(1) };
    const B: Node = Node { id: NodeId(2), incarnation: Incarnation(1) };
    const SAID: &[u8] = b"CANARY-said";

    fn seals(id: u8, key: &str) -> Seals {
        Seals::of(&Cluster { id: [id; 16], key: Secret::new(key.to_owned()) })
    }

    fn sid() -> Sid {
        Sid::new(&*of_this_test(), Some(A.id))
    }

    fn seal(seals: &Seals, way: (Node, Node), message: Message<'_>) -> Sealed {
        seals.seal(way, message, SAID.to_vec(), &*of_this_test())
    }

    #[test]
    fn what_is_sealed_opens_as_what_it_was_and_as_nothing_else() {
        let (here, sid, other) = (seals(1, "key"), sid(), sid());
        let sealed = seal(&here, (A, B), Message::Given(&sid));
        let open = |seals: &Seals, way, message| seals.open(way, message, &sealed).is_some();
        assert_eq!(*here.open((A, B), Message::Given(&sid), &sealed).unwrap(), SAID);
        assert!(!open(&here, (A, B), Message::Given(&other)), "of another client");
        assert!(!open(&here, (A, B), Message::Wanted));
        assert!(!open(&here, (B, A), Message::Given(&sid)), "sent back");
        let later = Node { incarnation: Incarnation(2), ..A };
        assert!(!open(&here, (later, B), Message::Given(&sid)));
        assert!(!open(&here, (A, later), Message::Given(&sid)));
        assert!(!open(&seals(1, "another key"), (A, B), Message::Given(&sid)));
        assert!(!open(&seals(2, "key"), (A, B), Message::Given(&sid)), "in a copy of the database");
        let wanted = seal(&here, (A, B), Message::Wanted);
        assert!(here.open((A, B), Message::Wanted, &wanted).is_some());
        assert!(here.open((A, B), Message::Given(&sid), &wanted).is_none());
    }

    #[test]
    fn nothing_can_be_read_or_changed_or_cut_off() {
        let here = seals(1, "key");
        let sealed = seal(&here, (A, B), Message::Wanted).0;
        assert!(!sealed.windows(SAID.len()).any(|window| window == SAID));
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert!(here.open((A, B), Message::Wanted, &Sealed(damaged.into())).is_none(), "byte {at}");
            assert!(here.open((A, B), Message::Wanted, &Sealed(sealed.slice(..at))).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn the_same_is_never_sealed_alike() {
        let here = seals(1, "key");
        let [one, other] = [seal(&here, (A, B), Message::Wanted), seal(&here, (A, B), Message::Wanted)];
        let keys = [&one, &other].map(|sealed| sealed.0.slice(..DRAWN_LEN));
        let nonces = [&one, &other].map(|sealed| sealed.0.slice(DRAWN_LEN..DRAWN_LEN + NONCE_LEN));
        assert!(keys[0] != keys[1] && nonces[0] != nonces[1]);
    }

    #[test]
    fn no_key_is_printed() {
        assert_eq!(format!("{:?}", seals(1, "CANARY-key")), "Seals(..)");
    }
}
