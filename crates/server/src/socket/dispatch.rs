//! From a client's packet to the operation it asks for, and back to an ack.

use std::sync::Arc;

use bytes::Bytes;
use respoke_wire::ack::{self, AckHeaders, Answer};
use respoke_wire::close::Close;
use respoke_wire::frame::{self, Packet};
use respoke_wire::tunnel::Event;

use super::{Client, Sockets};
use crate::door::{Door, Tunnelled};

impl Sockets {
    /// Takes one packet; a request is answered when this returns. What it says is why the client has to go.
    pub(super) async fn take(&self, door: &Arc<Door>, client: &Client, text: &str) -> Result<(), Close> {
        self.hub.heard(&client.socket);
        match frame::decode(text) {
            Ok(Packet::Event { id, data }) => {
                // Who does not read its answers is not given more to answer.
                client.socket.outbox.room().await;
                let tunnelled = self.answer(door, client, data).await;
                if let Some(id) = id {
                    client.socket.outbox.offer(encode(client, id, &tunnelled));
                }
                Ok(())
            }
            Ok(Packet::Connect | Packet::Heartbeat | Packet::Other) => Ok(()),
            Ok(Packet::Disconnect) => Err(Close::Left),
            Err(_) => Err(Close::BadFrame),
        }
    }

    async fn answer(&self, door: &Arc<Door>, client: &Client, data: &str) -> Tunnelled {
        let event = match Event::decode(data) {
            Ok(event) => event,
            Err(error) => return door.refuse_tunnelled(error.into()).await,
        };
        match event.request() {
            Ok(request) => door.tunnel(client, event.method, &request).await,
            Err(error) => door.refuse_tunnelled(error.into()).await,
        }
    }
}

fn encode(client: &Client, id: u64, tunnelled: &Tunnelled) -> Bytes {
    let headers = AckHeaders {
        request_id: &tunnelled.request_id,
        limit: tunnelled.standing.legacy_limit().into(),
        remaining: tunnelled.standing.remaining.into(),
        retry_after_secs: tunnelled.retry_after_secs,
    };
    ack::encode(id, client.style, &Answer { status: tunnelled.status, headers, body: &tunnelled.body })
}
