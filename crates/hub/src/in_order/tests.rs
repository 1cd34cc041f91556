use std::sync::Barrier;
use std::time::Duration;

use futures_util::FutureExt as _;
use respoke_core::clock::Timestamp;
use respoke_core::event::{Content, Event};
use respoke_core::id::{ConnectionId, EndpointId, MessageId, RequestId};
use respoke_core::ports::{Audience, Incarnation, Node, NodeId, Source};
use serde_json::value::RawValue;

use super::bounds::{BYTES_IN_ALL_MAX, PATIENCE, WAITING_MAX};
use super::*;

mod faults;
mod portions;

/// A node where somebody is in the room of each app, and what they hear: offsets, and what is said to them alone.
#[derive(Default)]
struct World {
    in_order: InOrder,
    heard: Mutex<Vec<String>>,
}

const APP: &str = "00000000-0000-4000-8000-000000000007";

fn app() -> AppId {
    AppId::parse(APP).unwrap()
}

fn room() -> GroupName {
    GroupName::parse("room").unwrap()
}

fn said(text: &str) -> Box<RawValue> {
    RawValue::from_string(format!("\"{text}\"")).unwrap()
}

fn push(from: Source, who: &str, to: Audience, content: Content) -> Push {
    let event = Event {
        from: EndpointId::parse(who).unwrap(),
        from_connection: None,
        at: Timestamp::from_secs(1),
        request_id: RequestId::random(),
        content,
    };
    Push { from, app: app(), to, event: Arc::new(event), came: Instant::now() }
}

/// From another node, or for 0 from this one.
fn from(node: u32) -> Source {
    match node {
        0 => Source::Here,
        node => Source::There { node: Node { id: NodeId(node), incarnation: Incarnation(1) }, number: 1 },
    }
}

fn published(node: u32, who: &str, text: &str, place: Option<Place>) -> Push {
    let content = Content::Published { message_id: MessageId::random(), group: room(), message: said(text), place };
    push(from(node), who, Audience::Group { group: room(), except: None }, content)
}

/// What somebody at a node says in the room, and is kept there.
fn kept_from(node: u32, who: &str, offset: u64) -> Push {
    published(node, who, &offset.to_string(), Some(Place { epoch: 1, offset }))
}

fn kept(node: u32, offset: u64) -> Push {
    kept_from(node, &format!("of-{node}"), offset)
}

/// Of a history that began with that second.
fn of_epoch(epoch: u64, offset: u64) -> Push {
    let push = published(1, &format!("of-{epoch}"), &format!("{epoch}:{offset}"), Some(Place { epoch, offset }));
    let event = Event { at: Timestamp::from_secs(epoch.cast_signed()), ..Event::clone(&push.event) };
    Push { event: Arc::new(event), ..push }
}

/// What somebody at a node says to an endpoint.
fn private(node: u32, who: &str, text: &str) -> Push {
    let to = EndpointId::parse("bo").unwrap();
    let content =
        Content::Message { message_id: MessageId::random(), to: to.clone(), to_original: None, body: said(text) };
    push(from(node), who, Audience::Endpoint { endpoint: to, only: None, except: None }, content)
}

impl World {
    fn hear(&self, push: &Push) {
        let said = match &push.event.content {
            Content::Published { message: said, .. } | Content::Message { body: said, .. } => said.get(),
            _ => "",
        };
        self.heard.lock().push(said.trim_matches('"').to_owned());
    }

    /// As the hub does (`ordering.rs`).
    fn bring(&self, push: Push) {
        let mut freed = self.in_order.freed();
        match self.in_order.behind_its_sender(push) {
            Behind::No(push) => {
                self.take_its_turn(push, &mut freed);
            }
            Behind::Yes => return,
            Behind::TooMuch(sender, group) => {
                self.in_order.give_up(&sender, group, &mut freed, &mut |push| self.hear(push));
            }
        }
        self.go_on(freed);
    }

