//! Long polling, for clients whose network lets no websocket through: GETs that wait for packets, POSTs that bring some.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use respoke_hub::outbox::Taken;
use respoke_wire::close::Close;
use respoke_wire::frame::{self, FrameError};
use respoke_wire::payload::{self, Splitter};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handshake::script;
use super::{Client, Knock, Sockets, plain, text};
use crate::door::Door;
use crate::transport::Place;

/// How long a poll waits for something to say.
///
/// # Source
///
/// The original's default (section 4.4 of docs/protocol.md).
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a part of a POST may take to arrive, and a packet to be taken in behind what came before. Whoever takes longer
/// for all of them than a client may be silent is not waited for.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets of one client that wait to be taken. Those behind them wait in the `POST` that brings them, however many they
/// are, and hold no memory but the connection's.
const INBOX_LEN_MAX: usize = 100;

/// How payloads are wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Not at all.
    Bare,
    /// As a script for a page.
    Script,
}

/// What a polling client has beside its socket.
pub(super) struct Polling {
    inbox: mpsc::Sender<String>,
    /// One poll waits at a time; a newer one ends the older.
    turn: Mutex<()>,
    newer: Notify,
    greeted: AtomicBool,
    /// Ends it once another transport takes its place.
    pub(super) replaced: CancellationToken,
}

impl Polling {
    pub(super) fn new(replaced: CancellationToken) -> (Self, mpsc::Receiver<String>) {
        let (inbox, packets) = mpsc::channel(INBOX_LEN_MAX);
        let (turn, newer, greeted) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        (Self { inbox, turn, newer, greeted, replaced }, packets)
    }
}

impl Sockets {
    pub(super) async fn poll<B>(
        self: &Arc<Self>,
        door: &Arc<Door>,
        sid: &str,
        knock: Knock<B>,
        wrapping: Wrapping,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let index = match wrapping {
            Wrapping::Bare => None,
            Wrapping::Script => {
                let query = knock.request.uri().query().unwrap_or_default();
                let index = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "i");
                Some(index.and_then(|(_, index)| payload::jsonp_index(&index)).unwrap_or(0))
            }
        };
        let answer = |payload: Bytes| match index {
            None => plain(StatusCode::OK, payload),
            Some(index) => script(payload::jsonp(index, &payload)),
        };
        let Some(client) = self.clients.find(sid) else {
            return answer(Bytes::from_static(frame::NOT_HANDSHAKEN.as_bytes()));
        };
        let polling = self.attach(door, &client);
        self.hub.heard(&client.socket);
        match *knock.request.method() {
            Method::GET => {
                let payload = self.next_payload(&client, &polling, &knock.place).await;
                self.hub.heard(&client.socket);
                answer(payload)
            }
            Method::POST => self.take_payload(&client, &polling, knock, wrapping).await,
            _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }

    /// The client's polling; the first poll starts the task that takes its packets.
    fn attach(self: &Arc<Self>, door: &Arc<Door>, client: &Arc<Client>) -> Arc<Polling> {
        let (polling, first) = client.attach_polling(&self.hard);
        if let Some(mut inbox) = first {
            self.clients.plan(client);
            let (sockets, door, client) = (self.clone(), door.clone(), client.clone());
            let replaced = polling.replaced.clone();
            self.tasks.spawn(async move {
                loop {
                    let packet = tokio::select! {
                        biased;
                        packet = inbox.recv() => packet,
                        // What was taken in is answered, by the other transport; nothing more is taken in.
                        () = replaced.cancelled(), if !inbox.is_closed() => {
                            inbox.close();
                            continue;
                        }
                    };
                    let Some(packet) = packet else { return };
                    if let Err(why) = sockets.take(&door, &client, &packet).await {
                        return sockets.hub.close(&client.socket, why);
                    }
                }
            });
        }
        polling
    }

    async fn next_payload(&self, client: &Client, polling: &Polling, place: &Place) -> Bytes {
        if !polling.greeted.swap(true, Ordering::AcqRel) {
            return Bytes::from_static(frame::CONNECT.as_bytes());
        }
        polling.newer.notify_waiters();
        let newer = polling.newer.notified();
        let _turn = polling.turn.lock().await;
        let mut frames = VecDeque::new();
        // Whoever polls is not silent, so it is answered before it would be found so.
        let wait = POLL_TIMEOUT.min(self.settings.heartbeat_interval);
        let taken = tokio::select! {
            biased;
            // What comes now is the other transport's to bring.
            () = polling.replaced.cancelled() => None,
            // The client may have given this poll up, so what there is, is the newer one's.
            () = newer => {
                if let Err(why) = self.idle(client, 1) {
                    self.hub.close(&client.socket, why);
                }
                None
            }
            // So it may if its connection came half to an end. If it still listens, it polls again.
            () = place.hung_up() => None,
            taken = client.socket.outbox.take(&mut frames) => Some(taken),
            () = tokio::time::sleep(wait) => None,
        };
        match taken {
            None => return Bytes::from_static(frame::NOOP.as_bytes()),
            Some(Taken::Frames) => {}
            Some(Taken::Closed(why)) => {
                let last = if why.come_back() { frame::NOT_HANDSHAKEN } else { frame::DISCONNECT };
                frames.push_back(Bytes::from_static(last.as_bytes()));
                self.leave(client, why);
            }
        }
        payload::encode(frames.make_contiguous())
    }

