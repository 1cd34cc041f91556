//! What lies between a node and a server that it needs: it can be cut, held and mended.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nodes) enum Way {
    /// It goes on.
    Open,
    /// It stays where it is, and goes on once the way is open.
    Held,
    /// Connections end, and none is taken.
    Cut,
}

/// A way to one server, until it is dropped.
pub(in crate::nodes) struct Link {
    pub(in crate::nodes) port: u16,
    way: watch::Sender<Way>,
    runtime: Option<Runtime>,
}

impl Link {
    /// To what listens on another port of this machine.
    pub(in crate::nodes) fn to(port: u16) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let own = listener.local_addr().unwrap().port();
        let way = watch::Sender::new(Way::Open);
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        runtime.spawn(accept(listener, target, way.subscribe()));
        Self { port: own, way, runtime: Some(runtime) }
    }

    pub(in crate::nodes) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, way: watch::Receiver<Way>) {
    let mut led = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while led.try_join_next().is_some() {}
        led.spawn(lead(client, target, way.clone()));
    }
}

async fn lead(client: TcpStream, target: SocketAddr, way: watch::Receiver<Way>) {
    let mut cut = way.clone();
    let led = async {
        if !is_open(&mut way.clone()).await {
            return;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        for side in [&client, &server] {
            side.set_nodelay(true).unwrap();
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // What ends one way ends the other.
        tokio::select! {
            () = pass(from_client, to_server, way.clone()) => {}
            () = pass(from_server, to_client, way.clone()) => {}
        }
    };
    tokio::select! {
        () = led => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

/// Waits until the way is no longer held.
async fn is_open(way: &mut watch::Receiver<Way>) -> bool {
    way.wait_for(|way| *way != Way::Held).await.is_ok_and(|way| *way == Way::Open)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        if !is_open(&mut way).await || to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}