    fn take_its_turn(&self, push: Push, freed: &mut Freed<'_>) -> bool {
        let known = push.group().map(|group| self.group(push.app, group));
        match known {
            Some(known) => self.in_order.take(&known, push, freed, &mut |push| self.hear(push)),
            None => {
                self.hear(&push);
                false
            }
        }
    }

    fn go_on(&self, freed: Freed<'_>) {
        freed.go_on(|push, freed| self.take_its_turn(push, freed));
    }

    /// Hands out a portion of what was left for later. None: nothing was.
    fn heard_later(&self) -> Option<Vec<String>> {
        self.go_on(self.in_order.next_freed().now_or_never()?);
        Some(self.take_heard())
    }

    /// What is missing.
    async fn missing(&self) -> Missing {
        tokio::time::timeout(LATE, self.in_order.next_missing()).await.expect("something is missing")
    }

    fn group(&self, app: AppId, group: &GroupName) -> Arc<Group> {
        self.in_order.group(app, group).unwrap_or_else(|| self.in_order.begin(app, group))
    }

    fn found(&self, missing: &Missing, found: Vec<Push>) -> Vec<String> {
        let mut freed = self.in_order.freed();
        self.in_order.found(missing, found, &mut freed, &mut |push| self.hear(push));
        self.go_on(freed);
        self.take_heard()
    }

    fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock())
    }

    fn heard_of(&self, brought: impl IntoIterator<Item = Push>) -> Vec<String> {
        for push in brought {
            self.bring(push);
        }
        self.take_heard()
    }

    /// How much waits, in messages and lines, and in bytes.
    fn load(&self) -> (usize, usize) {
        let bounds::Load { count, bytes } = &self.in_order.waiting.load;
        (count.load(Ordering::SeqCst), bytes.load(Ordering::SeqCst))
    }
}

#[test]
fn what_comes_too_early_waits_for_what_was_kept_before_it() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 2)]), ["1", "2"]);
    assert_eq!(world.heard_of([kept(0, 4), kept(2, 6)]), [""; 0]);
    assert_eq!(world.heard_of([kept(1, 3)]), ["3", "4"]);
    assert_eq!(world.heard_of([kept(1, 5)]), ["5", "6"]);
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn what_a_sender_says_behind_a_message_that_waits_waits_with_it() {
    let world = World::default();
    let others = || published(2, "al", "another's", None);
    assert_eq!(world.heard_of([kept_from(2, "jo", 1)]), ["1"]);
    let behind = [kept_from(2, "jo", 3), private(2, "jo", "a"), others(), published(2, "jo", "b", None)];
    assert_eq!(world.heard_of(behind), ["another's"]);
    // Its next kept one stands in the line, and holds it up where it has its turn.
    assert_eq!(world.heard_of([kept_from(2, "jo", 5), private(2, "jo", "c"), private(1, "jo", "there")]), ["there"]);
    assert_eq!(world.heard_of([kept(1, 2)]), ["2", "3", "a", "b"]);
    assert_eq!(world.heard_of([private(2, "jo", "d")]), [""; 0]);
    assert_eq!(world.heard_of([kept(1, 4)]), ["4", "5", "c", "d"]);
    assert_eq!(world.heard_of([private(2, "jo", "e")]), ["e"]);
    assert_eq!(world.load(), (0, 0));
    assert!(!world.in_order.anything_waits());
}

