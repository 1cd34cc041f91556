//! The cases in which two handles on one database race, as two processes do: neither knows what the other remembers, and
//! whatever one of them counts or looks at before it writes may be changed by the other in between.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use respoke_core::admin::AdminRole;
use respoke_core::app::{Revocation, SecretRecord};
use respoke_core::audit::Action;
use respoke_core::call_report::NewCallReport;
use respoke_core::chance::of_this_test;
use respoke_core::grant::Lapse;
use respoke_core::id::{AccountId, AppId, GroupName, MessageId, PushTokenId, RoleId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::message::{NewMessage, Said, SaidOnce};
use respoke_core::page::PageRequest;
use respoke_core::ports::{
    APPS_PER_ACCOUNT_MAX, AdminAddition, AdminChange, AppRefusal, Beginning, EndRequest, EndScope, Factor,
    FactorAddition, FactorRemoval, Incarnation, Keeping, Lease, NewSession, Node, NodeId, ROLES_PER_APP_MAX,
    Redemption, SECRETS_PER_APP_MAX, ScopeEnding, SecretRefusal, SessionFilter, SetupSignIn,
};
use respoke_core::push_token::{PushService, PushToken};
use respoke_core::seal::Entropy;
use respoke_core::secret::Secret;
use respoke_core::token::{NewToken, Replaces};
use serde_json::value::RawValue;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Fixture;
use super::admin_cases::{add_factor, first_rows, holds, made, open, recovery};
use super::fixture::{
    NOW, World, endpoint, entry, key, new_admin, new_app, new_secret, new_session, not_created, opened, refused,
    some_at_once,
};

/// Rounds of a race that is won or lost within a few commits.
const ROUNDS: usize = 20;
/// Those who race on each handle.
const EACH: usize = 4;

/// One database behind two handles.
struct Both([World; 2]);

impl Both {
    async fn of(fixture: &impl Fixture) -> Self {
        let here = fixture.opened().await;
        let there = here.on(fixture.open(None));
        Self([here, there])
    }

    fn here(&self) -> &World {
        &self.0[0]
    }

    /// The same handles, with another world.
    fn with(&self, world: &World) -> Self {
        Self(self.0.each_ref().map(|handle| world.on(handle.store.clone())))
    }

    /// Lets [`EACH`] on each handle act at once. What came of it, in no order.
    async fn race<T, F>(&self, act: impl Fn(World, usize) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let barrier = Arc::new(Barrier::new(2 * EACH));
        let mut racers = JoinSet::new();
        for nth in 0..2 * EACH {
            let (barrier, acting) = (barrier.clone(), act(self.0[nth % 2].clone(), nth));
            racers.spawn(async move {
                barrier.wait().await;
                acting.await
            });
        }
        racers.join_all().await
    }

    /// The same, of which one may succeed and no more.
    async fn one_wins<F>(&self, act: impl Fn(World, usize) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let won = self.race(act).await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "of {} on two handles", 2 * EACH);
    }

    async fn close(self) {
        for world in self.0 {
            world.store.close().await;
        }
    }
}

pub(super) async fn one_of_two_handles_redeems(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        let token = both.0[round % 2].mint("alice").await;
        let redeem = |world: World, _| {
            let token = token.clone();
            async move { world.redeem(&token).await }
        };
        let outcomes = both.race(redeem).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|outcome| matches!(outcome, Redemption::Opened { .. }));
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|outcome| refused(outcome) == Lapse::Redeemed));
    }
    let here = both.here();
    let sessions = here.store.sessions(here.app, SessionFilter::default(), NOW, PageRequest::first()).await.unwrap();
    assert_eq!(sessions.items.len(), ROUNDS);
    both.close().await;
}

