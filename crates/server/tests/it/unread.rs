//! Answers that their clients do not read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::{Process, Request, Server, contents, data_folder, eventually, request_packet};

/// A history of these is as long as one answer may be.
const MESSAGES: usize = 60;
const MESSAGE_LEN: usize = 18_000;
/// What the process may have at most, with debug code, caches and the allocator's own included; unread answers are 64 MiB
/// of it. The attacks below would need several times as much.
const RESIDENT_KIB_MAX: u64 = 300 << 10;

/// What it may have more of than before the attack over HTTP/1. Whole answers would be twice as much.
const MORE_KIB_MAX: u64 = 64 << 10;

/// Fills a group's history, for a caller without limits.
fn fill(client: &crate::harness::Client, admin: &str) {
    client.unlimited(admin);
    for number in 0..MESSAGES {
        let body = json!({"message": "x".repeat(MESSAGE_LEN), "persist": true, "endpointId": "bob", "n": number});
        client.post("/v1/groups/room/publish").secret().send(body).ok();
    }
}

/// The most memory the process ever had.
fn peak_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What it logged.
fn said(data: &Path) -> String {
    String::from_utf8(contents(&data.with_extension("log"))).unwrap()
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

struct Certified {
    flags: Vec<String>,
    config: Arc<ClientConfig>,
}

/// A certificate in `folder`, and who trusts it.
fn certify(folder: &Path, protocol: &[u8]) -> Certified {
    let made = rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
    let (cert, key) = (folder.with_extension("crt"), folder.with_extension("key"));
    std::fs::create_dir_all(cert.parent().unwrap()).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()].map(str::to_owned);
    Certified { flags: flags.to_vec(), config: Arc::new(config) }
}

fn connect(address: &str, config: &Arc<ClientConfig>) -> Tls {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// A request of HTTP/2 with literal headers, `header` among them.
fn http2_request(stream: u32, path: &str, header: (&str, &str)) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    let mut literal = |indexed: u8, name: &str, value: &str| {
        block.push(indexed);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    };
    literal(0x04, "", path);
    literal(0x01, "", "localhost");
    literal(0x00, header.0, header.1);
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5];
    frame.extend_from_slice(&stream.to_be_bytes());
    [frame, block].concat()
}

const HISTORY: &str = "/v1/groups/room/history?limit=200";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A window of this many bytes for each stream.
fn settings(window: u32) -> Vec<u8> {
    [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &window.to_be_bytes()].concat()
}

/// Reads frames until as many streams have a head as were asked on.
fn answered(link: &mut Tls, streams: usize) -> usize {
    let (mut head, mut heads) = ([0; 9], 0);
    while heads < streams && link.read_exact(&mut head).is_ok() {
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        link.read_exact(&mut payload).unwrap();
        heads += usize::from(kind == 1);
    }
    heads
}

#[test]
fn http2_streams_without_a_window_take_no_more_memory_than_they_may_and_others_are_served() {
    let (data, _folder) = data_folder();
    let certified = certify(&data, b"h2");
    let flags: Vec<&str> = certified.flags.iter().map(String::as_str).collect();
    let process = Process::spawn(&data, &flags).trusting(&certified.flags[1]).with_app();
    fill(&process, &process.admin_token("owner"));
    let address = process.url.strip_prefix("https://").unwrap();
    // Of more callers than all may have unread, on windows of nothing and of a byte.
    let held: Vec<Tls> = (0..12)
        .map(|number| {
            let app_token = process.session(&format!("attacker {}", number / 2));
            let mut link = connect(address, &certified.config);
            let mut sent = [PREFACE, &settings(number % 2)].concat();
            for stream in 0..100 {
                sent.extend_from_slice(&http2_request(2 * stream + 1, HISTORY, ("app-token", &app_token)));
            }
            link.write_all(&sent).unwrap();
            answered(&mut link, 100);
            link
        })
        .collect();
    assert!(peak_kib(&process) < RESIDENT_KIB_MAX, "{} KiB", peak_kib(&process));
    let newcomer = process.session("newcomer");
    let history = process.get(HISTORY).token(&newcomer).call().ok();
    assert!(history.as_array().unwrap().len() > MESSAGES - 10);
    drop(held);
}

