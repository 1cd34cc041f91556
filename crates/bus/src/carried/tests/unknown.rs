//! Items of kinds that only another build knows delay nobody behind them.

use respoke_wire::bus::frame_item;

use super::*;

/// No build knows a kind of this number.
const KIND: u8 = 250;

/// A carrier that keeps what it is given.
#[derive(Default)]
pub(super) struct Keeps(Mutex<Vec<Frame>>);

impl Carrier for Keeps {
    fn send(&self, _: NodeId, frame: Bytes) {
        self.0.lock().push(Frame::decode(&frame).unwrap());
    }

    fn usual_delay(&self) -> Duration {
        Duration::ZERO
    }
}

impl Keeps {
    /// The items that were sent, without what was sent again.
    pub(super) fn items(&self) -> Vec<Item> {
        let item = |frame: &Frame| match &frame.content {
            Content::Item { item, .. } => Some(item.clone()),
            Content::Head(_) | Content::Seen(_) | Content::Again(_) | Content::Gone(_) => None,
        };
        self.0.lock().iter().filter_map(item).collect()
    }

    /// Whether it was said that everything up to this number is here.
    pub(super) fn says_seen(&self, number: u64) -> bool {
        self.0.lock().iter().any(|frame| matches!(frame.content, Content::Seen(seen) if seen == number))
    }

    fn asks_again(&self) -> bool {
        self.0.lock().iter().any(|frame| matches!(frame.content, Content::Again(_)))
    }
}

/// A node among others, what it sent and what it was told.
pub(super) fn among_others() -> (Arc<CarriedBus>, Arc<Keeps>, Arc<Told>) {
    let (keeps, told) = (Arc::new(Keeps::default()), Arc::new(Told::default()));
    let bus = Arc::new(CarriedBus::new(node(1), keeps.clone(), CarriedLimits::DEFAULT));
    bus.attach(&(told.clone() as Arc<dyn Receiver>));
    bus.nodes_are(&[node(2)]);
    keeps.0.lock().clear();
    (bus, keeps, told)
}

/// Has an item of the other node arrive.
pub(super) fn bring(bus: &CarriedBus, number: u64, item: &[u8]) {
    bus.arrived(&frame_item(node(2), node(1), number, item)).unwrap();
}

pub(super) fn change() -> Bytes {
    Item::Delivery(Delivery::Change(Change::Session(1))).encode().unwrap()
}

/// The kind of item, numbers of eight bytes, an unknown kind, and what only who wrote it understands.
fn of(kind: u8, numbers: &[u64], within: &[u8]) -> Vec<u8> {
    let numbers: Vec<_> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    [&[kind][..], &numbers, within, &[KIND, 1, 2, 3]].concat()
}

/// Has it arrive between two others. Tells what was sent, and what is told as missed.
fn in_the_middle(item: &[u8]) -> (Vec<Item>, Vec<Gap>) {
    let (bus, keeps, told) = among_others();
    bring(&bus, 1, &change());
    bring(&bus, 2, item);
    bring(&bus, 3, &change());
    assert_eq!(*told.received.lock(), 2, "{item:?} delays what is behind it");
    assert_eq!(bus.peers()[0].seen.load(Ordering::Acquire), 3);
    assert!(!keeps.asks_again());
    assert_eq!((bus.figures().received, bus.figures().unknown), (3, 1));
    (keeps.items(), told.missed.lock().clone())
}

#[tokio::test(start_paused = true)]
async fn what_was_for_somebody_is_told_as_missed_at_its_number() {
    // A delivery, one with an unknown change, one for an unknown audience, a notice, and an item of another kind.
    let push = [&[0, 0][..], &[1; 16]].concat();
    for item in [of(0, &[], &[]), of(0, &[], &[3]), [push, vec![KIND]].concat(), of(7, &[], &[]), vec![KIND, 0, 7]] {
        let (sent, missed) = in_the_middle(&item);
        assert!(sent.is_empty(), "{sent:?}");
        assert_eq!(missed, [Gap { from: node(2), numbers: 2..=2 }], "{item:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_only_counted_is_passed_over() {
    let (sent, missed) = in_the_middle(&of(0, &[], &[7]));
    assert!(sent.is_empty() && missed.is_empty(), "{sent:?} {missed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_is_not_answered_and_its_asker_is_told_so_at_once() {
    // Of an unknown kind, about books of an unknown kind, and an unknown deed.
    let deed = [&[6][..], &[1; 32]].concat();
    for within in [&[][..], &[20], &deed] {
        let (sent, missed) = in_the_middle(&of(2, &[77], within));
        assert!(matches!(sent[..], [Item::NoAnswer { ask: 77 }]), "{sent:?}");
        assert_eq!(missed, []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_none_and_nobody_waits_for_another() {
    let (bus, keeps, told) = among_others();
    let asking = async {
        let question = Question::Count { app_id: AppId::random(), of: respoke_core::ports::Holder::App };
        let before = Instant::now();
        (bus.ask(Whom::Others, question, Duration::from_secs(60)).await, before.elapsed())
    };
    let answering = async {
        let sent = keeps.items();
        let [Item::Question { ask, .. }] = sent[..] else { panic!("{sent:?}") };
        bring(&bus, 1, &of(3, &[ask, 9], &[]));
        bring(&bus, 2, &change());
    };
    let ((answers, took), ()) = tokio::join!(asking, answering);
    assert!(answers.given.is_empty());
    assert_eq!((answers.silent, took), (vec![node(2)], Duration::ZERO));
    assert_eq!((*told.received.lock(), told.missed.lock().len()), (1, 0));
}

/// What it is there for is not known any more, so it gets all there is, and is told that it may have missed something before.
#[tokio::test(start_paused = true)]
async fn who_tells_news_of_unknown_interests_gets_everything_from_then_on() {
    let (bus, keeps, told) = among_others();
    assert!(!bus.wanted_elsewhere(&room("room")));
    bring(&bus, 1, &of(1, &[], &[]));
    assert!(bus.wanted_elsewhere(&room("room")));
    let confirms = keeps.0.lock().iter().any(|frame| matches!(frame.content, Content::Seen(1)));
    assert!(confirms, "whoever holds something there waits for that");
    bring(&bus, 2, &of(1, &[], &[]));
    // Nor does it lose that with what it says of one app.
    let app_id = AppId::random();
    bring(&bus, 3, &Item::News(InterestNews::App(app_id, Vec::new())).encode().unwrap());
    let in_app = Interest::Group(app_id, GroupName::parse("room").unwrap());
    assert!(bus.wanted_elsewhere(&in_app));
    let sent = keeps.items();
    assert!(matches!(sent[..], [Item::Unsent]), "{sent:?}");
    assert_eq!(*told.missed.lock(), []);
    assert_eq!(bus.figures().unknown, 2);
}

/// What is longer than a frame, and unknown, is no other case.
#[tokio::test(start_paused = true)]
async fn what_comes_in_parts_is_known_by_its_head_too() {
    let (bus, keeps, told) = among_others();
    let long = [of(2, &[77], &[]), vec![7; 300_000]].concat();
    let pieces: Vec<_> = respoke_wire::bus::pieces(&long.into()).collect();
    assert!(pieces.len() > 1);
    for (number, piece) in (1..).zip(&pieces) {
        bring(&bus, number, piece);
    }
    assert!(matches!(keeps.items()[..], [Item::NoAnswer { ask: 77 }]));
    assert_eq!(*told.missed.lock(), []);
    assert_eq!(bus.figures().unknown, 1);
}
