//! What every bus must do when what lies between its nodes may be cut.

use std::collections::BTreeMap;
use std::time::Duration;

use respoke_core::ports::{Node, Question, Whom};
use respoke_wire::bus::ITEM_LEN_MAX;
use tokio::time::{Instant, sleep, timeout};

use super::fixture::{
    APP, Cuttable, LONG, Member, at_endpoint, change, check_nothing_is_lost_untold,
    check_nothing_is_lost_untold_until_the_end, done, in_room, long_words, quiet, to_endpoint, words,
};
use crate::carried::CarriedLimits;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

pub(super) async fn a_short_cut_loses_nothing(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    for round in 0..5 {
        fixture.cut(&a, &b);
        for said in 0..20 {
            a.bus.publish(words("room", 20 * round + said));
            sleep(SECOND / 10).await;
        }
        fixture.mend(&a, &b);
        b.notes.until(|notes| notes.of(a.node()).len() as u64 == 20 * (round + 1)).await;
    }
    b.notes.until_of(a.node(), 0..100).await;
    assert_eq!(b.notes.gaps(), []);
}

/// Elsewhere a node was silent after a failover until it was restarted.
pub(super) async fn a_long_cut_is_told_and_what_comes_after_arrives(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    let mut published = Vec::new();
    for round in 0..5 {
        fixture.cut(&a, &b);
        for said in 0..20 {
            published.push(100 * round + said);
            a.bus.publish(words("room", 100 * round + said));
            sleep(SECOND / 2).await;
        }
        fixture.mend(&a, &b);
        let last = *published.last().unwrap();
        b.notes.until(|notes| notes.of(a.node()).last() == Some(&last)).await;
    }
    check_nothing_is_lost_untold(&b.notes, a.node(), &published, &"long");
    // Half of each cut was too long ago.
    let missed = published.len() - b.notes.of(a.node()).len();
    assert!((40..60).contains(&missed), "{missed}");
    assert!(b.notes.gaps().iter().all(|gap| gap.from == a.node()));
}