#[test]
fn what_anybody_may_read_is_bounded_by_address() {
    let (data, _folder) = data_folder();
    let certified = certify(&data, b"h2");
    let mut flags: Vec<&str> = certified.flags.iter().map(String::as_str).collect();
    flags.extend(["--unread-bytes-per-caller-max", "1048576", "--trusted-proxies", "127.0.0.1"]);
    let process = Process::spawn(&data, &flags).trusting(&certified.flags[1]).with_app();
    let address = process.url.strip_prefix("https://").unwrap();
    let (alice, admin) = (process.session("alice"), process.admin_token("owner"));
    let page = process.get("/console/sign-in").call().text;
    let script = page.split('"').find(|part| part.starts_with("/console/assets/htmx")).unwrap();
    for (nth, path) in [script, "/docs", "/openapi.json", "/metrics", "/try", "/nothing"].into_iter().enumerate() {
        let stranger = format!("192.0.2.{nth}");
        // Many more than the address may have, however short they are: a stream takes memory of its own.
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut link = connect(address, &certified.config);
            let mut sent = [PREFACE, &settings(0)].concat();
            for stream in 0..100 {
                sent.extend_from_slice(&http2_request(2 * stream + 1, path, ("x-forwarded-for", &stranger)));
            }
            link.write_all(&sent).unwrap();
            answered(&mut link, 100);
            held.push(link);
        }
        for public in [script, "/docs", "/openapi.json", "/try", "/console/sign-in", "/console/setup"] {
            let refused = process.get(public).header("X-Forwarded-For", &stranger).call();
            assert_eq!(refused.status, 429, "{public} beside {path}: {}", refused.text);
            assert!(refused.text.contains("read"), "{public} beside {path}: {}", refused.text);
        }
        // Who says who they are is not to blame, nor are those who look after the server, nor is anybody elsewhere.
        let same = |request: Request<'_>| request.header("X-Forwarded-For", &stranger).call().ok();
        same(process.get("/v1/session-tokens").token(&alice));
        same(process.get("/v1/apps").admin(&admin));
        same(process.get("/v1/roles").secret());
        same(process.get("/healthz"));
        same(process.get("/readyz"));
        assert_eq!(process.get("/console/setup").call().status, 200, "{path}");
        drop(held);
    }
}

/// Links whose answers nobody reads. Each holds the piece that is made of its answer; the system takes some megabytes for it.
const LINKS: usize = 120;

#[test]
fn http1_answers_that_nobody_reads_take_no_more_memory_than_they_may_and_others_are_served() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &["--unread-bytes-max", "1048576"]).with_app();
    fill(&process, &process.admin_token("owner"));
    let address = process.url.strip_prefix("http://").unwrap();
    let tokens: Vec<String> = (0..10).map(|number| process.session(&format!("attacker {number}"))).collect();
    let newcomer = process.session("newcomer");
    process.get(HISTORY).token(&newcomer).call().ok();
    let before = peak_kib(&process);
    let held: Vec<TcpStream> = (0..LINKS)
        .map(|number| {
            let mut link = TcpStream::connect(address).unwrap();
            let token = &tokens[number % tokens.len()];
            let request = format!("GET {HISTORY} HTTP/1.1\r\nHost: a\r\nApp-Token: {token}\r\n\r\n");
            // Many after another, so that there is always one to answer that the system does not take.
            let _ = link.write_all(request.repeat(100).as_bytes());
            link
        })
        .collect();
    eventually(|| said(&data).contains("ended to make room for others").then_some(()));
    for _ in 0..5 {
        let history = process.get(HISTORY).token(&newcomer).call().ok();
        assert!(history.as_array().unwrap().len() > MESSAGES - 10);
    }
    let more = peak_kib(&process) - before;
    assert!(more < MORE_KIB_MAX, "{more} KiB");
    drop(held);
}

