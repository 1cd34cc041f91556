//! From a client's packet to the operation it asks for, and back to an ack.

use bytes::Bytes;
use http::StatusCode;
use respoke_wire::ack::{self, AckContent, AckHeaders};
use respoke_wire::close::Close;
use respoke_wire::frame::{self, FrameError, Packet};
use respoke_wire::tunnel::RequestEvent;

use super::{Client, Sockets};
use crate::limits::LIMITED_PAUSE;
use crate::transport::SMALL_LEN;
use crate::tunnel::Tunnelled;

/// When a packet came that is taken now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Just now: its client is there.
    Now,
    /// Some time ago, and it has waited: its client may be gone since.
    Before,
}

impl Sockets {
    /// Takes one packet; a request is answered when this returns. The error says why the client has to go.
    pub(super) async fn take(&self, client: &Client, text: &str, came: Came) -> Result<(), Close> {
        if came == Came::Now {
            self.hub.heard(&client.socket);
        }
        match frame::decode(text) {
            Ok(Packet::Event { id, data }) => {
                let _turn = client.turn.lock().await;
                self.room(client, came).await;
                if let Some(why) = client.socket.outbox.closed() {
                    return Err(why);
                }
                let tunnelled = self.answer(client, data).await;
                let frame = id.map(|id| encode(client, id, &tunnelled));
                let frame = frame.map(|frame| {
                    let kept = self.api.places.keep(frame, &client.socket);
                    // A long one is counted by whom it is kept.
                    let share = if kept.len() > SMALL_LEN { 0 } else { kept.len() };
                    (kept, share)
                });
                if self.hub.tails().any() {
                    let event = RequestEvent::decode(data).ok();
                    let request = event.as_ref().and_then(|event| event.request().ok());
                    let method = event.as_ref().map_or("OTHER", |event| event.method.as_str());
                    let body = request.as_ref().and_then(|request| request.data).unwrap_or_default();
                    let answer_len = frame.as_ref().map(|(frame, _)| frame.len());
                    self.tunnel.show(&client.socket, (method, body), &tunnelled, answer_len);
                }
                if let Some((frame, share)) = frame {
                    client.socket.outbox.offer_share(frame, share);
                }
                if tunnelled.status == StatusCode::TOO_MANY_REQUESTS.as_u16() {
                    // The next one is read so much later.
                    tokio::time::sleep(LIMITED_PAUSE).await;
                }
                // What reached no handler was counted by no rate.
                if tunnelled.route.is_none() { self.idle(client, 1) } else { Ok(()) }
            }
            Ok(Packet::Connect | Packet::Heartbeat | Packet::Other) => self.idle(client, 1),
            Ok(Packet::Disconnect) => Err(Close::Left),
            Err(FrameError::Malformed) => self.stray(client),
            Err(FrameError::TooLong) => Err(Close::BadFrame),
        }
    }

    /// Waits until there is room for another answer, or the client is closed: who does not read its answers is not given
    /// more to answer.
    async fn room(&self, client: &Client, came: Came) {
        let room = client.socket.outbox.room();
        match came {
            // Nothing is heard meanwhile of who is read from, but it is not silent; the write timeout watches over it.
            Came::Now => {
                self.hub.not_listening(&client.socket);
                room.await;
                self.hub.heard(&client.socket);
            }
            // Whoever polls makes room by that, and one that never does is closed for it.
            Came::Before => room.await,
        }
    }

    /// Counts frames that are no requests; the error says that they are too many.
    pub(super) fn idle(&self, client: &Client, frames: u32) -> Result<(), Close> {
        client.is_idle(frames, self.settings.idle_frames_per_sec)
    }

    /// Passes over what cannot be read, as the original server did.
    pub(super) fn stray(&self, client: &Client) -> Result<(), Close> {
        self.hub.note_stray();
        self.idle(client, 1)
    }

    async fn answer(&self, client: &Client, data: &str) -> Tunnelled {
        let event = match RequestEvent::decode(data) {
            Ok(event) => event,
            Err(error) => return self.tunnel.refuse(&client.socket, error.into()).await,
        };
        match event.request() {
            Ok(request) => self.tunnel.answer(&client.socket, event.method, &request).await,
            Err(error) => self.tunnel.refuse(&client.socket, error.into()).await,
        }
    }
}

fn encode(client: &Client, id: u64, tunnelled: &Tunnelled) -> Bytes {
    let headers = AckHeaders {
        request_id: &tunnelled.request_id,
        limit: tunnelled.rate_status.legacy_limit().into(),
        remaining: tunnelled.rate_status.remaining.into(),
        retry_after_secs: tunnelled.retry_after_secs,
        confirmed: tunnelled.confirmed,
    };
    ack::encode(id, client.style, &AckContent { status: tunnelled.status, headers, body: &tunnelled.body })
}
