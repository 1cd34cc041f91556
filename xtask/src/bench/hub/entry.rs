//! The way in: from nothing to a client with its connection, presence and groups, for any number of clients at once.
//!
//! Respoked's clients mint, redeem and shake hands over a kept-alive connection, as the JavaScript client does, then
//! open a websocket of its own. Peers have no tokens and begin with their handshake.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;

use super::super::response::Answer;
use super::super::scenario::Site;
use super::super::script::{minted, redeemed};
use super::frame::{self, Frame};
use super::net::{Net, Party, turn_until};
use super::subject::{self, Guest, Packet, Subject};
use super::tally::{self, histogram};

/// How long everybody may take to come in.
const LIMIT: Duration = Duration::from_secs(120);
/// The longest head of an answer to an upgrade.
const HEAD_LEN_MAX: usize = 4096;

/// One client.
pub(in crate::bench) struct Client {
    pub(in crate::bench) endpoint: String,
    /// Its App-Token; peers have none.
    pub(in crate::bench) token: String,
    stage: Stage,
}

/// How far in a client is.
enum Stage {
    /// Nothing of it is connected yet.
    Outside,
    Minting,
    Redeeming,
    ShakingHands,
    /// With the path of its websocket.
    Upgrading(String),
    /// With the frames it has yet to send.
    Introducing(VecDeque<Vec<u8>>),
    In,
}

/// How clients came in.
pub(in crate::bench) struct Entrance {
    /// From the first connect until everybody was in.
    pub(in crate::bench) took: Duration,
    /// The same of each client, in microseconds since the first connect.
    pub(in crate::bench) latencies: Histogram<u64>,
}

/// Lets `guests` in, at most `at_once` of them on their way at a time; they are appended to `clients`.
pub(in crate::bench) fn enter(
    net: &mut Net,
    (subject, site): (Subject, Option<&Site>),
    clients: &mut Vec<Client>,
    guests: Vec<Guest>,
    at_once: usize,
) -> anyhow::Result<Entrance> {
    let first = clients.len();
    let wanted = guests.len();
    for guest in &guests {
        net.add(guest.server);
        clients.push(Client { endpoint: guest.endpoint.clone(), token: String::new(), stage: Stage::Outside });
    }
    let (started, latencies) = (Instant::now(), histogram()?);
    let mut entry = Entry { subject, site, clients, guests, first, begun: 0, entered: 0, started, latencies };
    for _ in 0..at_once {
        entry.begin(net)?;
    }
    if !turn_until(net, &mut entry, LIMIT, |entry| entry.entered == wanted)? {
        bail!("only {} of {wanted} clients came in within {LIMIT:?}", entry.entered);
    }
    Ok(Entrance { took: started.elapsed(), latencies: entry.latencies })
}

struct Entry<'a> {
    subject: Subject,
    site: Option<&'a Site>,
    clients: &'a mut Vec<Client>,
    guests: Vec<Guest>,
    /// The client that is the first of the guests.
    first: usize,
    begun: usize,
    entered: usize,
    started: Instant,
    latencies: Histogram<u64>,
}

impl Entry<'_> {
    /// Sets the next guest on its way, if there is one left.
    fn begin(&mut self, net: &mut Net) -> anyhow::Result<()> {
        if self.begun < self.guests.len() {
            net.open(self.first + self.begun)?;
            self.begun += 1;
        }
        Ok(())
    }

    fn shake_hands(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()> {
        let who = &mut self.clients[client];
        let path = self.subject.handshake_path(&who.token).context("it has a handshake")?;
        who.stage = Stage::ShakingHands;
        net.send(client, format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes())
    }

    fn upgrade(net: &mut Net, client: usize, path: &str) -> anyhow::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        net.send(client, request.as_bytes())
    }

    /// Takes the answer to a request over HTTP; returns how much of `bytes` it was.
    fn answered(&mut self, net: &mut Net, client: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        let who = &mut self.clients[client];
        match &who.stage {
            Stage::Minting => {
                let Some(answer) = Answer::parse(bytes)? else { return Ok(0) };
                let token_id = minted(answer.status, &bytes[answer.body.clone()])?;
                who.stage = Stage::Redeeming;
                net.send(client, &subject::redemption(&token_id.to_string()))?;
                Ok(answer.body.end)
            }
            Stage::Redeeming => {
                let Some(answer) = Answer::parse(bytes)? else { return Ok(0) };
                who.token = redeemed(answer.status, &bytes[answer.body.clone()])?.to_string();
                self.shake_hands(net, client)?;
                Ok(answer.body.end)
            }
            Stage::ShakingHands => {
                let Some(session) = session_id(bytes)? else { return Ok(0) };
                who.stage = Stage::Upgrading(self.subject.websocket_path(session));
                net.open(client)?;
                Ok(bytes.len())
            }
            Stage::Upgrading(_) => {
                let Some(len) = head_len(bytes)? else { return Ok(0) };
                let guest = &self.guests[client - self.first];
                who.stage = Stage::Introducing(self.subject.way_in(&who.token, guest).into());
                Ok(len)
            }
            Stage::Outside | Stage::Introducing(_) | Stage::In => bail!("an answer that nobody asked for"),
        }
    }

    fn heard(&mut self, net: &mut Net, client: usize, payload: &[u8]) -> anyhow::Result<()> {
        match self.subject.read(payload) {
            Packet::Heartbeat => net.send(client, self.subject.heartbeat()),
            Packet::Hello => net.send(client, Subject::hello()),
            Packet::Open | Packet::Ack => self.advance(net, client),
            Packet::Refused => bail!("a client on its way in was refused: {}", tally::shown(payload)),
            Packet::Push | Packet::Other => Ok(()),
        }
    }

    fn advance(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()> {
        let Stage::Introducing(frames) = &mut self.clients[client].stage else {
            bail!("an ack that nobody asked for");
        };
        if let Some(frame) = frames.pop_front() {
            return net.send(client, &frame);
        }
        self.clients[client].stage = Stage::In;
        self.entered += 1;
        tally::record(&mut self.latencies, self.started.elapsed());
        self.begin(net)
    }
}

