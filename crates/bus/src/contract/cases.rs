//! What every bus must do.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::ports::{Answer, Answers, Node, Notice, Question, Source, Whom};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{APP, Fixture, Member, Note, app, change, done, in_room, in_room_of, quiet, words, words_in};

/// Long enough for anything that is not cut off.
const DEADLINE: Duration = Duration::from_secs(20);

fn question() -> Question {
    Question::Groups { app_id: APP, endpoint: None, after: None, most: 1 }
}

async fn ask(member: &Member, whom: Whom) -> Answers {
    member.bus.ask(whom, question(), DEADLINE).await
}

/// Who answered and what each called itself, in order.
fn given(answers: &Answers) -> Vec<(Node, String)> {
    let one = |answer: &Answer| match answer {
        Answer::Groups(names) => names[0].to_string(),
        other => panic!("{other:?}"),
    };
    let mut given: Vec<_> = answers.given.iter().map(|given| (given.node, one(&given.answer))).collect();
    given.sort_unstable();
    given
}

pub(super) async fn here_it_was_received_when_publish_returns(fixture: impl Fixture) {
    let (a, _) = fixture.two().await;
    for said in 1..=3 {
        // Nobody is there for it, here neither: whom it concerns here the receiver knows.
        a.bus.publish(words("room", said));
        assert_eq!(a.notes.here().last(), Some(&said));
    }
    a.bus.publish(change(4));
    assert_eq!(a.notes.here(), [1, 2, 3, 4]);
}

pub(super) async fn what_one_publishes_arrives_in_order(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    b.hold("room").await;
    for said in 0..500 {
        a.bus.publish(words("room", said));
        c.bus.publish(words("room", 1_000 + said));
    }
    b.notes.until_of(a.node(), 0..500).await;
    b.notes.until_of(c.node(), 1_000..1_500).await;
    for from in [&a, &c] {
        let numbers = b.notes.numbered(from.node());
        assert!(numbers.is_sorted_by(|(one, _), (next, _)| one < next), "{numbers:?}");
    }
    assert_eq!(b.notes.gaps(), []);
}

pub(super) async fn it_reaches_whom_it_concerns_and_nobody_else(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    b.hold("one").await;
    c.hold("other").await;
    // Of the same name, in another app.
    done(c.bus.hold(&in_room_of(app(1), "one"))).await;
    a.bus.publish(words("one", 1));
    a.bus.publish(words("other", 2));
    a.bus.publish(words("neither", 3));
    a.bus.publish(change(4));
    b.notes.until_of(a.node(), [1, 4]).await;
    c.notes.until_of(a.node(), [2, 4]).await;
    assert_eq!(a.notes.here(), [1, 2, 3, 4]);
    assert!(a.notes.all().iter().all(|note| matches!(note, Note::Received(Source::Here, _))), "its own comes once");
}

pub(super) async fn first_in_and_last_out(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    b.hold("room").await;
    b.bus.release(&in_room("room"));
    quiet().await;
    a.bus.publish(words("room", 1));
    b.notes.until_of(a.node(), [1]).await;
    b.bus.release(&in_room("room"));
    quiet().await;
    a.bus.publish(words("room", 2));
    // One more than there were takes nothing from the next.
    b.bus.release(&in_room("room"));
    b.hold("room").await;
    a.bus.publish(words("room", 3));
    b.notes.until_of(a.node(), [1, 3]).await;
}

pub(super) async fn who_leaves_one_room_stays_in_the_others(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    for name in ["one", "two"] {
        b.hold(name).await;
    }
    done(b.bus.hold(&in_room_of(app(1), "one"))).await;
    b.bus.release(&in_room("one"));
    quiet().await;
    a.bus.publish(words("one", 1));
    a.bus.publish(words("two", 2));
    a.bus.publish(words_in(app(1), "one", 3, 0));
    b.notes.until_of(a.node(), [2, 3]).await;
}

