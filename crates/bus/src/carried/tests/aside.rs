//! What takes long is answered beside what is handed on.

use respoke_core::ports::BooksQuestion;
use respoke_core::request_log::{RequestFilter, RequestsAsked};

use super::unknown::{Keeps, among_others, bring, change};
use super::*;

fn long_question(ask: u64) -> Bytes {
    let asked = RequestsAsked { filter: RequestFilter::default(), before: None, most: 1 };
    Item::Question { ask, question: Question::Books(BooksQuestion::Requests(Box::new(asked))) }.encode().unwrap()
}

/// The numbers of the questions that were answered, and of those that are not.
fn answered(keeps: &Keeps) -> (Vec<u64>, Vec<u64>) {
    let (mut answered, mut refused) = (Vec::new(), Vec::new());
    for item in keeps.items() {
        match item {
            Item::Answer { ask, .. } => answered.push(ask),
            Item::NoAnswer { ask } => refused.push(ask),
            other => panic!("{other:?}"),
        }
    }
    (answered, refused)
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_to_answer_holds_up_nothing_behind_it() {
    let (bus, keeps, told) = among_others();
    bring(&bus, 1, &long_question(7));
    bring(&bus, 2, &change());
    assert_eq!((*told.received.lock(), answered(&keeps)), (1, (vec![], vec![])));
    let answers = tokio::time::timeout(Duration::from_secs(1), bus.answer_aside());
    assert!(answers.await.is_err(), "it goes on for as long as it is polled");
    assert_eq!(answered(&keeps), (vec![7], vec![]));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait_and_the_others_hear_so_at_once() {
    let (bus, keeps, _told) = among_others();
    for number in 1..=70 {
        bring(&bus, number, &long_question(number));
    }
    assert_eq!(answered(&keeps), (vec![], (65..=70).collect()));
    while bus.answer_next_aside() {}
    assert_eq!(answered(&keeps).0, (1..=64).collect::<Vec<_>>());
    bring(&bus, 71, &long_question(71));
    assert!(bus.answer_next_aside() && answered(&keeps).0.ends_with(&[71]));
    // Whoever is lost waits for nothing.
    bring(&bus, 72, &long_question(72));
    bus.nodes_are(&[node(1)]);
    assert!(bus.answer_next_aside() && !bus.answer_next_aside());
    assert!(!answered(&keeps).0.contains(&72));
}