pub(super) async fn two_handles_give_no_number_twice(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let live = |world: World, nth| async move {
        let mut numbers = Vec::new();
        for round in 0..ROUNDS {
            // Some of them replace, which is a change.
            let token = world.token_for(&format!("endpoint {nth}"), NOW);
            let replaces = if round % 4 == 0 { Replaces::Tokens } else { Replaces::Nothing };
            let token = world.issue(token, replaces, None).await.unwrap();
            let (_, session) = opened(world.redeem(&token).await);
            assert_eq!(world.lapse_of(&session).await, None);
            numbers.push((token.number, session.number));
        }
        numbers
    };
    let (tokens, sessions): (Vec<_>, Vec<_>) = both.race(live).await.into_iter().flatten().unzip();
    for numbers in [tokens, sessions] {
        let different: BTreeSet<_> = numbers.iter().collect();
        assert_eq!((numbers.len(), different.len()), (2 * EACH * ROUNDS, 2 * EACH * ROUNDS));
    }
    both.close().await;
}

pub(super) async fn the_last_owner_stays_whoever_takes_the_others_away(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        let world = World::new(both.here().store.clone()).await;
        let mut owners = Vec::new();
        for nth in 0..2 * EACH {
            owners.push(made(&world, &format!("owner {round} {nth}")).await.id);
        }
        let both = both.with(&world);
        let go = |world: World, nth: usize| {
            let id = owners[nth];
            async move {
                if nth % 4 < 2 {
                    world.store.delete_admin(id, entry(Action::AdminDeleted)).await.unwrap()
                } else {
                    let role = AdminRole::Developer;
                    world.store.set_admin_role(id, role, entry(Action::AdminRoleChanged)).await.unwrap()
                }
            }
        };
        let outcomes = both.race(go).await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == AdminChange::LastOwner).count(), 1, "{outcomes:?}");
        let admins = world.store.admins().await.unwrap();
        let left = admins.iter().filter(|admin| admin.account_id == world.account && admin.role == AdminRole::Owner);
        assert_eq!(left.count(), 1);
    }
    both.close().await;
}

pub(super) async fn two_handles_give_a_name_once(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        both.one_wins(|world, _| async move {
            let admin = new_admin(world.account, &format!("jo {round}"));
            world.store.create_admin(admin, entry(Action::AdminCreated)).await.unwrap() == AdminAddition::Added
        })
        .await;
        both.one_wins(
            |world, _| async move { world.create_role(RoleId::random(), &format!("role {round}")).await.is_ok() },
        )
        .await;
        let id = RoleId::random();
        both.one_wins(|world, nth| async move { world.create_role(id, &format!("id {round} {nth}")).await.is_ok() })
            .await;
        let hash = new_secret(both.here().app).hash;
        both.one_wins(|world, _| async move {
            let secret = SecretRecord { hash, ..new_secret(world.app) };
            let created = world.store.create_secret(secret, None, None, entry(Action::SecretCreated)).await.unwrap();
            is_created(created, &SecretRefusal::Taken)
        })
        .await;
        // So that the next round finds room for one.
        let here = both.here();
        let secret = here.store.secret_by_hash(&hash).await.unwrap().unwrap();
        here.store
            .revoke_secret(here.app, secret.id, Revocation::EndsMinted, entry(Action::SecretRevoked))
            .await
            .unwrap()
            .unwrap();
    }
    both.close().await;
}

pub(super) async fn one_of_several_apps_takes_a_secret_over(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let here = both.here();
    let mut apps = Vec::new();
    for _ in 0..2 * EACH {
        apps.push(World::with_app(here.store.clone(), here.account).await.app);
    }
    for _ in 0..ROUNDS / 2 {
        let hash = new_secret(here.app).hash;
        both.one_wins(|world, nth| {
            let app = apps[nth];
            async move {
                let secret = SecretRecord { hash, ..new_secret(app) };
                let created = world.store.create_secret(secret, None, None, entry(Action::SecretCreated)).await;
                is_created(created.unwrap(), &SecretRefusal::Taken)
            }
        })
        .await;
        let made = here.store.secret_by_hash(&hash).await.unwrap().unwrap();
        let revoked = entry(Action::SecretRevoked);
        here.store.revoke_secret(made.app_id, made.id, Revocation::EndsMinted, revoked).await.unwrap().unwrap();
    }
    both.close().await;
}