/// Elsewhere the last member of one node deleted the room of all.
pub(super) async fn one_who_leaves_takes_nothing_from_others(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    b.hold("room").await;
    c.hold("room").await;
    a.hold("room").await;
    b.bus.release(&in_room("room"));
    quiet().await;
    for (said, from) in [(1, &a), (2, &b)] {
        from.bus.publish(words("room", said));
        c.notes.until_of(from.node(), [said]).await;
    }
    fixture.lose(b.node());
    c.notes.until(|notes| !notes.lost().is_empty()).await;
    a.bus.publish(words("room", 3));
    c.notes.until_of(a.node(), [1, 3]).await;
    assert!(b.notes.of(a.node()).is_empty());
}

/// Elsewhere what was published just after a subscription was lost.
pub(super) async fn what_is_published_after_a_confirmed_join_arrives(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    for round in 0..2_000 {
        let name = format!("room {round}");
        b.hold(&name).await;
        a.bus.publish(words(&name, round));
        if round % 2 == 0 {
            b.bus.release(&in_room(&name));
        }
    }
    b.notes.until_of(a.node(), 0..2_000).await;
}

pub(super) async fn whether_others_are_there_for_something_is_known(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    let room = in_room("room");
    a.hold("room").await;
    assert!(!a.bus.wanted_elsewhere(&room), "by others than oneself");
    b.hold("room").await;
    c.hold("room").await;
    assert!(a.bus.wanted_elsewhere(&room) && !a.bus.wanted_elsewhere(&in_room("another")));
    // What one said before, it released before: once the one has come, the other has.
    for (said, leaver) in [(1, &b), (2, &c)] {
        assert!(a.bus.wanted_elsewhere(&room));
        leaver.bus.release(&room);
        leaver.bus.publish(words("room", said));
        a.notes.until_of(leaver.node(), [said]).await;
    }
    assert!(!a.bus.wanted_elsewhere(&room));
    b.hold("room").await;
    fixture.lose(b.node());
    a.notes.until(|notes| !notes.lost().is_empty()).await;
    assert!(!a.bus.wanted_elsewhere(&room), "who is lost is there for nothing");
}

pub(super) async fn who_starts_later_knows_what_others_are_there_for(fixture: impl Fixture) {
    let a = fixture.start(1).await;
    for number in 0..100 {
        a.hold(&format!("room {number}")).await;
    }
    let b = fixture.start(2).await;
    for number in 0..100 {
        b.bus.publish(words(&format!("room {number}"), number));
    }
    a.notes.until_of(b.node(), 0..100).await;
}

pub(super) async fn everybody_answers(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    let answers = ask(&a, Whom::Others).await;
    assert_eq!(given(&answers), [(b.node(), "node 2".to_owned()), (c.node(), "node 3".to_owned())]);
    assert_eq!(answers.silent, []);
}

pub(super) async fn one_is_asked_alone(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    let answers = ask(&a, Whom::One(c.node())).await;
    assert_eq!((given(&answers), answers.silent), (vec![(c.node(), "node 3".to_owned())], vec![]));
    assert_eq!((b.notes.asked(), c.notes.asked()), (0, 1));
    // Another life of it is not it.
    let (again, former) = (fixture.start(2).await, b.node());
    let answers = ask(&a, Whom::One(former)).await;
    assert_eq!((given(&answers), answers.silent), (vec![], vec![former]));
    a.notes.until(|notes| notes.lost() == [former]).await;
    let answers = ask(&a, Whom::One(again.node())).await;
    assert_eq!(given(&answers).len(), 1);
}

pub(super) async fn of_many_questions_at_once_each_gets_its_own_answers(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    let mut asking = JoinSet::new();
    for (asker, most) in [&a, &b, &c].into_iter().cycle().zip(1..=60) {
        let bus = asker.bus.clone();
        let question = Question::Groups { app_id: APP, endpoint: None, after: None, most };
        asking.spawn(async move { (most, bus.ask(Whom::Others, question, DEADLINE).await) });
    }
    while let Some(asked) = asking.join_next().await {
        let (most, answers) = asked.unwrap();
        assert_eq!((answers.given.len(), answers.silent), (2, vec![]));
        for given in answers.given {
            let Answer::Groups(names) = given.answer else { panic!("{given:?}") };
            assert_eq!(names[1].to_string(), most.to_string());
        }
    }
}

