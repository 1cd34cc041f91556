//! What a batch does beside others, and what its operations see of each other.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::audit::Action;
use respoke_core::grant::Lapse;
use respoke_core::idempotency::Creation;
use respoke_core::ports::{Redemption, SecretStore as _, SessionStore as _, Store};
use respoke_core::token::{MintedToken, Replaces};
use tokio::time::timeout;

use super::batch;
use super::operation::{Mint, Operation, Outcome, Redeem, Touch};
use crate::contract::fixture::{NOW, World, entry, key, new_session, refused};
use crate::contract::postgres::{Postgres, there_is_a_server};
use crate::crash::Crash;
use crate::postgres::connect::params;
use crate::postgres::rows::stored;
use crate::postgres::store::PostgresStore;

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
    let running = batch::run(&connection, &store.sealer, Crash::default(), &operations);
    timeout(AT_ONCE, running).await.expect("it waits for nobody").unwrap()
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
