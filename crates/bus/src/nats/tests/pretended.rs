//! A server that does what no server should, and is none.

use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What it brings to whoever sends something, given how many connections there were before.
type Answers = Arc<dyn Fn(usize, Vec<u8>) -> Option<Vec<u8>> + Send + Sync>;

/// Where it is.
async fn pretend(serving: &mut JoinSet<()>, answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("nats://{}", listener.local_addr().unwrap());
    serving.spawn(async move {
        let mut serving = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (nth, answers) = (serving.len(), answers.clone());
            serving.spawn(async move {
                let _ = talk(stream, nth, answers).await;
            });
        }
    });
    address
}

/// Speaks as much of the protocol as is needed to bring a client something.
async fn talk(stream: TcpStream, nth: usize, answers: Answers) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    to.write_all(format!("INFO {INFO}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(from);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["PING"] => to.write_all(b"PONG\r\n").await?,
            ["PUB", subject, len] => {
                let mut payload = vec![0; len.parse().unwrap()];
                lines.read_exact(&mut payload).await?;
                lines.read_exact(&mut [0; 2]).await?;
                if let Some(answer) = answers(nth, payload) {
                    // The library gives a client's first subscription the number 1.
                    let head = format!("MSG {subject} 1 {}\r\n", answer.len());
                    to.write_all(&[head.as_bytes(), &answer, b"\r\n"].concat()).await?;
                }
            }
            _ => {}
        }
    }
}

const INFO: &str = r#"{"server_id":"1","version":"2.9.0","max_payload":1048576,"proto":1,"host":"h","port":1}"#;

/// A connection may stand, and answer, and bring nothing any more. Nothing tells of that but that nothing comes.
#[tokio::test]
async fn a_connection_over_which_nothing_comes_is_made_anew() {
    let deaf = Arc::new(AtomicBool::new(false));
    let mut serving = JoinSet::new();
    let first = deaf.clone();
    let answers = move |nth, sent| Some(sent).filter(|_| nth > 0 || !first.load(Ordering::Acquire));
    let address = pretend(&mut serving, Arc::new(answers)).await;
    let mut member = Member::start(&options(&address, node(1))).await.unwrap();
    member.carrier.send(NodeId(1), Bytes::from_static(b"before"));
    assert_eq!(member.next().await, b"before");
    deaf.store(true, Ordering::Release);
    member.until(|figures| figures.reconnects == 1 && figures.is_connected).await;
    member.carrier.send(NodeId(1), Bytes::from_static(b"after"));
    assert_eq!(member.next().await, b"after");
    assert_eq!(member.carrier.figures().reconnects, 1);
}

/// That something comes says nothing. Another life of the node gives signs on the same subject.
#[tokio::test]
async fn it_does_not_begin_before_its_own_message_came_back() {
    let signs = Arc::new(AtomicUsize::new(0));
    let mut serving = JoinSet::new();
    let given = signs.clone();
    let answers = move |_, mut sign: Vec<u8>| match given.fetch_add(1, Ordering::AcqRel) {
        0 => None,
        1 => {
            // Its life, and not its number.
            sign[12] += 1;
            Some(sign)
        }
        _ => Some(sign),
    };
    let address = pretend(&mut serving, Arc::new(answers)).await;
    let carrier = NatsCarrier::connect(&options(&address, node(1))).await.unwrap();
    assert!(signs.load(Ordering::Acquire) > 2 && carrier.shared.pulse.came() == 1);
}