pub(super) async fn who_does_not_answer_is_named(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    let silent = c.node();
    drop(c.notes);
    let began = Instant::now();
    let answers = ask(&a, Whom::Others).await;
    assert_eq!(given(&answers), [(b.node(), "node 2".to_owned())]);
    assert_eq!(answers.silent, [silent]);
    assert!(began.elapsed() <= DEADLINE + Duration::from_millis(1));
    let alone = fixture.start(1).await;
    fixture.lose(b.node());
    fixture.lose(silent);
    alone.notes.until(|notes| notes.lost().len() == 2).await;
    let answers = ask(&alone, Whom::Others).await;
    assert!(answers.given.is_empty() && answers.silent.is_empty());
}

pub(super) async fn an_answer_stands_among_deliveries(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    a.hold("room").await;
    let mut known = 0;
    for round in 0..50 {
        b.bus.publish(words("room", 2 * round));
        let answers = ask(&a, Whom::Others).await;
        b.bus.publish(words("room", 2 * round + 1));
        a.notes.until(|notes| notes.of(b.node()).len() as u64 == 2 * round + 2).await;
        let (before, after) = match a.notes.numbered(b.node())[..] {
            [.., (before, _), (after, _)] => (before, after),
            ref other => panic!("{other:?}"),
        };
        let number = answers.given[0].number;
        // What was published before the question came is beneath the answer, what came after it is not.
        assert!(before <= number && number < after && known <= number, "{before} {number} {after}");
        known = number;
    }
}

pub(super) async fn what_is_told_comes_to_one_alone_and_once(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    b.hold("room").await;
    let notice = |number| Notice::Follow { number };
    let mut told = Vec::new();
    for said in 1..=20 {
        a.bus.tell(b.node(), notice(said));
        a.bus.publish(words("room", said));
        b.notes.until_of(a.node(), 1..=said).await;
        told.push((a.node(), notice(said)));
        assert_eq!(b.notes.notices(), told, "what was said behind it has come");
    }
    // Another life of it is not it.
    let again = fixture.start(2).await;
    a.bus.tell(b.node(), notice(21));
    a.notes.until(|notes| notes.lost() == [b.node()]).await;
    a.bus.tell(b.node(), notice(22));
    quiet().await;
    assert_eq!(b.notes.notices(), told);
    for other in [&a, &again, &c] {
        assert_eq!(other.notes.notices(), []);
    }
}

/// Elsewhere leaves were lost in a split, and ghosts of former lives stayed.
pub(super) async fn a_lost_node_is_told_once_and_nothing_of_it_after(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    a.hold("room").await;
    for said in 0..100 {
        b.bus.publish(words("room", said));
    }
    fixture.lose(b.node());
    fixture.lose(b.node());
    b.bus.publish(words("room", 100));
    for survivor in [&a, &c] {
        survivor.notes.until(|notes| !notes.lost().is_empty()).await;
    }
    b.bus.publish(words("room", 101));
    b.bus.publish(change(102));
    assert!(ask(&b, Whom::Others).await.given.is_empty(), "nobody answers the dead");
    quiet().await;
    for survivor in [&a, &c] {
        assert_eq!(survivor.notes.lost(), [b.node()]);
        assert_eq!(survivor.notes.all().last(), Some(&Note::Lost(b.node())), "nothing after it");
        assert!(!survivor.notes.of(b.node()).iter().any(|said| *said >= 100));
    }
    // The others hear each other as before.
    c.bus.publish(words("room", 7));
    a.notes.until_of(c.node(), [7]).await;
}

