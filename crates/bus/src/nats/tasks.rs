//! What a carrier over NATS does beside whoever sends: it writes, reads, hands on, and keeps the connection alive.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::connection::State;
use async_nats::{Client, PublishErrorKind, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Shared;
use super::figures::add;
use super::packet::{Frames, Packet, sign};
use super::pulse::SIGN_EVERY;
use super::waiting::{PacketLens, WAITING_BYTES_MAX};

/// A message grows no longer than this by taking further frames along: so many are handed on in about a millisecond, and
/// others who use the thread wait no longer.
const PACKET_LEN: usize = 64 << 10;

impl Shared {
    /// Sends what waits, as soon as the connection takes it.
    pub(super) async fn write(self: Arc<Self>, client: Client) {
        loop {
            let lens = PacketLens { enough: PACKET_LEN, max: client.max_payload() };
            let (batch, dropped) = self.waiting.lock().next(lens, Instant::now());
            self.drop_frames(dropped);
            let Some(batch) = batch else {
                self.done.notify_waiters();
                self.more.notified().await;
                continue;
            };
            let len = batch.packet.len() as u64;
            match client.publish(self.subject(batch.to), batch.packet.into()).await {
                Ok(()) => {
                    add(&self.counted.frames_sent, batch.frames);
                    add(&self.counted.bytes_sent, len);
                }
                Err(error) => {
                    self.drop_frames(batch.frames);
                    if error.kind() == PublishErrorKind::Send {
                        // It has no connection and will have none.
                        tracing::error!("NATS is not used any more");
                        return;
                    }
                }
            }
        }
    }

    /// Looks at what comes, at once, and lets it wait to be handed on.
    pub(super) async fn read(self: Arc<Self>, mut subscription: Subscriber, arrived: mpsc::Sender<(Frames, usize)>) {
        while let Some(message) = subscription.next().await {
            self.pulse.hear();
            let len = message.payload.len();
            match Packet::read(message.payload) {
                Some(Packet::Sign(node, number)) => {
                    // A former life of this node, which does not know yet that it is over, has the same subject.
                    if node == self.node && self.pulse.come_back(number, Instant::now()) {
                        self.works.notify_one();
                    }
                }
                Some(Packet::Frames(frames)) => {
                    let before = self.arrived_bytes.fetch_add(len, Ordering::Relaxed);
                    if before + len > WAITING_BYTES_MAX || arrived.try_send((frames, len)).is_err() {
                        self.arrived_bytes.fetch_sub(len, Ordering::Relaxed);
                        self.drop_messages(1);
                    }
                }
                None => self.drop_messages(1),
            }
        }
    }

    /// Hands on what came.
    pub(super) async fn hand_on(self: Arc<Self>, mut arriving: mpsc::Receiver<(Frames, usize)>) {
        while let Some((frames, len)) = arriving.recv().await {
            self.arrived_bytes.fetch_sub(len, Ordering::Relaxed);
            let Some(bring) = self.bring.get() else { continue };
            add(&self.counted.bytes_received, len as u64);
            for frame in frames {
                add(&self.counted.frames_received, 1);
                // One that makes something panic does not end the node's hearing.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| bring(&frame)));
            }
        }
    }

    /// Gives signs of life, and makes the connection anew when nothing comes.
    pub(super) async fn keep_alive(self: Arc<Self>, client: Client) {
        let subject = self.subject(self.node.id);
        let mut signs = interval(SIGN_EVERY);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let leave = tokio::select! {
                biased;
                () = self.lame_duck.notified() => self.others_are_there(&client).await,
                _ = signs.tick() => {
                    let number = self.pulse.give(Instant::now());
                    // It stands still while there is no connection.
                    let _ = timeout(SIGN_EVERY, client.publish(subject.clone(), sign(self.node, number))).await;
                    let silent = self.pulse.is_silent(Instant::now()) && client.connection_state() == State::Connected;
                    if silent {
                        tracing::warn!("nothing comes over NATS, so the connection is made anew");
                    }
                    silent
                }
            };
            if leave {
                self.pulse.begin_anew();
                let _ = timeout(SIGN_EVERY, client.force_reconnect()).await;
            }
        }
    }

    /// Whether there is another server than the one that is about to end. If not, it is used for as long as it lets.
    async fn others_are_there(&self, client: &Client) -> bool {
        let servers = timeout(SIGN_EVERY, client.server_pool()).await;
        servers.is_ok_and(|servers| servers.is_ok_and(|servers| servers.len() > 1))
    }
}
