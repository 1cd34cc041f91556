//! What clients that are in say to each other, one kind for each scenario.

use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;

use super::frame::{self, Frame};
use super::net::{Net, Party};
use super::subject::{Packet, Subject};
use super::tally::{Tally, shown};

/// A conversation of all clients.
pub(in crate::bench) trait Talk {
    /// Says the first word.
    fn start(&mut self, net: &mut Net) -> anyhow::Result<()>;

    /// Hears an ack, a push or anything else that the server says by itself, which is `payload`.
    fn heard(&mut self, net: &mut Net, client: usize, packet: Packet, payload: &[u8]) -> anyhow::Result<()>;

    /// The server closed a client's socket.
    fn gone(&mut self, client: usize) -> anyhow::Result<()> {
        bail!("the server closed the socket of client {client}")
    }

    /// What it counts.
    fn tally(&mut self) -> &mut Tally;
}

/// A talk as the sockets carry it: frames are taken apart, heartbeats answered, refusals end the run.
pub(in crate::bench) struct Framed<'a, T> {
    pub(in crate::bench) subject: Subject,
    pub(in crate::bench) talk: &'a mut T,
}

impl<T: Talk> Party for Framed<'_, T> {
    fn connected(&mut self, _: &mut Net, client: usize) -> anyhow::Result<()> {
        bail!("client {client} was connected already")
    }

    fn input(&mut self, net: &mut Net, client: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut consumed = 0;
        while let Some((frame, len)) = frame::parse(&bytes[consumed..])? {
            consumed += len;
            let Frame::Text(payload) = frame else {
                net.close(client);
                self.talk.gone(client)?;
                return Ok(bytes.len());
            };
            match self.subject.read(payload) {
                Packet::Heartbeat => net.send(client, self.subject.heartbeat())?,
                Packet::Refused => bail!("a request was refused: {}", shown(payload)),
                packet @ (Packet::Ack | Packet::Push | Packet::Other) => {
                    self.talk.heard(net, client, packet, payload)?;
                }
                Packet::Hello | Packet::Open => {}
            }
        }
        Ok(consumed)
    }

    fn closed(&mut self, _: &mut Net, client: usize) -> anyhow::Result<()> {
        self.talk.gone(client)
    }
}

/// Each client asks, waits for the ack, and asks again.
pub(in crate::bench) struct Echo {
    requests: Vec<Vec<u8>>,
    asked: Vec<Instant>,
    tally: Tally,
}

impl Echo {
    /// One request for each client.
    pub(in crate::bench) fn new(requests: Vec<Vec<u8>>) -> anyhow::Result<Self> {
        Ok(Self { asked: vec![Instant::now(); requests.len()], requests, tally: Tally::new()? })
    }

    fn ask(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()> {
        self.asked[client] = Instant::now();
        net.send(client, &self.requests[client])
    }
}

impl Talk for Echo {
    fn start(&mut self, net: &mut Net) -> anyhow::Result<()> {
        (0..self.requests.len()).try_for_each(|client| self.ask(net, client))
    }

