//! A server of a few bytes, which answers statements as a test wants it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_util::task::TaskTracker;

use super::connect::Patience;
use super::connector::Connector;

/// What it says to a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// It is done.
    Done,
    /// It failed.
    Failed { severity: &'static str, code: &'static str, constraint: &'static str },
    /// Nothing: the connection is closed.
    Nothing,
    /// Nothing, and the connection stays.
    Silence,
}

/// The server, until it is dropped.
pub(super) struct FakeServer {
    port: u16,
    _tasks: JoinSet<()>,
}

impl FakeServer {
    /// One that says `to` each statement, as it is written.
    pub(super) async fn start(to: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to: Arc<dyn Fn(&str) -> Said + Send + Sync> = Arc::new(to);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(answer(client, to.clone()));
            }
        });
        Self { port, _tasks: tasks }
    }

    pub(super) fn connector(&self, patience: Patience) -> Connector {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("nobody");
        Connector::new(config, None, patience, TaskTracker::new())
    }
}

/// A message of the server.
fn message(letter: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&[letter][..], &len.to_be_bytes(), body].concat()
}

async fn answer(mut client: TcpStream, to: Arc<dyn Fn(&str) -> Said + Send + Sync>) {
    let ready = message(b'Z', b"I");
    // The first message of a client has no letter before its length.
    let greeting = [message(b'R', &[0; 4]), ready.clone()].concat();
    let len = client.read_u32().await.unwrap();
    client.read_exact(&mut vec![0; len as usize - 4]).await.unwrap();
    client.write_all(&greeting).await.unwrap();
    while let Ok(letter) = client.read_u8().await {
        let len = client.read_u32().await.unwrap();
        let mut body = vec![0; len as usize - 4];
        client.read_exact(&mut body).await.unwrap();
        if letter != b'Q' {
            return;
        }
        let sql = String::from_utf8(body).unwrap();
        let sql = sql.trim_end_matches('\0');
        let said = if sql == "SHOW transaction_read_only" {
            // One column of a name, a table, a place in it, a type, a length, a modifier and a format; and "off" in a row.
            let column = [&[0, 1][..], b"\0", &[0; 6], &[0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0]].concat();
            let row = [&[0, 1, 0, 0, 0, 3][..], b"off"].concat();
            [message(b'T', &column), message(b'D', &row), message(b'C', b"SHOW\0")].concat()
        } else {
            match to(sql) {
                Said::Done => message(b'C', b"DONE\0"),
                Said::Failed { severity, code, constraint } => {
                    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mit failed\0n{constraint}\0\0");
                    message(b'E', fields.as_bytes())
                }
                Said::Nothing => return,
                Said::Silence => continue,
            }
        };
        client.write_all(&[said, ready.clone()].concat()).await.unwrap();
    }
}
