//! A client of `respoke.1`, as somebody would write it from docs/socket.md alone.
//!
//! A [`Live`] reads only when its test waits for something, so the test decides how slowly.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{Client, PATIENCE, note_secret, text};

/// What a socket of this protocol was told before its end, and by which code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    /// `code word again`, as `bye` has them.
    pub(crate) bye: Option<String>,
    /// The code of the close frame; none if the link just broke.
    pub(crate) code: Option<u16>,
}

impl Farewell {
    /// How a socket ends that is told `bye`, by both ways.
    pub(crate) fn told(bye: &str) -> Self {
        Self { bye: Some(bye.to_owned()), code: bye.split(' ').next().unwrap().parse().ok() }
    }
}

/// A client on a websocket.
pub(crate) struct Live {
    websocket: WebSocket<TcpStream>,
    client: Client,
    /// The `ok` of its `connect`.
    pub(crate) welcome: Value,
    /// Whether it leaves `{}` unanswered.
    pub(crate) mute: bool,
    /// How many `{}` came.
    pub(crate) asked: u64,
    next_id: u64,
    /// How many events came in this session.
    pub(crate) got: u64,
    events: VecDeque<Value>,
    answers: HashMap<u64, Value>,
    /// The ids of answers in the order in which they came.
    pub(crate) answered: Vec<u64>,
    bye: Option<Value>,
    end: Option<Closed>,
}

/// A socket ended: with this code, or with none.
#[derive(Clone, Copy, Debug)]
struct Closed(Option<u16>);

impl Client {
    /// A websocket on which nothing was said yet, if the server takes it.
    pub(crate) fn try_visit(&self, headers: &[(&'static str, &str)]) -> Result<Live, tungstenite::Error> {
        let host = self.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(host).map_err(tungstenite::Error::Io)?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{host}/v1/socket").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (websocket, _) = tungstenite::client(request, stream).map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => error,
            tungstenite::HandshakeError::Interrupted(_) => panic!("nothing came in time"),
        })?;
        Ok(Live {
            websocket,
            client: self.clone(),
            welcome: Value::Null,
            mute: false,
            asked: 0,
            next_id: 1,
            got: 0,
            events: VecDeque::new(),
            answers: HashMap::new(),
            answered: Vec::new(),
            bye: None,
            end: None,
        })
    }

    /// A websocket on which nothing was said yet.
    pub(crate) fn visit(&self) -> Live {
        self.try_visit(&[("Sec-WebSocket-Protocol", "respoke.1")]).expect("the server takes the websocket")
    }

    /// A client in a new session of `endpoint`.
    pub(crate) fn live(&self, endpoint: &str) -> Live {
        self.live_in(endpoint, json!({}))
    }

    /// The same that wants to be in something.
    pub(crate) fn live_in(&self, endpoint: &str, state: Value) -> Live {
        let token = self.mint(endpoint);
        let mut live = self.visit();
        live.connect(json!({"tokenId": token, "sdk": "test/1", "state": state}));
        assert_eq!(live.welcome["endpoint"], json!(endpoint));
        live
    }
}

/// What a client knows that lost its link.
#[derive(Clone)]
pub(crate) struct Lost {
    pub(crate) app_token: String,
    pub(crate) resume: String,
    pub(crate) got: u64,
    next_id: u64,
    client: Client,
}

impl Lost {
    /// Comes back.
    pub(crate) fn back(&self) -> Live {
        let mut live = self.client.visit();
        (live.got, live.next_id) = (self.got, self.next_id);
        live.connect(json!({"appToken": self.app_token, "resume": self.resume, "got": self.got}));
        live.welcome["appToken"] = json!(self.app_token);
        if live.welcome["resumed"] == json!(false) {
            live.got = 0;
        }
        live
    }
}

impl Live {
    /// Sends text, whatever it is. One that went already takes none.
    pub(crate) fn send(&mut self, text: &str) {
        let _ = self.websocket.send(Message::text(text));
    }

    pub(crate) fn send_message(&mut self, message: Message) {
        let _ = self.websocket.send(message);
    }