pub(super) async fn two_handles_go_beyond_no_bound(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let here = both.here();
    // The app has a role and a secret, the account an app.
    let made = some_at_once(ROLES_PER_APP_MAX - 2, |nth| {
        let world = here.clone();
        async move { world.create_role(RoleId::random(), &format!("{nth}")).await.is_ok() }
    });
    assert!(made.await.into_iter().all(|made| made));
    let made = some_at_once(SECRETS_PER_APP_MAX - 2, |_| {
        let world = here.clone();
        async move { add_secret(&world).await }
    });
    assert!(made.await.into_iter().all(|made| made));
    let made = some_at_once(APPS_PER_ACCOUNT_MAX - 2, |_| {
        let world = here.clone();
        async move { add_app(&world).await }
    });
    assert!(made.await.into_iter().all(|made| made));
    both.one_wins(|world, nth| async move { world.create_role(RoleId::random(), &format!("new {nth}")).await.is_ok() })
        .await;
    both.one_wins(|world, _| async move { add_secret(&world).await }).await;
    both.one_wins(|world, _| async move { add_app(&world).await }).await;
    both.close().await;
}

/// Whether it was created; if not, for this reason.
fn is_created<T: Debug, R: Debug + PartialEq>(creation: Creation<T, R>, why_not: &R) -> bool {
    let is_created = matches!(creation, Creation::Created(_));
    if !is_created {
        assert_eq!(&not_created(creation), why_not);
    }
    is_created
}

async fn add_secret(world: &World) -> bool {
    let added = world.store.create_secret(new_secret(world.app), None, None, entry(Action::SecretCreated));
    is_created(added.await.unwrap(), &SecretRefusal::TooMany)
}

async fn add_app(world: &World) -> bool {
    let app = new_app(world.account);
    let secret = new_secret(app.id);
    let created = world.store.create_app(app, secret, None, entry(Action::AppCreated)).await.unwrap();
    is_created(created, &AppRefusal::TooMany)
}

/// Keeps a call report, whose like take as much as it does.
async fn report(world: &World, most: u64) -> bool {
    let report = RawValue::from_string("{}".to_owned()).unwrap();
    let report = NewCallReport { app_id: world.app, endpoint_id: None, at: NOW, report };
    matches!(world.store.add_call_report(report, most).await.unwrap(), Keeping::Kept(()))
}

pub(super) async fn two_handles_keep_no_more_than_an_app_may(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let here = both.here();
    let kept = async || here.store.kept_bytes(here.app).await.unwrap();
    assert!(report(here, u64::MAX).await);
    let each = kept().await;
    for _ in 0..ROUNDS {
        // Room for one, and not for two.
        let most = kept().await + each + each / 2;
        both.one_wins(|world, _| async move { report(&world, most).await }).await;
        assert!(kept().await <= most);
        assert_eq!(kept().await, here.store.recounted_bytes(here.app).await.unwrap());
    }
    both.race(|world, nth| async move {
        for number in 0..ROUNDS {
            let token = PushToken {
                app_id: world.app,
                id: PushTokenId::random(),
                endpoint_id: endpoint("alice"),
                text: Secret::new(format!("token {nth} {number}")),
                service: PushService::Google,
                seen_at: NOW,
            };
            world.store.put_push_token(token, u64::MAX).await.unwrap().kept().unwrap();
        }
    })
    .await;
    let tokens = here.store.push_tokens(here.app, &endpoint("alice")).await.unwrap();
    assert_eq!(tokens.len(), PushToken::PER_ENDPOINT_MAX);
    assert_eq!(kept().await, here.store.recounted_bytes(here.app).await.unwrap());
    both.close().await;
}