    fn heard(&mut self, net: &mut Net, client: usize, packet: Packet, _: &[u8]) -> anyhow::Result<()> {
        if packet == Packet::Ack {
            self.tally.took(self.asked[client].elapsed());
            self.ask(net, client)?;
        }
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// All senders speak at once, and again once everybody has heard everything. Deliveries are counted, each with the time
/// since its wave began.
pub(in crate::bench) struct Waves {
    senders: Vec<Sender>,
    receivers: u64,
    missing: u64,
    begun: Instant,
    number: usize,
    tally: Tally,
}

/// A client that says one thing and another in turn.
pub(in crate::bench) struct Sender {
    pub(in crate::bench) client: usize,
    pub(in crate::bench) frames: [Vec<u8>; 2],
}

impl Waves {
    /// What each of `senders` says reaches `receivers`.
    pub(in crate::bench) fn new(senders: Vec<Sender>, receivers: usize) -> anyhow::Result<Self> {
        let (receivers, begun) = (receivers as u64, Instant::now());
        Ok(Self { senders, receivers, missing: 0, begun, number: 0, tally: Tally::new()? })
    }
}

impl Talk for Waves {
    fn start(&mut self, net: &mut Net) -> anyhow::Result<()> {
        self.begun = Instant::now();
        self.missing = self.senders.len() as u64 * self.receivers;
        self.number += 1;
        for Sender { client, frames } in &self.senders {
            net.send(*client, &frames[self.number % 2])?;
        }
        Ok(())
    }

    fn heard(&mut self, net: &mut Net, client: usize, packet: Packet, _: &[u8]) -> anyhow::Result<()> {
        if packet == Packet::Push {
            let Some(missing) = self.missing.checked_sub(1) else {
                bail!("client {client} heard more than was said");
            };
            self.missing = missing;
            self.tally.took(self.begun.elapsed());
            if missing == 0 {
                self.start(net)?;
            }
        }
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Publications that a sender has under way at most, when it waits for none. Far fewer than a slow reader is closed for.
const DEPTH: u64 = 256;

/// One sender publishes as fast as the others read.
pub(in crate::bench) struct Pipeline {
    sender: usize,
    frame: Vec<u8>,
    receivers: u64,
    sent: u64,
    delivered: u64,
    tally: Tally,
}

impl Pipeline {
    /// What `sender` says reaches `receivers`.
    pub(in crate::bench) fn new(sender: usize, frame: Vec<u8>, receivers: usize) -> anyhow::Result<Self> {
        Ok(Self { sender, frame, receivers: receivers as u64, sent: 0, delivered: 0, tally: Tally::new()? })
    }
}

impl Talk for Pipeline {
    fn start(&mut self, net: &mut Net) -> anyhow::Result<()> {
        let under_way = self.sent - self.delivered / self.receivers;
        if under_way <= DEPTH / 2 {
            let more = DEPTH - under_way;
            self.sent += more;
            net.send(self.sender, &self.frame.repeat(usize::try_from(more)?))?;
        }
        Ok(())
    }

    fn heard(&mut self, net: &mut Net, _: usize, packet: Packet, _: &[u8]) -> anyhow::Result<()> {
        if packet == Packet::Push {
            self.delivered += 1;
            self.tally.came();
            if self.delivered.is_multiple_of(self.receivers) {
                self.start(net)?;
            }
        }
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Nobody says anything; who is gone is counted.
pub(in crate::bench) struct Silence {
    pub(in crate::bench) gone: u64,
    may_go: bool,
    tally: Tally,
}

impl Silence {
    /// With `may_go` a server may close sockets, otherwise that is an error.
    pub(in crate::bench) fn new(may_go: bool) -> anyhow::Result<Self> {
        Ok(Self { gone: 0, may_go, tally: Tally::new()? })
    }

    /// A revoked client heard of it so long after the revocation was answered.
    pub(in crate::bench) fn note(&mut self, latency: Duration) {
        self.tally.open = true;
        self.tally.took(latency);
    }

    /// All that was noted.
    pub(in crate::bench) fn into_latencies(self) -> Histogram<u64> {
        self.tally.latencies
    }
}

impl Talk for Silence {
    fn start(&mut self, _: &mut Net) -> anyhow::Result<()> {
        Ok(())
    }

    fn heard(&mut self, _: &mut Net, _: usize, _: Packet, _: &[u8]) -> anyhow::Result<()> {
        Ok(())
    }

    fn gone(&mut self, client: usize) -> anyhow::Result<()> {
        if !self.may_go {
            bail!("the server closed the socket of client {client}");
        }
        self.gone += 1;
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::super::net::turn_until;
    use super::*;

    /// Notes that its one client is connected.
    struct Waiting(bool);

    impl Party for Waiting {
        fn connected(&mut self, _: &mut Net, _: usize) -> anyhow::Result<()> {
            self.0 = true;
            Ok(())
        }

        fn input(&mut self, _: &mut Net, _: usize, bytes: &[u8]) -> anyhow::Result<usize> {
            Ok(bytes.len())
        }

        fn closed(&mut self, _: &mut Net, _: usize) -> anyhow::Result<()> {
            Ok(())
        }
    }

    /// One client and the server's end of its socket.
    fn pair() -> (Net, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut net = Net::new(listener.local_addr().unwrap()).unwrap();
        net.add(0);
        net.open(0).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(turn_until(&mut net, &mut Waiting(false), Duration::from_secs(20), |waiting| waiting.0).unwrap());
        (net, stream)
    }

    fn said(stream: &mut TcpStream, wanted: &[u8]) {
        let mut bytes = vec![0; wanted.len()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn heartbeats_are_answered_refusals_end_the_run_and_halves_are_left() {
        let (mut net, mut stream) = pair();
        let mut echo = Echo::new(vec![b"ask".to_vec()]).unwrap();
        echo.tally().open = true;
        let mut framed = Framed { subject: Subject::Respoked, talk: &mut echo };
        let ack = br#"6:::7+[{"statusCode":200}]"#;
        let mut bytes = b"\x81\x032::".to_vec();
        bytes.extend_from_slice(&[0x81, u8::try_from(ack.len()).unwrap()]);
        bytes.extend_from_slice(ack);
        let whole = bytes.len();
        bytes.extend_from_slice(b"\x81\x05half");
        assert_eq!(framed.input(&mut net, 0, &bytes).unwrap(), whole);
        said(&mut stream, Subject::Respoked.heartbeat());
        said(&mut stream, b"ask");
        assert_eq!(framed.talk.tally.count, 1);
        assert!(framed.input(&mut net, 0, b"\x81\x086:::7+[]").is_err(), "an ack that is not 200");
        assert!(framed.input(&mut net, 0, b"\x88\x00").is_err(), "nobody may go here");
    }

    #[test]
    fn a_wave_begins_once_everybody_heard_the_one_before() {
        let (mut net, mut stream) = pair();
        let sender = Sender { client: 0, frames: [b"one".to_vec(), b"two".to_vec()] };
        let mut waves = Waves::new(vec![sender], 2).unwrap();
        waves.start(&mut net).unwrap();
        said(&mut stream, b"two");
        waves.heard(&mut net, 0, Packet::Push, b"").unwrap();
        waves.heard(&mut net, 0, Packet::Ack, b"").unwrap();
        assert_eq!(waves.missing, 1);
        waves.heard(&mut net, 0, Packet::Push, b"").unwrap();
        said(&mut stream, b"one");
        assert_eq!(waves.missing, 2);
    }

    #[test]
    fn a_pipeline_is_filled_when_it_is_half_empty() {
        let (mut net, mut stream) = pair();
        let mut pipeline = Pipeline::new(0, b"p".to_vec(), 1).unwrap();
        pipeline.start(&mut net).unwrap();
        said(&mut stream, &b"p".repeat(256));
        for _ in 0..128 {
            assert_eq!(pipeline.sent, DEPTH);
            pipeline.heard(&mut net, 0, Packet::Push, b"").unwrap();
        }
        said(&mut stream, &b"p".repeat(128));
        assert_eq!(pipeline.sent, DEPTH + 128);
    }
}
