//! From a request of a client to the operation it asks for, and back to its answer.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use respoke_core::refusal::Refusal;
use respoke_wire::close::Close;
use respoke_wire::respoke1::said::{self, Refused};
use respoke_wire::respoke1::{Asked, Op, OpError};

use super::live::Live;
use crate::limits::LIMITED_PAUSE;
use crate::problem::Problem;
use crate::transport::SMALL_LEN;
use crate::tunnel::Tunnelled;

/// What is told of an `Idempotency-Key` that is none.
pub(super) const NO_KEY: &str = "must be 1 to 255 visible ASCII characters";

impl From<OpError> for Problem {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Malformed => {
                Refusal::field("op", "must be an object with one name, and an object under it").into()
            }
            OpError::Unknown => Refusal::field("op", "has a name that is not known").into(),
            OpError::Missing(field) => Refusal::missing(field).into(),
            OpError::Key => Refusal::field("key", NO_KEY).into(),
            OpError::Data(error) => error.into(),
        }
    }
}

impl Live {
    /// Answers a request, and tells how long to wait before the next one is begun. The error says why the client has to go.
    pub(super) async fn answer(&self, id: u64, op: &str) -> Result<Duration, Close> {
        // Who does not read its answers is not given more to answer.
        self.room().await;
        let _turn = self.turn.lock().await;
        if let Some(why) = self.socket.outbox.closed() {
            return Err(why);
        }
        let done = self.ring.lock().answer(id);
        if let Some(answer) = done {
            // Its client came back, and had not heard.
            self.socket.outbox.offer(answer);
            return self.idle(1).map(|()| Duration::ZERO);
        }
        let tunnel = &self.inside.tunnel;
        let (method, body, tunnelled) = match Asked::read(Op::of(op)) {
            Ok(Asked::Ping) => return self.ping(id).map(|()| Duration::ZERO),
            Ok(Asked::Operation(method, request)) => {
                let tunnelled = tunnel.answer(&self.socket, method, &request).await;
                (method.as_str(), request.data.unwrap_or_default(), tunnelled)
            }
            Err(error) => ("OTHER", "", tunnel.refuse(&self.socket, error.into()).await),
        };
        let frame = self.inside.api.places.keep(object(id, &tunnelled), &self.socket);
        if self.inside.hub.tails().any() {
            tunnel.show(&self.socket, (method, body), &tunnelled, Some(frame.len()));
        }
        // A long one is counted by whom it is kept.
        self.ring.lock().answers(id, &frame);
        let share = if frame.len() > SMALL_LEN { 0 } else { frame.len() };
        self.socket.outbox.offer_share(frame, share);
        // What reached no handler was counted by no rate.
        if tunnelled.route.is_none() {
            self.idle(1)?;
        }
        let is_limited = tunnelled.status == StatusCode::TOO_MANY_REQUESTS.as_u16();
        Ok(if is_limited { LIMITED_PAUSE } else { Duration::ZERO })
    }

    /// Answers whoever asks for nothing else.
    pub(super) fn ping(&self, id: u64) -> Result<(), Close> {
        self.socket.outbox.offer(said::ok(id, b"{}", None));
        self.idle(1)
    }

    /// Refuses a request at once, because too many are under way.
    pub(super) async fn refuse_one_more(&self, id: u64) -> Result<(), Close> {
        let problem = Problem::requests_under_way();
        let tunnelled = self.inside.tunnel.refuse(&self.socket, problem).await;
        self.socket.outbox.offer(object(id, &tunnelled));
        self.idle(1)
    }

    /// Waits until there is room for another answer, or the client is closed.
    async fn room(&self) {
        // Nothing is heard meanwhile of who is read from no more, but it is not silent; the write timeout watches over it.
        self.inside.hub.not_listening(&self.socket);
        self.socket.outbox.room().await;
        self.inside.hub.heard(&self.socket);
    }
}

/// The answer to a request.
fn object(id: u64, tunnelled: &Tunnelled) -> Bytes {
    if (200..300).contains(&tunnelled.status) {
        said::ok(id, &tunnelled.body, tunnelled.next.as_deref())
    } else {
        error_object(id, tunnelled)
    }
}

/// The refusal of a request.
pub(super) fn error_object(id: u64, tunnelled: &Tunnelled) -> Bytes {
    said::error(id, &refused(tunnelled))
}

/// A refusal as this protocol has it.
pub(super) fn refused(tunnelled: &Tunnelled) -> Refused<'_> {
    let of_body = Refused::of_body(&tunnelled.body, tunnelled.retry_after_secs);
    // Every refusal of the API has such a body.
    of_body.unwrap_or_else(|| Refused {
        code: "internal".into(),
        text: "internal error".into(),
        retry: "unknown",
        after: None,
        request_id: tunnelled.request_id.as_str().into(),
        fields: None,
        reason: None,
    })
}
