//! What one process ends, another on the same database learns of: from the feed, at once with a hint and within a second
//! without.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use respoke_bus::LocalBus;
use respoke_core::clock::ManualClock;
use respoke_core::id::EndpointId;
use respoke_core::ops::{Broker, Caller, Context, Credential, EndSessions, FirstRun, IssueToken};
use respoke_core::ports::{
    Answer, Change, Concerned, Delivery, EndScope, Gap, Node, Question, Receiver, Source, Upkeep,
};
use respoke_core::secret::Secret;
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::{Hub, HubSettings};
use respoke_store::{Options, SqliteStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{End, NOW, PASSWORD, Process, data_folder, note_secret, place, respoked, run, text};

/// Two brokers over one database, and alice's session, which both have checked.
struct House {
    here: Arc<Broker>,
    there: Arc<Broker>,
    hub_there: Arc<Hub>,
    bus_here: Arc<LocalBus>,
    first: FirstRun,
    alice: Credential,
    _folder: TempDir,
}

impl House {
    async fn built() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let broker = |bus: &Arc<LocalBus>| {
            let store = SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap();
            Arc::new(Broker::new(
                Arc::new(store),
                bus.clone(),
                clock.clone(),
                respoke_core::chance::of_this_test(),
                100,
            ))
        };
        let (bus_here, bus_there) = (Arc::new(LocalBus::default()), Arc::new(LocalBus::default()));
        let (here, there) = (broker(&bus_here), broker(&bus_there));
        let first = here.first_run(None, None).await.unwrap().unwrap();
        let outbox = OutboxLimits { frames_max: 10, bytes_max: 1_000 };
        let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 10 };
        let hub_there = Arc::new(Hub::new(there.clone(), bus_there, settings));
        there.attach(&(hub_there.clone() as Arc<dyn Concerned>));
        there.follow().await.unwrap();
        let mut house = Self { here, there, hub_there, bus_here, first, alice: Credential::None, _folder: folder };
        house.alice = house.session("alice").await;
        assert!(house.let_in(&house.here).await && house.let_in(&house.there).await);
        assert_eq!(house.there.remembered_sessions(), 1);
        house
    }

    async fn backend(&self, at: &Broker) -> Caller {
        let secret = Secret::new(self.first.app_secret.secret().expose().to_owned());
        at.authenticate(&Credential::AppSecret(secret), None).await.unwrap()
    }

    /// A session that was minted here and redeemed there.
    async fn session(&self, endpoint: &str) -> Credential {
        let request = IssueToken {
            endpoint_id: Some(endpoint.to_owned()),
            role_id: Some(self.first.role_id.to_string()),
            ..IssueToken::default()
        };
        let backend = self.backend(&self.here).await;
        let minted = self.here.issue_token(&backend, request, None, &Context::internal()).await.unwrap();
        let opened =
            self.there.open_session(&Caller::Anonymous, Some(&minted.text), None, None, &Context::internal()).await;
        Credential::AppToken(opened.unwrap().text)
    }

    async fn let_in(&self, at: &Broker) -> bool {
        at.authenticate(&self.alice, None).await.is_ok()
    }

    /// Ends alice's sessions here.
    async fn end(&self) {
        let backend = self.backend(&self.here).await;
        let scope = EndScope::Endpoint(EndpointId::parse("alice").unwrap());
        let all = EndSessions { app_id: None, scope, issued_before: None, tokens_too: true };
        self.here.end_sessions(&backend, all, &Context::internal()).await.unwrap();
        assert!(!self.let_in(&self.here).await, "here it is over when it is answered");
    }

    /// Waits until alice is refused there, and returns how long that took of the time that stands still meanwhile.
    async fn refused_there(&self) -> Duration {
        let (since, deadline) = (tokio::time::Instant::now(), Instant::now() + Duration::from_secs(20));
        while self.let_in(&self.there).await {
            assert!(Instant::now() < deadline, "it is let in for ever");
            tokio::task::yield_now().await;
        }
        since.elapsed()
    }

    /// Lets the other side follow the feed as a server does. It has looked once, and waits.
    async fn follow_there(&self) -> JoinSet<()> {
        let (there, mut following) = (self.there.clone(), JoinSet::new());
        following.spawn(async move { there.keep_following().await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        following
    }
}

/// Time that stands still goes on by itself while all wait, and so while they wait for a thread that writes. Not here.
async fn while_time_stands_still<T>(work: impl Future<Output = T>) -> T {
    let busy = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = busy => never,
    }
}

/// Takes what one node publishes to the hub of another.
struct Wire(Arc<Hub>);

impl Receiver for Wire {
    fn receive(&self, _: Source, delivery: Delivery) {
        self.0.receive(Source::There { node: Node::ALONE, number: 1 }, delivery);
    }

