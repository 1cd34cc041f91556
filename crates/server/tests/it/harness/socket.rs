//! Clients of sockets, over a websocket and by polling, as existing clients speak.
//!
//! A [`Socket`] reads only when its test waits for something, so the test decides how slowly.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{Answer, Client, PATIENCE, text};

/// What most clients say at the handshake: they want acks that are objects.
const SDK: &str = "__sails_io_sdk_version=0.10.0";

/// The answer to a request over a socket.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

impl Ack {
    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Holds a refusal against its status and code.
    pub(crate) fn refused(self, status: u64, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert!(self.body["error"].is_string());
        assert_eq!(self.body["requestId"], self.headers["Request-Id"]);
        self.body
    }
}

/// What comes of reading.
enum Came {
    Packet(String),
    End,
    Nothing,
}

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Whether `0::` came before the end.
    pub(crate) goodbye: bool,
    /// The code of the close frame; none if the link just broke.
    pub(crate) code: Option<u16>,
}

impl End {
    /// How a socket ends whose session is over.
    pub(crate) const REVOKED: Self = Self { goodbye: true, code: Some(4001) };
}

/// A client on a websocket.
pub(crate) struct Socket {
    websocket: WebSocket<TcpStream>,
    client: Client,
    pub(crate) endpoint: String,
    /// Its connection's id, once it is registered.
    pub(crate) connection: String,
    pub(crate) app_token: String,
    /// Whether it leaves heartbeats unanswered.
    pub(crate) mute: bool,
    pub(crate) heartbeats: u64,
    next_id: u64,
    pushes: VecDeque<Value>,
    acks: HashMap<u64, Value>,
    goodbye: bool,
    end: Option<End>,
}

impl Client {
    pub(crate) fn handshake(&self, query: &str) -> Answer {
        self.get(&format!("/socket.io/1/?{SDK}&{query}")).call()
    }

    /// Shakes hands with the credential in `query` and returns the session id.
    pub(crate) fn sid(&self, query: &str) -> String {
        let answer = self.handshake(query);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text.split(':').next().unwrap().to_owned()
    }

    /// Opens a websocket for a session id; nothing was read from it yet.
    pub(crate) fn websocket(&self, sid: &str) -> Socket {
        self.try_websocket(sid).expect("the server takes the websocket")
    }

    /// The same, if the server takes it.
    pub(crate) fn try_websocket(&self, sid: &str) -> Option<Socket> {
        let host = self.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(host).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{host}/socket.io/1/websocket/{sid}");
        let (websocket, _) = tungstenite::client(url, stream).ok()?;
        Some(Socket {
            websocket,
            client: self.clone(),
            endpoint: String::new(),
            connection: String::new(),
            app_token: String::new(),
            mute: false,
            heartbeats: 0,
            next_id: 0,
            pushes: VecDeque::new(),
            acks: HashMap::new(),
            goodbye: false,
            end: None,
        })
    }

    /// An open socket in an endpoint's session, not registered, if the server can open one now.
    pub(crate) fn try_open_as(&self, endpoint: &str, app_token: &str) -> Option<Socket> {
        let answer = self.get(&format!("/socket.io/1/?{SDK}&app-token={app_token}")).try_call()?;
        let sid = answer.text.split(':').next().filter(|_| answer.status == 200)?;
        let mut socket = self.try_websocket(sid)?;
        app_token.clone_into(&mut socket.app_token);
        endpoint.clone_into(&mut socket.endpoint);
        Some(socket)
    }

    /// An open socket with the credential in `query`.
    pub(crate) fn open(&self, query: &str) -> Socket {
        let mut socket = self.websocket(&self.sid(query));
        assert_eq!(socket.packet().as_deref(), Some("1::"));
        socket
    }

    /// An open socket in an endpoint's session, not registered.
    pub(crate) fn open_as(&self, endpoint: &str, app_token: &str) -> Socket {
        let mut socket = self.open(&format!("app-token={app_token}"));
        app_token.clone_into(&mut socket.app_token);
        endpoint.clone_into(&mut socket.endpoint);
        socket
    }

    /// A connection in a new session of `endpoint`.
    pub(crate) fn connect(&self, endpoint: &str) -> Socket {
        let mut socket = self.open_as(endpoint, &self.session(endpoint));
        socket.register(json!({}));
        socket
    }

    /// A connection of the app's backend as `endpoint`.
    pub(crate) fn connect_backend(&self, endpoint: &str) -> Socket {
        let mut socket = self.open(&format!("app-secret={}", self.secret));
        endpoint.clone_into(&mut socket.endpoint);
        socket.register(json!({"endpointId": endpoint}));
        socket
    }

    /// The endpoints of a group's members, in order of name.
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let members = self.get(&format!("/v1/channels/{group}/subscribers")).secret().call().ok();
        names(&members)
    }

    /// The endpoints of the app's connections, in order of name.
    pub(crate) fn connected(&self) -> Vec<String> {
        names(&self.get("/v1/connections").secret().call().ok())
    }

    /// What `/metrics` says. Tests ask more often than they may.
    pub(crate) fn figures(&self) -> String {
        loop {
            let answer = self.get("/metrics").call();
            if answer.status != 429 {
                return answer.text;
            }
        }
    }

    /// A figure of `/metrics`, by its name and labels.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = self.figures();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

