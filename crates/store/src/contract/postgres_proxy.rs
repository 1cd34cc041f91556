//! A proxy between a store and its server, which counts messages and connections, and cuts and holds these where a test wants it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They lead to the server.
    Open,
    /// They are closed at once.
    Refused,
    /// They are taken, and nothing is passed on.
    Hanging,
}

/// Whose messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Asked,
    Answered,
}

/// Where all connections are cut: instead of a message, after so many others.
struct Cut {
    side: Side,
    after: usize,
    /// What becomes of connections from then on.
    then: Way,
}

struct State {
    target: SocketAddr,
    way: Way,
    cut: Option<Cut>,
    /// How many connections were made.
    made: usize,
    /// The most that there were at once.
    most: usize,
    /// How many messages were passed on to either side.
    passed: [usize; 2],
}

struct Shared {
    state: Mutex<State>,
    /// Changes when all connections end.
    cuts: watch::Sender<u64>,
}

/// The proxy, until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts one to the server that `config` names.
    pub(crate) async fn to(config: &Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { target: target(config).await, way: Way::Open, cut: None, made: 0, most: 0, passed: [0; 2] };
        let shared = Arc::new(Shared { state: Mutex::new(state), cuts: watch::Sender::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self { address, shared, _tasks: tasks }
    }

    /// The same database through this.
    pub(crate) fn config(&self, config: &Config) -> Config {
        let mut through = Config::new();
        through.host("127.0.0.1").port(self.address.port());
        through.user(config.get_user().unwrap()).dbname(config.get_dbname().unwrap());
        if let Some(password) = config.get_password() {
            through.password(password);
        }
        through
    }

    /// Has connections go another way from now on, those that there are too.
    pub(crate) fn set(&self, way: Way) {
        self.shared.state.lock().way = way;
    }

    /// Will cut all connections once, instead of passing a message on.
    pub(crate) fn cut(&self, side: Side, after: usize, then: Way) {
        self.shared.state.lock().cut = Some(Cut { side, after, then });
    }

    /// Cuts all connections, and closes those that come at once.
    pub(crate) fn refuse(&self) {
        self.set(Way::Refused);
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections were made so far.
    pub(crate) fn made(&self) -> usize {
        self.shared.state.lock().made
    }

    /// How many messages of a side were passed on so far, farewells excepted.
    pub(crate) fn passed(&self, side: Side) -> usize {
        self.shared.state.lock().passed[side as usize]
    }

    /// The most connections that there were at once.
    pub(crate) fn most(&self) -> usize {
        self.shared.state.lock().most
    }

    /// Cuts nothing any more, lets connections through, and says whether they were cut.
    pub(crate) fn mend(&self) -> bool {
        let mut state = self.shared.state.lock();
        state.way = Way::Open;
        state.cut.take().is_none()
    }
}

/// How many connections to `port` of this machine there are that their owners have not closed, as the system knows it: the
/// proxy itself hears of it late.
fn open_connections(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSED_BY_THE_OTHER: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the servers that tests start run on Linux");
    let to = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        let (remote, state) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        remote.ends_with(&to) && [ESTABLISHED, CLOSED_BY_THE_OTHER].contains(&state)
    };
    table.lines().filter(is_one).count()
}

async fn target(config: &Config) -> SocketAddr {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { panic!("the server is named by a host") };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    tokio::net::lookup_host((host.as_str(), port)).await.unwrap().next().unwrap()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        {
            let open = open_connections(client.local_addr().unwrap().port());
            let mut state = shared.state.lock();
            state.made += 1;
            state.most = state.most.max(open);
        }
        connections.spawn(lead(client, shared.clone()));
    }
}

async fn lead(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let led = async {
        let (way, target) = {
            let state = shared.state.lock();
            (state.way, state.target)
        };
        match way {
            Way::Refused => return,
            Way::Hanging => pending().await,
            Way::Open => {}
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        // Each message is sent by itself, and none waits until the one before it was confirmed.
        for side in [&client, &server] {
            side.set_nodelay(true).unwrap();
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // What ends one way ends the other.
        tokio::select! {
            () = pass(from_client, to_server, Side::Asked, &shared) => {}
            () = pass(from_server, to_client, Side::Answered, &shared) => {}
        }
    };
    tokio::select! {
        () = led => {}
        _ = cuts.changed() => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, side: Side, shared: &Shared) {
    // The first message of a client has no letter before its length.
    let mut letter = usize::from(side == Side::Answered);
    loop {
        let mut message = vec![0; letter + 4];
        if from.read_exact(&mut message).await.is_err() {
            return;
        }
        let len = u32::from_be_bytes(message[letter..].try_into().unwrap());
        message.resize(letter + usize::try_from(len).unwrap(), 0);
        if from.read_exact(&mut message[letter + 4..]).await.is_err() {
            return;
        }
        // A farewell comes when its connection is dropped, which is any time.
        let is_counted = letter == 0 || message[0] != b'X' || side == Side::Answered;
        match if is_counted { shared.comes(side) } else { shared.state.lock().way } {
            Way::Open => {}
            Way::Refused => {
                shared.cuts.send_modify(|cuts| *cuts += 1);
                return;
            }
            Way::Hanging => pending().await,
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
        letter = 1;
    }
}

impl Shared {
    /// What becomes of a message; refused: all connections are cut.
    fn comes(&self, side: Side) -> Way {
        let mut state = self.state.lock();
        match &mut state.cut {
            Some(cut) if cut.side == side && cut.after == 0 => {
                state.way = cut.then;
                state.cut = None;
                Way::Refused
            }
            Some(cut) if cut.side == side => {
                cut.after -= 1;
                state.passed[side as usize] += 1;
                state.way
            }
            Some(_) | None => {
                state.passed[side as usize] += 1;
                state.way
            }
        }
    }
}
