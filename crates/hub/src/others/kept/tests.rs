mod moved;
mod world;

use std::collections::BTreeSet;

use respoke_core::ports::{Gap, Incarnation, NodeId, Present};

use super::*;

fn app() -> AppId {
    AppId::parse("7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001").unwrap()
}

fn node(life: u64) -> Node {
    Node { id: NodeId(2), incarnation: Incarnation(life) }
}

fn connection(number: u8) -> ConnectionId {
    ConnectionId::parse(&format!("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A0{number:02}")).unwrap()
}

fn room() -> GroupName {
    GroupName::parse("room").unwrap()
}

fn interest() -> Interest {
    Interest::Group(app(), room())
}

fn jo() -> EndpointId {
    EndpointId::parse("jo").unwrap()
}

fn observers() -> Interest {
    Interest::Observers(app(), jo())
}

/// A part of what a node answers.
struct Piece {
    number: u64,
    found: Vec<Present>,
}

impl Kept {
    /// Lays all that a node answered.
    fn lay(&mut self, asked: &[Asked], asked_at: u64, node: Node, pieces: &[Piece], now: Instant) -> Vec<News> {
        let mut answered = Answered::by(node);
        for Piece { number, found } in pieces {
            answered.add(*number, found.clone());
        }
        (0..).zip(asked).flat_map(|(of, one)| self.lay_one(of, one, asked_at, &answered, now)).collect()
    }
}

/// What is to be asked of all, and of which node, looked for in portions of one.
fn wanted(kept: &mut Kept) -> (Vec<Asked>, BTreeMap<Node, Vec<Asked>>) {
    let mut found: BTreeMap<Whom, Vec<Asked>> = kept.due().into_iter().map(|whom| (whom, Vec::new())).collect();
    for (whom, asked) in &mut found {
        let mut behind = None;
        loop {
            let portion = kept.wanted(*whom, behind.as_ref(), 1, 1);
            assert!(portion.asked.len() <= 1);
            asked.extend(portion.asked);
            let Some(last) = portion.behind else { break };
            behind = Some(last);
        }
    }
    let all = found.remove(&Whom::Others).unwrap_or_default();
    let of_node = |(whom, asked): (Whom, Vec<Asked>)| match whom {
        Whom::One(node) => (node, asked),
        Whom::Others => panic!("it was taken out"),
    };
    (all, found.into_iter().filter(|(_, asked)| !asked.is_empty()).map(of_node).collect())
}

#[test]
fn what_is_to_be_asked_is_found_in_portions_and_once() {
    let mut kept = Kept::default();
    let of = |number: u32| Interest::Group(app(), GroupName::parse(&format!("room {number}")).unwrap());
    let all: Vec<_> = (0..100).map(of).collect();
    for interest in &all {
        kept.hold(interest);
    }
    let (half, rest) = all.split_at(50);
    assert_eq!(kept.due(), []);
    kept.surveyed(&kept.unsurveyed(half), &[node(1)]);
    kept.want(&kept.unsurveyed(&rest[..20]));
    assert_eq!(kept.due(), [Whom::Others, Whom::One(node(1))]);
    let due = |of: &[Interest]| of.iter().cloned().collect::<BTreeSet<_>>();
    for (most, looked_at_most) in [(1, 1), (1, 100), (7, 9), (9, 7), (50, 50), (100, 100), (101, 101)] {
        let mut find = |whom| {
            let (mut found, mut behind) = (Vec::new(), None);
            loop {
                let portion = kept.wanted(whom, behind.as_ref(), most, looked_at_most);
                assert!(portion.asked.len() <= most.min(looked_at_most) && !portion.early);
                found.extend(portion.asked.into_iter().map(|asked| asked.interest));
                let Some(last) = portion.behind else { break };
                behind = Some(last);
            }
            (found.len(), found.into_iter().collect::<BTreeSet<_>>())
        };
        assert_eq!(find(Whom::Others), (20, due(&rest[..20])), "{most}");
        assert_eq!(find(Whom::One(node(1))), (50, due(half)), "{most}");
        assert_eq!(find(Whom::One(node(2))), (0, due(&[])));
    }
}

