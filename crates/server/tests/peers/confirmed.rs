//! An end is answered when the other nodes have followed it: then no node accepts what was ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use respoke_bus::faulty::Faults;
use respoke_core::id::RoleId;
use respoke_core::ops::{
    Answerer, Broker, CONFIRMED_WITHIN, Caller, Confirmed, Context, Credential, EndSessions, IssueToken,
};
use respoke_core::ports::{Bus as _, EndScope, Notice};
use respoke_core::role::Permissions;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{World, endpoint};

/// What is answered of an end.
#[derive(Debug, Default)]
struct Answer(Mutex<Option<Confirmed>>);

impl Answerer for Answer {
    fn confirmed(&self, confirmed: Confirmed) {
        *self.0.lock() = Some(confirmed);
    }
}

const FULL: Option<Confirmed> = Some(Confirmed { by: 3, of: 3 });

/// Three nodes that follow the feed, and a role.
async fn following(mut world: World) -> (World, RoleId) {
    for node in 0..3 {
        world.follows(node);
        world.nodes[node].broker.follow().await.unwrap();
    }
    let (asking, broker) = (world.asking(0).await, &world.nodes[0].broker);
    let (name, permissions) = (Some("role".to_owned()), Permissions::default());
    let made =
        broker.create_role(asking.asker().caller, None, None, name, permissions, None, &Context::internal()).await;
    let role = made.unwrap().0.id;
    (world, role)
}

/// A session of that endpoint, which every node has checked.
async fn session(world: &World, role: RoleId, name: &str) -> Credential {
    let asking = world.asking(0).await;
    let (endpoint_id, role_id) = (Some(name.to_owned()), Some(role.to_string()));
    let request = IssueToken { endpoint_id, role_id, ..IssueToken::default() };
    let broker = &world.nodes[0].broker;
    let minted = broker.issue_token(asking.asker().caller, request, None, &Context::internal()).await.unwrap();
    let opened = world.nodes[1]
        .broker
        .open_session(&Caller::Anonymous, Some(&minted.text), None, None, &Context::internal())
        .await;
    let credential = Credential::AppToken(opened.unwrap().text);
    for node in &world.nodes {
        node.broker.authenticate(&credential, None).await.unwrap();
    }
    credential
}

/// Ends on a node what an endpoint has. How many nodes have confirmed it.
async fn end(world: &World, node: usize, name: &str) -> Option<Confirmed> {
    let asking = world.asking(node).await;
    end_as(&world.nodes[node].broker, asking.asker().caller, name).await
}

async fn end_as(broker: &Broker, backend: &Caller, name: &str) -> Option<Confirmed> {
    let answer = Arc::new(Answer::default());
    let context = Context { answerer: Some(answer.clone()), ..Context::internal() };
    let scope = EndScope::Endpoint(endpoint(name));
    let all = EndSessions { app_id: None, scope, issued_before: None, tokens_too: true };
    broker.end_sessions(backend, all, &context).await.unwrap();
    *answer.0.lock()
}

/// Which nodes accept it.
async fn accepting(world: &World, credential: &Credential) -> Vec<usize> {
    let mut accepting = Vec::new();
    for (number, node) in world.nodes.iter().enumerate() {
        if node.broker.authenticate(credential, None).await.is_ok() {
            accepting.push(number);
        }
    }
    accepting
}

