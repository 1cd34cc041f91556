//! What becomes of a connection that breaks, and of what is on its way then.

use std::sync::atomic::{AtomicBool, AtomicU64};

use respoke_core::ports::{Bus as _, Cluster, Receiver};
use respoke_core::secret::Secret;

use super::*;
use crate::Authenticated;
use crate::carried::{CarriedBus, CarriedLimits, TICK};
use crate::contract::fixture::{Notes, done, in_room, long_words, words};

/// Nothing is given up for being late: a busy machine changes nothing.
const LIMITS: CarriedLimits = CarriedLimits {
    kept_for: Duration::from_secs(3_600),
    kept_bytes_max: 1 << 30,
    late_after: Duration::from_secs(3_600),
    ..CarriedLimits::DEFAULT
};

/// A bus over NATS.
struct Life {
    carrier: Arc<NatsCarrier>,
    bus: Arc<CarriedBus>,
    notes: Arc<Notes>,
    _ticking: JoinSet<()>,
}

impl Life {
    async fn start(server: &NatsServer, id: u32) -> Self {
        let cluster = Cluster { id: [7; 16], key: Secret::new("key".to_owned()) };
        let carrier = Arc::new(NatsCarrier::connect(&options(&server.address(), node(id))).await.unwrap());
        let authenticated = Arc::new(Authenticated::new(&cluster, carrier.clone()));
        let bus = Arc::new(CarriedBus::new(node(id), authenticated.clone(), LIMITS));
        let notes = Notes::of_node(id);
        bus.attach(&(notes.clone() as Arc<dyn Receiver>));
        let (brought, ticks) = (Arc::downgrade(&bus), bus.clone());
        carrier.bring_to(move |frame| {
            if let Some(bus) = brought.upgrade() {
                authenticated.bring(&bus, frame);
            }
        });
        let mut ticking = JoinSet::new();
        ticking.spawn(async move {
            loop {
                ticks.tick();
                sleep(TICK / 10).await;
            }
        });
        Self { carrier, bus, notes, _ticking: ticking }
    }

    /// Two that know each other, and both are there for a room.
    async fn two(server: &NatsServer) -> (Self, Self) {
        let (a, b) = (Self::start(server, 1).await, Self::start(server, 2).await);
        let live = [node(1), node(2)];
        let introductions = [&a, &b].map(|life| life.bus.nodes_are(&live));
        for introduction in introductions.into_iter().flatten() {
            done(introduction).await;
        }
        for life in [&a, &b] {
            done(life.bus.hold(&in_room("room"))).await;
        }
        (a, b)
    }

    /// Waits until it heard so many of the other.
    async fn heard(&self, from: &Self, many: u64) {
        self.notes.until(|notes| notes.of(from.bus.node()).len() as u64 >= many).await;
    }
}

/// Both publish all the time. After each restart each hears what the other says then, and what it said meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_twenty_times_leaves_nobody_silent() {
    let Some(mut server) = NatsServer::start("") else { return };
    let (a, b) = Life::two(&server).await;
    let over = Arc::new(AtomicBool::new(false));
    let publishing = [&a, &b].map(|life| {
        let (bus, over, said) = (life.bus.clone(), over.clone(), Arc::new(AtomicU64::new(0)));
        let count = said.clone();
        let publish = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                for _ in 0..10 {
                    bus.publish(long_words("room", count.fetch_add(1, Ordering::AcqRel), 200));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        (publish, said)
    });
    for restart in 0..20 {
        server.kill();
        if restart % 4 == 0 {
            // Long enough that both have noticed.
            for life in [&a, &b] {
                let waiting = async {
                    while life.carrier.figures().is_connected {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                timeout(LONG, waiting).await.unwrap();
            }
        }
        server.start_again();
        let said = [0, 1].map(|nth: usize| publishing[nth].1.load(Ordering::Acquire));
        b.heard(&a, said[0]).await;
        a.heard(&b, said[1]).await;
    }
    over.store(true, Ordering::Release);
    for ((publish, said), (from, to)) in publishing.into_iter().zip([(&a, &b), (&b, &a)]) {
        publish.join().unwrap();
        let said = said.load(Ordering::Acquire);
        to.heard(from, said).await;
        assert_eq!(to.notes.of(from.bus.node()), (0..said).collect::<Vec<_>>());
        assert_eq!(to.notes.gaps(), []);
        assert!(from.carrier.figures().reconnects >= 20, "{:?}", from.carrier.figures());
    }
}

/// The library says that something is sent when it is on its way to the server, which then dies.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_is_lost_is_found_by_its_number() {
    let Some(mut server) = NatsServer::start("") else { return };
    let (a, b) = Life::two(&server).await;
    let mut said = 0;
    for round in 1..=5 {
        server.stop();
        let before = a.carrier.figures().frames_sent;
        for _ in 0..2_000 {
            a.bus.publish(long_words("room", said, 500));
            said += 1;
        }
        let waiting = async {
            while a.carrier.figures().frames_sent < before + 500 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, waiting).await.unwrap();
        server.kill();
        server.start_again();
        b.heard(&a, said).await;
        let lost = a.carrier.figures().frames_sent - b.carrier.figures().frames_received;
        assert!(lost >= 500 * round, "{lost} were lost, and said to be sent");
    }
    assert_eq!((b.notes.of(node(1)), b.notes.gaps()), ((0..said).collect(), vec![]));
}

/// What is published once a join is known arrives.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_after_a_join_arrives() {
    const JOINS: u64 = 2_000;
    let Some(server) = NatsServer::start("") else { return };
    let (a, b) = Life::two(&server).await;
    for nth in 0..JOINS {
        let room = format!("room {nth}");
        done(b.bus.hold(&in_room(&room))).await;
        a.bus.publish(words(&room, nth));
    }
    b.heard(&a, JOINS).await;
    assert_eq!((b.notes.of(node(1)), b.notes.gaps()), ((0..JOINS).collect(), vec![]));
}