/// Whoever asks for all that is left knows when it is done, and when there came more meanwhile.
#[test]
fn what_comes_while_somebody_is_asked_is_to_be_asked_as_well() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    kept.surveyed(&kept.unsurveyed(&[interest()]), &[]);
    let one = Whom::One(node(1));
    assert_eq!(kept.due_of(one), None);
    kept.missed(node(1), 1);
    let before = kept.due_of(one).unwrap();
    kept.late(&interest(), &[node(1)]);
    assert!(!kept.was_asked(one, before));
    let mark = kept.due_of(one).unwrap();
    assert!(kept.was_asked(one, mark) && kept.due().is_empty());
    kept.missed(node(1), 2);
    kept.lost(node(1), 0);
    assert_eq!(kept.due(), []);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_answered_before_it_was_lost_brings_nobody_back() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    let asked = kept.unsurveyed(&[interest()]);
    kept.lost(node(1), 0);
    let present = Present { of: 0, endpoint: jo(), connection: connection(1), presence: None };
    let answer = |node| (node, [Piece { number: 1, found: vec![present.clone()] }]);
    let (lost, pieces) = answer(node(1));
    assert!(kept.lay(&asked, kept.turn(), lost, &pieces, Instant::now()).is_empty());
    kept.surveyed(&asked, &[node(1)]);
    assert_eq!(kept.count(&interest()), Some(Count { known: 0, unheard: 0 }));
    assert!(wanted(&mut kept).1.is_empty(), "the dead are not asked again");
    // Its next life is another.
    kept.late(&interest(), &[node(2)]);
    let asked = wanted(&mut kept).1.remove(&node(2)).unwrap();
    let (lives, pieces) = answer(node(2));
    assert_eq!(kept.lay(&asked, kept.turn(), lives, &pieces, Instant::now()).len(), 1, "it may have told past this");
    assert_eq!(kept.count(&interest()), Some(Count { known: 1, unheard: 0 }));
}

