//! A client that polls.

use serde_json::Value;

use super::socket::{Ack, request_packet};
use super::{Answer, Client};

/// A client that polls.
#[derive(Clone)]
pub(crate) struct Poller {
    client: Client,
    pub(crate) sid: String,
}

impl Client {
    /// A client in polling that shook hands with the credential in `query` and was greeted.
    pub(crate) fn poller(&self, query: &str) -> Poller {
        self.poller_at(&self.sid(query))
    }

    /// The same with a session id that there is.
    pub(crate) fn poller_at(&self, sid: &str) -> Poller {
        self.try_poller_at(sid).expect("the session id is known")
    }

    /// The same, if it is known where it comes to.
    pub(crate) fn try_poller_at(&self, sid: &str) -> Option<Poller> {
        let poller = Poller { client: self.clone(), sid: sid.to_owned() };
        let first = poller.poll();
        assert!(first == ["1::"] || first == ["7:::1+0"], "{first:?}");
        (first == ["1::"]).then_some(poller)
    }
}

impl Poller {
    pub(crate) fn path(&self) -> String {
        format!("/socket.io/1/xhr-polling/{}", self.sid)
    }

    /// Waits for packets.
    pub(crate) fn poll(&self) -> Vec<String> {
        let answer = self.client.get(&self.path()).call();
        assert_eq!(answer.status, 200);
        // An answer may be longer than what clients send.
        if answer.text.starts_with('\u{fffd}') {
            respoke_wire::payload::decode(&answer.text).unwrap()
        } else {
            vec![answer.text]
        }
    }

    /// Brings a body, whatever it is.
    pub(crate) fn bring(&self, payload: &[u8]) -> Answer {
        self.client.post(&self.path()).header("Content-Type", "text/plain").raw(payload)
    }

    /// Makes a request, waits for its ack, and returns that with what came before it.
    pub(crate) fn ask(&self, id: u64, method: &str, path: &str, data: &Value) -> (Vec<String>, Ack) {
        assert_eq!(self.bring(request_packet(id, method, path, data).as_bytes()).text, "1");
        let mut before = Vec::new();
        loop {
            for packet in self.poll() {
                let Some(ack) = packet.strip_prefix(&format!("6:::{id}+")) else {
                    before.push(packet);
                    continue;
                };
                let [ack]: [Value; 1] = serde_json::from_str(ack).unwrap();
                let status = ack["statusCode"].as_u64().unwrap();
                return (before, Ack { status, headers: ack["headers"].clone(), body: ack["body"].clone() });
            }
        }
    }
}
