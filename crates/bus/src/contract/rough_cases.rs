//! What every bus must do whatever becomes of what lies between its nodes. That may stop and start anew, say again what is
//! long over, let through less than is sent, or never have been there.

use std::time::Duration;

use respoke_core::ports::{Node, NodeId, Question, Whom};
use tokio::time::{Instant, sleep};

use super::fixture::{
    APP, Cuttable, Note, app, change, check_nothing_is_lost_untold, done, in_room, in_room_of, long_words, quiet,
    words, words_in,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn question() -> Question {
    Question::Groups { app_id: APP, endpoint: None, after: None, most: 1 }
}

/// Elsewhere what was written to a connection that broke was gone, and subscriptions with it.
pub(super) async fn what_carries_may_start_anew_over_and_over(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    let members = [&a, &b, &c];
    for member in members {
        member.hold("room").await;
    }
    let (mut said, mut published) = (0, [const { Vec::new() }; 3]);
    for round in 0..20 {
        for step in 0..20 {
            match step {
                5 => fixture.nodes().stop(),
                12 => fixture.nodes().mend_all(),
                _ => {}
            }
            for (member, published) in members.iter().zip(&mut published) {
                said += 1;
                published.push(said);
                member.bus.publish(words("room", said));
            }
            sleep(10 * MILLI * (1 + round)).await;
        }
        // An interest is confirmed after each, and one that was to be told meanwhile too.
        fixture.nodes().stop();
        let confirmation = b.bus.hold(&in_room(&format!("hall {round}")));
        sleep(100 * MILLI).await;
        fixture.nodes().mend_all();
        done(confirmation).await;
        said += 1;
        published[0].push(said);
        a.bus.publish(words(&format!("hall {round}"), said));
        b.notes.until(|notes| notes.of(a.node()).last() == Some(&said)).await;
    }
    quiet().await;
    let halls = published[0].iter().skip(20).step_by(21).copied().collect::<Vec<_>>();
    for member in members {
        for (from, published) in members.iter().zip(&published).filter(|(from, _)| from.node() != member.node()) {
            let due: Vec<_> =
                published.iter().copied().filter(|said| member.node() == b.node() || !halls.contains(said)).collect();
            assert_eq!(member.notes.of(from.node()), due, "{} of {}", member.node(), from.node());
        }
        assert_eq!(member.notes.gaps(), []);
    }
}

/// While what it missed is sent again, one is started anew: the next life gets nothing of it, whichever side it is.
pub(super) async fn nothing_that_was_for_a_former_life_comes_to_the_next(fixture: impl Cuttable) {
    let (mut a, mut b) = fixture.two().await;
    b.hold("hall").await;
    for round in 0..40 {
        let room = format!("room {round}");
        b.hold(&room).await;
        fixture.cut(&a, &b);
        for said in 0..50 {
            a.bus.publish(long_words(&room, said, 10_000));
        }
        sleep(SECOND).await;
        fixture.mend(&a, &b);
        sleep(MILLI * (round % 20) * 5).await;
        let former = b.node();
        if round % 3 == 0 {
            a = fixture.start(1).await;
        } else {
            b = fixture.start(2).await;
            b.hold("hall").await;
        }
        if round % 3 == 1 {
            a = fixture.start(1).await;
        }
        a.bus.publish(words("hall", 1_000));
        b.notes.until(|notes| notes.of(a.node()).last() == Some(&1_000)).await;
        if b.node() != former {
            // Of those that are gone it hears that.
            let is_of_a = |note: &Note| match note {
                Note::Received(..) => true,
                Note::Missed(gap) => gap.from == a.node(),
                Note::Lost(node) => *node == a.node(),
            };
            let heard: Vec<_> = b.notes.all().into_iter().filter(is_of_a).collect();
            assert!(matches!(heard[..], [Note::Received(..)]), "{heard:?} in round {round}");
        }
        assert!(b.notes.lost().iter().all(|lost| *lost != a.node()));
    }
}

/// What is put to a node is put once, whatever comes again: it may be to do something.
pub(super) async fn each_question_is_put_once(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    let mut answered = 0;
    for round in 0..200 {
        match round % 10 {
            3 => fixture.cut(&a, &b),
            7 => fixture.mend(&a, &b),
            _ => {}
        }
        let began = Instant::now();
        let answers = a.bus.ask(Whom::One(b.node()), question(), 200 * MILLI).await;
        assert!(began.elapsed() <= 201 * MILLI);
        assert_eq!(answers.given.len() + answers.silent.len(), 1);
        answered += answers.given.len();
        if round % 10 == 7 {
            c.bus.ask(Whom::One(b.node()), question(), 10 * SECOND).await;
        }
    }
    fixture.nodes().mend_all();
    sleep(40 * SECOND).await;
    let asked = b.notes.asked();
    // Of whoever waits no more it is not known whether its question was put; it may have been.
    assert!(asked <= 200 + 20 && asked >= answered + 20, "{asked} times, answered {answered}");
    assert_eq!((a.notes.asked(), c.notes.asked()), (0, 0));
}

/// One to whom little gets through delays nobody else.
pub(super) async fn one_who_is_slow_holds_up_nobody_else(fixture: impl Cuttable) {
    let (a, b, c) = fixture.three().await;
    b.hold("room").await;
    c.hold("room").await;
    fixture.nodes().narrow(a.node().id, c.node().id, 100_000);
    let mut published = Vec::new();
    let began = Instant::now();
    for said in 0..100 {
        published.push(said);
        a.bus.publish(long_words("room", said, 5_000));
        sleep(10 * MILLI).await;
    }
    b.notes.until_of(a.node(), 0..100).await;
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    assert!(c.notes.of(a.node()).len() < 50);
    fixture.nodes().mend_all();
    sleep(10 * SECOND).await;
    a.bus.publish(change(1_000));
    published.push(1_000);
    c.notes.until(|notes| notes.of(a.node()).last() == Some(&1_000)).await;
    check_nothing_is_lost_untold(&c.notes, a.node(), &published, &"slow");
}

/// For minutes more is sent to one than gets through: as much as gets through is new, the rest is told, and when it is over
/// all is as before.
pub(super) async fn for_minutes_more_is_sent_than_gets_through(fixture: impl Cuttable) {
    const BYTES_PER_SEC: u64 = 1_000_000;
    const LEN: usize = 100_000;
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    let way = (a.node().id, b.node().id);
    fixture.nodes().narrow(way.0, way.1, BYTES_PER_SEC);
    let before = fixture.nodes().handed_over(way.0, way.1);
    let began = Instant::now();
    let mut published = Vec::new();
    while began.elapsed() < 120 * SECOND {
        // Twice as much.
        let said = published.len() as u64;
        published.push(said);
        a.bus.publish(long_words("room", said, LEN));
        sleep(Duration::from_micros(LEN as u64 * 500_000 / BYTES_PER_SEC)).await;
    }
    let came = b.notes.of(a.node()).len();
    let handed_over = fixture.nodes().handed_over(way.0, way.1) - before;
    let fits = usize::try_from(BYTES_PER_SEC).unwrap() * 120 / LEN;
    let sent = published.len() * LEN;
    assert!(came * 2 > fits, "{came} came where {fits} would fit");
    assert!(handed_over < 4 * sent, "{handed_over} handed over, {sent} published");
    // It is still told and asked, late as it may be.
    fixture.nodes().narrow(way.0, way.1, 10 * BYTES_PER_SEC);
    sleep(20 * SECOND).await;
    b.hold("hall").await;
    let said = published.len() as u64;
    published.push(said);
    a.bus.publish(words("hall", said));
    b.notes.until(|notes| notes.of(a.node()).last() == Some(&said)).await;
    check_nothing_is_lost_untold(&b.notes, a.node(), &published, &"minutes");
    let gaps = b.notes.gaps();
    let answers = a.bus.ask(Whom::Others, question(), 5 * SECOND).await;
    assert_eq!((answers.given.len(), b.notes.gaps()), (1, gaps));
}

/// One that starts while nobody can be reached goes on as ever, waits for nothing, and hears of everything later.
pub(super) async fn one_may_start_while_nobody_is_reached(fixture: impl Cuttable) {
    let a = fixture.start(1).await;
    a.hold("room").await;
    fixture.nodes().cut(NodeId(1), NodeId(2));
    let (b, introductions) = fixture.begin(2);
    let began = Instant::now();
    for said in 0..1_000 {
        b.bus.publish(long_words("room", said, 20_000));
    }
    let confirmation = b.bus.hold(&in_room("hall"));
    b.bus.release(&in_room("elsewhere"));
    let answers = b.bus.ask(Whom::Others, question(), Duration::ZERO).await;
    assert!(began.elapsed() <= MILLI, "nobody waited");
    let silent = |node: Node| (0, vec![node]);
    assert_eq!((answers.given.len(), answers.silent), silent(a.node()));
    let answers = b.bus.ask(Whom::One(a.node()), question(), SECOND).await;
    assert_eq!((answers.given.len(), answers.silent), silent(a.node()));
    assert!(began.elapsed() <= SECOND + 2 * MILLI);
    sleep(60 * SECOND).await;
    assert_eq!((confirmation.missing(), introductions[0].missing()), (vec![a.node()], vec![a.node()]));
    // What it says a moment before it is heard is not lost.
    b.bus.publish(words("room", 1_000));
    fixture.nodes().mend(NodeId(1), NodeId(2));
    for confirmation in introductions.into_iter().chain([confirmation]) {
        done(confirmation).await;
    }
    quiet().await;
    assert!(!a.notes.gaps().is_empty(), "what it said before is lost");
    assert_eq!(a.notes.of(b.node()).last(), Some(&1_000));
    a.bus.publish(words("hall", 1));
    b.notes.until_of(a.node(), [1]).await;
}

/// One that is heard and does not hear is heard to the end.
pub(super) async fn one_may_be_heard_and_not_hear(fixture: impl Cuttable) {
    let (a, b) = fixture.two().await;
    for round in 0..3_u64 {
        a.hold(&format!("room {round}")).await;
        fixture.nodes().cut_one_way(a.node().id, b.node().id);
        // Each in an app of its own, of which the other is not known to get all.
        let confirmation = a.bus.hold(&in_room_of(app(round), "hall"));
        let first = 10_000 * round;
        for said in first..first + 600 {
            b.bus.publish(words(&format!("room {round}"), said));
            sleep(SECOND / 20).await;
        }
        let answers = b.bus.ask(Whom::One(a.node()), question(), SECOND).await;
        assert_eq!(answers.silent, [a.node()]);
        assert_eq!(confirmation.missing(), [b.node()]);
        fixture.mend(&a, &b);
        done(confirmation).await;
        b.bus.publish(words_in(app(round), "hall", first + 600, 0));
        a.notes.until(|notes| notes.of(b.node()).last() == Some(&(first + 600))).await;
        let due: Vec<_> = (first..=first + 600).collect();
        check_nothing_is_lost_untold(&a.notes, b.node(), &due, &round);
    }
}