#[test]
fn what_is_missing_does_not_wait_behind_what_waits_for_it() {
    let world = World::default();
    // Two requests in the name of one: what was kept first is sent last.
    assert_eq!(world.heard_of([kept_from(1, "jo", 1), kept_from(1, "jo", 3), private(1, "jo", "a")]), ["1"]);
    assert_eq!(world.heard_of([kept_from(1, "jo", 2)]), ["2", "3", "a"]);
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn a_group_that_begins_has_nothing_to_wait_for() {
    let world = World::default();
    assert_eq!(world.heard_of([of_epoch(1, 70), of_epoch(1, 69), of_epoch(1, 72)]), ["1:70", "1:69"]);
    // It is ended, and begins anew. What comes of it yet changes nothing.
    assert_eq!(world.heard_of([of_epoch(2, 1)]), ["1:72", "2:1"]);
    assert_eq!(
        world.heard_of([of_epoch(1, 71), of_epoch(2, 3), of_epoch(1, 73), of_epoch(2, 2)]),
        ["1:71", "1:73", "2:2", "2:3"]
    );
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn groups_of_two_apps_have_nothing_to_do_with_each_other() {
    let world = World::default();
    let other = AppId::random();
    let of_other = |offset| Push { app: other, ..kept(1, offset) };
    assert_eq!(world.heard_of([kept(1, 1), of_other(8), kept(1, 3)]), ["1", "8"]);
    assert_eq!(world.heard_of([of_other(9), Push { app: other, ..private(1, "of-1", "hi") }]), ["9", "hi"]);
    assert_eq!(world.heard_of([of_other(2), kept(1, 2)]), ["2", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_is_said_once_and_what_it_has_not_is_said_late() {
    let world = World::default();
    let began = Instant::now();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 5)]), ["1"]);
    let missing = world.missing().await;
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!((missing.next, missing.until.0), (2, 5));
    // Of those one comes while the store is read.
    let (two, four) = (kept(2, 2), kept(2, 4));
    assert_eq!(world.heard_of([two.clone()]), ["2"]);
    assert_eq!(world.found(&missing, vec![two, four.clone()]), ["4", "5"]);
    // Of the same place, but another: the store never gave that.
    assert_eq!(world.heard_of([kept(2, 4)]), ["4"]);
    assert_eq!(world.heard_of([four, kept(2, 3), kept(2, 6)]), ["3", "6"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn all_gaps_that_are_old_enough_are_asked_for_at_once_and_each_waits_no_longer_than_it_may() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(2, 1), kept(2, 3), kept(0, 5)]), ["1"]);
    tokio::time::advance(PATIENCE / 2).await;
    assert_eq!(world.heard_of([kept(1, 7)]), [""; 0]);
    let (began, missing) = (Instant::now(), world.missing().await);
    assert_eq!((began.elapsed(), missing.next, missing.until.0), (PATIENCE / 2, 2, 5));
    assert_eq!(world.found(&missing, vec![kept(1, 2), kept(1, 4)]), ["2", "3", "4", "5"]);
    assert_eq!(world.heard_of([private(1, "of-1", "a")]), [""; 0]);
    let missing = world.missing().await;
    assert_eq!((began.elapsed(), missing.next, missing.until.0), (PATIENCE, 6, 7));
    // What comes meanwhile needs no store.
    assert_eq!(world.heard_of([kept(2, 6)]), ["6", "7", "a"]);
    assert_eq!(world.found(&missing, vec![kept(2, 6)]), [""; 0]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_stood_in_a_line_waited_for_what_it_lacks_itself() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 3), kept(1, 5)]), ["1"]);
    let (began, missing) = (Instant::now(), world.missing().await);
    assert_eq!(world.found(&missing, vec![kept(2, 2)]), ["2", "3"]);
    let missing = world.missing().await;
    assert_eq!((began.elapsed(), missing.next), (PATIENCE, 4));
    assert_eq!(world.found(&missing, Vec::new()), ["5"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_left_and_is_back_hears_nothing_twice() {
    let world = World::default();
    let sent: Vec<_> = (1..=9).map(|offset| kept(1, offset)).collect();
    // Of the sixth nothing was heard, and it is waited for no longer.
    assert_eq!(world.heard_of(sent[..5].iter().cloned()).len(), 5);
    world.bring(sent[6].clone());
    let missing = world.missing().await;
    assert_eq!(world.found(&missing, Vec::new()), ["7"]);
    assert_eq!(world.heard_of([sent[7].clone()]), ["8"]);
    world.in_order.leave(app(), &room());
    assert_eq!(world.heard_of([kept(1, 11)]), ["11"], "nobody is there who would hear it");
    world.in_order.come(app(), &room());
    // Now it comes. What was said behind it was heard.
    assert_eq!(world.heard_of([sent[5].clone(), kept(1, 12)]), ["6", "12"]);
    assert!(tokio::time::timeout(PATIENCE * 2, world.in_order.next_missing()).await.is_err());
    assert_eq!(world.heard_of([kept(2, 14), kept(2, 13)]), ["13", "14"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_gave_is_not_said_again_to_who_left_and_is_back() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 4)]), ["1"]);
    let missing = world.missing().await;
    let given = [kept(2, 2), kept(2, 3)];
    assert_eq!(world.found(&missing, given.to_vec()), ["2", "3", "4"]);
    world.in_order.leave(app(), &room());
    world.in_order.come(app(), &room());
    assert_eq!(world.heard_of([given[0].clone(), kept(1, 9), given[1].clone(), kept(2, 8)]), ["9", "8"]);
}