#[test]
fn who_has_too_much_unread_is_told_to_read_first() {
    let (data, _folder) = data_folder();
    let certified = certify(&data, b"h2");
    let mut flags: Vec<&str> = certified.flags.iter().map(String::as_str).collect();
    flags.extend(["--unread-bytes-per-caller-max", "300000"]);
    let process = Process::spawn(&data, &flags).trusting(&certified.flags[1]).with_app();
    fill(&process, &process.admin_token("owner"));
    let (alice, bob) = (process.session("alice"), process.session("bob"));
    // On windows of a byte, so that nothing more leaves the server, however much the system would take.
    let mut link = connect(process.url.strip_prefix("https://").unwrap(), &certified.config);
    let mut sent = [PREFACE, &settings(1)].concat();
    for stream in 0..20 {
        sent.extend_from_slice(&http2_request(2 * stream + 1, HISTORY, ("app-token", &alice)));
    }
    link.write_all(&sent).unwrap();
    let refused = eventually(|| {
        let answer = process.get("/v1/session-tokens").token(&alice).call();
        (answer.status != 200).then_some(answer)
    });
    assert!(refused.header("retry-after").is_some());
    refused.refused(429, "answers_unread");
    // Another one is not to blame, nor does another session of the same endpoint help.
    process.get("/v1/session-tokens").token(&bob).call().ok();
    process.get(HISTORY).token(&bob).call().ok();
    process.get("/v1/session-tokens").token(&process.session("alice")).call().refused(429, "answers_unread");
    // Once it was given up, all is as before.
    drop(link);
    eventually(|| (process.get("/v1/session-tokens").token(&alice).call().status == 200).then_some(()));
}

/// A connection for which the system takes little before its client reads: the server need not make one long answer after the other
/// until it has to keep one itself.
fn connect_narrowly(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let link = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    link.set_nonblocking(false).unwrap();
    link
}

#[test]
fn an_answer_over_http1_counts_until_it_was_read() {
    let server = Server::start_with(|config| config.unread_bytes_per_caller_max = 300_000);
    fill(&server, &server.admin_token("admin"));
    let alice = server.session("alice");
    let address = server.url.strip_prefix("http://").unwrap();
    let ask = || {
        let mut link = connect_narrowly(address.parse().unwrap());
        let request = format!("GET {HISTORY} HTTP/1.1\r\nHost: a\r\nApp-Token: {alice}\r\n\r\n");
        // One after another, and so more than the system takes for a client that does not read.
        link.write_all(request.repeat(20).as_bytes()).unwrap();
        link
    };
    let check = || server.get("/v1/session-tokens").token(&alice).call();
    let mut held = Vec::new();
    eventually(|| {
        held.push(ask());
        (check().status == 429).then_some(())
    });
    drop(held);
    eventually(|| (check().status == 200).then_some(()));
}

#[test]
fn long_answers_that_wait_for_sockets_make_room_for_others_too() {
    let server = Server::start_with(|config| config.unread_bytes_max = 4 << 20);
    fill(&server, &server.admin_token("admin"));
    let ask = |number: usize| {
        let poller = server.poller(&format!("app-token={}", server.session(&format!("attacker {number}"))));
        let packet = request_packet(1, "get", HISTORY, &Value::Null);
        assert_eq!(poller.bring(packet.as_bytes()).text, "1");
        poller
    };
    // Each waits for a poll that does not come.
    let held: Vec<_> = (0..10).map(ask).collect();
    eventually(|| (server.figure("respoked_sockets_closed_total{reason=\"slow_consumer\"}") >= 5).then_some(()));
    let newcomer = server.poller(&format!("app-token={}", server.session("newcomer")));
    let (_, ack) = newcomer.ask(1, "get", HISTORY, &Value::Null);
    assert!(ack.ok().as_array().unwrap().len() > MESSAGES - 10);
    drop(held);
}

