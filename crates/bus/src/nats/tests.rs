mod at_start;
mod broken;
mod credentials;
mod pretended;
mod server;

use std::time::Duration;

use respoke_core::ports::Incarnation;
use tokio::sync::mpsc;

pub(crate) use self::server::NatsServer;
use super::*;

/// Long after anything that is still to happen has happened.
const LONG: Duration = Duration::from_secs(120);

pub(crate) fn options(servers: &str, node: Node) -> NatsOptions {
    let servers = NatsServers::parse(servers).unwrap();
    NatsOptions { servers, credentials: None, root_certificate: None, cluster: [7; 16], node }
}

fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

/// Why it does not begin, with its causes.
fn told(error: &NatsError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A carrier, and what it brings.
struct Member {
    carrier: NatsCarrier,
    brought: mpsc::Receiver<Vec<u8>>,
}

impl Member {
    async fn start(options: &NatsOptions) -> Result<Self, NatsError> {
        let carrier = NatsCarrier::connect(options).await?;
        let (bring, brought) = mpsc::channel(100_000);
        carrier.bring_to(move |frame| bring.try_send(frame.to_vec()).unwrap());
        Ok(Self { carrier, brought })
    }

    /// The next that it brings.
    async fn next(&mut self) -> Vec<u8> {
        timeout(LONG, self.brought.recv()).await.expect("nothing is brought").unwrap()
    }

    /// Waits until its figures are as they should be.
    async fn until(&self, are: impl Fn(NatsFigures) -> bool) {
        let waiting = async {
            while !are(self.carrier.figures()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LONG, waiting).await.is_ok(), "{:?}", self.carrier.figures());
    }
}

/// Sends something from one to the other and waits until it comes: what comes before it was on its way.
async fn reaches(from: &Member, to: (NodeId, &mut Member), what: &[u8]) {
    from.carrier.send(to.0, Bytes::copy_from_slice(what));
    while to.1.next().await != what {}
}
