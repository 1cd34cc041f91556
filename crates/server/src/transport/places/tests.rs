use super::super::under_way::UnderWay;
use super::*;

const WITHIN: Duration = Duration::from_secs(10);

async fn ended_after(asked: Option<Duration>) -> Option<Duration> {
    let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
    let start = Instant::now();
    let asking = async {
        if let Some(after) = asked {
            tokio::time::sleep(after).await;
            drop(UnderWay::begin(&place));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = place.never_asked(start, WITHIN) => Some(start.elapsed()),
        () = asking => None,
        () = tokio::time::sleep(WITHIN * 100) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_asks_soon_or_goes() {
    assert_eq!(ended_after(None).await, Some(WITHIN));
    assert_eq!(ended_after(Some(WITHIN + Duration::from_secs(1))).await, Some(WITHIN));
    assert_eq!(ended_after(Some(WITHIN / 2)).await, None);
}

#[tokio::test(start_paused = true)]
async fn only_the_longest_silent_makes_room() {
    let limits = UnreadLimits { all: 1, caller: 1, connection: 1 };
    let places = Places::new(4, limits, Arc::new(Metrics::default()));
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(places.take(Share::unbounded()).await);
    }
    tokio::time::advance(NEWCOMER_FOR).await;
    let [busy, socket, later, silent] = [0, 1, 2, 3].map(|at| taken[at].clone());
    let under_way = UnderWay::begin(&busy).unwrap();
    socket.becomes_socket();
    // The one that was asked something last is silent since then.
    drop(UnderWay::begin(&later));
    drop(taken);
    let ended = |place: &Place| place.doomed.load(Ordering::Relaxed);
    assert!(tokio::time::timeout(ROOM_PAUSE / 2, places.take(Share::unbounded())).await.is_err());
    assert_eq!([&busy, &socket, &later, &silent].map(|place| ended(place)), [false, false, false, true]);
    assert!(UnderWay::begin(&silent).is_none(), "nothing begins on it any more");
    drop(silent);
    let newcomer = places.take(Share::unbounded()).await;
    assert!(!ended(&later), "there was room");
    drop((under_way, newcomer));
}

#[tokio::test]
async fn of_a_shared_connection_the_last_reader_is_not_blamed_for_the_next() {
    let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
    let mut large = UnderWay::begin(&place).unwrap();
    large.add(2 * SMALL_LEN);
    large.is_of(CallerKey(7));
    assert_eq!(place.reader(), Some(CallerKey(7)));
    drop(large);
    let mut small = UnderWay::begin(&place).unwrap();
    small.add(1);
    assert_eq!(place.reader(), None);
}

#[tokio::test]
async fn who_shares_a_connection_is_not_told_to_read_what_is_anothers() {
    let limits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1_000 };
    let places = Places::new(2, limits, Arc::new(Metrics::default()));
    let shares = crate::transport::Shares::new(2, vec!["192.0.2.1/32".parse().unwrap()]);
    let [proxy, client] = [1, 2].map(|last| shares.take([192, 0, 2, last].into()).unwrap());
    for (share, is_told) in [(proxy, false), (client, true)] {
        let place = places.take(share).await;
        let mut under_way = UnderWay::begin(&place).unwrap();
        under_way.add(1_000);
        assert!(!place.is_crowded());
        under_way.add(1);
        assert_eq!(place.is_crowded(), is_told);
    }
}

/// Places for so many, all of them taken by these addresses.
async fn all_taken_by(addresses: &[u8]) -> (Arc<Places>, Vec<Arc<Place>>) {
    let limits = UnreadLimits { all: 1 << 20, caller: 1 << 20, connection: 1 << 20 };
    let places = Places::new(addresses.len(), limits, Arc::new(Metrics::default()));
    let shares = crate::transport::Shares::new(100, Vec::new());
    let mut taken = Vec::new();
    for address in addresses {
        taken.push(places.take(shares.take([192, 0, 2, *address].into()).unwrap()).await);
    }
    (places, taken)
}

/// Which of them goes to make room.
async fn goes(places: &Arc<Places>, taken: &[Arc<Place>]) -> Vec<usize> {
    let _ = tokio::time::timeout(ROOM_PAUSE / 2, places.take(Share::unbounded())).await;
    (0..taken.len()).filter(|at| taken[*at].doomed.load(Ordering::Relaxed)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_not_silent_before_it_can_have_been_read() {
    let (places, taken) = all_taken_by(&[1, 2]).await;
    let under_way = UnderWay::begin(&taken[0]).unwrap();
    assert!(goes(&places, &taken).await.is_empty());
    tokio::time::advance(NEWCOMER_FOR).await;
    assert_eq!(goes(&places, &taken).await, [1]);
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_does_not_come_is_silence() {
    let (places, taken) = all_taken_by(&[1, 2]).await;
    let begun: Vec<_> = taken.iter().map(UnderWay::begin).collect();
    assert!(goes(&places, &taken).await.is_empty());
    taken[0].awaits_body(false);
    assert!(taken[0].got_body(), "it came in time");
    assert!(goes(&places, &taken).await.is_empty());
    // It may be a packet behind its head, or behind a part of it.
    for _ in 0..3 {
        taken[0].awaits_body(true);
        tokio::time::advance(NEWCOMER_FOR / 4).await;
        assert!(goes(&places, &taken).await.is_empty());
        assert!(taken[0].got_body());
    }
    taken[0].awaits_body(true);
    tokio::time::advance(NEWCOMER_FOR / 4).await;
    assert_eq!(goes(&places, &taken).await, [0]);
    assert!(!taken[0].got_body(), "it was told to go");
    drop(begun);
}

#[tokio::test(start_paused = true)]
async fn the_address_that_has_most_of_the_silent_makes_room_first() {
    // The longest silent is of an address that has one, the others are of one that has three.
    let (places, taken) = all_taken_by(&[1, 7, 7, 7]).await;
    tokio::time::advance(NEWCOMER_FOR).await;
    drop(UnderWay::begin(&taken[1]));
    assert_eq!(goes(&places, &taken).await, [2]);
    assert_eq!(goes(&places, &taken).await, [2, 3]);
    assert_eq!(goes(&places, &taken).await, [0, 2, 3], "once all have as many the longest silent goes");
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_is_heard_of_while_it_waits_for_an_answer() {
    let place = Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()).await;
    let context = &mut Context::from_waker(Waker::noop());
    assert!(!place.hang_up(context), "nothing is under way");
    let under_way = UnderWay::begin(&place);
    let hanging_up = async {
        tokio::task::yield_now().await;
        assert!(place.hang_up(context));
    };
    tokio::join!(place.hung_up(), hanging_up);
    place.hung_up().await;
    drop(under_way);
    assert!(!place.hang_up(context));
}

#[test]
fn a_request_is_seen_at_every_moment_while_its_body_is_waited_for_and_comes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let place = runtime.block_on(Places::for_tests(Arc::new(Metrics::default())).take(Share::unbounded()));
    let under_way = UnderWay::begin(&place);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300_000 {
                place.awaits_body(false);
                assert!(place.got_body());
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let mut looks = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert!(!place.waits_for_nothing(), "nothing is seen at look {looks}");
            looks += 1;
        }
    });
    drop(under_way);
    assert!(place.waits_for_nothing());
}

#[test]
fn who_hangs_up_while_the_last_answer_is_taken_is_told_or_woken() {
    struct Woken(AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let places = Places::for_tests(Arc::new(Metrics::default()));
    for _ in 0..20_000 {
        let place = runtime.block_on(places.take(Share::unbounded()));
        let under_way = UnderWay::begin(&place).unwrap();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let ready = std::sync::Barrier::new(2);
        let waits = std::thread::scope(|scope| {
            scope.spawn(|| {
                ready.wait();
                drop(under_way);
            });
            ready.wait();
            place.hang_up(&Context::from_waker(&waker))
        });
        assert!(!waits || woken.0.load(Ordering::SeqCst), "it waits for ever");
    }
}