/// What is sent once a node has begun comes, and not only because it is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_after_a_start_comes() {
    let Some(server) = NatsServer::start("") else { return };
    let sender = Member::start(&options(&server.address(), node(1))).await.unwrap();
    for id in 2..300_u32 {
        let mut new = Member::start(&options(&server.address(), node(id))).await.unwrap();
        sender.carrier.send(NodeId(id), Bytes::copy_from_slice(&id.to_be_bytes()));
        assert_eq!(new.next().await, id.to_be_bytes());
    }
}

/// Nobody is told when a machine is unplugged.
#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_comes_back_by_itself() {
    let Some(server) = NatsServer::start("") else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let mut other = Member::start(&options(&server.address(), node(2))).await.unwrap();
    server.stop();
    let since = Instant::now();
    // While the connection takes nothing, it cannot be told either to make itself anew.
    for _ in 0..150 {
        one.carrier.send(NodeId(2), vec![0; 100_000].into());
    }
    one.until(|figures| !figures.is_connected).await;
    let took = since.elapsed();
    // It takes 4.5 seconds; more only says that this machine is busy.
    assert!(took < Duration::from_secs(30), "{took:?}");
    server.go_on();
    one.until(|figures| figures.is_connected).await;
    reaches(&one, (NodeId(2), &mut other), b"again").await;
}

/// Nobody waits for a server that is gone, and what waits for it has a bound.
#[tokio::test]
async fn while_there_is_no_server_so_much_waits_and_no_more() {
    const LEN: usize = 100_000;
    let Some(mut server) = NatsServer::start("") else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let mut other = Member::start(&options(&server.address(), node(2))).await.unwrap();
    server.kill();
    one.until(|figures| !figures.is_connected).await;
    for nth in 0..1_000_u32 {
        let mut frame = vec![0; LEN];
        frame[..4].copy_from_slice(&nth.to_be_bytes());
        one.carrier.send(NodeId(2), frame.into());
    }
    // Beside those in the queue, some are on their way to the connection.
    let dropped = one.carrier.figures().frames_dropped;
    assert!((700..=850).contains(&dropped), "{dropped}");
    server.start_again();
    // What waited for more than five seconds may be dropped meanwhile; what comes is what was sent first.
    reaches(&one, (NodeId(2), &mut other), b"again").await;
}

/// Whoever leaves says first what it had to say.
#[tokio::test]
async fn at_the_end_what_waits_is_sent() {
    let Some(server) = NatsServer::start("") else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let mut other = Member::start(&options(&server.address(), node(2))).await.unwrap();
    for nth in 0..10_000_u32 {
        one.carrier.send(NodeId(2), Bytes::copy_from_slice(&nth.to_be_bytes()));
    }
    one.carrier.end().await;
    drop(one);
    for nth in 0..10_000_u32 {
        assert_eq!(other.next().await, nth.to_be_bytes());
    }
}

