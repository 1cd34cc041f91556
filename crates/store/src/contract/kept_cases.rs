//! Cases about how much an app keeps of what its clients say, and what becomes of it when that is as much as it may.

use respoke_core::audit::Action;
use respoke_core::call_report::NewCallReport;
use respoke_core::clock::Timestamp;
use respoke_core::id::{EndpointId, GroupName, MessageId, PushTokenId};
use respoke_core::message::{Conversation, Kept, NewMessage, ReadMark, Said, SaidOnce};
use respoke_core::page::PageRequest;
use respoke_core::ports::{BanRecord, Banning, Keeping, Removal, Upkeep};
use respoke_core::push_token::{PushService, PushToken};
use respoke_core::secret::Secret;
use serde_json::value::RawValue;

use super::Fixture;
use super::fixture::{NOW, World, endpoint, entry, key};
use super::upkeep_cases::{upkeep_at, whole_pass};
use crate::crash::CrashPoint;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

fn json(len: usize) -> Box<RawValue> {
    RawValue::from_string(format!("\"{}\"", "é".repeat(len))).unwrap()
}

async fn say(world: &World, to: &str, from: &EndpointId, len: usize, bytes_max: u64) -> Keeping<Kept> {
    let said = NewMessage { app_id: world.app, group: group(to), sender: from.clone(), at: NOW, event: json(len) };
    world.store.append_message(said, bytes_max).await.unwrap()
}

async fn report(world: &World, from: Option<&EndpointId>, len: usize, millis: i64, bytes_max: u64) -> Keeping<()> {
    let (app_id, endpoint_id) = (world.app, from.cloned());
    let report = NewCallReport { app_id, endpoint_id, at: at(millis), report: json(len) };
    world.store.add_call_report(report, bytes_max).await.unwrap()
}

fn device(world: &World, of: &EndpointId, id: PushTokenId, text: &str) -> PushToken {
    let (app_id, endpoint_id, text) = (world.app, of.clone(), Secret::new(text.to_owned()));
    PushToken { id, app_id, endpoint_id, service: PushService::Google, text, seen_at: NOW }
}

async fn mark(world: &World, of: &EndpointId, name: &str, bytes_max: u64) -> Keeping<()> {
    let marks = vec![ReadMark { group: group(name), at: NOW }];
    world.store.mark_read(world.app, of, marks, NOW, bytes_max).await.unwrap()
}

async fn say_once(world: &World, said_with: &str, to: &str, from: &EndpointId) -> Said {
    let once = SaidOnce { app_id: world.app, key: key(said_with, to), id: MessageId::random() };
    let message = NewMessage { app_id: world.app, group: group(to), sender: from.clone(), at: NOW, event: json(50) };
    world.store.say_once(once, Some(message), NOW, u64::MAX).await.unwrap()
}

/// What an app keeps, which is what is there.
async fn kept(world: &World) -> u64 {
    let kept = world.store.kept_bytes(world.app).await.unwrap();
    assert_eq!(kept, world.store.recounted_bytes(world.app).await.unwrap());
    kept
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end).unwrap()
    }
}

