//! Waits until whoever opened a websocket says who it is, and lets it in or tells it why not.

use std::collections::VecDeque;

use futures_util::StreamExt;
use respoke_wire::respoke1::bye::Bye;
use respoke_wire::respoke1::{Object, lines};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::connecting::Unwelcome;
use super::exchange::{Ended, First, Sending};
use super::guest::Guest;
use super::inside::CONNECT_WITHIN;
use super::live::Transport;
use crate::limits::LIMITED_PAUSE;
use crate::websocket::{CLOSE_TIMEOUT, Carrier, Carrying, Stream, close_frame, until_closed, write_frames};

/// Frames that a client may send before it says who it is, beside the one that says it. Some write a ping first.
const FRAMES_BEFORE: usize = 8;

impl Carrier for Guest {
    fn carry<R, W>(self, mut stream: Stream<R>, mut io: W) -> Carrying
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let hard = self.inside.carriers.hard.clone();
        Box::pin(async move {
            // In a box that is gone afterwards: a socket is silent most of its life, and what it stood on to connect is long.
            let Some((transport, first)) = Box::pin(self.meet(&mut stream, &mut io)).await else {
                return until_closed(&mut stream, true, &hard).await;
            };
            match transport.exchange(first, &mut stream, &mut io).await {
                Ended::Lost => {
                    drop((stream, io));
                    transport.linger().await;
                }
                Ended::Told { is_unread } => {
                    drop(transport);
                    until_closed(&mut stream, is_unread, &hard).await;
                }
            }
        })
    }
}

impl Guest {
    /// Waits until the client says who it is, and lets it in. None: it was told to go.
    async fn meet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        self,
        stream: &mut Stream<R>,
        io: &mut W,
    ) -> Option<(Transport, First)> {
        let unwelcome = match self.first(stream).await {
            Ok(frame) => match self.connected(&frame).await {
                Ok((transport, sending)) => return Some((transport, First { sending, frame })),
                Err(unwelcome) => unwelcome,
            },
            Err(bye) => bye.into(),
        };
        let Unwelcome { answer, bye, wait_secs } = unwelcome;
        let telling = Box::pin(async {
            let mut told = VecDeque::from_iter(answer);
            told.extend(bye.map(|bye| bye.object(wait_secs)));
            write_frames(io, None, &mut told, || {}).await?;
            let (code, word) = bye.map_or((1000, "left"), |bye| (bye.code(), bye.word()));
            write_frames(io, Some(close_frame(code, word)), &mut told, || {}).await
        });
        // Whether it arrives or not, it is over.
        let _ = timeout(CLOSE_TIMEOUT, telling).await;
        if self.inside.api.limits.check_nobody(self.address).is_err() {
            // Its place is free so much later.
            tokio::time::sleep(LIMITED_PAUSE).await;
        }
        None
    }

    /// The frame that says who the client is. The error says why there is none; it is none of ours if the client left.
    async fn first<R: AsyncRead + Unpin>(&self, stream: &mut Stream<R>) -> Result<Utf8Bytes, Option<Bye>> {
        if !self.speaks {
            return Err(Some(Bye::Version));
        }
        let coming = async {
            for _ in 0..=FRAMES_BEFORE {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => return Err(None),
                    Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_))) => {
                        break;
                    }
                    Some(Err(Error::Io(_))) if stream.get_ref().is_flooded() => break,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
                }
            }
            Err(Some(Bye::BadFrame))
        };
        tokio::select! {
            biased;
            () = self.inside.carriers.soft.cancelled() => Err(Some(Bye::Drain)),
            came = timeout(CONNECT_WITHIN, coming) => came.unwrap_or(Err(Some(Bye::Silent))),
        }
    }

    async fn connected(&self, frame: &str) -> Result<(Transport, Sending), Unwelcome> {
        match lines(frame).next().map(Object::read) {
            Some(Ok(Object::Connect { id, connect })) => self.connect(id, *connect).await,
            Some(Ok(Object::Leave)) => Err(None.into()),
            Some(Ok(Object::Alive | Object::Got(_) | Object::Request { .. }) | Err(_)) | None => {
                Err(Some(Bye::BadFrame).into())
            }
        }
    }
}
