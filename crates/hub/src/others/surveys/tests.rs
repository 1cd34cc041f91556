use respoke_core::id::AppId;
use respoke_core::ports::{Answers, Bus, Gap, Present};
use tokio::sync::Notify;

use super::*;
use crate::others::Count;
use crate::stub_bus::{StubBus, node};

/// A bus to one node, which takes a while to answer about one thing, and has these because of each.
fn bus_to_one(slow: Interest, answers: Arc<Notify>, there: Vec<ConnectionId>) -> Arc<dyn Bus> {
    let there = Arc::new(there);
    let ask = move |_, question, _| {
        let (slow, answers, there) = (slow.clone(), answers.clone(), there.clone());
        async move {
            let Question::Snapshot { of, .. } = question else { panic!("{question:?}") };
            if of.contains(&slow) {
                answers.notified().await;
            }
            let endpoint = EndpointId::parse("jo").unwrap();
            let present = |of, connection| Present { of, endpoint: endpoint.clone(), connection, presence: None };
            let of = (0..).zip(&of);
            let found = of.flat_map(|(of, _)| there.iter().map(move |connection| present(of, *connection)));
            let answer = Answer::Snapshot { found: found.collect(), more: false };
            Answers { given: vec![Given { node: node(2), number: 9, answer }], silent: Vec::new() }
        }
    };
    Arc::new(StubBus { other_nodes: vec![node(2)], wanted_elsewhere: true, ask })
}

#[tokio::test]
async fn what_is_lost_meanwhile_of_something_else_makes_nobody_unheard_who_answered() {
    let [slow, quick] = ["slow", "quick"].map(|name| GroupName::parse(name).unwrap());
    let app = AppId::random();
    let of = |group: &GroupName| Interest::Group(app, group.clone());
    let answers = Arc::new(Notify::new());
    let bus = bus_to_one(of(&slow), answers.clone(), Vec::new());
    let others = Others::beside(&bus).unwrap();
    let ask = async |group: &GroupName| {
        others.hold(&of(group));
        let asked = others.kept.lock().unsurveyed(&[of(group)]);
        others.ask_and_lay(Whom::Others, &asked, Patience::Each(REPAIR_WITHIN), || 0).await
    };
    let meanwhile = async {
        ask(&quick).await;
        others.missed(&Gap { from: node(2), numbers: 7..=8 });
        answers.notify_one();
    };
    let (silent, ()) = tokio::join!(ask(&slow), meanwhile);
    assert!(silent.is_empty(), "{silent:?}");
    assert_eq!(others.members_known(app, &slow), Some(Count { known: 0, unheard: 0 }));
}

/// As one who does not answer, so that it is not asked again at once, and again.
#[tokio::test]
async fn who_answers_of_before_what_was_missed_is_to_be_asked_again_later() {
    let room = Interest::Group(AppId::random(), GroupName::parse("room").unwrap());
    let slow = Interest::Group(AppId::random(), GroupName::parse("slow").unwrap());
    let bus = bus_to_one(slow, Arc::default(), Vec::new());
    let others = Others::beside(&bus).unwrap();
    others.hold(&room);
    let asked = others.kept.lock().unsurveyed(std::slice::from_ref(&room));
    let ask = || others.ask_and_lay(Whom::One(node(2)), &asked, Patience::Each(REPAIR_WITHIN), || 0);
    // Everything up to the ninth is in what it answers.
    others.missed(&Gap { from: node(2), numbers: 7..=9 });
    assert_eq!(ask().await, []);
    others.missed(&Gap { from: node(2), numbers: 10..=10 });
    assert_eq!(ask().await, [node(2)]);
}

#[tokio::test]
async fn whoever_waits_for_what_is_kept_has_its_turn_however_much_is_answered() {
    let app = AppId::random();
    let groups: Vec<_> = (0..20).map(|nth| GroupName::parse(&format!("group {nth}")).unwrap()).collect();
    let of = |group: &GroupName| Interest::Group(app, group.clone());
    let there = (0..300).map(|_| ConnectionId::random()).collect();
    let slow = of(&GroupName::parse("slow").unwrap());
    let bus = bus_to_one(slow, Arc::default(), there);
    let others = Others::beside(&bus).unwrap();
    let interests: Vec<_> = groups.iter().map(of).collect();
    for interest in &interests {
        others.hold(interest);
    }
    let asked = others.kept.lock().unsurveyed(&interests);
    let known = |group| others.members_known(app, group).map_or(0, |count| count.known);
    let look = async {
        let (mut before, mut most) = (0, 0);
        while before < 300 * groups.len() {
            tokio::task::yield_now().await;
            let now = groups.iter().map(known).sum();
            (before, most) = (now, most.max(now - before));
        }
        most
    };
    let lay = others.ask_and_lay(Whom::Others, &asked, Patience::Each(REPAIR_WITHIN), || 0);
    let (most, silent) = tokio::join!(biased; look, lay);
    assert!(silent.is_empty() && most <= LAID_AT_ONCE, "{silent:?} {most}");
}