    fn missed(&self, gap: Gap) {
        self.0.missed(gap);
    }

    fn answer(&self, from: Node, question: Question) -> Answer {
        self.0.answer(from, question)
    }

    fn lost(&self, node: Node) {
        self.0.lost(node);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_what_was_done_here_costs_no_look() {
    let house = House::built().await;
    let _following = house.follow_there().await;
    while_time_stands_still(house.end()).await;
    let hint = Delivery::Change(Change::App(house.first.app_id));
    // Whoever did it has followed it before. So what another did meanwhile has to wait.
    house.hub_there.receive(Source::Here, hint.clone());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(house.let_in(&house.there).await);
    Wire(house.hub_there.clone()).receive(Source::Here, hint);
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_one_ends_the_other_refuses_at_once_with_the_hint() {
    let house = House::built().await;
    let wire: Arc<dyn Receiver> = Arc::new(Wire(house.hub_there.clone()));
    house.bus_here.attach(&wire);
    let _following = house.follow_there().await;
    while_time_stands_still(house.end()).await;
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_one_ends_the_other_refuses_within_a_second_with_the_hint_lost() {
    let house = House::built().await;
    let _following = house.follow_there().await;
    while_time_stands_still(house.end()).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_follow_for_five_seconds_uses_nothing_that_is_remembered() {
    let house = House::built().await;
    house.end().await;
    assert!(house.let_in(&house.there).await, "it knows nothing of it");
    tokio::time::advance(Duration::from_millis(4_900)).await;
    assert!(house.let_in(&house.there).await);
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(!house.let_in(&house.there).await);
}

#[tokio::test(start_paused = true)]
async fn who_missed_changes_forgets_everything_and_goes_on() {
    let mut house = House::built().await;
    house.end().await;
    // The change is gone before the other has looked.
    let now = NOW.plus_secs(7_200);
    let upkeep = Upkeep {
        dead_before: NOW,
        audit_before: NOW,
        audit_rows_max: 1_000,
        keys_before: NOW,
        messages_before: NOW,
        messages_per_group_max: 1_000,
        call_reports_before: NOW,
        call_reports_per_app_max: 1_000,
        push_tokens_before: NOW,
        now,
    };
    while !house.here.store().upkeep(upkeep).await.unwrap().pass_complete {}
    assert_eq!(house.here.store().changes(0).await.unwrap().told, []);
    assert!(house.let_in(&house.there).await);
    house.there.follow().await.unwrap();
    assert!(!house.let_in(&house.there).await);

    house.alice = house.session("alice").await;
    assert!(house.let_in(&house.there).await);
    house.end().await;
    assert!(house.let_in(&house.there).await, "again it knows nothing of it");
    house.there.follow().await.unwrap();
    assert!(!house.let_in(&house.there).await);
}

/// Runs `respoked admin` on the data folder.
fn admin(data: &Path, words: &[&str], password: &Path) {
    let mut command: Command = respoked();
    command.arg("admin").args(words).args(place(data));
    if let "create" | "password" = words[0] {
        command.arg("--password-file").arg(password);
    }
    let said = run(&mut command);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn what_the_command_line_does_to_an_admin_closes_the_sockets_beside_it_within_two_seconds() {
    // Machines are busy now and then.
    const TRIES: usize = 5;
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let mut owner = process.open(&format!("admin-token={}", process.admin_token("owner")));
    let alice = process.connect("alice");
    for words in [&["remove", "jo"][..], &["role", "jo", "--role", "read-only"], &["password", "jo"]] {
        let took = |_| {
            if words[0] == "remove" || process.post("/v1/admin-sessions").send(sign_in()).status != 200 {
                admin(&data, &["create", "jo"], &password);
            } else {
                admin(&data, &["role", "jo", "--role", "owner"], &password);
            }
            let token = text(&process.post("/v1/admin-sessions").send(sign_in()).ok()["token"]);
            note_secret(&token);
            let mut jo = process.open(&format!("admin-token={token}"));
            jo.post("/v1/connections", json!({"endpointId": "root", "appId": process.app})).ok();
            admin(&data, words, &password);
            let done = Instant::now();
            assert_eq!(jo.end(), End::REVOKED, "{words:?}");
            done.elapsed()
        };
        let fastest = (0..TRIES).map(took).find(|took| *took < Duration::from_secs(2));
        assert!(fastest.is_some(), "{words:?}");
    }
    // Whom it does not concern stays.
    owner.get("/v1/apps").ok();
    assert!(process.alive(&alice.app_token));
    assert_eq!(process.connected(), ["alice"]);
}

fn sign_in() -> serde_json::Value {
    json!({"username": "jo", "password": PASSWORD})
}