pub(super) async fn what_is_kept_is_counted_whatever_comes_and_goes(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let other = World::with_app(world.store.clone(), world.account).await;
    assert_eq!(kept(&world).await, 0);
    let (mut chance, mut largest) = (Chance(7), 0);
    let ids: Vec<_> = (0..6).map(|_| PushTokenId::random()).collect();
    for step in 0..600 {
        let of = if chance.below(4) == 0 { &other } else { &world };
        let who = endpoint(["alice", "bob", "a name that is longer", "é"][chance.below(4)]);
        let name = format!("group {}", chance.below(5));
        match chance.below(16) {
            0..=4 => drop(say(of, &name, &who, chance.below(300), u64::MAX).await.kept().unwrap()),
            5 => mark(of, &who, &name, u64::MAX).await.kept().unwrap(),
            6 => {
                let from = (chance.below(2) == 0).then_some(&who);
                report(of, from, chance.below(300), step, u64::MAX).await.kept().unwrap();
            }
            // By its id, by its text, or by both in the place of two others.
            7 | 8 => {
                let token = device(of, &who, ids[chance.below(6)], &format!("text {}", chance.below(6)));
                of.store.put_push_token(token, u64::MAX).await.unwrap().kept().unwrap();
            }
            9 => drop(of.store.delete_push_token(of.app, ids[chance.below(6)], None).await.unwrap()),
            10 => drop(of.store.end_group(of.app, &group(&name)).await.unwrap()),
            // Said once, said again, and with a key that was another's: counted once.
            11 | 12 => drop(say_once(of, &format!("key {}", chance.below(9)), &name, &who).await),
            // Where nothing more fits, whatever it is.
            13 => {
                let full = kept(of).await;
                say(of, &name, &who, chance.below(300), full).await;
                mark(of, &who, &name, full).await;
                report(of, None, chance.below(300), step, full).await;
                let token = device(of, &who, ids[chance.below(6)], &"t".repeat(chance.below(40)));
                of.store.put_push_token(token, full).await.unwrap();
                assert!(kept(of).await <= full);
            }
            14 => {
                let ban =
                    BanRecord { endpoint_id: who, reason: String::new(), banned_at: NOW, until: BanRecord::FOREVER };
                assert_eq!(of.store.ban(of.app, ban, entry(Action::EndpointBanned)).await.unwrap(), Banning::Banned);
            }
            _ => {
                let few = Upkeep { messages_per_group_max: 3, call_reports_per_app_max: 2, ..upkeep_at(NOW) };
                whole_pass(of, few).await;
            }
        }
        largest = kept(&world).await.max(largest);
        kept(&other).await;
    }
    assert!(largest > 3_000, "{largest}");
    let both = kept(&world).await + kept(&other).await;
    assert_eq!(world.store.kept_bytes_of_all().await.unwrap(), both);

    // One who writes to ever more groups loses the marks of the first.
    for nth in 0..Conversation::PER_ENDPOINT_MAX + 5 {
        say(&world, &format!("of many {nth}"), &endpoint("bot"), 1, u64::MAX).await.kept().unwrap();
    }
    kept(&world).await;

    // By age all goes, and with an app that is deleted.
    let late = NOW.plus_secs(400 * 86_400);
    whole_pass(&other, Upkeep { push_tokens_before: late, ..upkeep_at(late) }).await;
    assert_eq!((kept(&world).await, kept(&other).await), (0, 0));
    for of in [&world, &other] {
        say(of, "room", &endpoint("alice"), 100, u64::MAX).await.kept().unwrap();
        mark(of, &endpoint("bob"), "room", u64::MAX).await.kept().unwrap();
        report(of, None, 9, 0, u64::MAX).await.kept().unwrap();
        say(of, "ended", &endpoint("alice"), 100, u64::MAX).await.kept().unwrap();
        assert_eq!(of.store.end_group(of.app, &group("ended")).await.unwrap(), Removal::Removed);
    }
    let left = kept(&other).await;
    assert_eq!(world.store.delete_app(world.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    assert_eq!(kept(&world).await, left, "what is there is counted until upkeep removes it");
    whole_pass(&other, upkeep_at(NOW)).await;
    assert_eq!(kept(&world).await, 0);
    assert!(kept(&other).await > 0);
}

/// Of what was under way when the server was killed, row and count are both there or neither.
pub(super) async fn what_is_kept_is_counted_across_crashes(fixture: impl Fixture) {
    let first = fixture.opened().await;
    let other = World::with_app(first.store.clone(), first.account).await;
    let (alice, id) = (endpoint("alice"), PushTokenId::random());
    let few = Upkeep { messages_per_group_max: 1, call_reports_per_app_max: 1, ..upkeep_at(NOW) };
    for name in ["room", "hall", "other"] {
        for _ in 0..3 {
            say(&first, name, &alice, 9, u64::MAX).await.kept().unwrap();
            report(&first, None, 9, 0, u64::MAX).await.kept().unwrap();
        }
    }
    say(&other, "room", &alice, 9, u64::MAX).await.kept().unwrap();
    first.store.close().await;
    for crash in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
        for change in 0..8 {
            let world = first.on(fixture.open(Some(crash)));
            let (store, app) = (&world.store, world.app);
            let message =
                || NewMessage { app_id: app, group: group("room"), sender: alice.clone(), at: NOW, event: json(9) };
            let once = SaidOnce {
                app_id: world.app,
                key: key(&format!("{change} {crash:?}"), "body"),
                id: MessageId::random(),
            };
            let reported = NewCallReport { app_id: app, endpoint_id: None, at: NOW, report: json(9) };
            let marks = vec![ReadMark { group: group("room"), at: NOW }];
            let answered = match change {
                0 => store.append_message(message(), u64::MAX).await.is_ok(),
                1 => store.say_once(once, Some(message()), NOW, u64::MAX).await.is_ok(),
                2 => store.mark_read(app, &endpoint(&format!("{crash:?}")), marks, NOW, u64::MAX).await.is_ok(),
                3 => store.add_call_report(reported, u64::MAX).await.is_ok(),
                4 => store.put_push_token(device(&world, &alice, id, "text"), u64::MAX).await.is_ok(),
                5 => store.delete_push_token(app, id, None).await.is_ok(),
                6 => store
                    .end_group(app, &group(if crash == CrashPoint::BeforeCommit { "room" } else { "hall" }))
                    .await
                    .is_ok(),
                _ => store.upkeep(few).await.is_ok(),
            };
            assert!(!answered, "{change} {crash:?}");
            drop(world);
            let world = first.on(fixture.open(None));
            kept(&world).await;
            kept(&other.on(world.store.clone())).await;
            world.store.close().await;
        }
    }
    let world = first.on(fixture.open(None));
    whole_pass(&world, few).await;
    kept(&world).await;
    assert_eq!(world.store.delete_app(world.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    whole_pass(&world, upkeep_at(NOW)).await;
    assert_eq!(kept(&world).await, 0);
    assert_eq!(world.store.kept_bytes_of_all().await.unwrap(), kept(&other.on(world.store.clone())).await);
}

pub(super) async fn an_app_keeps_no_more_than_it_may(fixture: impl Fixture) {
    const MAX: u64 = 40_000;
    let world = fixture.opened().await;
    let other = World::with_app(world.store.clone(), world.account).await;
    let (alice, id) = (endpoint("alice"), PushTokenId::random());
    let first = device(&world, &alice, id, "text");
    world.store.put_push_token(first, MAX).await.unwrap().kept().unwrap();
    let mut said = 0;
    while say(&world, "room", &alice, 300, MAX).await != Keeping::Full {
        said += 1;
        assert!(kept(&world).await <= MAX && said < 100);
    }
    assert!(said > 20, "{said}");
    let full = kept(&world).await;
    let history = world.store.history(world.app, &group("room"), None, 200).await.unwrap();
    assert_eq!(history.len(), said, "what was refused is not there");

    // Whatever else would be kept is refused as well, and nothing of it is there.
    assert_eq!(say(&world, "another", &alice, 300, MAX).await, Keeping::Full);
    let once = SaidOnce { app_id: world.app, key: key("once", "body"), id: MessageId::random() };
    let message =
        NewMessage { app_id: world.app, group: group("room"), sender: alice.clone(), at: NOW, event: json(300) };
    let say_once = |bytes_max| world.store.say_once(once.clone(), Some(message.clone()), NOW, bytes_max);
    assert_eq!(say_once(full).await.unwrap(), Said::Full);
    assert_eq!(report(&world, Some(&alice), 300, 0, full).await, Keeping::Full);
    assert!(world.store.call_reports(world.app, PageRequest::first()).await.unwrap().items.is_empty());
    let many = device(&world, &alice, PushTokenId::random(), &"x".repeat(600));
    assert_eq!(world.store.put_push_token(many, full).await.unwrap(), Keeping::Full);
    assert_eq!(mark(&world, &endpoint("bob"), "room", full).await, Keeping::Full);
    assert_eq!(kept(&world).await, full);

    // A device that is there is registered anew, and a mark that is there is moved. What becomes longer needs room.
    let longer = device(&world, &endpoint("bob"), id, &"text".repeat(100));
    assert_eq!(world.store.put_push_token(longer, full).await.unwrap(), Keeping::Full);
    assert_eq!(world.store.push_tokens(world.app, &alice).await.unwrap().len(), 1, "and takes no other's place");
    let renewed = device(&world, &endpoint("alexa"), id, "new!");
    assert_eq!(world.store.put_push_token(renewed, 0).await.unwrap(), Keeping::Kept(()));
    assert_eq!(mark(&world, &alice, "room", full).await, Keeping::Kept(()));
    // What was refused was not said, and can be repeated with its key once there is room.
    assert!(matches!(say_once(u64::MAX).await.unwrap(), Said::First(..)));
    assert_eq!(say_once(full).await.unwrap(), Said::Before(once.id));
    // Of several marks all are set or none.
    say(&world, "hall", &alice, 1, u64::MAX).await.kept().unwrap();
    let (before, carol) = (kept(&world).await, endpoint("carol"));
    mark(&world, &endpoint("dylan"), "hall", u64::MAX).await.kept().unwrap();
    let each = kept(&world).await - before;
    let before = before + each;
    let both = ["room", "hall"].map(|name| ReadMark { group: group(name), at: NOW }).to_vec();
    let set = |bytes_max| world.store.mark_read(world.app, &carol, both.clone(), NOW, bytes_max);
    assert_eq!(set(before + each + each / 2).await.unwrap(), Keeping::Full);
    assert_eq!(kept(&world).await, before);
    assert_eq!(set(before + 2 * each).await.unwrap(), Keeping::Kept(()));
    // It is no matter of another app, and there is room again once something went.
    assert!(matches!(say(&other, "room", &alice, 300, MAX).await, Keeping::Kept(_)));
    whole_pass(&world, Upkeep { messages_per_group_max: 5, ..upkeep_at(NOW) }).await;
    assert!(matches!(say(&world, "room", &alice, 300, MAX).await, Keeping::Kept(_)));
    assert_eq!(world.store.end_group(world.app, &group("room")).await.unwrap(), Removal::Removed);
    whole_pass(&world, upkeep_at(NOW)).await;
    assert!(kept(&world).await < full / 10);
}
