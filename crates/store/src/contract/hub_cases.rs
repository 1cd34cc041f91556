//! The cases about groups: their messages, and how far they were read.

use respoke_core::audit::Action;
use respoke_core::call_report::NewCallReport;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, GroupName, MessageId};
use respoke_core::idempotency::REMEMBERED_SECS;
use respoke_core::message::{
    Conversation, Conversations, HISTORY_BYTES_MAX, MessageRef, NewMessage, ReadMark, Said, SaidOnce, StoredMessage,
};
use respoke_core::page::PageRequest;
use respoke_core::ports::{Keeping, Removal, Upkeep};
use respoke_core::push_token::PushToken;
use serde_json::value::RawValue;

use super::Fixture;
use super::device_cases::{push_token, report, texts};
use super::fixture::{NOW, World, endpoint, entry, key};
use super::upkeep_cases::{upkeep_at, whole_pass};
use crate::crash::CrashPoint;

pub(super) fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// [`NOW`] and `millis` on.
pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

pub(super) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(super) fn message(world: &World, to: &str, from: &str, when: Timestamp) -> NewMessage {
    let (said, millis) = (when.millis() - NOW.millis(), when.millis());
    let event = json(&format!(r#"{{"header":{{"from":"{from}","timestamp":{millis}}},"message":{said}}}"#));
    NewMessage { app_id: world.app, group: group(to), sender: endpoint(from), at: when, event }
}

pub(super) async fn say(world: &World, to: &str, from: &str, millis: i64) {
    let kept = world.store.append_message(message(world, to, from, at(millis)), u64::MAX).await.unwrap();
    assert_eq!(kept.map(|kept| kept.at), Keeping::Kept(at(millis)));
}

/// What was said, by the number that [`say`] puts in.
pub(super) fn said(messages: &[StoredMessage]) -> Vec<i64> {
    let number = |message: &StoredMessage| {
        let event: serde_json::Value = serde_json::from_str(message.event.get()).unwrap();
        let said = event["message"].as_i64().unwrap();
        assert_eq!(message.at, at(said));
        said
    };
    messages.iter().map(number).collect()
}

pub(super) async fn history(world: &World, of: &str, before: Option<i64>, limit: usize) -> Vec<i64> {
    let found = world.store.history(world.app, &group(of), before.map(at), limit).await.unwrap();
    said(&messages(world, found).await)
}

/// Reads what was found, all of which is kept and as long as it was said to be.
async fn messages(world: &World, found: Vec<MessageRef>) -> Vec<StoredMessage> {
    let read = world.store.messages(found.clone()).await.unwrap();
    let read: Vec<_> = read.into_iter().map(Option::unwrap).collect();
    for (message, place) in read.iter().zip(&found) {
        assert_eq!((message.at, message.event.get().len()), (place.at, place.len));
    }
    assert_eq!(read.len(), found.len());
    read
}

/// The newest messages of many groups.
async fn latest(world: &World, groups: Vec<GroupName>, limit: usize) -> Vec<(GroupName, Vec<StoredMessage>)> {
    let mut latest = Vec::new();
    for (group, found) in world.store.latest(world.app, groups, limit).await.unwrap() {
        latest.push((group, messages(world, found).await));
    }
    latest
}

async fn found(world: &World, of: &str, joined: &[&str]) -> Conversations {
    let joined = joined.iter().map(|name| group(name)).collect();
    world.store.conversations(world.app, &endpoint(of), joined).await.unwrap()
}

async fn conversations(world: &World, of: &str, joined: &[&str]) -> Vec<Conversation> {
    found(world, of, joined).await.list
}

/// Group and unread messages of each.
async fn unread(world: &World, of: &str, joined: &[&str]) -> Vec<(String, usize)> {
    let list = conversations(world, of, joined).await;
    list.into_iter().map(|conversation| (conversation.group.to_string(), conversation.unread)).collect()
}

fn counted(list: &[(&str, usize)]) -> Vec<(String, usize)> {
    list.iter().map(|(name, unread)| ((*name).to_owned(), *unread)).collect()
}

async fn mark(world: &World, of: &str, name: &str, millis: i64) {
    let marks = vec![ReadMark { group: group(name), at: at(millis) }];
    world.store.mark_read(world.app, &endpoint(of), marks, NOW, u64::MAX).await.unwrap().kept().unwrap();
}

pub(super) async fn history_is_told_newest_first_and_in_pages(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in 0..25 {
        say(&world, "room", "alice", millis).await;
        say(&world, "other", "alice", millis).await;
    }
    assert_eq!(history(&world, "room", None, 3).await, [24, 23, 22]);
    assert_eq!(history(&world, "room", Some(22), 3).await, [21, 20, 19], "`before` itself is left out");
    assert_eq!(history(&world, "room", Some(2), 200).await, [1, 0]);
    assert!(history(&world, "room", Some(0), 200).await.is_empty());
    assert!(history(&world, "nowhere", None, 200).await.is_empty());
}

/// Says something by a clock that shows `millis`, and returns as of which instant it was kept and pushed.
async fn say_at(world: &World, to: &str, from: &str, millis: i64) -> i64 {
    let kept =
        world.store.append_message(message(world, to, from, at(millis)), u64::MAX).await.unwrap().kept().unwrap();
    kept.at.millis() - NOW.millis()
}

pub(super) async fn what_is_said_last_is_the_newest_whatever_the_clock_does(fixture: impl Fixture) {
    const HOUR: i64 = 3_600_000;
    let mut world = fixture.opened().await;
    // The clock steps back by two seconds, and by an hour; and two are of one millisecond.
    let clock = [100, 100 - 2_000, 100 - HOUR, 100 - HOUR, 101 - HOUR, 50];
    let mut kept = Vec::new();
    for (nth, millis) in clock.into_iter().enumerate() {
        kept.push(say_at(&world, "room", "alice", millis).await);
        let newest = latest(&world, vec![group("room")], 1).await.remove(0).1.remove(0);
        let conversation = conversations(&world, "bob", &["room"]).await.remove(0);
        for found in [&newest, &conversation.latest] {
            let event: serde_json::Value = serde_json::from_str(found.event.get()).unwrap();
            assert_eq!((event["message"].as_i64(), found.at), (Some(millis), at(kept[nth])));
            assert_eq!(event["header"]["timestamp"], found.at.millis(), "the event tells the instant it is kept as of");
        }
        assert_eq!(conversation.unread, 1, "it is later than what was read of the group");
        // Whatever the reader's clock shows.
        mark(&world, "bob", "room", [kept[nth], HOUR][nth % 2]).await;
        assert_eq!(unread(&world, "bob", &[]).await, counted(&[("room", 0)]));
        if nth % 2 == 1 {
            world.store.close().await;
            world = world.on(fixture.open(None));
        }
    }
    assert_eq!(kept, [100, 101, 102, 103, 104, 105]);
    let found = world.store.history(world.app, &group("room"), Some(at(104)), 2).await.unwrap();
    assert_eq!(found.iter().map(|message| message.at).collect::<Vec<_>>(), [at(103), at(102)]);
    // Of two groups that of which something was said last is the first.
    assert_eq!(say_at(&world, "hall", "alice", -HOUR).await, -HOUR);
    assert_eq!(unread(&world, "bob", &["hall"]).await, counted(&[("hall", 1), ("room", 0)]));
    assert_eq!(say_at(&world, "room", "alice", 1_000).await, 1_000, "a clock that caught up is believed");
}

pub(super) async fn what_one_said_oneself_is_not_unread(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let unread_of = async |name: &str| unread(&world, name, &["room"]).await.remove(0).1;
    for millis in 0..1_500 {
        say(&world, "room", "alice", millis).await;
    }
    assert_eq!((unread_of("alice").await, unread_of("bob").await), (0, Conversation::UNREAD_MAX));
    say(&world, "room", "bob", 1_500).await;
    say(&world, "room", "alice", 1_501).await;
    assert_eq!((unread_of("alice").await, unread_of("bob").await), (1, Conversation::UNREAD_MAX));
    mark(&world, "bob", "room", 1_499).await;
    assert_eq!((unread_of("alice").await, unread_of("bob").await), (1, 1), "writing is not reading");
}

pub(super) async fn an_ended_group_is_gone_and_another_of_its_name_is_new(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let other = World::with_app(world.store.clone(), world.account).await;
    for of in [&world, &other] {
        for millis in 0..300 {
            say(of, "room", "alice", millis).await;
        }
        say(of, "hall", "alice", 1).await;
        mark(of, "bob", "room", 299).await;
    }
    let found = world.store.history(world.app, &group("room"), None, 10).await.unwrap();
    assert!(!found.is_empty());
    let end = async |name: &str| world.store.end_group(world.app, &group(name)).await.unwrap();
    assert_eq!(end("room").await, Removal::Removed);
    assert_eq!((end("room").await, end("nowhere").await), (Removal::Unknown, Removal::Unknown));
    let is_gone = async |world: &World| {
        assert!(history(world, "room", None, 10).await.is_empty());
        assert!(world.store.latest(world.app, vec![group("room")], 9).await.unwrap()[0].1.is_empty());
        assert_eq!(unread(world, "alice", &["room"]).await, counted(&[("hall", 0)]));
        assert_eq!(unread(world, "bob", &["room"]).await, []);
    };
    is_gone(&world).await;
    world.store.close().await;
    let (world, other) = (world.on(fixture.open(None)), other.on(fixture.open(None)));
    is_gone(&world).await;
    // Another of that name, by a clock that was set back, knows nothing of the marks of the one before.
    say(&world, "room", "carol", 5).await;
    assert_eq!(history(&world, "room", None, 10).await, [5]);
    assert_eq!(unread(&world, "bob", &["room"]).await, counted(&[("room", 1)]));
    // The messages, the marks of two, and the note that it was ended.
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await.0, 300 + 2 + 1);
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await.0, 0);
    assert_eq!(history(&world, "room", None, 10).await, [5]);
    assert_eq!(history(&other, "room", None, 200).await.len(), 200, "that of another app goes on");
    let read = world.store.messages(found).await.unwrap();
    assert!(read.iter().all(Option::is_none), "who found them before reads none of them, nor others in their places");
    assert_eq!(unread(&other, "bob", &[]).await, counted(&[("room", 0)]));
}

