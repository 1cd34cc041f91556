//! Many thousands of sockets on one thread.
//!
//! The generator shares the machine's cores with the server it drives, so this is epoll, a `read` and a `write`, and
//! nothing else: no task, no timer and no buffer of its own for a socket that has nothing to say.
//!
//! Invariant: each client has at most one socket at a time, and is known by its number throughout.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// What is read from a socket at once.
const READ_LEN: usize = 128 * 1024;
/// Sockets looked at in one turn.
const EVENTS_MAX: usize = 1024;

/// Who hears what happens on the sockets.
pub(in crate::bench) trait Party {
    /// The socket of `client` is connected.
    fn connected(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()>;

    /// `bytes` came and were not consumed before; returns how many are consumed now.
    fn input(&mut self, net: &mut Net, client: usize, bytes: &[u8]) -> anyhow::Result<usize>;

    /// The server closed the socket.
    fn closed(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()>;
}

/// The sockets of all clients.
pub(in crate::bench) struct Net {
    epoll: OwnedFd,
    servers: Vec<SocketAddr>,
    links: Vec<Link>,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
}

#[derive(Default)]
struct Link {
    /// Which of the servers it is connected to.
    server: usize,
    stream: Option<TcpStream>,
    connecting: bool,
    /// Counts its sockets, so that an event of the one before is not taken for the present one's.
    generation: u32,
    /// What came and was not consumed.
    input: Vec<u8>,
    /// What could not be written yet.
    output: Vec<u8>,
}

impl Net {
    /// No sockets yet; all will be connected to `address`.
    pub(in crate::bench) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Self::among(vec![address])
    }

    /// No sockets yet; each will be connected to one of `servers`.
    pub(in crate::bench) fn among(servers: Vec<SocketAddr>) -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            servers,
            links: Vec::new(),
            buffer: vec![0; READ_LEN],
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Adds a client of one of the servers, without a socket, and returns its number.
    pub(in crate::bench) fn add(&mut self, server: usize) -> usize {
        self.links.push(Link { server, ..Link::default() });
        self.links.len() - 1
    }

    /// Connects a new socket for `client` in the place of the one it has.
    pub(in crate::bench) fn open(&mut self, client: usize) -> anyhow::Result<()> {
        self.close(client);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("no socket: are there enough file descriptors?")?;
        let server = self.servers.get(self.links[client].server).context("a client of no server")?;
        match connect(&socket, server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect to the server under load"),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let link = &mut self.links[client];
        link.generation = link.generation.wrapping_add(1);
        // Connected or not, it is writable when it is.
        link.connecting = true;
        let data = epoll::EventData::new_u64(u64::from(link.generation) << 32 | client as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        link.stream = Some(stream);
        Ok(())
    }

    /// Closes the socket of `client`, if it has one.
    pub(in crate::bench) fn close(&mut self, client: usize) {
        let link = &mut self.links[client];
        *link = Link { server: link.server, generation: link.generation, ..Link::default() };
    }

    /// Sends `bytes` after all that was sent before.
    pub(in crate::bench) fn send(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let link = &mut self.links[client];
        if !link.output.is_empty() || link.connecting {
            link.output.extend_from_slice(bytes);
            return Ok(());
        }
        let stream = link.stream.as_mut().context("a client without a socket has something to say")?;
        let written = write(stream, bytes)?;
        if written < bytes.len() {
            link.output.extend_from_slice(&bytes[written..]);
            self.watch(client, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        }
        Ok(())
    }

    /// Waits for something to happen, no longer than `patience`, and tells `party` of all that did.
    pub(in crate::bench) fn turn(&mut self, patience: Duration, party: &mut impl Party) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let timeout = Timespec::try_from(patience)?;
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let data = event.data.u64();
            let client = usize::try_from(data & u64::from(u32::MAX))?;
            if u64::from(self.links[client].generation) == data >> 32 {
                self.happened(client, event.flags, party)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn happened(&mut self, client: usize, flags: epoll::EventFlags, party: &mut impl Party) -> anyhow::Result<()> {
        let link = &mut self.links[client];
        let Some(stream) = &mut link.stream else { return Ok(()) };
        if flags.intersects(epoll::EventFlags::OUT) {
            let connected = std::mem::take(&mut link.connecting);
            if connected && let Err(error) = sockopt::socket_error(&*stream)? {
                return Err(error).context("cannot connect to the server under load");
            }
            let written = write(stream, &link.output)?;
            link.output.drain(..written);
            if link.output.is_empty() {
                self.watch(client, epoll::EventFlags::IN)?;
            }
            if connected {
                party.connected(self, client)?;
            }
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return self.read(client, party);
        }
        Ok(())
    }

    fn read(&mut self, client: usize, party: &mut impl Party) -> anyhow::Result<()> {
        let link = &mut self.links[client];
        let Some(stream) = &mut link.stream else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = link.input.len();
        if buffer.len() < kept + READ_LEN {
            buffer.resize(kept + READ_LEN, 0);
        }
        buffer[..kept].copy_from_slice(&link.input);
        let read = match stream.read(&mut buffer[kept..]) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.buffer = buffer;
                return Ok(());
            }
            // A server that closes with something unread resets.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            self.buffer = buffer;
            self.close(client);
            return party.closed(self, client);
        }
        let whole = kept + read;
        let generation = link.generation;
        let consumed = party.input(self, client, &buffer[..whole])?;
        let link = &mut self.links[client];
        // A party may have closed the socket, or opened another.
        if link.generation == generation && link.stream.is_some() {
            link.input.clear();
            link.input.extend_from_slice(&buffer[consumed..whole]);
        }
        self.buffer = buffer;
        Ok(())
    }

    fn watch(&self, client: usize, flags: epoll::EventFlags) -> anyhow::Result<()> {
        let link = &self.links[client];
        let data = epoll::EventData::new_u64(u64::from(link.generation) << 32 | client as u64);
        Ok(epoll::modify(&self.epoll, link.stream.as_ref().context("it has a socket")?, data, flags)?)
    }
}

/// Writes as much as the socket takes now.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => bail!("a socket takes nothing"),
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the server closed a socket under load"),
        }
    }
    Ok(written)
}

