//! What every bus with something between its nodes must do at its bounds, and under whatever is worst for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::{Answer, Confirmation, Delivery, Departed, Node, NodeId, Question, Whom};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::fixture::{
    APP, Cuttable, Member, app, change, check_nothing_is_lost_untold, done, in_room, in_room_of, long_words, quiet,
    words, words_in,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// What is known of another's interests stays in force while they are told anew.
pub(super) async fn while_interests_are_told_anew_nothing_is_lost(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    let mut published = Vec::new();
    for round in 0..10 {
        fixture.cut(&a, &b);
        // Its news is lost, and then everything is told.
        drop(b.bus.hold(&in_room(&format!("room {round}"))));
        sleep(7 * SECOND).await;
        fixture.mend(&a, &b);
        for said in 0..200 {
            published.push(1_000 * round + said);
            a.bus.publish(words("room", 1_000 * round + said));
            sleep(5 * MILLI).await;
        }
    }
    quiet().await;
    check_nothing_is_lost_untold(&b.notes, a.node(), &published, &"told anew");
    assert_eq!(b.notes.of(a.node()).last(), published.last());
}

/// However many wait for somebody who is cut off, each of them is confirmed in the end.
pub(super) async fn however_many_join_during_a_cut_each_is_confirmed(fixture: impl Cuttable) {
    const EACH: u64 = 34_000;
    let (a, b) = fixture.two().await;
    for cut in [2 * SECOND, 7 * SECOND] {
        fixture.cut(&a, &b);
        let name = |number: u64| format!("room {number} of {cut:?}");
        let held = (0..2 * EACH).map(|number| b.bus.hold(&in_room_of(app(number / EACH), &name(number))));
        let confirmations: Vec<_> = held.collect();
        sleep(cut).await;
        fixture.mend(&a, &b);
        for confirmation in confirmations {
            done(confirmation).await;
        }
        let before = b.notes.of(a.node()).len();
        for number in [0, 1, EACH, 2 * EACH - 1] {
            a.bus.publish(words_in(app(number / EACH), &name(number), number, 0));
        }
        b.notes.until(|notes| notes.of(a.node()).len() == before + 4).await;
        for number in 0..2 * EACH {
            b.bus.release(&in_room_of(app(number / EACH), &name(number)));
        }
        quiet().await;
    }
}

/// What one is there for may be far more than is kept for another: whoever starts is told all of it, and so is whoever
/// comes back.
pub(super) async fn more_interests_than_are_kept_are_told(fixture: impl Cuttable) {
    const APPS: u64 = 40;
    const EACH: u64 = 500;
    let a = fixture.start(1).await;
    for number in 0..APPS * EACH {
        drop(a.bus.hold(&in_room_of(app(number % APPS), &format!("room {number}"))));
    }
    let b = fixture.start(2).await;
    let check = async |from: u64| {
        for number in (0..APPS * EACH).step_by(997) {
            b.bus.publish(words_in(app(number % APPS), &format!("room {number}"), from + number, 0));
        }
        let expected: Vec<_> = (0..APPS * EACH).step_by(997).map(|number| from + number).collect();
        a.notes.until(|notes| notes.of(b.node()).ends_with(&expected)).await;
    };
    check(0).await;
    fixture.cut(&a, &b);
    // Enough of it changes that the change alone is more than is kept.
    for number in 0..APPS * EACH {
        a.bus.release(&in_room_of(app(number % APPS), &format!("room {number}")));
    }
    let held = (0..APPS * EACH).map(|number| a.bus.hold(&in_room_of(app(number % APPS), &format!("room {number}"))));
    let confirmations: Vec<_> = held.collect();
    sleep(7 * SECOND).await;
    fixture.mend(&a, &b);
    for confirmation in confirmations {
        done(confirmation).await;
    }
    check(1_000_000).await;
}

/// What is published past one who joined, by somebody who heard of it late, comes late or is told to be lost.
pub(super) async fn what_was_published_past_a_join_comes_or_is_told(fixture: impl Cuttable) {
    for (cut, count, len) in [(1, 3, 0), (4, 1_000, 20_000), (8, 3, 0), (14, 3, 0), (30, 3, 0), (14, 1_000, 20_000)] {
        let (a, b) = fixture.two().await;
        fixture.cut(&a, &b);
        let began = Instant::now();
        let confirmation = b.bus.hold(&in_room("room"));
        sleep(SECOND / 2).await;
        let published: Vec<_> = (1..=count).collect();
        for said in &published {
            a.bus.publish(long_words("room", *said, len));
        }
        sleep_until(began + cut * SECOND).await;
        fixture.mend(&a, &b);
        done(confirmation).await;
        quiet().await;
        a.bus.publish(words("room", 0));
        b.notes.until(|notes| notes.of(a.node()).last() == Some(&0)).await;
        let came = check_it_came_late_or_is_told(&b, &a, &published, &(cut, count, len));
        // Most of it comes, where there was room and time.
        assert!(came == count || cut > 10 || (count == 1_000 && came > 700), "{came} of {count} in {cut}");
    }
}