#[tokio::test(start_paused = true)]
async fn groups_that_were_left_are_remembered_for_as_long_as_something_may_come() {
    let world = World::default();
    let groups = || world.in_order.groups.read().values().map(HashMap::len).sum::<usize>();
    let other = GroupName::parse("other").unwrap();
    world.group(app(), &room());
    world.group(app(), &other);
    world.in_order.leave(app(), &room());
    world.in_order.come(app(), &room());
    tokio::time::advance(LATE / 2).await;
    world.in_order.leave(app(), &room());
    tokio::time::advance(LATE / 2 + PATIENCE).await;
    world.in_order.leave(app(), &other);
    assert_eq!(groups(), 2, "it was left a second time");
    tokio::time::advance(LATE / 2).await;
    world.in_order.leave(app(), &GroupName::parse("unheard").unwrap());
    world.in_order.come(app(), &other);
    world.in_order.leave(app(), &other);
    assert_eq!(groups(), 1);
    // However many are left, no more are remembered.
    for nth in 0..LEFT_MAX + 5 {
        let name = GroupName::parse(&format!("group-{nth}")).unwrap();
        world.group(app(), &name);
        world.in_order.leave(app(), &name);
    }
    assert_eq!(groups(), LEFT_MAX);
    tokio::time::advance(LATE * 2).await;
    world.group(app(), &other);
    world.in_order.leave(app(), &other);
    assert_eq!(groups(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_long_gap_nothing_is_lost() {
    let world = World::default();
    let texts = |offsets: std::ops::Range<u64>| offsets.map(|offset| offset.to_string()).collect::<Vec<_>>();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 1_000)]), ["1"]);
    let missing = world.missing().await;
    let given: Vec<_> = (990..1_000).map(|offset| kept(3, offset)).collect();
    assert_eq!(world.found(&missing, given.clone()), texts(990..1_001));
    assert_eq!(world.heard_of((2..990).map(|offset| kept(2, offset)).chain(given)), texts(2..990));
}