/// Turns `net` until `done`, and no longer than `limit`. False: it was not done in time.
pub(in crate::bench) fn turn_until<P: Party>(
    net: &mut Net,
    party: &mut P,
    limit: Duration,
    done: impl Fn(&P) -> bool,
) -> anyhow::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if done(party) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        net.turn(left, party)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Sends four bytes, wants them back twice, consumes two at a time.
    #[derive(Default)]
    struct Twos {
        came: Vec<u8>,
        closed: usize,
    }

    impl Party for Twos {
        fn connected(&mut self, net: &mut Net, client: usize) -> anyhow::Result<()> {
            net.send(client, b"abc")
        }

        fn input(&mut self, _: &mut Net, _: usize, bytes: &[u8]) -> anyhow::Result<usize> {
            let whole = bytes.len() / 2 * 2;
            self.came.extend_from_slice(&bytes[..whole]);
            Ok(whole)
        }

        fn closed(&mut self, _: &mut Net, _: usize) -> anyhow::Result<()> {
            self.closed += 1;
            Ok(())
        }
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_not_consumed_comes_again_and_a_close_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut part = [0; 3];
            stream.read_exact(&mut part).unwrap();
            stream.write_all(&part).unwrap();
            // Only once the first answer was read can the second be apart from it.
            stream.read_exact(&mut part).unwrap();
            stream.write_all(&part).unwrap();
        });
        let mut net = Net::new(address).unwrap();
        let client = net.add(0);
        net.open(client).unwrap();
        let mut party = Twos::default();
        assert!(turn_until(&mut net, &mut party, LIMIT, |party| party.came.len() == 2).unwrap());
        net.send(client, b"def").unwrap();
        assert!(turn_until(&mut net, &mut party, LIMIT, |party| party.closed == 1).unwrap());
        assert_eq!(party.came, b"abcdef");
        assert!(net.send(client, b"x").is_err(), "there is no socket any more");
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut net = Net::new(address).unwrap();
        let client = net.add(0);
        let failed = net.open(client).and_then(|()| turn_until(&mut net, &mut Twos::default(), LIMIT, |_| false));
        assert!(failed.unwrap_err().to_string().contains("cannot connect"));
    }
}