    async fn take_payload<B>(&self, client: &Client, polling: &Polling, knock: Knock<B>, wrapping: Wrapping) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let body = knock.request.into_body();
        let taken = match wrapping {
            Wrapping::Bare => timeout(self.settings.heartbeat_timeout, self.take_packets(client, polling, body)).await,
            Wrapping::Script => Ok(self.take_form(client, polling, body).await),
        };
        match taken.unwrap_or(Err(Untaken::Late)) {
            Ok(()) => text(StatusCode::OK, payload::RECEIVED),
            Err(Untaken::TooLong) => text(StatusCode::PAYLOAD_TOO_LARGE, ""),
            Err(Untaken::Late) => text(StatusCode::SERVICE_UNAVAILABLE, ""),
            Err(Untaken::Closes(why)) => {
                self.hub.close(&client.socket, why);
                text(StatusCode::BAD_REQUEST, "")
            }
        }
    }

    /// Takes packets in as the body brings them; each waits for room behind those before.
    async fn take_packets<B>(&self, client: &Client, polling: &Polling, mut body: B) -> Result<(), Untaken>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let (mut splitter, mut len) = (Splitter::default(), 0);
        while let Some(data) = timeout(POST_TIMEOUT, body.frame()).await.map_err(|_| Untaken::TooLong)? {
            let data = data.map_err(|_| Untaken::TooLong)?.into_data().unwrap_or_default();
            len += data.len();
            if len > payload::PAYLOAD_LEN_MAX {
                return Err(Untaken::TooLong);
            }
            self.take_part(client, polling, &mut splitter, &data).await?;
        }
        self.take_end(client, polling, splitter).await
    }

    async fn take_form<B>(&self, client: &Client, polling: &Polling, body: B) -> Result<(), Untaken>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let form = timeout(POST_TIMEOUT, read_whole(body, payload::FORM_LEN_MAX)).await.ok().flatten();
        let mut splitter = Splitter::default();
        match payload::decode_form(&form.ok_or(Untaken::TooLong)?) {
            Ok(body) => self.take_part(client, polling, &mut splitter, body.as_bytes()).await?,
            Err(error) => return self.take_in(client, polling, Err(error)).await,
        }
        self.take_end(client, polling, splitter).await
    }

    async fn take_part(
        &self,
        client: &Client,
        polling: &Polling,
        splitter: &mut Splitter,
        mut part: &[u8],
    ) -> Result<(), Untaken> {
        while let Some(packet) = splitter.next(&mut part) {
            self.take_in(client, polling, packet).await?;
        }
        Ok(())
    }

    async fn take_end(&self, client: &Client, polling: &Polling, splitter: Splitter) -> Result<(), Untaken> {
        match splitter.end() {
            Some(packet) => self.take_in(client, polling, packet).await,
            None => Ok(()),
        }
    }

    async fn take_in(
        &self,
        client: &Client,
        polling: &Polling,
        packet: Result<String, FrameError>,
    ) -> Result<(), Untaken> {
        match packet {
            Ok(packet) => match timeout(POST_TIMEOUT, polling.inbox.send(packet)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Untaken::Late),
            },
            Err(FrameError::Malformed) => self.stray(client).map_err(Untaken::Closes),
            Err(FrameError::TooLong) => Err(Untaken::Closes(Close::BadFrame)),
        }
    }
}

/// Why a `POST` was not taken in, or not to its end.
enum Untaken {
    /// It is too long, broke off, or took too long to come.
    TooLong,
    /// What came before it was not taken in time, or the client is gone.
    Late,
    /// The client has to go.
    Closes(Close),
}

/// The whole body. None: it is longer than `len_max`, or broke off.
async fn read_whole<B: HttpBody<Data = Bytes> + Unpin>(mut body: B, len_max: usize) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        if whole.len() + data.len() > len_max {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole)
}