/// Threads of a node do one after the other, and may tell it in another order: who asks meanwhile finds what was done.
#[tokio::test(start_paused = true)]
async fn who_is_found_missing_before_that_was_told_leaves_its_groups_when_it_is() {
    let (mut kept, [one, two]) = (Kept::default(), [1, 2].map(connection));
    for of in [interest(), observers()] {
        kept.hold(&of);
    }
    let asked = kept.unsurveyed(&[interest(), observers()]);
    kept.surveyed(&asked, &[]);
    for (number, id) in [(1, one), (2, two)] {
        assert!(kept.observed((node(1), number), app(), &jo(), id, None));
        assert!(kept.joined((node(1), number + 2), interest(), &jo(), id));
    }
    // Something else was missed.
    kept.missed(node(1), 5);
    let asked = wanted(&mut kept).1.remove(&node(1)).unwrap();
    let of_jo: Vec<_> = asked.into_iter().filter(|asked| asked.interest == observers()).collect();
    let news = kept.lay(&of_jo, kept.turn(), node(1), &[Piece { number: 6, found: Vec::new() }], Instant::now());
    let told = |news: &News| matches!(news, News::Gone(going) if going.observed && going.departed.groups.is_empty());
    assert!(news.len() == 2 && news.iter().all(told), "{news:?}");
    // Each is told as gone to those who observe it, and is a member as long as nothing else is told.
    assert_eq!(kept.count(&interest()), Some(Count { known: 2, unheard: 0 }));
    assert!(kept.left((node(1), 7), &interest(), one), "it left before it went");
    for (number, id, groups) in [(8, one, Vec::new()), (9, two, vec![room()])] {
        let departed = Departed { app_id: app(), endpoint: jo(), connection: id, groups: groups.clone() };
        let going = kept.departed((node(1), number), departed.clone(), Instant::now());
        assert_eq!(going.as_ref().map_or(&[][..], |going| &going.departed.groups), groups);
        assert!(going.is_none_or(|going| !going.observed), "that was told");
        assert!(kept.departed((node(1), number), departed, Instant::now()).is_none());
    }
    assert_eq!(kept.count(&interest()), Some(Count { known: 0, unheard: 0 }));
    assert!(kept.there.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_connection_behind_its_end_is_not_told() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    let one = connection(1);
    let asked = kept.unsurveyed(&[interest()]);
    kept.surveyed(&asked, &[]);
    let departed = Departed { app_id: app(), endpoint: jo(), connection: one, groups: vec![room()] };
    assert!(kept.departed((node(1), 1), departed.clone(), Instant::now()).is_some());
    assert!(!kept.joined((node(1), 2), interest(), &jo(), one) && !kept.left((node(1), 3), &interest(), one));
    assert!(kept.departed((node(1), 4), departed, Instant::now()).is_none());
    assert_eq!(kept.count(&interest()), Some(Count { known: 0, unheard: 0 }));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_and_was_never_known_is_told_of_only_while_it_is_not_known_who_is_there() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    let asked = kept.unsurveyed(&[interest()]);
    assert!(kept.left((node(1), 1), &interest(), connection(1)), "it may have been there before those here");
    assert!(!kept.left((node(1), 2), &interest(), connection(1)), "that is told once");
    kept.surveyed(&asked, &[node(1)]);
    assert!(kept.left((node(1), 3), &interest(), connection(2)), "it did not answer yet");
    assert!(
        kept.lay(&asked, kept.turn(), node(1), &[Piece { number: 3, found: Vec::new() }], Instant::now()).is_empty()
    );
    assert!(!kept.left((node(1), 4), &interest(), connection(3)), "nobody here ever knew of it");
    assert_eq!(kept.count(&interest()), Some(Count { known: 0, unheard: 0 }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_group_ended_brings_nobody_back() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    let asked = kept.unsurveyed(&[interest()]);
    let present = |id| Present { of: 0, endpoint: jo(), connection: id, presence: None };
    assert!(kept.group_ended((node(1), 2), &interest(), &[connection(1)]).is_empty());
    let answer = Piece { number: 1, found: vec![present(connection(1)), present(connection(2))] };
    assert!(kept.lay(&asked, kept.turn(), node(1), &[answer], Instant::now()).is_empty());
    kept.surveyed(&asked, &[]);
    assert_eq!(kept.count(&interest()), Some(Count { known: 1, unheard: 0 }));
    // Whoever came since is no member of what ended.
    assert!(kept.joined((node(1), 3), interest(), &jo(), connection(3)));
    let going = kept.group_ended((node(1), 4), &interest(), &[connection(2)]);
    assert_eq!(going.iter().map(|going| going.departed.connection).collect::<Vec<_>>(), [connection(2)]);
    assert!(kept.is_there(&interest(), connection(3)) && !kept.is_there(&interest(), connection(2)));
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_node_has_is_not_known_until_it_answers() {
    let mut kept = Kept::default();
    kept.hold(&interest());
    assert_eq!(kept.count(&interest()), None, "nobody was asked");
    let asked = kept.unsurveyed(&[interest()]);
    kept.surveyed(&asked, &[node(1)]);
    let unheard = |kept: &mut Kept| kept.count(&interest()).map(|count| (count.known, count.unheard));
    assert!(unheard(&mut kept) == Some((0, 1)) && !kept.is_whole(&[interest()]));
    kept.missed(node(1), 3);
    assert_eq!(unheard(&mut kept), Some((0, 1)));
    let present = Present { of: 0, endpoint: jo(), connection: connection(1), presence: None };
    let answer = |number| [Piece { number, found: vec![present.clone()] }];
    let asked = wanted(&mut kept).1.remove(&node(1)).unwrap();
    kept.lay(&asked, kept.turn(), node(1), &answer(2), Instant::now());
    assert!(
        unheard(&mut kept) == Some((1, 0)) && !kept.is_whole(&[interest()]),
        "it has answered, of before what was missed"
    );
    kept.lay(&asked, kept.turn(), node(1), &answer(4), Instant::now());
    assert!(kept.is_whole(&[interest()]));
}

/// Once it is known who is there, nothing is kept of who left.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_it_was_known_who_is_there_brings_nobody_back_when_that_becomes_doubtful() {
    let becomes_doubtful: [fn(&mut Kept); 2] =
        [|kept| kept.missed(node(1), 3), |kept| kept.late(&interest(), &[node(1)])];
    for becomes_doubtful in becomes_doubtful {
        let mut kept = Kept::default();
        kept.hold(&interest());
        let (asked, asked_at) = (kept.unsurveyed(&[interest()]), kept.turn());
        let present = Present { of: 0, endpoint: jo(), connection: connection(1), presence: None };
        let answer = |number| [Piece { number, found: vec![present.clone()] }];
        // Another who asked is answered before.
        kept.lay(&asked, asked_at, node(1), &answer(1), Instant::now());
        kept.surveyed(&asked, &[]);
        assert!(kept.left((node(1), 2), &interest(), connection(1)));
        becomes_doubtful(&mut kept);
        assert!(kept.lay(&asked, asked_at, node(1), &answer(1), Instant::now()).is_empty());
        assert_eq!(kept.count(&interest()), Some(Count { known: 0, unheard: 0 }), "it has answered before");
        assert!(!kept.is_whole(&[interest()]) && kept.due() == [Whom::One(node(1))], "and is to be asked again");
        let asked = wanted(&mut kept).1.remove(&node(1)).unwrap();
        kept.lay(&asked, kept.turn(), node(1), &[Piece { number: 4, found: Vec::new() }], Instant::now());
        assert!(kept.is_whole(&[interest()]));
    }
}

/// There may be a million things held, and whoever else needs what is kept waits meanwhile.
#[tokio::test(start_paused = true)]
async fn nothing_is_looked_through_at_once_because_something_is_missed_of_a_node_or_that_is_lost() {
    let (mut kept, all) = (
        Kept::default(),
        (0..1_000).map(|nth| Interest::Group(app(), GroupName::parse(&format!("room {nth}")).unwrap())),
    );
    let all: Vec<_> = all.collect();
    let there: Vec<_> = all.iter().map(|_| ConnectionId::random()).collect();
    for (interest, connection) in all.iter().zip(&there) {
        kept.hold(interest);
        assert!(kept.joined((node(1), 1), interest.clone(), &jo(), *connection));
    }
    let asked = kept.unsurveyed(&all);
    kept.surveyed(&asked, &[]);
    let not_looked_at = |kept: &Kept| {
        let as_before = |interest: &&Interest| {
            kept.held.get(interest).is_some_and(|held| held.doubted.is_empty() && held.entries.len() == 1)
        };
        all.iter().filter(as_before).count()
    };
    kept.missed(node(1), 5);
    assert_eq!(not_looked_at(&kept), all.len());
    // Whoever asks for one finds it doubtful all the same.
    assert!(!kept.is_whole(&all[..1]) && kept.left((node(1), 6), &all[1], connection(1)));
    assert_eq!(not_looked_at(&kept), all.len() - 2);
    kept.lost(node(1), 7);
    assert_eq!(not_looked_at(&kept), all.len() - 2);
    assert_eq!(kept.count(&all[2]), Some(Count { known: 0, unheard: 0 }));
    // Of each connection leave is taken once, as of when the node was lost.
    let mut left = Vec::new();
    while let Some((at, going)) = kept.take_leave(300, Instant::now()) {
        assert!(at == 7 && going.len() <= 300 && going.iter().all(|going| going.departed.groups.len() == 1));
        left.extend(going.into_iter().map(|going| going.departed.connection));
    }
    assert_eq!((left.len(), left.into_iter().collect::<HashSet<_>>()), (all.len(), there.into_iter().collect()));
    assert!(kept.is_whole(&all) && kept.there.is_empty() && kept.of_nodes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn leave_is_taken_of_fewer_connections_at_once_if_they_were_in_more() {
    let mut kept = Kept::default();
    let groups: Vec<_> = (0..10).map(|nth| GroupName::parse(&format!("room {nth}")).unwrap()).collect();
    for group in &groups {
        let interest = Interest::Group(app(), group.clone());
        kept.hold(&interest);
        for number in 1..=9 {
            assert!(kept.joined((node(1), 1), interest.clone(), &jo(), connection(number)));
        }
    }
    kept.lost(node(1), 7);
    let mut taken = Vec::new();
    for most in [20, 21, 1, 0, usize::MAX] {
        taken.push(kept.take_leave(most, Instant::now()).unwrap().1.len());
    }
    assert_eq!(taken, [2, 3, 1, 1, 2]);
    assert!(kept.take_leave(1, Instant::now()).is_none() && kept.there.is_empty());
}

/// A group may have ten thousand members, and a connection of a lost node be in a thousand such groups.
#[tokio::test(start_paused = true)]
async fn a_portion_after_a_loss_is_no_longer_for_what_others_have() {
    let (mut kept, other) = (Kept::default(), Node { id: NodeId(3), ..node(1) });
    let all: Vec<_> =
        (0..20).map(|nth| Interest::Group(app(), GroupName::parse(&format!("room {nth}")).unwrap())).collect();
    for interest in &all {
        kept.hold(interest);
        assert!(kept.joined((node(1), 1), interest.clone(), &jo(), connection(1)));
        for number in 2..=10 {
            assert!(kept.joined((other, 1), interest.clone(), &jo(), connection(number)));
        }
    }
    let asked = kept.unsurveyed(&all);
    kept.surveyed(&asked, &[]);
    // Of those of which leave is not taken yet, none is taken out meanwhile.
    for lost in [node(1), other] {
        kept.lost(lost, 7);
    }
    assert_eq!(kept.take_leave(1, Instant::now()).unwrap().1.len(), 1);
    let known = |kept: &Kept| all.iter().map(|interest| kept.held.get(interest).unwrap().entries.len()).sum::<usize>();
    assert_eq!(known(&kept), 20 * 9);
    // Whoever looks for what is to be asked finds those, which counts: three things at once, and then all that is left.
    kept.missed(node(2), 5);
    let mut asked = Vec::new();
    let mut behind = None;
    loop {
        let portion = kept.wanted(Whom::One(node(2)), behind.as_ref(), 100, 30);
        asked.push((portion.asked.len(), known(&kept)));
        let Some(last) = portion.behind else { break };
        behind = Some(last);
    }
    let thrice = (1..=6).map(|nth| (3, 20 * 9 - nth * 27));
    assert_eq!(asked, thrice.chain([(2, 0)]).collect::<Vec<_>>());
    assert_eq!(kept.wanted(Whom::One(node(2)), None, 100, 30).asked.len(), all.len(), "all is noted by now");
    while kept.take_leave(1, Instant::now()).is_some() {}
    assert!(kept.there.is_empty() && kept.count(&all[0]) == Some(Count { known: 0, unheard: 0 }));
}
