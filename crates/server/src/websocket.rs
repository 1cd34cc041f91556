//! Websockets, whichever protocol is spoken on them: the upgrade, and the two sides that are read and written.
//!
//! The library reads, and puts what is to be written into frames; writing itself is ours, so that a socket needs no buffer
//! for it while it is silent, and the two sides share no lock.

mod idle;
mod reading;
mod upgrade;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use respoke_hub::Socket;
use respoke_hub::outbox::{Outbox, Taken};
use respoke_wire::close::Close;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::idle::IdleFrames;
pub(crate) use self::reading::{Stream, Taking};
pub(crate) use self::upgrade::{accept_key, offered, refuse, switch};
pub(crate) use self::writing::{close_frame, write_frames};

use self::reading::{PASSED_OVER_MAX, pass_over, stream};
use crate::state::Api;
use crate::transport::{Encrypted, Impatient, Patient, Place, Plain};

/// A queue that once held more than this gives its memory back.
const PACKETS_KEPT: usize = 8;
/// How long a closed transport waits for its client to close too.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to a door of sockets, from whom, on which connection.
pub(crate) struct Knock<B> {
    pub(crate) request: http::Request<B>,
    pub(crate) address: IpAddr,
    pub(crate) place: Arc<Place>,
}

/// The tasks that carry sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carriers {
    pub(crate) tasks: TaskTracker,
    /// Tells those that carry nobody yet that the node stops.
    pub(crate) soft: CancellationToken,
    /// Ends those that did not end by themselves.
    pub(crate) hard: CancellationToken,
}

/// A task's work.
pub(crate) type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who carries what a websocket brings and is sent.
pub(crate) trait Carrier: Send + Sized {
    /// The work itself. It is boxed by itself, so that the task which does it is no longer than it, without what the upgrade
    /// and TLS took.
    fn carry<R, W>(self, stream: Stream<R>, io: W) -> Carrying
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static;
}

/// What is left to do once the connection is no HTTP connection any more. None: it broke, or all are ended.
pub(crate) async fn upgraded<C: Carrier>(
    carrier: C,
    upgrading: OnUpgrade,
    hard: &CancellationToken,
    write_timeout: Duration,
    taking: Taking,
) -> Option<Carrying> {
    let upgraded = tokio::select! {
        biased;
        () = hard.cancelled() => None,
        upgraded = upgrading => upgraded.ok(),
    };
    Some(match upgraded?.downcast::<TokioIo<Patient<Plain>>>() {
        Ok(parts) => {
            let (read, write) = parts.io.into_inner().into_inner().into_inner().into_split();
            let stream = stream(read, parts.read_buf, taking).await;
            carrier.carry(stream, Impatient::new(write, write_timeout))
        }
        Err(upgraded) => {
            let parts = upgraded
                .downcast::<TokioIo<Patient<Encrypted>>>()
                .expect("`run` serves HTTP/1.1 on these two kinds of connection");
            let mut io = parts.io.into_inner().into_inner();
            io.get_mut().0.wait_at_most(write_timeout);
            let (read, write) = tokio::io::split(io);
            let stream = stream(read, parts.read_buf, taking).await;
            carrier.carry(stream, write)
        }
    })
}

/// Waits for a client to close that was told to go. What it still says is not heard. `is_unread`: it was closed for what it
/// sent, of which there may be more.
pub(crate) async fn until_closed<R: AsyncRead + Unpin>(
    stream: &mut Stream<R>,
    is_unread: bool,
    hard: &CancellationToken,
) {
    stream.get_mut().rest = PASSED_OVER_MAX;
    let closing = Box::pin(async {
        while let Some(Ok(_)) = stream.next().await {}
        if is_unread {
            pass_over(&mut stream.get_mut().io).await;
        }
    });
    let _ = hard.run_until_cancelled(tokio::time::timeout(CLOSE_TIMEOUT, closing)).await;
}

/// Waits, if this process may have been stopped for long, until it knows whether others have declared it dead meanwhile:
/// before that nothing is written. Why the socket was closed, if it was.
pub(crate) async fn asleep(api: &Api, outbox: &Outbox) -> Option<Close> {
    let among = api.among.as_ref().filter(|among| !among.fence().is_awake())?;
    tokio::select! {
        biased;
        why = outbox.ended() => Some(why),
        () = among.fence().awake() => None,
    }
}

/// How the writing of what waits for a socket ended.
pub(crate) enum Written {
    /// The outbox was closed for this, and what was taken last is still to be written.
    Until(Close),
    /// It failed, and the socket is to be closed for this.
    Failed(Close),
    /// Nothing is to be written any more.
    Over,
}

/// What waits for a socket, as it is written.
pub(crate) struct Writer<'a> {
    pub(crate) api: &'a Api,
    pub(crate) socket: &'a Arc<Socket>,
    pub(crate) timeout: Duration,
    /// A ping to be answered.
    pub(crate) ping: &'a Mutex<Option<Bytes>>,
    /// Whether a client that is closed for this still gets what waits for it.
    pub(crate) is_told: fn(Close) -> bool,
    /// Whether a write is under way. If it is broken off, nothing can be written behind it.
    pub(crate) busy: &'a AtomicBool,
}

impl Writer<'_> {
    /// Writes `packets`, and then what waits, of which `takes` is told before it is written, as much as there is at a time, until the outbox closes.
    ///
    /// A write that makes no progress for the write timeout fails (`transport/impatient.rs`). However slowly the client reads, once
    /// its socket is closed what is under way, and then what waits, take one write timeout each at most.
    pub(crate) async fn write<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        packets: &mut VecDeque<Bytes>,
        takes: impl Fn(&VecDeque<Bytes>),
    ) -> Written {
        let outbox = &self.socket.outbox;
        loop {
            if packets.is_empty() {
                let taken = outbox.take(packets).await;
                takes(packets);
                if let Taken::Closed(why) = taken {
                    return Written::Until(why);
                }
            }
            if let Some(why) = asleep(self.api, outbox).await {
                packets.clear();
                return Written::Until(why);
            }
            let pong = self.ping.lock().take().map(Frame::pong);
            self.busy.store(true, Ordering::Relaxed);
            let written = {
                let progresses = || self.api.places.progresses(self.socket);
                let mut writing = pin!(write_frames(io, pong, packets, progresses));
                tokio::select! {
                    biased;
                    written = writing.as_mut() => written,
                    why = outbox.ended() => {
                        if !(self.is_told)(why) || outbox.is_abandoned() {
                            return Written::Over;
                        }
                        let Ok(written) = tokio::time::timeout(self.timeout, writing).await else {
                            return Written::Over;
                        };
                        written
                    }
                }
            };
            self.busy.store(false, Ordering::Relaxed);
            if let Err(error) = written {
                let slow = error.kind() == io::ErrorKind::TimedOut;
                return Written::Failed(if slow { Close::SlowConsumer } else { Close::Left });
            }
            if packets.capacity() > PACKETS_KEPT {
                *packets = VecDeque::new();
            }
        }
    }
}