/// Of what was published past one who joined, one gap tells, however much of it is lost. Tells how much came.
fn check_it_came_late_or_is_told(to: &Member, from: &Member, published: &[u64], context: &dyn Debug) -> u64 {
    let heard = to.notes.of(from.node());
    let came: Vec<_> = heard.iter().copied().filter(|said| published.contains(said)).collect();
    assert!(came.is_sorted(), "{came:?}; {context:?}");
    assert!(came.len() == published.len() || !to.notes.gaps().is_empty(), "{came:?} and nothing told; {context:?}");
    came.len() as u64
}

/// The same where that it was late is lost itself, again and again.
pub(super) async fn that_one_was_late_is_not_lost(fixture: impl Cuttable) {
    for round in 0..10 {
        let (a, b) = fixture.two().await;
        fixture.cut(&a, &b);
        let confirmation = b.bus.hold(&in_room("room"));
        sleep(SECOND / 2).await;
        let published = [1, 2, 3];
        for said in &published {
            a.bus.publish(words("room", *said));
        }
        sleep(SECOND / 2).await;
        fixture.mend(&a, &b);
        done(confirmation).await;
        for _ in 0..3 {
            fixture.cut(&a, &b);
            sleep(6 * SECOND).await;
            fixture.mend(&a, &b);
            sleep(MILLI * round).await;
        }
        quiet().await;
        quiet().await;
        a.bus.publish(words("room", 0));
        b.notes.until(|notes| notes.of(a.node()).last() == Some(&0)).await;
        check_it_came_late_or_is_told(&b, &a, &published, &round);
    }
}

/// Elsewhere whoever had the first part of a long list was taken to know all of it: what is said as soon as it is
/// confirmed arrives.
pub(super) async fn what_is_told_in_parts_is_confirmed_with_all_of_it(fixture: impl Cuttable) {
    const MANY: u64 = 50_000;
    let (a, b) = fixture.two().await;
    fixture.cut(&a, &b);
    for number in 0..MANY {
        drop(b.bus.hold(&in_room(&number.to_string())));
    }
    let mut published = Vec::new();
    for round in 0..20 {
        // All of that is to be told anew, with one more.
        let name = format!("one more {round}");
        let confirmation = b.bus.hold(&in_room(&name));
        sleep(7 * SECOND).await;
        fixture.mend(&a, &b);
        done(confirmation).await;
        for (said, name) in [(3 * round, name), (3 * round + 1, "0".into()), (3 * round + 2, (MANY - 1).to_string())] {
            published.push(said);
            a.bus.publish(words(&name, said));
        }
        quiet().await;
        fixture.cut(&a, &b);
    }
    assert_eq!(b.notes.of(a.node()), published);
}

fn groups(count: u64) -> Answer {
    let name = |number| GroupName::parse(&format!("{number:0250}")).unwrap();
    Answer::Groups((0..count).map(name).collect())
}

pub(super) async fn an_answer_that_is_longer_than_a_frame_is_given(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    *b.notes.answers.lock() = Some(groups(10_000));
    let question = || Question::Groups { app_id: APP, endpoint: None, after: None, most: u16::MAX };
    let answers = a.bus.ask(Whom::Others, question(), 20 * SECOND).await;
    assert_eq!((answers.given.len(), answers.silent.len()), (2, 0));
    let Some(given) = answers.given.iter().find(|given| given.node == b.node()) else { panic!("{answers:?}") };
    let Answer::Groups(given) = &given.answer else { panic!("{given:?}") };
    assert_eq!(given.len(), 10_000);
    // One that is too long for anything is none, and nobody waits for it.
    *b.notes.answers.lock() = Some(groups(20_000));
    let began = Instant::now();
    let answers = a.bus.ask(Whom::Others, question(), 100 * SECOND).await;
    assert_eq!(answers.given.iter().map(|given| given.node).collect::<Vec<_>>(), [c.node()]);
    assert_eq!(answers.silent, [b.node()]);
    assert!(began.elapsed() < 20 * SECOND, "{:?}", began.elapsed());
}

fn departed(groups: u64) -> Delivery {
    let name = |number| GroupName::parse(&format!("{number}{}", "x".repeat(200))).unwrap();
    Delivery::Departed(Departed {
        app_id: APP,
        endpoint: EndpointId::parse("jo").unwrap(),
        connection: ConnectionId::from_uuid(Uuid::from_u128(1)),
        groups: (0..groups).map(name).chain([GroupName::parse("room").unwrap()]).collect(),
    })
}