/// It may have been answered for what never left it.
pub(super) async fn what_a_lost_node_may_have_said_is_told_as_missed_before_it_is_lost(fixture: impl Fixture) {
    let (a, b, c) = fixture.three().await;
    a.hold("room").await;
    b.bus.publish(words("room", 1));
    a.notes.until_of(b.node(), [1]).await;
    fixture.lose(b.node());
    for survivor in [&a, &c] {
        survivor.notes.until(|notes| !notes.lost().is_empty()).await;
        let heard = survivor.notes.numbered(b.node()).last().map_or(0, |(number, _)| *number);
        let [.., Note::Missed(gap), Note::Lost(lost)] = &survivor.notes.all()[..] else {
            panic!("{:?}", survivor.notes.all())
        };
        assert_eq!((gap.from, *lost, *gap.numbers.end()), (b.node(), b.node(), u64::MAX));
        assert!(*gap.numbers.start() > heard, "{gap:?} after {heard}");
        assert_eq!(survivor.notes.gaps().len(), 1, "once");
    }
}

pub(super) async fn who_comes_back_is_another_and_holds_nothing(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    b.hold("room").await;
    a.bus.publish(words("room", 1));
    b.notes.until_of(a.node(), [1]).await;
    let again = fixture.start(2).await;
    assert!(again.node().id == b.node().id && again.node().incarnation > b.node().incarnation);
    a.notes.until(|notes| notes.lost() == [b.node()]).await;
    a.bus.publish(words("room", 2));
    again.hold("hall").await;
    a.bus.publish(words("hall", 3));
    again.notes.until_of(a.node(), [3]).await;
    // What the former life still does reaches nobody, and what it held is not held.
    b.bus.publish(change(4));
    again.bus.publish(change(5));
    a.notes.until_of(again.node(), [5]).await;
    quiet().await;
    assert_eq!((b.notes.of(a.node()), a.notes.of(b.node())), (vec![1], vec![]));
    assert_eq!(a.notes.lost(), [b.node()]);
}

pub(super) async fn of_many_restarts_no_ghost_is_left(fixture: impl Fixture) {
    let (a, _, _) = fixture.three().await;
    let mut lost = Vec::new();
    let mut last = Vec::new();
    for round in 0..30 {
        let id = 2 + round % 2;
        let again = fixture.start(id).await;
        again.hold("room").await;
        let among = std::mem::take(&mut last);
        last = among.into_iter().filter(|member: &Member| member.node().id != again.node().id).collect();
        last.push(again);
    }
    quiet().await;
    lost.extend(a.notes.lost());
    assert_eq!(lost.len(), 30, "each life but the last two, once: {lost:?}");
    let different: std::collections::BTreeSet<_> = lost.iter().collect();
    assert_eq!(different.len(), lost.len());
    let answers = ask(&a, Whom::Others).await;
    assert_eq!((answers.given.len(), answers.silent.len()), (2, 0));
    a.bus.publish(words("room", 1));
    for member in &last {
        member.notes.until_of(a.node(), [1]).await;
        assert!(member.notes.lost().iter().all(|lost| *lost != a.node() && *lost != member.node()));
    }
}

/// What a receiver does of what it receives must neither wait for itself nor overtake.
pub(super) async fn who_receives_may_publish(fixture: impl Fixture) {
    let (a, b) = fixture.two().await;
    a.hold("answers").await;
    b.hold("questions").await;
    let bus = Arc::downgrade(&b.bus);
    *b.notes.reacts.lock() = Some(Arc::new(move |said| {
        if said < 1_000
            && let Some(bus) = bus.upgrade()
        {
            drop(bus.hold(&in_room("more")));
            bus.publish(words("answers", 1_000 + said));
        }
    }));
    for said in 0..100 {
        a.bus.publish(words("questions", said));
    }
    a.notes.until_of(b.node(), 1_000..1_100).await;
    assert_eq!(b.notes.of(a.node()), (0..100).collect::<Vec<_>>());
}
