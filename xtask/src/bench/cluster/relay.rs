//! A way between a node and what carries its words, which can be cut.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

/// What is passed on at once.
const PART_LEN: usize = 64 * 1024;

/// Passes on what comes, until it is cut: then its connections end, and new ones end at once.
pub(super) struct Relay {
    address: SocketAddr,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open {
    is_cut: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Begins to pass on to `to`.
    pub(super) fn start(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, open) = (listener.local_addr()?, Arc::new(Open::default()));
        let passing = open.clone();
        thread::Builder::new().name("relay".into()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever is not passed on sees its connection end.
                let _ = passing.pass(stream, to);
            }
        })?;
        Ok(Self { address, open })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all that goes through it, for good.
    pub(super) fn cut(&self) {
        let streams = self.open.streams.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.is_cut.store(true, Ordering::SeqCst);
        for stream in streams.iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Open {
    fn pass(&self, here: TcpStream, to: SocketAddr) -> anyhow::Result<()> {
        let there = TcpStream::connect(to).context("cannot reach what is behind a relay")?;
        here.set_nodelay(true)?;
        there.set_nodelay(true)?;
        {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_cut.load(Ordering::SeqCst) {
                return Ok(());
            }
            streams.extend([here.try_clone()?, there.try_clone()?]);
        }
        for (from, into) in [(here.try_clone()?, there.try_clone()?), (there, here)] {
            thread::Builder::new().name("relay".into()).spawn(move || copy(from, into))?;
        }
        Ok(())
    }
}

fn copy(mut from: TcpStream, mut into: TcpStream) {
    let mut part = vec![0; PART_LEN];
    while let Ok(len @ 1..) = from.read(&mut part) {
        if into.write_all(&part[..len]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = into.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;

    fn has_ended(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0; 3]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn what_goes_through_is_passed_on_until_it_is_cut() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).unwrap();
        let mut near = TcpStream::connect(relay.address()).unwrap();
        near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        near.write_all(b"ask").unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let mut part = [0; 3];
        far.read_exact(&mut part).unwrap();
        far.write_all(&part).unwrap();
        near.read_exact(&mut part).unwrap();
        assert_eq!(&part, b"ask");
        relay.cut();
        assert!(has_ended(&mut near));
        let mut late = TcpStream::connect(relay.address()).unwrap();
        late.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(has_ended(&mut late), "what is new ends at once");
    }
}
