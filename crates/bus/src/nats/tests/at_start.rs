//! Who is let in, and what is said to whoever is not.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use super::credentials::{Operator, user};
use super::*;

/// All that is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone());
        (lines, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Two nodes with these options talk, and what they print and log holds no secret.
async fn talk(options: &NatsOptions, secret: &str) {
    let (lines, _listening) = Lines::listen();
    let one = Member::start(options).await.unwrap();
    let other = NatsOptions { node: node(2), ..options.clone() };
    let mut other = Member::start(&other).await.unwrap();
    reaches(&one, (NodeId(2), &mut other), b"word").await;
    let printed = format!("{options:?} {:?} {:?}", one.carrier, one.carrier.figures());
    one.carrier.end().await;
    let logged = lines.text();
    assert!(logged.contains("connected to NATS"), "{logged}");
    assert!(!printed.contains(secret) && !logged.contains(secret), "{printed} {logged}");
}

/// It is refused with these options, in these words, and without any of these.
async fn refused(options: &NatsOptions, says: &str, secret: &str) {
    let (lines, _listening) = Lines::listen();
    let error = NatsCarrier::connect(options).await.unwrap_err();
    let told = told(&error);
    assert!(told.contains(says), "{told}");
    for text in [told, format!("{error:?} {options:?}"), lines.text()] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn who_has_the_key_of_a_user_is_let_in_and_needs_no_more_than_is_printed() {
    let (ours, another) = (user(), user());
    let permissions = nats_permissions(&[7; 16]);
    let users = format!("authorization: {{ users: [ {{ nkey: {}, {permissions} }} ] }}", ours.public_key());
    let Some(server) = NatsServer::start(&users) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (seed, wrong) = (ours.seed().unwrap(), another.seed().unwrap());
    let mut options = options(&server.address(), node(1));
    options.credentials = Some(NatsCredentials::NkeySeed(file(&folder, "seed", &format!("{seed}\n"))));
    talk(&options, &seed).await;
    options.credentials = Some(NatsCredentials::NkeySeed(file(&folder, "wrong", &wrong)));
    refused(&options, "refuses these credentials", &wrong).await;
    // Its checksum is wrong.
    let mut damaged = seed.clone().into_bytes();
    damaged[20] = if damaged[20] == b'A' { b'B' } else { b'A' };
    let damaged = String::from_utf8(damaged).unwrap();
    options.credentials = Some(NatsCredentials::NkeySeed(file(&folder, "damaged", &damaged)));
    refused(&options, "holds no seed of a user's nkey", &damaged).await;
    options.credentials = None;
    refused(&options, "refuses whoever has no credentials", "hidden").await;
    // Another cluster's nodes may not.
    options.credentials = Some(NatsCredentials::NkeySeed(file(&folder, "seed", &seed)));
    options.cluster = [8; 16];
    refused(&options, "does not permit what a node does", &seed).await;
}

/// Keys and credentials end. A node that has new ones in its file gets its connection back with them.
#[tokio::test]
async fn credentials_that_are_replaced_are_taken_for_the_next_connection() {
    let set_up = |user: &str| format!("authorization: {{ users: [ {{ nkey: {user} }} ] }}");
    let (former, later) = (user(), user());
    let Some(mut server) = NatsServer::start(&set_up(&former.public_key())) else { return };
    let seed = file(&server.folder, "seed", &former.seed().unwrap());
    let mut options = options(&server.address(), node(1));
    options.credentials = Some(NatsCredentials::NkeySeed(seed));
    let one = Member::start(&options).await.unwrap();
    let mut other = Member::start(&NatsOptions { node: node(2), ..options }).await.unwrap();
    server.kill();
    file(&server.folder, "set-up", &set_up(&later.public_key()));
    server.start_again();
    // It is refused, however often it tries, until its file is another.
    one.until(|figures| figures.server_errors > 3).await;
    assert!(!one.carrier.figures().is_connected);
    file(&server.folder, "seed", &later.seed().unwrap());
    for member in [&one, &other] {
        member.until(|figures| figures.is_connected).await;
    }
    reaches(&one, (NodeId(2), &mut other), b"word").await;
}

#[tokio::test]
async fn who_may_hear_and_not_speak_does_not_begin() {
    let ours = user();
    for (publish, subscribe) in [("other", "respoked.>"), ("respoked.>", "other")] {
        let permissions = format!("permissions: {{ publish: \"{publish}\", subscribe: \"{subscribe}\" }}");
        let users = format!("authorization: {{ users: [ {{ nkey: {}, {permissions} }} ] }}", ours.public_key());
        let Some(server) = NatsServer::start(&users) else { return };
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&server.address(), node(1));
        options.credentials = Some(NatsCredentials::NkeySeed(file(&folder, "seed", &ours.seed().unwrap())));
        refused(&options, "does not permit what a node does: nats: Permissions Violation", "hidden").await;
    }
}

#[tokio::test]
async fn who_has_a_file_of_credentials_is_let_in() {
    let ours = Operator::new("respoked.07070707070707070707070707070707.*");
    let others = Operator::new("respoked.>");
    let Some(server) = NatsServer::start(&ours.set_up) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&server.address(), node(1));
    options.credentials = Some(NatsCredentials::File(file(&folder, "credentials", &ours.credentials)));
    talk(&options, &ours.secret).await;
    options.credentials = Some(NatsCredentials::File(file(&folder, "others", &others.credentials)));
    refused(&options, "refuses these credentials", &others.secret).await;
    options.credentials = None;
    refused(&options, "refuses whoever has no credentials", "hidden").await;
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

#[tokio::test]
async fn over_tls_only_whoever_is_vouched_for_is_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority("one"), authority("another"));
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    file(&folder, "server.pem", &params.signed_by(&key, &ours.1).unwrap().pem());
    file(&folder, "server.key", &key.serialize_pem());
    let set_up = "tls { cert_file: server.pem, key_file: server.key }";
    let Some(server) = NatsServer::start_in(folder, set_up) else { return };
    let root = file(&server.folder, "root.pem", &ours.0);
    let other_root = file(&server.folder, "other.pem", &others.0);
    for scheme in ["nats", "tls"] {
        let address = |host| format!("{scheme}://{host}:{}", server.port);
        let mut trusting = options(&address("localhost"), node(1));
        trusting.root_certificate = Some(root.clone());
        talk(&trusting, "PRIVATE KEY").await;
        let mut mistrusting = trusting.clone();
        mistrusting.root_certificate = Some(other_root.clone());
        refused(&mistrusting, "invalid peer certificate: UnknownIssuer", "hidden").await;
        // It is vouched for under another name.
        let mut misnamed = options(&address("127.0.0.1"), node(1));
        misnamed.root_certificate = Some(root.clone());
        refused(&misnamed, "invalid peer certificate", "hidden").await;
    }
}