/// Somebody on each node who asks again and again, and what it is let in for after it was answered that it is over.
struct Users {
    is_over: Arc<AtomicBool>,
    let_in: Arc<AtomicUsize>,
    too_late: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Users {
    fn of(world: &World, credential: &Credential) -> Self {
        let (is_over, too_late, let_in) = (Arc::<AtomicBool>::default(), Arc::default(), Arc::<AtomicUsize>::default());
        let mut users = Self { is_over, let_in, too_late, tasks: JoinSet::new() };
        for node in &world.nodes {
            let (broker, credential) = (node.broker.clone(), credential.clone());
            let (is_over, too_late, let_in) = (users.is_over.clone(), users.too_late.clone(), users.let_in.clone());
            users.tasks.spawn(async move {
                loop {
                    let was_over = is_over.load(Ordering::SeqCst);
                    if broker.authenticate(&credential, None).await.is_ok() {
                        let_in.fetch_add(1, Ordering::Relaxed);
                        too_late.fetch_add(usize::from(was_over), Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        users
    }

    /// How often they were let in too late, of so many tries.
    async fn too_late(mut self) -> usize {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(self.let_in.load(Ordering::Relaxed) > 0, "before the end they were let in");
        self.tasks.shutdown().await;
        self.too_late.load(Ordering::Relaxed)
    }
}

/// While they ask, time stands still: whoever is ready goes first.
#[tokio::test(start_paused = true)]
async fn after_a_full_answer_nobody_is_let_in_anywhere() {
    let (world, role) = following(World::near().await).await;
    for round in 0..100 {
        let name = format!("endpoint {round}");
        let credential = session(&world, role, &name).await;
        let users = Users::of(&world, &credential);
        tokio::task::yield_now().await;
        assert_eq!(end(&world, round % 3, &name).await, FULL);
        users.is_over.store(true, Ordering::SeqCst);
        assert_eq!(accepting(&world, &credential).await, Vec::<usize>::new(), "round {round}");
        assert_eq!(users.too_late().await, 0, "round {round}");
    }
}

/// What lies between them delays, reorders, doubles and loses. Then not every answer is full, and those that are say the
/// truth.
#[tokio::test(start_paused = true)]
async fn whatever_lies_between_them_a_full_answer_is_true() {
    const ENOUGH: usize = 5;
    for seed in 1..=20 {
        let (world, role) = following(World::with_between(3, seed, Faults::MANY).await).await;
        let mut full = 0;
        for round in 0.. {
            assert!(round < 1_000, "seed {seed}: {full} of {round} answers were full");
            let name = format!("endpoint {round}");
            let credential = session(&world, role, &name).await;
            let confirmed = end(&world, round % 3, &name).await.unwrap();
            let accepting = accepting(&world, &credential).await;
            assert_eq!(confirmed.of, 3);
            assert!(accepting.len() + confirmed.by as usize <= 3, "seed {seed}: {confirmed}, but {accepting:?} accept");
            full += usize::from(confirmed.is_full());
            if full == ENOUGH {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_waited_for_a_quarter_of_a_second_and_accepts_for_a_second_at_most() {
    let (world, role) = following(World::apart(Duration::ZERO).await).await;
    let credential = session(&world, role, "alice").await;
    world.cut(0, 2);
    let since = Instant::now();
    assert_eq!(end(&world, 0, "alice").await, Some(Confirmed { by: 2, of: 3 }));
    assert!(since.elapsed() >= CONFIRMED_WITHIN, "{:?}", since.elapsed());
    let cut_off = accepting(&world, &credential).await;
    assert!(cut_off.is_empty() || cut_off == [2], "{cut_off:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(accepting(&world, &credential).await, Vec::<usize>::new());
    assert_eq!(world.nodes[0].broker.confirm_figures().unconfirmed.load(Ordering::Relaxed), 1);
    // Who is declared lost is not waited for, nor counted.
    let credential = session(&world, role, "bob").await;
    world.between.lose(world.nodes[2].bus.node());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(end(&world, 0, "bob").await, Some(Confirmed { by: 2, of: 2 }));
    assert!(!accepting(&world, &credential).await.contains(&1));
}

/// One is told at once and answers; what was ended meanwhile is told together.
#[tokio::test(start_paused = true)]
async fn a_thousand_ends_at_once_are_two_notices_to_each_node_and_two_back() {
    let mut world = World::near().await;
    for node in &world.nodes {
        node.broker.follow().await.unwrap();
    }
    let (asking, bus) = (world.asking(0).await, world.nodes[0].bus.clone());
    let broker = world.nodes[0].broker.clone();
    let looked = bus.looked.load(Ordering::SeqCst);
    let names: Vec<_> = (0..1_000).map(|number| format!("endpoint {number}")).collect();
    let ends = join_all(names.iter().map(|name| end_as(&broker, asking.asker().caller, name)));
    let all_asked = async {
        while bus.looked.load(Ordering::SeqCst) < looked + names.len() {
            tokio::task::yield_now().await;
        }
        world.follows(1);
        world.follows(2);
        loop {
            tokio::task::yield_now().await;
        }
    };
    let answers = tokio::select! {
        answers = ends => answers,
        never = all_asked => never,
    };
    assert!(answers.iter().all(|confirmed| *confirmed == FULL));
    let told = |node: usize| std::mem::take(&mut *world.nodes[node].bus.told.lock());
    let [b, c] = [1, 2].map(|node| world.nodes[node].node());
    let follow = |number| Notice::Follow { number };
    let mut by_a = told(0);
    by_a.sort_by_key(|(node, _)| *node);
    assert_eq!(by_a, [(b, follow(1)), (b, follow(1_000)), (c, follow(1)), (c, follow(1_000))]);
    for node in [1, 2] {
        let numbers: Vec<_> = told(node)
            .into_iter()
            .map(|(to, notice)| match notice {
                Notice::Followed { number, .. } if to == world.nodes[0].node() => number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(numbers, [1, 1_000]);
    }
}