/// Whoever was in very many groups leaves all of them everywhere.
pub(super) async fn what_is_longer_than_a_frame_arrives_whole(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    for groups in [10, 10_000] {
        a.bus.publish(departed(groups));
    }
    a.bus.publish(words("room", 1));
    b.notes.until_of(a.node(), [11, 10_001, 1]).await;
    assert_eq!(b.notes.gaps(), []);
    // If a part of it is lost for good, so is the whole, and that is told.
    let mut published = vec![11, 10_001, 1];
    for round in 0..5 {
        for said in 0..10 {
            let number = 100 * round + said;
            published.extend([10_101 + number, 5_000 + number]);
            a.bus.publish(departed(10_100 + number));
            a.bus.publish(words("room", 5_000 + number));
            if said == 3 {
                sleep(MILLI * 10).await;
                fixture.cut(&a, &b);
            }
        }
        sleep(7 * SECOND).await;
        fixture.mend(&a, &b);
        quiet().await;
    }
    a.bus.publish(words("room", 0));
    published.push(0);
    b.notes.until(|notes| notes.of(a.node()).last() == Some(&0)).await;
    check_nothing_is_lost_untold(&b.notes, a.node(), &published, &"parts");
}

/// Both sides are started anew at once, over and over: neither meets what was before.
pub(super) async fn both_may_start_anew_at_once(fixture: impl Cuttable) {
    let mut said = 0;
    for _ in 0..20 {
        let (a, b) = tokio::join!(fixture.start(1), fixture.start(2));
        tokio::join!(a.hold("room"), b.hold("room"));
        for (from, to) in [(&a, &b), (&b, &a)] {
            said += 1;
            from.bus.publish(words("room", said));
            to.notes.until(|notes| notes.of(from.node()) == [said]).await;
        }
    }
}

/// A room, and in which app.
type Room = (AppId, &'static str);

/// One life of a node, what it is there for, and what it has to hear of.
struct Life {
    member: Member,
    held: BTreeMap<Room, (Instant, Confirmation)>,
    /// By who published it and where.
    due: BTreeMap<(Node, Room), Vec<u64>>,
}

/// Nodes come and go, join and leave, are cut off and come back; whoever stays hears of all that was published where it
/// was, from when whoever published it had confirmed that or was late.
pub(super) async fn whatever_happens_to_interests_nothing_is_lost_untold(fixture: impl Cuttable) {
    const IDS: u64 = 3;
    const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];
    let chance = |limit| fixture.nodes().chance(limit);
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    let mut said = 0;
    for _ in 0..1_500 {
        let id = u32::try_from(chance(IDS)).unwrap();
        let paused = fixture.nodes().is_paused(NodeId(id));
        let room = (app(chance(2)), NAMES[usize::try_from(chance(5)).unwrap()]);
        match chance(100) {
            0..1 => {
                fixture.nodes().mend_all();
                let member = fixture.start(id).await;
                for life in lives.values_mut() {
                    life.due.retain(|(from, _), _| from.id.0 != id);
                }
                lives.insert(id, Life { member, held: BTreeMap::new(), due: BTreeMap::new() });
            }
            1..6 => {
                let other = lives.values().find(|life| life.member.node().id.0 != id);
                if let (Some(life), Some(other)) = (lives.get(&id), other) {
                    match chance(4) {
                        0 => fixture.nodes().cut_one_way(life.member.node().id, other.member.node().id),
                        1 => fixture.nodes().cut_one_way(other.member.node().id, life.member.node().id),
                        2 => fixture.nodes().pause(life.member.node().id),
                        _ => fixture.cut(&life.member, &other.member),
                    }
                }
            }
            6..12 => fixture.nodes().mend_all(),
            12..24 => sleep(MILLI * u32::try_from(chance(2_500)).unwrap()).await,
            24..45 => {
                let Some(life) = lives.get_mut(&id).filter(|_| !paused) else { continue };
                let interest = in_room_of(room.0, room.1);
                if life.held.remove(&room).is_some() {
                    life.bus().release(&interest);
                    life.due.retain(|(_, of), _| *of != room);
                } else {
                    let confirmation = life.bus().hold(&interest);
                    life.held.insert(room, (Instant::now(), confirmation));
                }
            }
            _ => {
                let Some(from) = lives.get(&id).filter(|_| !paused).map(|life| life.member.clone()) else { continue };
                said += 1;
                from.bus.publish(words_in(room.0, room.1, said, 0));
                for life in lives.values_mut().filter(|life| life.member.node() != from.node()) {
                    let Some((since, confirmation)) = life.held.get(&room) else { continue };
                    if since.elapsed() >= 250 * MILLI || !confirmation.missing().contains(&from.node()) {
                        life.due.entry((from.node(), room)).or_default().push(said);
                    }
                }
            }
        }
    }
    fixture.nodes().calm();
    sleep(10 * SECOND).await;
    for life in lives.values() {
        life.bus().publish(change(0));
    }
    quiet().await;
    for life in lives.values_mut() {
        for (_, confirmation) in std::mem::take(&mut life.held).into_values() {
            done(confirmation).await;
        }
        for ((from, room), due) in &life.due {
            assert_eq!(life.member.notes.of(*from).last(), Some(&0), "it hears of {from} at the end");
            check_nothing_is_lost_untold(&life.member.notes, *from, due, &(life.member.node(), from, room));
        }
    }
}

impl Life {
    fn bus(&self) -> &dyn respoke_core::ports::Bus {
        &*self.member.bus
    }
}