pub(super) async fn more_than_is_kept_is_told(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    fixture.cut(&a, &b);
    let kept = CarriedLimits::DEFAULT.kept_bytes_max as u64;
    let (len, before) = (20_000, Instant::now());
    let published = (0..2 * kept / len).collect::<Vec<_>>();
    for said in &published {
        a.bus.publish(long_words("room", *said, usize::try_from(len).unwrap()));
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited");
    fixture.mend(&a, &b);
    let last = *published.last().unwrap();
    b.notes.until(|notes| notes.of(a.node()).last() == Some(&last)).await;
    check_nothing_is_lost_untold(&b.notes, a.node(), &published, &"much");
    let came = b.notes.of(a.node()).len() as u64;
    assert!(came * len < kept + 2 * len && came * len > kept / 2, "{came}");
}

pub(super) async fn what_is_too_long_to_be_sent_is_told(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    a.bus.publish(words("room", 1));
    a.bus.publish(long_words("room", 2, ITEM_LEN_MAX));
    a.bus.publish(words("room", 3));
    b.notes.until_of(a.node(), [1, 3]).await;
    check_nothing_is_lost_untold(&b.notes, a.node(), &[1, 2, 3], &"too long");
    assert_eq!(a.notes.here(), [1, 2, 3]);
}

pub(super) async fn an_interest_that_was_lost_is_told_anew(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("old").await;
    fixture.cut(&a, &b);
    let mut confirmation = b.bus.hold(&in_room("new"));
    b.bus.release(&in_room("old"));
    sleep(20 * SECOND).await;
    assert_eq!(confirmation.missing(), [a.node()]);
    fixture.mend(&a, &b);
    done(confirmation).await;
    a.bus.publish(words("old", 1));
    a.bus.publish(words("new", 2));
    b.notes.until_of(a.node(), [2]).await;
    // Whoever was there before it, and whoever comes after it, as well.
    fixture.cut(&a, &b);
    confirmation = b.bus.hold(&in_room("newer"));
    sleep(4 * SECOND).await;
    fixture.mend(&a, &b);
    done(confirmation).await;
    a.bus.publish(words("newer", 3));
    a.bus.publish(words("new", 4));
    b.notes.until_of(a.node(), [2, 3, 4]).await;
}

/// Nothing makes up for what is for an endpoint. Once it is confirmed that one is there for it, it arrives, whatever became
/// of the news of that.
pub(super) async fn what_nothing_makes_up_for_comes_once_it_is_confirmed(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    for round in 0..20 {
        let (lost, later) = (format!("lost{round}"), format!("later{round}"));
        fixture.cut(&a, &b);
        let lost_held = b.bus.hold(&at_endpoint(&lost));
        sleep(7 * SECOND).await;
        let later_held = b.bus.hold(&at_endpoint(&later));
        fixture.mend(&a, &b);
        for (said, name, held) in [(2 * round, lost, lost_held), (2 * round + 1, later, later_held)] {
            done(held).await;
            a.bus.publish(to_endpoint(&name, said));
        }
        b.notes.until_of(a.node(), 0..2 * round + 2).await;
    }
}

/// Who joins is not kept waiting for one that is cut off, and gets what that published past it.
pub(super) async fn who_hears_late_of_a_join_makes_up_for_it(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    a.bus.publish(words("room", 1));
    sleep(15 * SECOND).await;
    fixture.cut(&a, &b);
    let confirmation = b.bus.hold(&in_room("room"));
    for said in 2..5 {
        a.bus.publish(words("room", said));
        a.bus.publish(words("elsewhere", 100));
        sleep(SECOND).await;
    }
    fixture.mend(&a, &b);
    done(confirmation).await;
    a.bus.publish(words("room", 5));
    b.notes.until(|notes| notes.of(a.node()).len() >= 4).await;
    quiet().await;
    // Once each; and first what came first, of what came late.
    let heard: Vec<_> = b.notes.of(a.node());
    let late: Vec<_> = heard.iter().copied().filter(|said| *said != 5).collect();
    assert_eq!((late, heard.len()), (vec![2, 3, 4], 4));
    // Whoever is late again makes up for nothing twice.
    b.bus.release(&in_room("room"));
    fixture.cut(&a, &b);
    let confirmation = b.bus.hold(&in_room("room"));
    sleep(SECOND).await;
    fixture.mend(&a, &b);
    done(confirmation).await;
    quiet().await;
    assert_eq!(b.notes.of(a.node()).len(), 4);
    // Nor does who was told in time.
    b.hold("hall").await;
    a.bus.publish(words("hall", 6));
    quiet().await;
    assert_eq!(b.notes.of(a.node()).len(), 5);
}

/// Waits until the only other node has taken leave, and a node knows.
async fn knows_that_it_leaves(member: &Member) {
    let waiting = async {
        while !member.bus.other_nodes().is_empty() {
            sleep(MILLI).await;
        }
    };
    assert!(timeout(LONG, waiting).await.is_ok(), "it never took leave");
}

/// What it published past a join that it heard of late goes with it, although all that it sent is seen.
pub(super) async fn what_was_published_past_a_join_by_one_that_takes_leave_is_told(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    quiet().await;
    let delay = 600 * MILLI;
    fixture.nodes().delay(b.node().id, a.node().id, delay);
    let confirmation = b.bus.hold(&in_room("room"));
    sleep(CarriedLimits::DEFAULT.late_after + MILLI).await;
    assert_eq!(confirmation.missing(), [a.node()]);
    a.bus.publish(words("room", 1));
    fixture.nodes().say_farewell(a.node());
    knows_that_it_leaves(&b).await;
    // By then it knows that, and ends; that it was late it would be told just after.
    sleep(delay).await;
    fixture.lose(a.node());
    b.notes.until(|notes| notes.lost() == [a.node()]).await;
    assert!(b.notes.of(a.node()) == [1] || !b.notes.gaps().is_empty(), "{:?}", b.notes.all());
}

/// What is made up for is not lost, though it comes behind the farewell.
pub(super) async fn of_one_that_made_up_for_all_behind_its_farewell_nothing_is_told(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    quiet().await;
    fixture.nodes().delay(b.node().id, a.node().id, 600 * MILLI);
    let confirmation = b.bus.hold(&in_room("room"));
    sleep(CarriedLimits::DEFAULT.late_after + MILLI).await;
    assert_eq!(confirmation.missing(), [a.node()]);
    a.bus.publish(words("room", 1));
    fixture.nodes().say_farewell(a.node());
    knows_that_it_leaves(&b).await;
    b.notes.until_of(a.node(), [1]).await;
    quiet().await;
    fixture.lose(a.node());
    b.notes.until(|notes| notes.lost() == [a.node()]).await;
    assert_eq!((b.notes.of(a.node()), b.notes.gaps()), (vec![1], vec![]));
}

/// Nobody is told of a gap who was heard in time, whatever was lost on the way.
pub(super) async fn of_one_that_took_leave_nothing_is_told_where_all_was_heard_in_time(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    quiet().await;
    a.bus.publish(words("room", 1));
    fixture.nodes().say_farewell(a.node());
    knows_that_it_leaves(&b).await;
    fixture.lose(a.node());
    b.notes.until(|notes| notes.lost() == [a.node()]).await;
    assert_eq!((b.notes.of(a.node()), b.notes.gaps()), (vec![1], vec![]));
}

pub(super) async fn whoever_is_second_is_confirmed_no_earlier_than_the_first(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    fixture.cut(&a, &b);
    let mut first = b.bus.hold(&in_room("room"));
    let mut second = b.bus.hold(&in_room("room"));
    assert!(timeout(SECOND, first.done()).await.is_err());
    assert!(timeout(SECOND / 1_000, second.done()).await.is_err());
    assert_eq!((first.missing(), second.missing()), (vec![a.node()], vec![a.node()]));
    fixture.mend(&a, &b);
    done(second).await;
    done(first).await;
    for (said, from) in [(1, &a), (2, &c)] {
        from.bus.publish(words("room", said));
        b.notes.until_of(from.node(), [said]).await;
    }
}

fn question() -> Question {
    Question::Groups { app_id: APP, endpoint: None, after: None, most: 1 }
}

pub(super) async fn who_is_cut_off_does_not_answer_and_holds_up_nobody_longer(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    fixture.cut(&a, &c);
    let began = Instant::now();
    let answers = a.bus.ask(Whom::Others, question(), 2 * SECOND).await;
    assert!((2 * SECOND..2 * SECOND + SECOND / 100).contains(&began.elapsed()));
    assert_eq!(answers.given.iter().map(|given| given.node).collect::<Vec<_>>(), [b.node()]);
    assert_eq!(answers.silent, [c.node()]);
    // An answer that comes too late is nobody's.
    fixture.mend(&a, &c);
    quiet().await;
    let answers = a.bus.ask(Whom::Others, question(), 10 * SECOND).await;
    assert_eq!((answers.given.len(), answers.silent.len()), (2, 0));
}

pub(super) async fn who_is_lost_is_not_waited_for(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    fixture.cut(&a, &c);
    let mut confirmation = a.bus.hold(&in_room("room"));
    let began = Instant::now();
    let losing = async {
        sleep(SECOND).await;
        fixture.lose(c.node());
    };
    let asking = a.bus.ask(Whom::Others, question(), 100 * SECOND);
    let (answers, ()) = tokio::join!(asking, losing);
    assert_eq!(answers.given.iter().map(|given| given.node).collect::<Vec<_>>(), [b.node()]);
    assert_eq!(answers.silent, [c.node()]);
    assert!(timeout(SECOND, confirmation.done()).await.is_ok());
    assert_eq!(confirmation.missing(), []);
    assert!(began.elapsed() < 3 * SECOND);
}

/// One life of a node, and what it is known to be there for.
struct Life {
    member: Member,
    /// What each other life published while this one was there for it.
    due: BTreeMap<Node, Vec<u64>>,
}

/// Nodes come and go, are cut off and come back, while all publish to one group that all are in.
pub(super) async fn whatever_happens_nothing_is_lost_untold(fixture: impl Cuttable) {
    const IDS: u64 = 3;
    let chance = |limit| fixture.nodes().chance(limit);
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    let mut over: Vec<Life> = Vec::new();
    let mut said = 0;
    for _ in 0..1_500 {
        let id = u32::try_from(chance(IDS)).unwrap();
        match chance(100) {
            0..2 => {
                fixture.nodes().mend_all();
                let member = fixture.start(id).await;
                over.extend(lives.remove(&id));
                member.hold("room").await;
                lives.insert(id, Life { member, due: BTreeMap::new() });
            }
            2..4 => {
                if let Some(life) = lives.remove(&id) {
                    fixture.lose(life.member.node());
                    over.push(life);
                }
            }
            4..8 => {
                let other = lives.values().find(|life| life.member.node().id.0 != id);
                if let (Some(life), Some(other)) = (lives.get(&id), other) {
                    fixture.cut(&life.member, &other.member);
                }
            }
            8..14 => fixture.nodes().mend_all(),
            14..24 => sleep(Duration::from_millis(chance(1_500))).await,
            _ => {
                let Some(from) = lives.get(&id).map(|life| life.member.clone()) else { continue };
                said += 1;
                from.bus.publish(words("room", said));
                for life in lives.values_mut().filter(|life| life.member.node() != from.node()) {
                    life.due.entry(from.node()).or_default().push(said);
                }
            }
        }
    }
    fixture.nodes().calm();
    // So the last that is due has something after it.
    sleep(Duration::from_secs(10)).await;
    for life in lives.values() {
        life.member.bus.publish(change(0));
    }
    quiet().await;
    for (id, life) in &lives {
        let notes = &life.member.notes;
        for other in lives.values().filter(|other| other.member.node() != life.member.node()) {
            let from = other.member.node();
            let mut due = life.due.get(&from).cloned().unwrap_or_default();
            due.push(0);
            check_nothing_is_lost_untold(notes, from, &due, &(id, from));
            assert_eq!(notes.of(from).last(), Some(&0), "it hears of {from} at the end");
        }
        // Each loss is told once.
        for gone in over.iter().map(|life| life.member.node()) {
            let told = notes.lost().iter().filter(|lost| **lost == gone).count();
            assert!(told <= 1, "{gone} was lost {told} times");
        }
    }
    // Of whoever was lost, what nobody heard was told as lost.
    for life in lives.values() {
        for (from, due) in &life.due {
            check_nothing_is_lost_untold(&life.member.notes, *from, due, &(life.member.node(), from));
        }
    }
    for life in &over {
        for (from, due) in &life.due {
            let context = (life.member.node(), from);
            check_nothing_is_lost_untold_until_the_end(&life.member.notes, *from, due, &context);
        }
    }
    let calm: Vec<_> = lives.values().map(|life| life.member.clone()).collect();
    for member in &calm {
        let answers = member.bus.ask(Whom::Others, question(), 10 * SECOND).await;
        assert_eq!((answers.given.len() + 1, answers.silent.len()), (calm.len(), 0));
    }
}