    /// Sends bytes past the websocket.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.websocket.get_mut().write_all(bytes);
    }

    /// Connects, and holds the answer to being a welcome.
    pub(crate) fn connect(&mut self, connect: Value) {
        let id = self.begin(connect);
        let answer = self.answer(id);
        assert!(answer["ok"].is_object(), "{answer}");
        self.welcome = answer["ok"].clone();
        if let Some(token) = self.welcome["appToken"].as_str() {
            note_secret(token);
        }
    }

    /// Says who it is, and does not wait.
    pub(crate) fn begin(&mut self, connect: Value) -> u64 {
        let id = self.id();
        self.send(&json!({"id": id, "connect": connect}).to_string());
        id
    }

    /// Connects, and holds the answer to being a refusal, which is handed back.
    pub(crate) fn refused_to_connect(&mut self, connect: Value, code: &str) -> Value {
        let id = self.begin(connect);
        let answer = self.answer(id);
        assert_eq!(answer["error"]["code"], json!(code), "{answer}");
        answer["error"].clone()
    }

    pub(crate) fn connection(&self) -> String {
        text(&self.welcome["connection"])
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Makes a request and does not wait.
    pub(crate) fn request(&mut self, op: &str, args: Value) -> u64 {
        let id = self.id();
        self.send(&json!({"id": id, "op": {op: args}}).to_string());
        id
    }

    /// Makes a request and waits for its answer.
    pub(crate) fn ask(&mut self, op: &str, args: Value) -> Value {
        let id = self.request(op, args);
        self.answer(id)
    }

    /// The same of one that succeeds.
    pub(crate) fn ok(&mut self, op: &str, args: Value) -> Value {
        let answer = self.ask(op, args);
        assert!(answer.get("ok").is_some(), "{answer}");
        answer["ok"].clone()
    }

    /// The same of one that is refused.
    pub(crate) fn refused(&mut self, op: &str, args: Value, code: &str) -> Value {
        let answer = self.ask(op, args);
        assert_eq!(answer["error"]["code"], json!(code), "{answer}");
        answer["error"].clone()
    }

    /// Breaks the link without a word, and tells what the client would come back with.
    pub(crate) fn cut(self) -> Lost {
        let _ = self.websocket.get_ref().shutdown(std::net::Shutdown::Both);
        let word = |field: &str| text(&self.welcome[field]);
        Lost {
            app_token: word("appToken"),
            resume: word("resume"),
            got: self.got,
            next_id: self.next_id,
            client: self.client,
        }
    }

    /// Waits for an answer.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        self.until(|live| live.answers.remove(&id))
    }

    /// Waits for the next event whose summary begins with `start`; what comes before it is dropped.
    pub(crate) fn event(&mut self, start: &str) -> Value {
        self.until(|live| {
            while let Some(event) = live.events.pop_front() {
                if told(&event).starts_with(start) {
                    return Some(event);
                }
            }
            None
        })
    }

    /// The summaries of all events that are for it by now and were not taken yet.
    pub(crate) fn events(&mut self) -> Vec<String> {
        // What was made for it before this is answered comes before the answer.
        self.ok("ping", json!({}));
        self.events.drain(..).map(|event| told(&event)).collect()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Farewell {
        while self.object() {}
        let bye = self.bye.as_ref().map(|bye| {
            let word = |field: &str| bye[field].as_str().unwrap().to_owned();
            let bounds = bye["after"].as_array();
            assert_eq!(bounds.is_none(), bye["again"] == "never", "{bye}");
            assert!(bounds.is_none_or(|after| after.len() == 2 && after[0].as_u64() <= after[1].as_u64()), "{bye}");
            format!("{} {} {}", bye["code"], word("word"), word("again"))
        });
        Farewell { bye, code: self.end.unwrap().0 }
    }

    /// The least time it was told to wait.
    pub(crate) fn told_to_wait(&self) -> u64 {
        self.bye.as_ref().and_then(|bye| bye["after"][0].as_u64()).unwrap()
    }

    fn until<T>(&mut self, mut probe: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(self.object(), "the socket ended: {:?} {:?}", self.bye, self.end);
        }
    }

    /// Reads a frame and sorts in what it holds. False: the socket ended.
    fn object(&mut self) -> bool {
        self.read_within(PATIENCE).unwrap_or_else(|| panic!("nothing came to {} in time", self.welcome["endpoint"]))
    }

    /// The same of one that comes within a time. None: none does.
    pub(crate) fn read_within(&mut self, within: Duration) -> Option<bool> {
        if self.end.is_some() {
            return Some(false);
        }
        // It fails if the link is broken, which reading tells.
        let _ = self.websocket.get_ref().set_read_timeout(Some(within));
        loop {
            match self.websocket.read() {
                Ok(Message::Text(frame)) => {
                    frame.split('\n').for_each(|line| self.sort_in(line));
                    return Some(true);
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(frame)) => {
                    // Answers the close; the server waits for that.
                    let _ = self.websocket.flush();
                    self.end = Some(Closed(frame.map(|frame| frame.code.into())));
                    return Some(false);
                }
                Ok(other) => panic!("{other:?}"),
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(_) => {
                    self.end = Some(Closed(None));
                    return Some(false);
                }
            }
        }
    }

    fn sort_in(&mut self, line: &str) {
        assert!(self.bye.is_none(), "nothing comes behind a bye: {line}");
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(id) = object["id"].as_u64() {
            self.answered.push(id);
            assert!(self.answers.insert(id, object).is_none(), "{id} is answered twice");
        } else if object.get("ev").is_some() {
            self.got += 1;
            self.events.push_back(object);
        } else if let Some(bye) = object.get("bye") {
            self.bye = Some(bye.clone());
        } else {
            assert_eq!(object, json!({}));
            self.asked += 1;
            if !self.mute {
                self.send("{}");
            }
        }
    }

    /// The next frame as it came.
    pub(crate) fn raw(&mut self) -> String {
        self.websocket.read().unwrap().into_text().unwrap().to_string()
    }

    /// Whom it is a client of.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }
}

/// What an event says, in a line, as [`super::summary`] has it for the original clients: `message room alice hello`,
/// `message alice hello`, `join room bob`, `presence bob away`.
pub(crate) fn told(event: &Value) -> String {
    assert!(event["at"].is_number(), "{event}");
    let kind = text(&event["ev"]);
    let mut words = Vec::new();
    for field in ["g", "from"] {
        words.extend(event[field].as_str().map(str::to_owned));
    }
    let said = match kind.as_str() {
        "message" => Some(&event["data"]),
        "presence" => Some(&event["data"]["type"]),
        "signal" => Some(&event["data"]["signalType"]),
        "gap" => Some(&event["kind"]),
        _ => None,
    };
    words.extend(said.map(|said| said.as_str().map_or_else(|| said.to_string(), str::to_owned)));
    std::iter::once(kind).chain(words).collect::<Vec<_>>().join(" ")
}