fn names(list: &Value) -> Vec<String> {
    let mut names: Vec<_> = list.as_array().unwrap().iter().map(|item| text(&item["endpointId"])).collect();
    names.sort_unstable();
    names
}

/// The packet of a request, as most clients write it.
pub(crate) fn request_packet(id: u64, method: &str, path: &str, data: &Value) -> String {
    packet_with(&json!({"Respoke-SDK": "test"}), id, method, path, data)
}

fn packet_with(headers: &Value, id: u64, method: &str, path: &str, data: &Value) -> String {
    let argument = json!({"url": path, "headers": headers, "data": data}).to_string();
    format!("5:{id}+::{}", json!({"name": method, "args": [argument]}))
}

impl Socket {
    /// Registers it as a connection.
    pub(crate) fn register(&mut self, data: Value) {
        let connection = self.post("/v1/connections", data).ok();
        assert_eq!(connection["endpointId"], json!(self.endpoint));
        self.connection = text(&connection["id"]);
    }

    pub(crate) fn get(&mut self, path: &str) -> Ack {
        self.ask("get", path, Value::Null)
    }

    pub(crate) fn post(&mut self, path: &str, data: Value) -> Ack {
        self.ask("post", path, data)
    }

    pub(crate) fn delete(&mut self, path: &str, data: Value) -> Ack {
        self.ask("delete", path, data)
    }

    /// Makes a request and waits for its ack.
    pub(crate) fn ask(&mut self, method: &str, path: &str, data: Value) -> Ack {
        let id = self.request(method, path, data);
        self.ack(id)
    }

