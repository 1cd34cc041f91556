//! The session id of a client on a socket.

use data_encoding::HEXLOWER;
use respoke_core::chance::Chance;
use respoke_core::ports::NodeId;

/// Names a client on its way from the handshake to its transport. Whoever knows it can act as the client, so it comes
/// from a [`Chance`] and is never logged.
///
/// Among other nodes its first four bytes are the number of the node that made it, which can be asked for its client.
///
/// # Source
///
/// Hex digits: iOS takes neither `:` nor `/` in it, nor the word `error` (section 3.1 of docs/protocol.md).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Sid([u8; 16]);

impl Sid {
    /// Made by a node that is among others, if one is given.
    pub(super) fn new(chance: &dyn Chance, made_by: Option<NodeId>) -> Self {
        let mut bytes: [u8; 16] = chance.bytes();
        if let Some(NodeId(id)) = made_by {
            bytes[..4].copy_from_slice(&id.to_be_bytes());
        }
        Self(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&HEXLOWER.decode(text.as_bytes()).ok()?)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The node that made it, if one among others did.
    pub(super) const fn node(&self) -> NodeId {
        let [a, b, c, d, ..] = self.0;
        NodeId(u32::from_be_bytes([a, b, c, d]))
    }

    pub(super) fn text(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}