/// Whoever is between a node and its server could say that there is no TLS.
#[tokio::test]
async fn where_tls_is_asked_for_nothing_goes_without() {
    let Some(server) = NatsServer::start("") else { return };
    let (root, _) = authority("one");
    let mut trusting = options(&server.address(), node(1));
    trusting.root_certificate = Some(file(&server.folder, "root.pem", &root));
    let mut tls = trusting.clone();
    tls.servers = NatsServers::parse(&format!("tls://127.0.0.1:{}", server.port)).unwrap();
    for options in [&trusting, &tls] {
        refused(options, "no NATS server at 127.0.0.1", "hidden").await;
    }
    // Nor at another server, of which the first tells.
    tls.root_certificate = None;
    for options in [&trusting, &tls] {
        let printed = format!("{:?}", options.connect_options().unwrap());
        assert!(printed.contains("\"tls_required\": true"), "{printed}");
    }
}

/// Time is paused: it goes on while nothing else does, so ten seconds take a moment.
#[tokio::test(start_paused = true)]
async fn who_is_not_there_is_tried_for_ten_seconds() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let since = Instant::now();
    let options = options(&format!("nats://127.0.0.1:{port}"), node(1));
    refused(&options, &format!("no NATS server at 127.0.0.1:{port} answers as it should: IO error"), "hidden").await;
    let took = since.elapsed();
    assert!(START.mul_f64(0.9) < took && took <= START + Duration::from_millis(1), "{took:?}");
}

#[tokio::test]
async fn a_server_that_takes_short_messages_only_is_named() {
    let Some(server) = NatsServer::start("max_payload: 100000") else { return };
    let says = "takes messages of 100000 bytes at most, and 262149 are needed";
    refused(&options(&server.address(), node(1)), says, "hidden").await;
    drop(server);
    let Some(server) = NatsServer::start("max_payload: 262149") else { return };
    let options = options(&server.address(), node(1));
    talk(&options, "hidden").await;
    // The longest there is goes.
    let one = Member::start(&options).await.unwrap();
    let mut other = Member::start(&NatsOptions { node: node(2), ..options }).await.unwrap();
    reaches(&one, (NodeId(2), &mut other), &vec![7; 1 << 18]).await;
}