#[test]
fn no_more_waits_in_a_group_than_may() {
    let world = World::default();
    let many = 3..3 + WAITING_MAX as u64;
    assert_eq!(world.heard_of([kept(0, 1)]), ["1"]);
    assert_eq!(world.heard_of(many.clone().map(|offset| kept(0, offset))), [""; 0]);
    assert_eq!(world.heard_of([kept(0, many.end)]).len(), WAITING_MAX + 1);
    assert_eq!(world.heard_of([kept(2, 2)]), ["2"], "it comes late, and is not lost");
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn no_more_waits_behind_a_sender_than_may() {
    let world = World::default();
    assert_eq!(world.heard_of([kept_from(1, "jo", 1), kept_from(1, "jo", 3)]), ["1"]);
    let many = |count: usize| (0..count).map(|nth| private(1, "jo", &format!("nth {nth}")));
    assert_eq!(world.heard_of(many(WAITING_MAX)), [""; 0]);
    let heard = world.heard_of([private(1, "jo", "last")]);
    assert_eq!(
        (heard.len(), &*heard[0], &*heard[1], &*heard[WAITING_MAX + 1]),
        (WAITING_MAX + 2, "3", "nth 0", "last")
    );
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn no_more_bytes_wait_than_may() {
    let world = World::default();
    let long = "x".repeat(BYTES_IN_ALL_MAX / 2);
    let place = |offset| Some(Place { epoch: 1, offset });
    assert_eq!(world.heard_of([kept(1, 1)]), ["1"]);
    assert_eq!(world.heard_of([published(1, "jo", &long, place(3))]), [""; 0]);
    assert!(world.load().1 > BYTES_IN_ALL_MAX / 2);
    assert_eq!(world.heard_of([published(2, "al", &long, place(4))]).len(), 2);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_says_something_that_waits_is_told_when_it_is_handed_out() {
    let world = World::default();
    let told = |offset| world.in_order.told_of(app(), &room(), Place { epoch: 1, offset });
    world.bring(kept(0, 1));
    assert!(told(1).is_none());
    world.bring(kept(0, 3));
    let mut waits = told(3).unwrap();
    assert!(waits.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    world.bring(kept(0, 2));
    assert_eq!(world.take_heard(), ["1", "2", "3"]);
    let over = waits.now_or_never().expect("it is told at once");
    assert!(over.is_err(), "nothing is said, but it is over");
    assert!(told(3).is_none());
}

#[test]
fn a_panic_while_something_is_handed_out_holds_up_nobody() {
    let world = World::default();
    world.bring(kept_from(1, "jo", 1));
    world.bring(kept_from(1, "jo", 3));
    world.bring(private(1, "jo", "lost"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let (known, mut freed) = (world.group(app(), &room()), world.in_order.freed());
        world.in_order.take(&known, kept(2, 2), &mut freed, &mut |push| match push.kept() {
            Some((_, _, Place { offset: 3, .. })) => panic!("cannot be encoded"),
            _ => world.hear(push),
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(world.heard_of([private(1, "jo", "next"), kept(2, 4)]), ["1", "2", "next", "4"]);
}

/// Threads say what is kept in an order of their own, and behind each something that is not kept.
#[test]
fn whoever_brings_it_each_message_is_handed_out_in_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 500;
    let (world, offsets, ready) = (World::default(), AtomicU64::new(1), Barrier::new(4));
    world.bring(kept(0, 1));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (world, offsets, ready) = (&world, &offsets, &ready);
            scope.spawn(move || {
                ready.wait();
                for _ in 0..EACH {
                    let offset = offsets.fetch_add(1, Ordering::SeqCst) + 1;
                    if thread % 2 == 0 {
                        std::thread::yield_now();
                    }
                    world.bring(kept(0, offset));
                    if let Some(mut told) = world.in_order.told_of(app(), &room(), Place { epoch: 1, offset }) {
                        let deadline = std::time::Instant::now() + Duration::from_secs(30);
                        while told.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                            assert!(std::time::Instant::now() < deadline, "{offset} is never handed out");
                            std::thread::yield_now();
                        }
                    }
                    world.bring(private(0, "of-0", &format!("behind {offset}")));
                }
            });
        }
    });
    let heard = world.take_heard();
    let of_room: Vec<_> = heard.iter().filter_map(|heard| heard.parse::<u64>().ok()).collect();
    assert!(of_room.iter().copied().eq(1..=THREADS * EACH + 1));
    let at: HashMap<_, _> = heard.iter().enumerate().map(|(at, heard)| (&**heard, at)).collect();
    for offset in 2..=THREADS * EACH + 1 {
        assert!(at[&*offset.to_string()] < at[&*format!("behind {offset}")], "{offset}");
    }
    assert_eq!(world.load(), (0, 0));
}