    /// Makes a request with headers of its own and waits for its ack.
    pub(crate) fn ask_with(&mut self, headers: &Value, method: &str, path: &str, data: Value) -> Ack {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&packet_with(headers, id, method, path, &data));
        self.ack(id)
    }

    /// Makes a request and does not wait.
    pub(crate) fn request(&mut self, method: &str, path: &str, data: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&request_packet(id, method, path, &data));
        id
    }

    /// Waits for an ack.
    pub(crate) fn ack(&mut self, id: u64) -> Ack {
        let ack = self.until_ack(id);
        let [ack] = ack.as_array().unwrap().as_slice() else { panic!("{ack}") };
        Ack { status: ack["statusCode"].as_u64().unwrap(), headers: ack["headers"].clone(), body: ack["body"].clone() }
    }

    /// Waits for an ack, or for the end.
    pub(crate) fn ack_or_end(&mut self, id: u64) -> Result<Ack, End> {
        while !self.acks.contains_key(&id) {
            if self.packet().is_none() {
                return Err(self.end.take().unwrap());
            }
        }
        Ok(self.ack(id))
    }

    /// Waits for an ack, of which it makes nothing.
    pub(crate) fn until_ack(&mut self, id: u64) -> Value {
        self.until(|socket| socket.acks.remove(&id))
    }

    /// How many acks came that were not waited for.
    pub(crate) fn acks_len(&self) -> usize {
        self.acks.len()
    }

    pub(crate) fn join(&mut self, group: &str) {
        self.post("/v1/groups", json!({"groups": [group]})).ok();
    }

    pub(crate) fn publish(&mut self, group: &str, message: impl Into<Value>) {
        self.post(&format!("/v1/channels/{group}/publish"), json!({"message": message.into()})).ok();
    }

    /// Sends a packet, whatever it is. One that went already takes none.
    pub(crate) fn send(&mut self, packet: &str) {
        let _ = self.websocket.send(Message::text(packet));
    }

    pub(crate) fn send_message(&mut self, message: Message) {
        let _ = self.websocket.send(message);
    }

    /// Sends bytes past the websocket.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.websocket.get_mut().write_all(bytes);
    }

    /// The link below, to send by another thread.
    pub(crate) fn link(&self) -> TcpStream {
        self.websocket.get_ref().try_clone().unwrap()
    }

    /// Waits for the next push whose summary begins with `start`; what comes before it is dropped.
    pub(crate) fn push(&mut self, start: &str) -> Value {
        self.until(|socket| {
            while let Some(push) = socket.pushes.pop_front() {
                if summary(&push).starts_with(start) {
                    return Some(push);
                }
            }
            None
        })
    }

    /// The summaries of all that was pushed to it by now and not taken yet.
    ///
    /// The server is asked for one more push, and what comes before that is all.
    pub(crate) fn pushed(&mut self) -> Vec<String> {
        static MARKERS: AtomicUsize = AtomicUsize::new(0);
        let marker = format!("marker {}", MARKERS.fetch_add(1, Ordering::Relaxed));
        let body = json!({"to": self.endpoint, "toConnection": self.connection, "message": marker});
        self.client.post("/v1/messages").secret().send(body).ok();
        let last = format!("message __SYSTEM__ {marker}");
        let mut pushed = Vec::new();
        self.until(|socket| {
            while let Some(push) = socket.pushes.pop_front() {
                let push = summary(&push);
                if push == last {
                    return Some(());
                }
                pushed.push(push);
            }
            None
        });
        pushed
    }

    /// Waits for its end; what comes before it is kept.
    pub(crate) fn end(&mut self) -> End {
        while self.packet().is_some() {}
        self.end.take().unwrap()
    }

    /// The summaries of what came and was not taken yet.
    pub(crate) fn kept(&mut self) -> Vec<String> {
        self.taken().iter().map(summary).collect()
    }

    /// What came and was not taken yet.
    pub(crate) fn taken(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.pushes).into()
    }

    /// How many pushes came that were not taken yet.
    pub(crate) fn pushes_len(&self) -> usize {
        self.pushes.len()
    }

    /// Waits for something to come of reading.
    pub(crate) fn until<T>(&mut self, mut probe: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(self.packet().is_some(), "the socket of {} ended: {:?}", self.endpoint, self.end);
        }
    }

    /// Reads one packet and sorts it in. None: the socket ended.
    pub(crate) fn packet(&mut self) -> Option<String> {
        match self.came(PATIENCE) {
            Came::Packet(packet) => Some(packet),
            Came::End => None,
            Came::Nothing => panic!("nothing came to {} in time", self.endpoint),
        }
    }

    /// Reads and sorts in what comes within a time. False: nothing does.
    pub(crate) fn read_within(&mut self, within: Duration) -> bool {
        matches!(self.came(within), Came::Packet(_))
    }

    /// Waits for an ack for a while. None: it does not come, or the socket ended.
    pub(crate) fn ack_within(&mut self, id: u64, within: Duration) -> Option<Ack> {
        let until = Instant::now() + within;
        while !self.acks.contains_key(&id) {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            if !self.read_within(left) {
                return None;
            }
        }
        Some(self.ack(id))
    }

    /// Whether it ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn came(&mut self, within: Duration) -> Came {
        if self.end.is_some() {
            return Came::End;
        }
        // It fails if the link is broken, which reading tells.
        let _ = self.websocket.get_ref().set_read_timeout(Some(within));
        let packet = loop {
            match self.websocket.read() {
                Ok(Message::Text(packet)) => break packet.to_string(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(frame)) => {
                    // Answers the close; the server waits for that.
                    let _ = self.websocket.flush();
                    self.end = Some(End { goodbye: self.goodbye, code: frame.map(|frame| frame.code.into()) });
                    return Came::End;
                }
                Ok(other) => panic!("{other:?}"),
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Came::Nothing;
                }
                Err(_) => {
                    self.end = Some(End { goodbye: self.goodbye, code: None });
                    return Came::End;
                }
            }
        };
        self.sort_in(&packet);
        Came::Packet(packet)
    }

    fn sort_in(&mut self, packet: &str) {
        match packet {
            "1::" => {}
            "0::" => self.goodbye = true,
            "2::" => {
                self.heartbeats += 1;
                if !self.mute {
                    self.send("2::");
                }
            }
            _ => {
                if let Some(event) = packet.strip_prefix("5:::") {
                    self.pushes.push_back(serde_json::from_str(event).unwrap());
                } else if let Some((id, ack)) = packet.strip_prefix("6:::").and_then(|ack| ack.split_once('+')) {
                    self.acks.insert(id.parse().unwrap(), serde_json::from_str(ack).unwrap());
                } else {
                    assert_eq!(packet, "7:::1+0");
                }
            }
        }
    }
}

/// What a push says, in a line: `pubsub room alice hello`, `join room bob`, `presence bob away`.
pub(crate) fn summary(push: &Value) -> String {
    let argument = &push["args"][0];
    let header = &argument["header"];
    let kind = text(&push["name"]);
    assert_eq!(header["type"], json!(kind));
    assert!(header["timestamp"].is_number() && header["requestId"].is_string(), "{push}");
    let words: Vec<&Value> = match kind.as_str() {
        "message" => vec![&header["from"], &argument["body"]],
        "pubsub" => vec![&header["channel"], &header["from"], &argument["message"]],
        "join" | "leave" => vec![&header["channel"], &argument["endpointId"]],
        "presence" => vec![&header["from"], &argument["type"]],
        "signal" => vec![&header["from"], &argument["body"]["signalType"]],
        "missed" => Vec::new(),
        _ => panic!("{push}"),
    };
    let words = words.into_iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned));
    std::iter::once(kind.clone()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A masked text frame, for links past the websocket.
pub(crate) fn text_frame(packet: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(packet.len()).unwrap() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0x80 | 0x7e);
            frame.extend_from_slice(&len.to_be_bytes());
        }
    }
    // A mask of zeros leaves the text as it is.
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(packet.as_bytes());
    frame
}