pub(super) async fn two_handles_say_one_thing_after_the_other(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let here = both.here();
    // All by one clock, whose hand does not move; and each says what it said last in its own group too.
    let said = both
        .race(|world, nth| async move {
            let mut said = Vec::new();
            for number in 0..ROUNDS {
                let event = format!(r#"{{"header":{{"timestamp":{}}},"message":"{nth} {number}"}}"#, NOW.millis());
                for group in [String::from("room"), format!("of {nth}")] {
                    let kept = NewMessage {
                        app_id: world.app,
                        group: GroupName::parse(&group).unwrap(),
                        sender: endpoint("alice"),
                        at: NOW,
                        event: RawValue::from_string(event.clone()).unwrap(),
                    };
                    let kept = world.store.append_message(kept, u64::MAX).await.unwrap().kept().unwrap();
                    if group == "room" {
                        said.push((kept.place.offset, kept.at, format!("{nth} {number}")));
                    }
                }
            }
            assert!(said.is_sorted(), "what is answered first is said first");
            said
        })
        .await;
    let mut said: Vec<_> = said.into_iter().flatten().collect();
    said.sort();
    let room = GroupName::parse("room").unwrap();
    let found = here.store.history(here.app, &room, None, 2 * EACH * ROUNDS).await.unwrap();
    let kept = here.store.messages(found).await.unwrap();
    let kept: Vec<_> = kept.into_iter().rev().map(Option::unwrap).collect();
    assert_eq!(kept.len(), said.len());
    for (nth, (kept, (offset, at, text))) in kept.iter().zip(&said).enumerate() {
        assert_eq!(*offset, nth as u64 + 1, "without a gap, in the order of their instants");
        let event: serde_json::Value = serde_json::from_str(kept.event.get()).unwrap();
        assert_eq!((kept.at, event["message"].as_str().unwrap()), (*at, text.as_str()));
        assert_eq!(kept.at.millis(), NOW.millis() + i64::try_from(nth).unwrap(), "one after the other");
        assert_eq!(event["header"]["timestamp"], kept.at.millis());
    }
    assert_eq!(here.store.kept_bytes(here.app).await.unwrap(), here.store.recounted_bytes(here.app).await.unwrap());
    both.close().await;
}

pub(super) async fn a_key_says_one_thing_on_two_handles(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        let said = both
            .race(|world, nth| async move {
                let id = MessageId::random();
                let once = SaidOnce { app_id: world.app, key: key(&format!("said {round}"), ""), id };
                let kept = NewMessage {
                    app_id: world.app,
                    // What waits for one group does not wait for another.
                    group: GroupName::parse(&format!("room {}", nth % 3)).unwrap(),
                    sender: endpoint("alice"),
                    at: NOW,
                    event: RawValue::from_string("{}".to_owned()).unwrap(),
                };
                // Of an app that is there all wait for each other, of none nobody does.
                let (once, kept) = if round % 2 == 0 {
                    (once, Some(kept))
                } else {
                    (SaidOnce { app_id: AppId::from_uuid(uuid::Uuid::max()), ..once }, None)
                };
                (id, world.store.say_once(once, kept, NOW, u64::MAX).await.unwrap())
            })
            .await;
        let first: Vec<_> = said.iter().filter(|(_, said)| matches!(said, Said::First(..))).collect();
        assert_eq!(first.len(), 1, "{said:?}");
        let (first, _) = first[0];
        let others = said.iter().filter(|(id, _)| id != first);
        assert!(others.clone().all(|(_, said)| *said == Said::Before(*first)), "{said:?}");
        assert_eq!(others.count(), 2 * EACH - 1);
    }
    both.close().await;
}

pub(super) async fn one_of_two_handles_takes_a_proof(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    let here = both.here();
    for round in 0..ROUNDS as u64 {
        let admin = made(here, &format!("owner {round}")).await;
        let hash = recovery(&format!("setup {round}"));
        here.store.put_setup_token(admin.id, hash, NOW.plus_secs(10)).await.unwrap();
        both.one_wins(|world, _| async move {
            let (entropy, audit) = (Entropy::random(), entry(Action::AdminSignedIn));
            let spent = world.store.spend_setup_token(hash, entropy, NOW.plus_secs(60), audit).await.unwrap();
            matches!(spent, SetupSignIn::SignedIn(_))
        })
        .await;
        let enrol = |world: World, _| {
            let admin = admin.clone();
            async move { add_factor(&world.store, &admin).await == FactorAddition::Added }
        };
        both.one_wins(enrol).await;
        for proof in [Factor::Step(200 + round), Factor::Recovery(recovery("one"))] {
            let sign_in = |world: World, _| {
                let admin = admin.clone();
                async move { open(&world.store, &admin, proof).await.is_some() }
            };
            both.one_wins(sign_in).await;
        }
        let remove = |world: World, _| {
            let id = admin.id;
            async move {
                let (proof, audit) = (Factor::Recovery(recovery("two")), entry(Action::SecondFactorRemoved));
                let removed = world.store.remove_second_factor(id, proof, audit).await.unwrap();
                removed == FactorRemoval::Removed
            }
        };
        both.one_wins(remove).await;
    }
    both.close().await;
}

