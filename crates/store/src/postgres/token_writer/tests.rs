//! What a batch does beside others, and what its operations see of each other.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::grant::Lapse;
use respoke_core::idempotency::Creation;
use respoke_core::ports::{MaintenanceStore as _, Redemption, SecretStore as _, SessionStore as _, Store, StoreError};
use respoke_core::token::{MintedToken, Replaces};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::batch;
use super::known::KnownGrounds;
use super::operation::{Mint, Operation, Outcome, Redeem, Touch};
use crate::contract::fixture::{NOW, World, entry, key, new_session, refused};
use crate::contract::postgres::{Postgres, there_is_a_server};
use crate::crash::Crash;
use crate::postgres::connect::params;
use crate::postgres::rows::stored;
use crate::postgres::store::PostgresStore;
use crate::postgres::writer::End;

/// Longer than a batch takes that waits for nobody, and shorter than a lock is waited for.
const AT_ONCE: Duration = Duration::from_millis(2_500);

fn mint(world: &World, name: &str, replaces: Replaces) -> Operation {
    Operation::Mint(Mint { token: world.token_for(name, NOW), replaces, once: None, entry: entry(Action::TokenIssued) })
}

fn redeem(token: &MintedToken, once: &str) -> Operation {
    Operation::Redeem(Redeem {
        number: token.number,
        hash: token.text.hash(),
        session: new_session(),
        once: Some(key(once, "")),
        entry: entry(Action::TokenRedeemed),
    })
}

async fn run(store: &PostgresStore, operations: &[Operation]) -> Vec<Outcome> {
    let operations: Vec<_> = operations.iter().collect();
    let connection = store.reader().await.unwrap();
    let end = End { crash: Crash::default(), figures: &store.figures };
    let known = KnownGrounds::default();
    let running = batch::run(&connection, &store.sealer, &known, end, &operations);
    let outcomes = timeout(AT_ONCE, running).await.expect("it waits for nobody").unwrap();
    outcomes.into_iter().map(|outcome| outcome.expect("nobody keeps it waiting")).collect()
}