impl Party for Entry<'_> {
    fn connected(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()> {
        let who = &mut self.clients[client];
        if let Stage::Upgrading(path) = &who.stage {
            return Self::upgrade(net, client, path);
        }
        match (self.subject, self.site) {
            (Subject::Respoked, Some(site)) => {
                who.stage = Stage::Minting;
                net.send(client, &subject::mint(site, &who.endpoint))
            }
            (Subject::Respoked, None) => bail!("respoked wants tokens, and no app is named"),
            (Subject::SocketIo09, _) => self.shake_hands(net, client),
            (Subject::SocketIo4, _) => {
                let path = self.subject.websocket_path("");
                Self::upgrade(net, client, &path)?;
                who.stage = Stage::Upgrading(path);
                Ok(())
            }
        }
    }

    fn input(&mut self, net: &mut Net, client: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut consumed = 0;
        if !matches!(self.clients[client].stage, Stage::Introducing(_) | Stage::In) {
            consumed = self.answered(net, client, bytes)?;
            if !matches!(self.clients[client].stage, Stage::Introducing(_)) {
                return Ok(consumed);
            }
        }
        while let Some((frame, len)) = frame::parse(&bytes[consumed..])? {
            match frame {
                Frame::Text(payload) => self.heard(net, client, payload)?,
                Frame::Close => bail!("the server closed the socket of a client on its way in"),
            }
            consumed += len;
        }
        Ok(consumed)
    }

    fn closed(&mut self, _: &mut Net, client: usize) -> anyhow::Result<()> {
        bail!("the server closed the connection of client {client} on its way in")
    }
}

/// The session id in the answer to a handshake, whatever wraps its body; `None` when more bytes are needed.
///
/// Node writes the body in chunks, whose lengths have no colon in them.
fn session_id(bytes: &[u8]) -> anyhow::Result<Option<&str>> {
    let text = std::str::from_utf8(bytes)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    ensure!(head.starts_with("HTTP/1.1 200 "), "a handshake was refused: {text}");
    let Some(line) = body.lines().find(|line| line.ends_with("websocket") || line.ends_with("polling")) else {
        return Ok(None);
    };
    Ok(line.split_once(':').map(|(session, _)| session))
}

/// The length of the head of the answer to an upgrade; `None` when more bytes are needed.
fn head_len(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let head = &bytes[..end.unwrap_or(bytes.len())];
    ensure!(end.is_none() || head.starts_with(b"HTTP/1.1 101 "), "an upgrade was refused: {}", tally::shown(head));
    ensure!(head.len() <= HEAD_LEN_MAX, "the head of the answer to an upgrade is too long");
    Ok(end.map(|end| end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_found_in_chunks_and_without() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n9af3:60:60:websocket,xhr-polling";
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n24\r\nQvN_r:60:60:websocket\r\n0\r\n\r\n";
        assert_eq!(session_id(whole).unwrap(), Some("9af3"));
        assert_eq!(session_id(chunked).unwrap(), Some("QvN_r"));
        assert_eq!(session_id(&chunked[..60]).unwrap(), None);
        assert!(session_id(b"HTTP/1.1 503 No\r\n\r\nhandshake error").is_err());
    }

    #[test]
    fn an_upgrade_is_a_101() {
        assert_eq!(head_len(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n\x81\x031::").unwrap(), Some(38));
        assert_eq!(head_len(b"HTTP/1.1 101 S\r\nUpgrade: ").unwrap(), None);
        assert!(head_len(b"HTTP/1.1 503 No\r\n\r\n").is_err());
    }
}