pub(super) async fn a_key_makes_one_object_on_two_handles(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        let once = key(&format!("mint {round}"), "");
        let mint = |world: World, _| {
            let once = once.clone();
            async move {
                let entropy = IdempotencyKey::entropy(Some(&once), &*of_this_test());
                let token = NewToken { entropy, ..world.token_for("alice", NOW) };
                world.issue(token, Replaces::Nothing, Some(once)).await.unwrap()
            }
        };
        let mut minted = both.race(mint).await;
        let one = minted.pop().unwrap();
        for other in minted {
            assert_eq!((other.number, other.text.expose()), (one.number, one.text.expose()));
        }

        let once = key(&format!("redeem {round}"), "");
        let redeem = |world: World, _| {
            let (once, token) = (once.clone(), one.clone());
            async move {
                let session =
                    NewSession { entropy: IdempotencyKey::entropy(Some(&once), &*of_this_test()), ..new_session() };
                let (number, hash, audit) = (token.number, token.text.hash(), entry(Action::TokenRedeemed));
                opened(world.store.redeem(number, hash, session, Some(once), audit).await.unwrap())
            }
        };
        let mut sessions = both.race(redeem).await;
        let (text, session) = sessions.pop().unwrap();
        for (other_text, other) in sessions {
            assert_eq!((other.number, other_text.expose()), (session.number, text.expose()));
        }

        let once = key(&format!("role {round}"), "");
        let create = |world: World, _| {
            let once = once.clone();
            async move {
                let role = world.new_role(RoleId::random(), &format!("role {round}"));
                is_first(world.store.create_role(role, Some(once), entry(Action::RoleCreated)).await.unwrap())
            }
        };
        both.one_wins(create).await;

        // The text is derived from the key, so that all make the same one.
        let once = key(&format!("app {round}"), "");
        let hash = new_secret(both.here().app).hash;
        let create = |world: World, _| {
            let once = once.clone();
            async move {
                let app = new_app(world.account);
                let secret = SecretRecord { hash, ..new_secret(app.id) };
                is_first(world.store.create_app(app, secret, Some(once), entry(Action::AppCreated)).await.unwrap())
            }
        };
        both.one_wins(create).await;
    }

    let here = both.here();
    let mut rolled = here.secret;
    for round in 0..ROUNDS {
        let once = key(&format!("secret {round}"), "");
        let hash = new_secret(here.app).hash;
        // Every other one is made in the place of another.
        let rolls = (round % 2 == 1).then_some((rolled, NOW));
        let create = |world: World, _| {
            let once = once.clone();
            async move {
                let secret = SecretRecord { hash, ..new_secret(world.app) };
                let created = world.store.create_secret(secret, rolls, Some(once), entry(Action::SecretCreated));
                is_first(created.await.unwrap())
            }
        };
        both.one_wins(create).await;
        let made = here.store.secret_by_hash(&hash).await.unwrap().unwrap().id;
        if round % 2 == 0 {
            // So that the next round finds room for one.
            let revoked = entry(Action::SecretRevoked);
            here.store.revoke_secret(here.app, rolled, Revocation::EndsMinted, revoked).await.unwrap().unwrap();
        }
        rolled = made;
    }
    both.close().await;
}