pub(super) async fn a_group_may_have_any_name(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let names = ["\0", "a\0b", "a\0c", "a", "ä\u{10ffff}", "a\r\n' \\ \" {} $1 ?1 %"];
    for (name, millis) in names.iter().zip(0..) {
        say(&world, name, "alice", millis).await;
    }
    for (name, millis) in names.iter().zip(0..) {
        assert_eq!(history(&world, name, None, 10).await, [millis], "{name:?}");
    }
    let newest_first: Vec<_> = names.iter().rev().map(|name| (*name, 1)).collect();
    assert_eq!(unread(&world, "bob", &names).await, counted(&newest_first));
    let found = latest(&world, names.map(group).to_vec(), 1).await;
    assert_eq!(found.iter().map(|(group, _)| group.as_str()).collect::<Vec<_>>(), names);
    mark(&world, "bob", "a\0b", 1).await;
    assert_eq!(unread(&world, "bob", &[]).await, counted(&[("a\0b", 0)]));
    assert_eq!(world.store.end_group(world.app, &group("a\0b")).await.unwrap(), Removal::Removed);
    assert!(history(&world, "a\0b", None, 10).await.is_empty());
    assert_eq!(history(&world, "a\0c", None, 10).await, [2]);
}

/// Says something of `bytes` at each of these instants.
async fn say_much(world: &World, to: &str, bytes: usize, instants: &[i64]) {
    for millis in instants {
        let mut much = message(world, to, "alice", at(*millis));
        let padding = "x".repeat(bytes - r#"{"message":1,"padding":""}"#.len());
        much.event = json(&format!(r#"{{"message":{millis},"padding":"{padding}"}}"#));
        let kept = world.store.append_message(much, u64::MAX).await.unwrap();
        assert_eq!(kept.map(|kept| kept.at), Keeping::Kept(at(*millis)));
    }
}

pub(super) async fn an_answer_holds_only_so_many_bytes(fixture: impl Fixture) {
    const FIFTH: usize = HISTORY_BYTES_MAX / 5;
    let world = fixture.opened().await;
    say_much(&world, "room", FIFTH, &[1, 2, 3, 4, 5, 6, 7]).await;
    assert_eq!(history(&world, "room", None, 200).await, [7, 6, 5, 4, 3]);
    assert_eq!(history(&world, "room", Some(3), 200).await, [2, 1], "the next page goes on");
    assert_eq!(history(&world, "room", None, 2).await, [7, 6]);
    // A search shares them out, and has the newest of each group.
    say_much(&world, "vast", HISTORY_BYTES_MAX * 2, &[1, 2]).await;
    let groups = ["room", "vast", "nowhere"].map(group).to_vec();
    let found = latest(&world, groups, 50).await;
    let found: Vec<_> = found.iter().map(|(_, messages)| said(messages)).collect();
    assert_eq!(found, [vec![7], vec![]], "what no longer fits is left out");
    let found = latest(&world, ["vast", "nowhere", "room"].map(group).to_vec(), 50).await;
    let found: Vec<_> = found.iter().map(|(group, messages)| (group.as_str(), said(messages))).collect();
    assert_eq!(found, [("vast", vec![2]), ("nowhere", vec![])], "what comes first comes in any case");
    let found = latest(&world, vec![group("room")], 50).await;
    assert_eq!(said(&found[0].1), [7, 6, 5, 4, 3]);
}

pub(super) async fn so_many_groups_are_told_as_are_one_answer(fixture: impl Fixture) {
    const LONGEST: usize = 20_000;
    let world = fixture.opened().await;
    let mut groups: Vec<_> = (0..60).map(|number| group(&format!("room {number}"))).collect();
    for group in &groups {
        say_much(&world, group.as_str(), LONGEST, &[1]).await;
    }
    let mut rounds = 0;
    while !groups.is_empty() {
        let found = latest(&world, groups.clone(), 1).await;
        let bytes = found.iter().flat_map(|(_, messages)| messages).map(|message| message.event.get().len());
        assert!(bytes.sum::<usize>() <= HISTORY_BYTES_MAX);
        assert_eq!(found.len(), groups.len().min(HISTORY_BYTES_MAX / LONGEST));
        groups.retain(|group| !found.iter().any(|(told, _)| told == group));
        rounds += 1;
    }
    assert_eq!(rounds, 2, "those left out are told when asked for again");
}

pub(super) async fn the_newest_of_many_groups_are_found(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in [1, 2, 3] {
        say(&world, "a", "alice", millis).await;
    }
    say(&world, "b", "alice", 7).await;
    let groups = vec![group("b"), group("empty"), group("a")];
    let found = latest(&world, groups, 2).await;
    let found: Vec<_> = found.iter().map(|(group, messages)| (group.as_str(), said(messages))).collect();
    assert_eq!(found, [("b", vec![7]), ("empty", vec![]), ("a", vec![3, 2])]);
}

pub(super) async fn a_message_survives_a_reopening_once_it_was_taken(fixture: impl Fixture) {
    let world = fixture.opened().await;
    say(&world, "room", "alice", 1).await;
    world.store.close().await;
    let world = world.on(fixture.open(None));
    assert_eq!(history(&world, "room", None, 10).await, [1]);

    let crashing = fixture.open(Some(CrashPoint::AfterCommit));
    assert!(crashing.append_message(message(&world, "room", "alice", at(2)), u64::MAX).await.is_err());
    assert_eq!(history(&world, "room", None, 10).await, [2, 1]);
}

fn once(text: &str, body: &str) -> SaidOnce {
    SaidOnce { app_id: AppId::from_uuid(uuid::Uuid::max()), key: key(text, body), id: MessageId::random() }
}

pub(super) async fn a_message_with_a_key_is_said_once(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let kept = |millis| Some(message(&world, "room", "alice", at(millis)));
    let say = |once: &SaidOnce, kept| world.store.say_once(once.clone(), kept, NOW, u64::MAX);
    // Two at once, as a client sends that did not wait for the first answer.
    let (one, other) = (once("kept", "body"), once("kept", "body"));
    let (first, second) = tokio::join!(say(&one, kept(1)), say(&other, kept(1)));
    let said = [first.unwrap(), second.unwrap()];
    let winner = match said {
        [Said::First(kept, Some(_)), Said::Before(id)] if kept == at(1) => (id, one.id),
        [Said::Before(id), Said::First(kept, Some(_))] if kept == at(1) => (id, other.id),
        said => panic!("{said:?}"),
    };
    assert_eq!(winner.0, winner.1, "both name the one that was said");
    assert_eq!(history(&world, "room", None, 10).await, [1]);
    assert_eq!(say(&once("kept", "another body"), kept(2)).await.unwrap(), Said::KeyReused);
    assert_eq!(say(&once("kept", "body"), None).await.unwrap(), Said::Before(winner.0));
    assert_eq!(history(&world, "room", None, 10).await, [1]);

    // The same of one that is not kept, and over a restart.
    let passing = once("passing", "body");
    assert_eq!(say(&passing, None).await.unwrap(), Said::First(NOW, None));
    world.store.close().await;
    let world = world.on(fixture.open(None));
    let say = |once: &SaidOnce, kept, now| world.store.say_once(once.clone(), kept, now, u64::MAX);
    let kept = |millis| Some(message(&world, "room", "alice", at(millis)));
    assert_eq!(say(&once("passing", "body"), kept(3), NOW).await.unwrap(), Said::Before(passing.id));
    assert_eq!(say(&once("passing", "other"), None, NOW).await.unwrap(), Said::KeyReused);
    assert_eq!(say(&once("kept", "body"), kept(3), NOW).await.unwrap(), Said::Before(winner.0));
    assert_eq!(history(&world, "room", None, 10).await, [1]);

    // Where nothing could be kept the key is free.
    let doomed = World { app: AppId::random(), ..world.clone() };
    let nowhere = Some(message(&doomed, "room", "alice", NOW));
    assert_eq!(say(&once("nowhere", "body"), nowhere, NOW).await.unwrap(), Said::NoApp);
    let said = say(&once("nowhere", "body"), kept(4), NOW).await.unwrap();
    assert!(matches!(said, Said::First(when, Some(place)) if when == at(4) && place.offset == 2), "{said:?}");

    // A day later none is remembered.
    let tomorrow = NOW.plus_secs(REMEMBERED_SECS + 1);
    let upkeep = Upkeep { keys_before: NOW.plus_secs(1), ..upkeep_at(NOW) };
    assert_eq!(whole_pass(&world, upkeep).await.0, 3);
    assert_eq!(say(&once("passing", "other"), None, tomorrow).await.unwrap(), Said::First(tomorrow, None));
}

pub(super) async fn a_message_that_was_not_committed_is_not_there(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let crashing = fixture.open(Some(CrashPoint::BeforeCommit));
    assert!(crashing.append_message(message(&world, "room", "alice", at(1)), u64::MAX).await.is_err());
    assert!(history(&world, "room", None, 10).await.is_empty());
    assert!(unread(&world, "alice", &["room"]).await.is_empty());
}

pub(super) async fn conversations_are_those_written_to_marked_or_joined(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in [1, 2, 3] {
        say(&world, "room", "alice", millis).await;
    }
    say(&world, "hall", "bob", 9).await;
    assert_eq!(unread(&world, "alice", &[]).await, counted(&[("room", 0)]), "one knows what one said");
    assert_eq!(unread(&world, "carol", &[]).await, []);
    let joined = ["room", "hall", "empty", "room"];
    assert_eq!(unread(&world, "carol", &joined).await, counted(&[("hall", 1), ("room", 3)]), "the newest first");
    mark(&world, "carol", "room", 2).await;
    assert_eq!(unread(&world, "carol", &[]).await, counted(&[("room", 1)]), "joined no longer, but marked");
    assert_eq!(unread(&world, "carol", &["room"]).await, counted(&[("room", 1)]), "once, whatever it is by");
    mark(&world, "carol", "empty", 2).await;
    assert_eq!(unread(&world, "carol", &["empty"]).await, counted(&[("room", 1)]), "nothing is kept of it");

    let found = found(&world, "carol", &["hall"]).await;
    assert_eq!(found.looked_at, 2, "one message in each, after the marks");
    let list = found.list;
    assert_eq!((list[0].sender.as_str(), said(&[list[0].latest.clone()])), ("bob", vec![9]));
}

pub(super) async fn a_mark_moves_only_forward(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in [1, 2, 3, 4] {
        say(&world, "room", "alice", millis).await;
    }
    for (millis, left) in [(3, 1), (1, 1), (0, 1), (4, 0), (2, 0)] {
        mark(&world, "bob", "room", millis).await;
        assert_eq!(unread(&world, "bob", &[]).await, counted(&[("room", left)]));
    }
    say(&world, "room", "alice", 5).await;
    assert_eq!(unread(&world, "bob", &[]).await, counted(&[("room", 1)]));
    say(&world, "room", "bob", 6).await;
    assert_eq!(unread(&world, "bob", &[]).await, counted(&[("room", 1)]), "writing is not reading");
}

pub(super) async fn an_endpoint_has_only_so_many_conversations(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let names: Vec<_> = (0..Conversation::PER_ENDPOINT_MAX + 2).map(|number| format!("group {number}")).collect();
    for (name, millis) in names.iter().zip(0..) {
        say(&world, name, "bot", millis).await;
    }
    let marks = names.iter().map(|name| ReadMark { group: group(name), at: at(1_000_000) }).collect();
    world.store.mark_read(world.app, &endpoint("reader"), marks, NOW, u64::MAX).await.unwrap().kept().unwrap();
    // Some of the oldest and of the younger groups, to the front of every list that has them.
    for name in [&names[0], &names[1], &names[200], &names[201]] {
        say(&world, name, "alice", 2_000_000).await;
    }
    for (name, unread_messages) in [("bot", 1), ("reader", 1)] {
        let list = unread(&world, name, &[]).await;
        assert_eq!(list.len(), Conversation::LIST_MAX, "a list is bounded");
        assert_eq!(list[..2], counted(&[("group 201", unread_messages), ("group 200", unread_messages)]));
        assert!(list.iter().all(|(name, _)| *name != names[0] && *name != names[1]), "{list:?}");
    }
}

pub(super) async fn apps_share_no_messages_push_tokens_or_reports(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let other = World::with_app(world.store.clone(), world.account).await;
    say(&world, "room", "alice", 1).await;
    assert!(history(&other, "room", None, 10).await.is_empty());
    assert_eq!(unread(&other, "alice", &["room"]).await, []);
    say(&other, "room", "mallory", 2).await;
    mark(&other, "alice", "room", 9).await;
    assert_eq!(history(&world, "room", None, 10).await, [1]);
    assert_eq!(unread(&world, "carol", &["room"]).await, counted(&[("room", 1)]));

    let token = push_token(&world, "alice", "text", NOW);
    assert_eq!(world.store.put_push_token(token.clone(), u64::MAX).await.unwrap(), Keeping::Kept(()));
    let twin = PushToken { app_id: other.app, endpoint_id: endpoint("mallory"), ..token.clone() };
    assert_eq!(
        world.store.put_push_token(twin, u64::MAX).await.unwrap(),
        Keeping::Kept(()),
        "the same id and text mean another device there"
    );
    assert_eq!(texts(&world, "alice").await, ["text"]);
    assert_eq!(world.store.delete_push_token(other.app, token.id, None).await.unwrap(), Removal::Removed);
    assert_eq!(texts(&world, "alice").await, ["text"]);

    report(&world, NOW).await;
    assert!(world.store.call_reports(other.app, PageRequest::first()).await.unwrap().items.is_empty());
}

pub(super) async fn old_messages_go_and_their_groups_with_the_last(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in 0..600 {
        say(&world, if millis < 590 { "old" } else { "young" }, "alice", millis).await;
    }
    mark(&world, "bob", "old", 1).await;
    let upkeep = |millis| Upkeep { messages_before: at(millis), ..upkeep_at(NOW) };
    assert_eq!(whole_pass(&world, upkeep(0)).await.0, 0);
    assert_eq!(whole_pass(&world, upkeep(580)).await.0, 580);
    assert_eq!(history(&world, "old", None, 200).await.len(), 10);
    assert_eq!(unread(&world, "bob", &[]).await, counted(&[("old", 10)]));
    // Ten messages of the one group and five of the other, and the rows of alice and bob for the one that is empty.
    assert_eq!(whole_pass(&world, upkeep(595)).await.0, 10 + 5 + 2);
    assert_eq!(history(&world, "young", None, 200).await, [599, 598, 597, 596, 595]);
    say(&world, "old", "carol", 700).await;
    assert_eq!(unread(&world, "bob", &[]).await, [], "the group begins anew");
    assert_eq!(history(&world, "old", None, 200).await, [700]);
}

pub(super) async fn a_group_keeps_only_so_many_messages(fixture: impl Fixture) {
    let world = fixture.opened().await;
    for millis in 0..310 {
        say(&world, "long", "alice", millis).await;
    }
    for millis in 0..5 {
        say(&world, "short", "alice", millis).await;
    }
    let upkeep = Upkeep { messages_per_group_max: 5, ..upkeep_at(NOW) };
    assert_eq!(whole_pass(&world, upkeep).await.0, 305);
    assert_eq!(history(&world, "long", None, 200).await, [309, 308, 307, 306, 305]);
    assert_eq!(history(&world, "short", None, 200).await.len(), 5);
    assert_eq!(whole_pass(&world, upkeep).await.0, 0, "the count was kept right");
    say(&world, "long", "alice", 310).await;
    assert_eq!(whole_pass(&world, upkeep).await.0, 1);
    let joined = ["long", "short"];
    assert_eq!(unread(&world, "bob", &joined).await, counted(&[("long", 5), ("short", 5)]));
}

pub(super) async fn a_deleted_app_leaves_nothing_behind(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let doomed = World::with_app(world.store.clone(), world.account).await;
    for of in [&world, &doomed] {
        for millis in 0..300 {
            say(of, "room", "alice", millis).await;
        }
        say(of, "hall", "bob", 1).await;
        assert_eq!(
            of.store.put_push_token(push_token(of, "alice", "text", NOW), u64::MAX).await.unwrap(),
            Keeping::Kept(())
        );
        report(of, NOW).await;
    }
    assert_eq!(world.store.delete_app(doomed.app, entry(Action::AppDeleted)).await.unwrap(), Removal::Removed);
    let store = &world.store;
    assert_eq!(store.append_message(message(&doomed, "room", "alice", NOW), u64::MAX).await.unwrap(), Keeping::NoApp);
    assert_eq!(
        store.put_push_token(push_token(&doomed, "alice", "text", NOW), u64::MAX).await.unwrap(),
        Keeping::NoApp
    );
    let late = NewCallReport { app_id: doomed.app, endpoint_id: None, at: NOW, report: json("{}") };
    assert_eq!(store.add_call_report(late, u64::MAX).await.unwrap(), Keeping::NoApp);

    // Messages, report, push token, the two rows of conversations, and the note of the deletion. The role and the secret as well,
    // if the store did not remove them when the app was deleted.
    let left = 301 + 1 + 1 + 2 + 1;
    let removed = whole_pass(&world, upkeep_at(NOW)).await.0;
    assert!((left..=left + 2).contains(&removed), "{removed}");
    assert!(history(&doomed, "room", None, 10).await.is_empty());
    assert!(texts(&doomed, "alice").await.is_empty());
    assert!(store.call_reports(doomed.app, PageRequest::first()).await.unwrap().items.is_empty());
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await.0, 0);

    assert_eq!(history(&world, "room", None, 200).await.len(), 200);
    assert_eq!((texts(&world, "alice").await.len(), unread(&world, "alice", &[]).await.len()), (1, 1));

    let account = store.delete_account(world.account, entry(Action::AccountDeleted)).await.unwrap();
    assert_eq!(account, Removal::Removed);
    assert_eq!(whole_pass(&world, upkeep_at(NOW)).await.0, removed);
}