/// A connection of HTTP/2 on which bodies are sent as far as its windows let them.
struct Sender {
    link: Tls,
    /// What may be sent on the connection, and on the stream that is written to.
    windows: [u32; 2],
    stream: u32,
}

impl Sender {
    fn connect(address: &str, config: &Arc<ClientConfig>) -> Self {
        let mut link = connect(address, config);
        link.write_all(&[PREFACE, &settings(65_535)].concat()).unwrap();
        Self { link, windows: [65_535; 2], stream: 0 }
    }

    /// A frame: its type, its stream, what is in it.
    fn frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.link.read_exact(&mut head).unwrap();
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.link.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes(stream);
        if kind == 8 {
            let more = u32::from_be_bytes(payload[..].try_into().unwrap());
            if stream == 0 {
                self.windows[0] += more;
            } else if stream == self.stream {
                self.windows[1] += more;
            }
        }
        (kind, stream, payload)
    }

    /// Begins a request with a body and sends so much of that.
    fn begin(&mut self, path: &str, header: (&str, &str), mut len: u32) {
        self.stream += if self.stream == 0 { 1 } else { 2 };
        self.windows[1] = 65_535;
        let mut request = http2_request(self.stream, path, header);
        // It does not end with its head, and it is a POST.
        (request[4], request[9]) = (4, 0x83);
        self.link.write_all(&request).unwrap();
        while len > 0 {
            let some = len.min(16_384).min(self.windows[0]).min(self.windows[1]);
            if some == 0 {
                self.frame();
                continue;
            }
            let [_, sizes @ ..] = some.to_be_bytes();
            let head = [&sizes[..], &[0, 0], &self.stream.to_be_bytes()].concat();
            self.link.write_all(&[head, vec![b'x'; some as usize]].concat()).unwrap();
            self.windows = self.windows.map(|window| window - some);
            len -= some;
        }
    }

    /// Whether a request is answered with 200.
    fn succeeds(&mut self, path: &str, header: (&str, &str)) -> bool {
        self.stream += if self.stream == 0 { 1 } else { 2 };
        let asked = self.stream;
        self.link.write_all(&http2_request(asked, path, header)).unwrap();
        loop {
            let (kind, stream, block) = self.frame();
            if (kind, stream) == (1, asked) {
                // The entry of the static table.
                return block[0] == 0x88;
            }
        }
    }
}

#[test]
fn what_strangers_send_slowly_refuses_nobody_beside_them_behind_a_proxy() {
    const LIMIT: &str = "65536";
    for (is_proxy, path, len, beside) in [
        // What is too long, and thrown away.
        (false, "/v1/tokens", 300_000, true),
        // What is held: another one's behind a proxy, and its own elsewhere.
        (true, "/console/sign-in", 200_000, true),
        (false, "/console/sign-in", 200_000, false),
    ] {
        let (data, _folder) = data_folder();
        let certified = certify(&data, b"h2");
        let mut flags: Vec<&str> = certified.flags.iter().map(String::as_str).collect();
        flags.extend(["--unread-bytes-per-connection-max", LIMIT]);
        if is_proxy {
            flags.extend(["--trusted-proxies", "127.0.0.1"]);
        }
        let process = Process::spawn(&data, &flags).trusting(&certified.flags[1]).with_app();
        let alice = process.session("alice");
        let mut link = Sender::connect(process.url.strip_prefix("https://").unwrap(), &certified.config);
        link.begin(path, ("x-forwarded-for", "192.0.2.1"), len);
        let mut ask = || link.succeeds("/v1/session-tokens", ("app-token", &alice));
        if beside {
            assert!((0..10).all(|_| ask()), "{path}, {is_proxy}");
        } else {
            eventually(|| (!ask()).then_some(()));
        }
    }
}