/// Whether it was made by this request, and not by the same before.
fn is_first<T: Debug, R: Debug>(creation: Creation<T, R>) -> bool {
    match creation {
        Creation::Created(_) => true,
        Creation::Repeated(_) => false,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn one_of_two_handles_does_the_upkeep(fixture: impl Fixture) {
    // Longer than any case takes, and over at once.
    const LONG: Duration = Duration::from_secs(3_600);
    const OVER: Duration = Duration::ZERO;
    let both = Both::of(&fixture).await;
    let [here, there] = both.0.each_ref().map(|world| &world.store);
    let node = |id: usize, life| Node { id: NodeId(u32::try_from(id).unwrap()), incarnation: Incarnation(life) };
    for _ in 0..ROUNDS {
        both.one_wins(|world, nth| async move {
            let held = world.store.lease_upkeep(node(nth, 1), LONG).await.unwrap() == Lease::Held;
            // Who does not have it gives nothing back.
            world.store.give_upkeep_back(node(99, 1)).await.unwrap();
            held
        })
        .await;
        for nth in 0..2 * EACH {
            there.give_upkeep_back(node(nth, 1)).await.unwrap();
        }
    }
    let [one, other] = [node(1, 5), node(2, 5)];
    assert_eq!(here.lease_upkeep(one, LONG).await.unwrap(), Lease::Held);
    assert_eq!(there.lease_upkeep(other, LONG).await.unwrap(), Lease::OfAnother);
    assert_eq!(here.lease_upkeep(one, OVER).await.unwrap(), Lease::Held, "made as long again");
    // It was not made longer in time: its holder is gone.
    assert_eq!(there.lease_upkeep(other, LONG).await.unwrap(), Lease::Held);
    assert_eq!(here.lease_upkeep(one, LONG).await.unwrap(), Lease::OfAnother);
    both.close().await;
    let again = fixture.open(None);
    assert_eq!(again.lease_upkeep(one, LONG).await.unwrap(), Lease::OfAnother, "it outlives its process");
    // But not for the same node, which has begun anew.
    assert_eq!(again.lease_upkeep(node(2, 4), LONG).await.unwrap(), Lease::OfAnother, "an earlier life");
    assert_eq!(again.lease_upkeep(node(2, 6), LONG).await.unwrap(), Lease::Held);
}

pub(super) async fn what_was_there_before_an_end_is_over_on_both_handles(fixture: impl Fixture) {
    let both = Both::of(&fixture).await;
    for round in 0..ROUNDS {
        let scope = [EndScope::App, EndScope::Role(both.here().role), EndScope::Endpoint(endpoint("alice"))];
        let scope = scope[round % 3].clone();
        let live = |world: World, nth: usize| {
            let scope = scope.clone();
            async move {
                let waiting = world.mint("alice").await;
                let before = world.redeem(&waiting).await;
                if nth < 2 {
                    let order = EndRequest { app_id: world.app, scope, issued_before: None, tokens_too: true };
                    assert_eq!(
                        world.store.end_sessions(order, entry(Action::SessionsEnded)).await.unwrap(),
                        ScopeEnding::Ended
                    );
                }
                // Which may be ended by the other handle.
                let token = world.mint("alice").await;
                match before {
                    Redemption::Opened { session, .. } => (nth < 2).then_some((session, token.number)),
                    ended => {
                        assert_eq!(refused(&ended), Lapse::Revoked);
                        None
                    }
                }
            }
        };
        let ended = both.race(live).await;
        for (before, minted) in ended.into_iter().flatten() {
            for world in &both.0 {
                assert_eq!(world.lapse_of(&before).await, Some(Lapse::Revoked), "{scope:?}");
                let (token, ground) = world.store.token(minted).await.unwrap().unwrap();
                let lapse = token.lapse(&ground, NOW);
                assert!(matches!(lapse, None | Some(Lapse::Revoked)), "{lapse:?}");
            }
        }
        // All is quiet: what comes now stays.
        for (nth, world) in both.0.iter().enumerate() {
            let (_, after) = world.session_of("alice").await;
            assert_eq!(both.0[1 - nth].lapse_of(&after).await, None, "{scope:?}");
        }
    }
    both.close().await;
}

pub(super) async fn five_cold_starts_make_one_account(fixture: impl Fixture + Sync) {
    let starts = std::thread::scope(|threads| {
        let starts: Vec<_> = (0..5).map(|_| threads.spawn(|| fixture.open(None))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    let mut begun = JoinSet::new();
    for store in starts.clone() {
        begun.spawn(async move {
            let first = first_rows(AccountId::random());
            let began = store.begin(first.clone()).await.unwrap();
            (first, began == Beginning::Kept)
        });
    }
    let mut kept = 0;
    for (first, began) in begun.join_all().await {
        for store in &starts {
            assert_eq!(holds(store, &first).await, began);
        }
        kept += usize::from(began);
    }
    assert_eq!(kept, 1);
    for store in starts {
        assert_eq!(store.accounts().await.unwrap().len(), 1);
        store.close().await;
    }
}
