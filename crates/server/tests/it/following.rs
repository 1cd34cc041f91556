//! What one process ends, another on the same database learns of: from the feed, at once with a hint and within a second
//! without.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use respoke_bus::{LocalBus, LocalNodes};
use respoke_core::clock::ManualClock;
use respoke_core::id::EndpointId;
use respoke_core::ops::{
    Answerer, Broker, CONFIRMED_WITHIN, Caller, Confirmed, Context, Credential, EndSessions, FirstRun, IssueToken,
};
use respoke_core::ports::{Change, Concerned, Delivery, EndScope, Node, NodeId, Receiver, Source, Upkeep};
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
    /// Hears what the other tells.
    _hub_here: Arc<Hub>,
    first: FirstRun,
    alice: Credential,
    _folder: TempDir,
}

impl House {
    /// Neither knows of the other.
    async fn built() -> Self {
        Self::with(Arc::default(), Arc::default()).await
    }

    /// They are nodes that hear each other.
    async fn of_nodes() -> Self {
        let nodes = Arc::new(LocalNodes::default());
        Self::with(nodes.start(NodeId(1)), nodes.start(NodeId(2))).await
    }

    async fn with(bus_here: Arc<LocalBus>, bus_there: Arc<LocalBus>) -> Self {
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
        let (here, there) = (broker(&bus_here), broker(&bus_there));
        let first = here.first_run(None, None).await.unwrap().unwrap();
        let outbox = OutboxLimits { frames_max: 10, bytes_max: 1_000 };
        let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 10 };
        let hub_there = Arc::new(Hub::new(there.clone(), bus_there.clone(), settings));
        let hub_here = Arc::new(Hub::new(here.clone(), bus_here.clone(), settings));
        for (broker, hub, bus) in [(&here, &hub_here, bus_here), (&there, &hub_there, bus_there)] {
            broker.attach(&(hub.clone() as Arc<dyn Concerned>));
            bus.attach(&(hub.clone() as Arc<dyn Receiver>));
            broker.follow().await.unwrap();
        }
        let alice = Credential::None;
        let mut house = Self { here, there, hub_there, _hub_here: hub_here, first, alice, _folder: folder };
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

    /// Ends alice's sessions here. How many nodes have confirmed it.
    async fn end(&self) -> Option<Confirmed> {
        let backend = self.backend(&self.here).await;
        let scope = EndScope::Endpoint(EndpointId::parse("alice").unwrap());
        let all = EndSessions { app_id: None, scope, issued_before: None, tokens_too: true };
        let answer = Arc::new(Answer::default());
        let context = Context { answerer: Some(answer.clone()), ..Context::internal() };
        self.here.end_sessions(&backend, all, &context).await.unwrap();
        assert!(!self.let_in(&self.here).await, "here it is over when it is answered");
        *answer.0.lock()
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

/// What is answered of an end.
#[derive(Debug, Default)]
struct Answer(Mutex<Option<Confirmed>>);

impl Answerer for Answer {
    fn confirmed(&self, confirmed: Confirmed) {
        *self.0.lock() = Some(confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_what_was_done_here_costs_no_look() {
    let house = House::built().await;
    let _following = house.follow_there().await;
    assert_eq!(while_time_stands_still(house.end()).await, None);
    let hint = Delivery::Change(Change::App(house.first.app_id));
    // Whoever did it has followed it before. So what another did meanwhile has to wait.
    house.hub_there.receive(Source::Here, hint.clone());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(house.let_in(&house.there).await);
    house.hub_there.receive(Source::There { node: Node::ALONE, number: 1 }, hint);
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_one_ends_the_other_refuses_when_it_is_answered() {
    let house = House::of_nodes().await;
    let _following = house.follow_there().await;
    let confirmed = while_time_stands_still(house.end()).await;
    assert!(!house.let_in(&house.there).await, "before anything else was done");
    assert_eq!(confirmed, Some(Confirmed { by: 2, of: 2 }));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_that_it_has_followed_is_waited_for_a_quarter_of_a_second() {
    let house = House::of_nodes().await;
    let since = tokio::time::Instant::now();
    assert_eq!(house.end().await, Some(Confirmed { by: 1, of: 2 }));
    assert!(since.elapsed() >= CONFIRMED_WITHIN && since.elapsed() < 2 * CONFIRMED_WITHIN);
    assert!(house.let_in(&house.there).await, "as was said");
    let _following = house.follow_there().await;
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

/// A server that was promoted, or a database that was restored, may lack what was changed.
#[tokio::test(start_paused = true)]
async fn who_follows_another_history_confirms_nothing() {
    let house = House::of_nodes().await;
    let epoch = house.here.store().changes(u64::MAX).await.unwrap().epoch;
    let says = async |epoch| loop {
        house.here.followed_by(house.there.node(), u64::MAX, epoch);
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    for (epoch, by) in [(epoch + 1, 1), (epoch, 2)] {
        let confirmed = tokio::select! {
            confirmed = house.end() => confirmed,
            () = says(epoch) => None,
        };
        assert_eq!(confirmed, Some(Confirmed { by, of: 2 }));
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_ends_the_other_refuses_within_a_second_with_the_hint_lost() {
    let house = House::built().await;
    let _following = house.follow_there().await;
    assert_eq!(while_time_stands_still(house.end()).await, None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(house.refused_there().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_follow_for_five_seconds_uses_nothing_that_is_remembered() {
    let house = House::built().await;
    assert_eq!(house.end().await, None);
    assert!(house.let_in(&house.there).await, "it knows nothing of it");
    tokio::time::advance(Duration::from_millis(4_900)).await;
    assert!(house.let_in(&house.there).await);
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(!house.let_in(&house.there).await);
}

#[tokio::test(start_paused = true)]
async fn who_missed_changes_forgets_everything_and_goes_on() {
    let mut house = House::built().await;
    assert_eq!(house.end().await, None);
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
    assert_eq!(house.end().await, None);
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