/// Whoever stands still with what is brought loses what is beyond its bound, and others lose nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn for_who_stands_still_so_much_waits_and_no_more() {
    let Some(server) = NatsServer::start("") else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let still = NatsCarrier::connect(&options(&server.address(), node(2))).await.unwrap();
    let standing = Arc::new(Mutex::new(0_u64));
    let (stands, came) = (standing.clone(), Arc::new(Notify::new()));
    let comes = came.clone();
    still.bring_to(move |_| {
        *stands.lock() += 1;
        comes.notify_one();
    });
    let held = tokio::task::block_in_place(|| standing.lock());
    let since = Instant::now();
    while still.figures().messages_dropped == 0 {
        one.carrier.send(NodeId(2), vec![0; 100_000].into());
        assert!(since.elapsed() < LONG, "it is not dropped: {:?}", still.figures());
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(1)));
    }
    assert!(still.shared.arrived_bytes.load(Ordering::Acquire) <= waiting::WAITING_BYTES_MAX);
    drop(held);
    // It goes on.
    let before = *standing.lock();
    while *standing.lock() == before {
        timeout(LONG, came.notified()).await.unwrap();
    }
}

/// Whoever may write there is not heard, and nothing of it does harm.
#[tokio::test]
async fn what_others_write_there_is_counted_and_dropped() {
    let Some(server) = NatsServer::start("") else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let mut other = Member::start(&options(&server.address(), node(2))).await.unwrap();
    let stranger = async_nats::connect(server.address()).await.unwrap();
    let subject = options::subject(&[7; 16], NodeId(2));
    for junk in [&b""[..], b"\0", b"junk", b"\x02short"] {
        stranger.publish(subject.clone(), junk.into()).await.unwrap();
    }
    // A sign of life of another life of it, and of nobody's number.
    let later = Node { incarnation: Incarnation(2), ..node(2) };
    for sign in [packet::sign(later, 1), packet::sign(node(2), u64::MAX)] {
        stranger.publish(subject.clone(), sign).await.unwrap();
    }
    stranger.flush().await.unwrap();
    other.until(|figures| figures.messages_dropped == 4).await;
    reaches(&one, (NodeId(2), &mut other), b"word").await;
}

/// How long a server that is about to end stays, and does nothing in the first of them.
const TWO_HOURS: &str = "lame_duck_duration: \"2h\"\nlame_duck_grace_period: \"1h\"";

/// A server that is about to end says so, and whoever knows another goes there before it has to.
#[tokio::test]
async fn who_knows_another_server_leaves_one_that_is_about_to_end() {
    let ports = [(); 2].map(|()| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    let set_up = |own: usize| {
        let other = ports[1 - own];
        format!(
            "{TWO_HOURS}\nserver_name: \"{own}\"\n\
             cluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [\"nats://127.0.0.1:{other}\"], no_advertise: true }}\n",
            ports[own]
        )
    };
    let (Some(first), Some(second)) = (NatsServer::start(&set_up(0)), NatsServer::start(&set_up(1))) else { return };
    let addresses = format!("{},{}", first.address(), second.address());
    let mut members = Vec::new();
    for id in 1..=6 {
        members.push(Member::start(&options(&addresses, node(id))).await.unwrap());
    }
    first.be_about_to_end();
    for member in &members {
        let at_second = async {
            while member.carrier.client.server_info().port != second.port {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LONG, at_second).await.is_ok(), "{:?}", member.carrier.client.server_info());
    }
    drop(first);
    let mut last = members.pop().unwrap();
    for member in &members {
        reaches(member, (NodeId(6), &mut last), b"word").await;
    }
}

/// Where there is no other, it is used until it ends.
#[tokio::test]
async fn who_knows_no_other_server_stays() {
    let Some(server) = NatsServer::start(TWO_HOURS) else { return };
    let one = Member::start(&options(&server.address(), node(1))).await.unwrap();
    let mut other = Member::start(&options(&server.address(), node(2))).await.unwrap();
    server.be_about_to_end();
    // It lets nobody in any more, and then tells those whom it has.
    let waiting = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
        // Whoever leaves does so before it gives the next signs of life.
        let signs = one.carrier.shared.pulse.came();
        while one.carrier.shared.pulse.came() < signs + 3 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LONG, waiting).await.is_ok(), "{:?}", one.carrier.figures());
    reaches(&one, (NodeId(2), &mut other), b"word").await;
    assert_eq!(one.carrier.figures().reconnects, 0);
}
