//! Clients that shook hands with one node and came to another.
//!
//! A session id names its node. The node that such a client comes to asks that one, which gives the client up, once, and says
//! what it showed. That is proved anew, as by a handshake, and the client is this node's from then on, by the same session id.
//! So a proxy may lead the handshake to one node and the websocket, or the first poll, to another.
//!
//! A client that has a transport is not given up: what it was sent and what it sent are on their way there.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::ports::{Node, NodeId, Sealed};
use respoke_core::refusal::Refusal;
use respoke_hub::{HandsOver, Opening};
use respoke_wire::bus::Handshake;
use respoke_wire::close::Close;
use respoke_wire::dialect::Dialect;
use tokio::time::timeout;

use super::neighbours::Neighbours;
use super::opening::may_open;
use super::sealing::Message;
use super::sid::Sid;
use super::{Client, Sockets};

/// How long a client waits at most for the node that its session id names.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

impl Sockets {
    /// This node, if others can be asked for what it made.
    pub(super) fn this_node(&self) -> Option<NodeId> {
        self.neighbours.as_ref().map(|neighbours| neighbours.node.id)
    }

    /// Whether a session id is nobody's here, and names another node that lives.
    pub(super) fn is_elsewhere(&self, sid: &str) -> bool {
        self.clients.find(sid).is_none() && self.elsewhere(sid).is_some()
    }

    /// A session id that names another node, if that lives and this one may go by what it knows.
    fn elsewhere(&self, sid: &str) -> Option<(&Neighbours, Sid, Node)> {
        let neighbours = self.neighbours.as_ref()?;
        let sid = Sid::parse(sid)?;
        let node = self.hub.other_node(sid.node())?;
        self.api.check_standing().ok()?;
        Some((neighbours, sid, node))
    }

    /// Has the client of a session id handed over, if that names another node, and that gives it up in time. Whether the
    /// client is here then is seen by its session id.
    pub(super) async fn fetch(&self, sid: &str) {
        let Some((neighbours, sid, node)) = self.elsewhere(sid) else { return };
        let Neighbours { node: here, seals, asks } = neighbours;
        let asking = async {
            let _turn = asks.acquire().await.ok()?;
            let wanted = seals.seal((*here, node), Message::Wanted, sid.bytes().to_vec(), self.api.broker.chance());
            self.hub.ask_for_client(node, wanted, ANSWER_WITHIN).await
        };
        let Some(given) = timeout(ANSWER_WITHIN, asking).await.ok().flatten() else { return };
        let opened = seals.open((node, *here), Message::Given(&sid), &given);
        let Some(handshake) = opened.and_then(|opened| Handshake::decode(&opened).ok()) else {
            return tracing::warn!(%node, "a client that a node handed over cannot be read");
        };
        self.take_over(sid, handshake).await;
    }

    /// Takes a client over, if what it showed still proves who it is.
    async fn take_over(&self, sid: Sid, handshake: Handshake) {
        let Handshake { credential, address, origin, host, style } = handshake;
        let caller = match self.api.broker.authenticate(&credential, Some(address)).await {
            Ok(caller) => caller,
            // What it stood on has ended meanwhile. That is no guess: it held a moment ago.
            Err(Refusal::Unauthenticated) => return,
            Err(refusal) => {
                let error = &refusal as &dyn std::error::Error;
                return tracing::error!(error, "a client was handed over that cannot be looked at");
            }
        };
        if !may_open(&credential, &caller, origin.as_deref()) {
            return;
        }
        let opening = Opening { credential, caller, address, origin, host, dialect: Dialect::SocketIo };
        self.open(sid, opening, style);
    }

    /// Gives up the client of a session id. None: there is none without a transport.
    fn give_up(&self, sid: &Sid) -> Option<Arc<Client>> {
        let client = self.clients.give_up(sid)?;
        // It has no connection, and nobody was told of it.
        self.hub.close(&client.socket, Close::Left);
        Some(client)
    }
}

impl HandsOver for Sockets {
    fn hand_over(&self, to: Node, which: &Sealed) -> Option<Sealed> {
        let Neighbours { node: here, seals, .. } = self.neighbours.as_ref()?;
        let wanted = seals.open((to, *here), Message::Wanted, which)?;
        let sid = Sid::from_bytes(&wanted)?;
        let client = self.give_up(&sid)?;
        let opening = &client.socket.opening;
        let handshake = Handshake {
            credential: opening.credential.clone(),
            address: opening.address,
            origin: opening.origin.clone(),
            host: opening.host.clone(),
            style: client.style,
        };
        let chance = self.api.broker.chance();
        Some(seals.seal((*here, to), Message::Given(&sid), handshake.encode(), chance))
    }
}