/// Whoever ends a session or a secret has its row and then waits for the feed, which a batch with changes has.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_noted_unless_another_has_it() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, other) = (fixture.store().await, fixture.store().await);
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let other_app = World::with_app(store.clone(), world.account).await;
    let (_, ended) = world.session_of("alice").await;
    let (_, goes_on) = world.session_of("bob").await;

    let ending = other.begin().await.unwrap();
    let sql = "SELECT 1 FROM respoked.sessions WHERE number = $1 FOR NO KEY UPDATE";
    ending.query(sql, params![stored(ended.number)]).await.unwrap();
    let sql = "SELECT 1 FROM respoked.secrets WHERE id = $1 FOR NO KEY UPDATE";
    ending.query(sql, params![world.secret.uuid()]).await.unwrap();

    let late = NOW.plus_secs(90);
    let touch = |number| Operation::Touch(Touch::Session { number, at: late, address: "192.0.2.9".into() });
    let used = |of: &World| Operation::Touch(Touch::Secret { id: of.secret, at: late });
    let outcomes = run(
        &store,
        &[
            mint(&other_app, "alice", Replaces::TokensAndSessions),
            touch(ended.number),
            touch(goes_on.number),
            used(&world),
            used(&other_app),
        ],
    )
    .await;
    assert!(matches!(outcomes[0], Outcome::Mint(Creation::Created(_))));
    drop(ending);
    let seen = async |number| store.session(number).await.unwrap().unwrap().0.last_seen_at;
    assert_eq!((seen(ended.number).await, seen(goes_on.number).await), (NOW, late));
    let last_used = async |of: &World| store.secrets(of.app).await.unwrap()[0].last_used_at;
    assert_eq!((last_used(&world).await, last_used(&other_app).await), (None, Some(late)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_counted_and_what_was_refused_is_not() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = fixture.store().await;
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let token = world.mint("alice").await;
    let before = store.figures();
    let forged = MintedToken { text: world.mint("bob").await.text, ..token.clone() };
    run(&store, &[redeem(&token, "once"), mint(&world, "alice", Replaces::Nothing), redeem(&token, "once")]).await;
    let with_three = store.figures();
    assert_eq!((with_three.commits - before.commits, with_three.operations - before.operations), (2, 4));
    assert_eq!(with_three.commit_sizes[2] - before.commit_sizes[2], 1, "one of at most four");
    run(&store, &[redeem(&forged, "other")]).await;
    assert_eq!(store.figures().commits, with_three.commits, "nothing was written");
    assert!(with_three.commit_micros > before.commit_micros && with_three.bytes.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_is_not_repeated_once_its_session_is_over_in_the_same_batch() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let store = fixture.store().await;
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let token = world.mint("alice").await;
    let outcomes = run(
        &store,
        &[
            redeem(&token, "once"),
            redeem(&token, "once"),
            mint(&world, "alice", Replaces::Tokens),
            redeem(&token, "once"),
            mint(&world, "alice", Replaces::TokensAndSessions),
            redeem(&token, "once"),
        ],
    )
    .await;
    let of = |nth: usize| match &outcomes[nth] {
        Outcome::Redeem(redemption) => redemption,
        Outcome::Mint(_) | Outcome::Touched => panic!("no redemption"),
    };
    for nth in [0, 1, 3] {
        assert!(matches!(of(nth), Redemption::Opened { .. }), "{nth}: {:?}", of(nth));
    }
    assert_eq!(refused(of(5)), Lapse::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_mints_of_an_app_keeps_nothing_else_waiting() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, other) = (fixture.store().await, fixture.store().await);
    let held = World::new(store.clone() as Arc<dyn Store>).await;
    let free = World::with_app(store.clone(), held.account).await;
    let token = held.mint("alice").await;
    // As whoever deletes the app, and then stands still.
    let holding = other.begin().await.unwrap();
    holding.hold_mints(held.app).await.unwrap();

    let mut waiting = JoinSet::new();
    for nth in 0..20 {
        let world = held.clone();
        waiting.spawn(async move { world.mint(&format!("bob {nth}")).await });
    }
    for nth in 0..50 {
        let minted = timeout(AT_ONCE, free.mint(&format!("carol {nth}"))).await.expect("another app waits for nobody");
        let redeemed = timeout(AT_ONCE, free.redeem(&minted)).await.expect("nor do redemptions");
        assert!(matches!(redeemed, Redemption::Opened { .. }));
    }
    let redeemed = timeout(AT_ONCE, held.redeem(&token)).await.expect("not even those of the app");
    assert!(matches!(redeemed, Redemption::Opened { .. }));
    assert!(waiting.try_join_next().is_none(), "they wait");

    other.commit(&holding).await.unwrap();
    let minted = timeout(AT_ONCE, waiting.join_all()).await.expect("they go on");
    assert_eq!(minted.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_the_mints_of_an_app_hears_so() {
    if !there_is_a_server() {
        return;
    }
    let fixture = Postgres::default();
    let (store, other) = (fixture.store().await, fixture.store().await);
    let world = World::new(store.clone() as Arc<dyn Store>).await;
    let holding = other.begin().await.unwrap();
    holding.hold_mints(world.app).await.unwrap();
    let refused = world.issue(world.token_for("alice", NOW), Replaces::Nothing, None).await;
    assert!(matches!(refused, Err(StoreError::Overloaded)), "{refused:?}");
    // None is forgotten when the store is closed.
    let (minting, ()) = tokio::join!(
        biased;
        world.issue(world.token_for("alice", NOW), Replaces::Nothing, None),
        async {
            tokio::join!(store.close(), async { other.commit(&holding).await.unwrap() });
        },
    );
    minting.unwrap();
}
