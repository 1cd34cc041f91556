//! Kept messages as an answer that is made as it is taken: where they are is known beforehand, and some are read at a
//! time.
//!
//! What is shorter than a piece is whole at once, like every other answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use respoke_core::id::GroupName;
use respoke_core::message::{MessageRef, StoredMessage};
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use tracing::Span;

use super::answer;
use crate::call::Call;
use crate::problem::Problem;
use crate::state::Api;
use crate::transport::Beside;
use crate::turns::Party;

/// What is read at once, at least; the last message may be as long as a message may be.
const PIECE_LEN: usize = 32_768;

/// The messages of a group.
pub(super) async fn tell(
    api: &Arc<Api>,
    call: &Call,
    caller: &Caller,
    found: Vec<MessageRef>,
) -> Result<Response, Problem> {
    let list = List { opening: Some(b"[".to_vec()), messages: found.into() };
    Telling::new(api, caller, VecDeque::from([list]), b"").answer(call).await
}

/// The messages of many groups, as an object of lists.
pub(super) async fn tell_groups(
    api: &Arc<Api>,
    call: &Call,
    caller: &Caller,
    found: Vec<(GroupName, Vec<MessageRef>)>,
) -> Result<Response, Problem> {
    let mut lists = VecDeque::with_capacity(found.len());
    for (group, messages) in found {
        let mut opening = if lists.is_empty() { b"{".to_vec() } else { b",".to_vec() };
        serde_json::to_writer(&mut opening, group.as_str()).map_err(Problem::internal)?;
        opening.extend_from_slice(b":[");
        lists.push_back(List { opening: Some(opening), messages: messages.into() });
    }
    let end: &[u8] = if lists.is_empty() { b"{}" } else { b"}" };
    Telling::new(api, caller, lists, end).answer(call).await
}

struct List {
    /// None: it was told.
    opening: Option<Vec<u8>>,
    messages: VecDeque<MessageRef>,
}

/// What is left to tell.
struct Telling {
    api: Arc<Api>,
    party: Party,
    lists: VecDeque<List>,
    /// None: all was told.
    end: Option<&'static [u8]>,
    /// Whether the next message is the first of its list.
    is_first: bool,
}

/// A part of a piece.
enum Part {
    Text(Vec<u8>),
    Message,
}

impl Telling {
    fn new(api: &Arc<Api>, caller: &Caller, lists: VecDeque<List>, end: &'static [u8]) -> Self {
        Self { api: api.clone(), party: Party::of(caller), lists, end: Some(end), is_first: true }
    }

    /// Bytes of what is known of it beforehand.
    fn known_len(&self) -> usize {
        let of = |list: &List| {
            let opening = list.opening.as_ref().map_or(0, Vec::capacity);
            size_of::<List>() + opening + list.messages.capacity() * size_of::<MessageRef>()
        };
        self.lists.iter().map(of).sum()
    }

    /// The answer, with its first piece read, so that a store that fails is a refusal and no broken answer.
    async fn answer(mut self, call: &Call) -> Result<Response, Problem> {
        let api = self.api.clone();
        let turn = api.long_answers.take(self.party.clone()).await?;
        let first = Bytes::from(self.piece().await?);
        drop(turn);
        if self.end.is_none() {
            return Ok(answer::json(Body::from(first)));
        }
        let known = Beside(self.known_len());
        let state = State::Waiting(Some(Box::new(self)));
        let mut response = answer::json(Body::new(TellingBody { first: Some(first), state, span: call.span() }));
        response.extensions_mut().insert(known);
        Ok(response)
    }

    /// The next piece; empty when all was told.
    async fn piece(&mut self) -> Result<Vec<u8>, Refusal> {
        let (mut parts, mut which, mut len) = (Vec::new(), Vec::new(), 0);
        while len < PIECE_LEN {
            let Some(list) = self.lists.front_mut() else {
                parts.extend(self.end.take().map(|end| Part::Text(end.to_vec())));
                break;
            };
            if let Some(opening) = list.opening.take() {
                len += opening.len();
                parts.push(Part::Text(opening));
            }
            if let Some(message) = list.messages.pop_front() {
                len += message.len + 1;
                which.push(message);
                parts.push(Part::Message);
            } else {
                parts.push(Part::Text(b"]".to_vec()));
                self.lists.pop_front();
            }
        }
        let read = if which.is_empty() { Vec::new() } else { self.api.broker.messages(which).await? };
        let mut read = read.into_iter();
        let mut piece = Vec::with_capacity(len + 2);
        for part in parts {
            match part {
                Part::Text(text) => {
                    // The end of a list makes the next message a first one, as does its beginning.
                    self.is_first = true;
                    piece.extend_from_slice(&text);
                }
                Part::Message => self.put(&mut piece, read.next().flatten()),
            }
        }
        Ok(piece)
    }

    fn put(&mut self, piece: &mut Vec<u8>, message: Option<StoredMessage>) {
        // It may have gone since it was found.
        let Some(message) = message else { return };
        if !std::mem::take(&mut self.is_first) {
            piece.push(b',');
        }
        piece.extend_from_slice(message.event.get().as_bytes());
    }

    /// Bytes that are left to tell, if none of them goes meanwhile.
    fn len(&self) -> usize {
        self.lists.iter().flat_map(|list| &list.messages).map(|message| message.len + 1).sum()
    }
}

struct TellingBody {
    first: Option<Bytes>,
    state: State,
    /// The request's.
    span: Span,
}

type Reading = Pin<Box<dyn Future<Output = (Box<Telling>, Result<Bytes, Problem>)> + Send>>;

enum State {
    /// For being asked for more. None while that is under way.
    Waiting(Option<Box<Telling>>),
    Reading(Reading),
}

impl HttpBody for TellingBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let State::Waiting(telling) = &mut self.state {
            let Some(telling) = telling.take_if(|telling| telling.end.is_some()) else { return Poll::Ready(None) };
            self.state = State::Reading(Box::pin(read(telling)));
        }
        let State::Reading(reading) = &mut self.state else { return Poll::Ready(None) };
        let (telling, piece) = ready!(reading.as_mut().poll(context));
        match piece {
            Ok(piece) => {
                self.state = State::Waiting(Some(telling));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Err(problem) => {
                // Nothing is left but to break off, so that nobody takes it for the whole.
                self.state = State::Waiting(None);
                let _within = self.span.enter();
                tracing::error!(code = problem.code(), "a history could not be read to its end");
                Poll::Ready(Some(Err("a history could not be read to its end".into())))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len);
        let left = match &self.state {
            State::Waiting(Some(telling)) => telling.len(),
            State::Waiting(None) | State::Reading(_) => 0,
        };
        let mut hint = SizeHint::new();
        hint.set_lower((first + left) as u64);
        hint
    }
}

async fn read(mut telling: Box<Telling>) -> (Box<Telling>, Result<Bytes, Problem>) {
    let api = telling.api.clone();
    let piece = async {
        let _turn = api.long_answers.take_again(telling.party.clone()).await?;
        Ok(telling.piece().await?.into())
    };
    let piece = piece.await;
    (telling, piece)
}
