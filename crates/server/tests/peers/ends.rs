//! Ends of connections and groups of other nodes.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use respoke_core::id::{AppId, RequestId};
use respoke_core::ports::{Bus as _, Deed, Delivery, Holder, Question, Whom};
use respoke_core::refusal::Refusal;
use respoke_wire::close::Close;

use crate::world::{World, events, group, id, received};

/// Longer than departures are held back.
const LATER: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_answered_when_its_node_has_ended_it() {
    let world = World::apart(Duration::from_millis(40)).await;
    let (bob, eve) = (world.connect(1, "bob").await, world.connect(1, "eve").await);
    let asking = world.asking(0).await;
    let hub = &world.nodes[0].hub;
    hub.disconnect(&asking.asker(), &bob.connection.id.to_string()).await.unwrap();
    assert_eq!(bob.socket.outbox.closed(), Some(Close::SessionEnded));
    // It is found, and what is asked of its node then does not get there.
    let between = world.between.clone();
    *world.nodes[0].bus.when_answered.lock() = Some(Box::new(move || between.cut_one_way(id(0), id(1))));
    let ended = hub.disconnect(&asking.asker(), &eve.connection.id.to_string()).await;
    assert!(matches!(ended, Err(Refusal::NodeInDoubt)), "{ended:?}");
    assert_eq!(eve.socket.outbox.closed(), None);
    // What is lost for longer than it is kept does not come any more.
    tokio::time::sleep(10 * LATER).await;
    world.mend(0, 1);
    tokio::time::sleep(LATER).await;
    hub.disconnect(&asking.asker(), &eve.connection.id.to_string()).await.unwrap();
    assert_eq!(eve.socket.outbox.closed(), Some(Close::SessionEnded));
}

/// Who hears of it within the time for which departures are held back is told of nobody else.
#[tokio::test(start_paused = true)]
async fn a_node_that_hears_late_that_a_group_ends_tells_who_left_elsewhere_before() {
    const HELD_BACK: Duration = Duration::from_millis(150);
    for (cut_off, told_before) in [(HELD_BACK / 3, false), (HELD_BACK * 3, true)] {
        let world = World::apart(Duration::ZERO).await;
        let (bob, eve) = (world.connect(1, "bob").await, world.connect(2, "eve").await);
        for one in [&bob, &eve] {
            world.join(one, "room").await;
        }
        tokio::time::sleep(LATER).await;
        let _ = (received(&bob).len(), received(&eve).len());
        world.between.cut_one_way(id(0), id(2));
        let ending = async {
            let asking = world.asking(0).await;
            world.nodes[0].hub.end_group(&asking.asker(), &group("room")).await.unwrap();
        };
        let mending = async {
            tokio::time::sleep(cut_off).await;
            world.mend(0, 2);
        };
        tokio::join!(ending, mending);
        tokio::time::sleep(LATER).await;
        assert_eq!(received(&bob), events(&[("leave", "bob")]));
        let told = if told_before { &[("leave", "bob"), ("leave", "eve")][..] } else { &[("leave", "eve")] };
        assert_eq!(received(&eve), events(told), "cut off for {cut_off:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_group_is_answered_when_all_have_left_on_every_node() {
    let world = World::near().await;
    let ann = world.connect(0, "ann").await;
    world.join(&ann, "room").await;
    let mut all = Vec::new();
    for nth in 0..600 {
        let one = world.connect(1, &format!("endpoint {nth}")).await;
        world.join(&one, "room").await;
        all.push(one);
    }
    let _ = all.iter().chain([&ann]).map(received).count();
    // It is not done by the thread that hears of it.
    let (node, asked) = (world.nodes[1].hub.clone(), world.nodes[0].bus.clone());
    let still_there = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let noted = still_there.clone();
    let look = move || noted.store(node.view().counts.members, std::sync::atomic::Ordering::Relaxed);
    asked.asked();
    let asking = world.asking(0).await;
    *asked.when_answered.lock() = Some(Box::new(look));
    world.nodes[0].hub.end_group(&asking.asker(), &group("room")).await.unwrap();
    let ends = |question: &Question| matches!(question, Question::Do { deed: Deed::EndGroup { .. }, .. });
    assert_eq!(asked.asked().iter().filter(|question| ends(question)).count(), 1);
    assert_eq!(still_there.load(std::sync::atomic::Ordering::Relaxed), 600);
    assert_eq!((world.members(0), world.members(1)), (0, 0));
    for (nth, one) in all.iter().enumerate() {
        assert_eq!(received(one), events(&[("leave", &format!("endpoint {nth}"))]));
    }
    assert_eq!(received(&ann), events(&[("leave", "ann")]));
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&ann), [], "nobody is left who would hear of the others");
    let ended = world.nodes[0].hub.end_group(&asking.asker(), &group("room")).await;
    assert!(matches!(ended, Err(Refusal::NotFound(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_begins_to_end_ends_whether_that_is_waited_for_or_not() {
    let world = World::near().await;
    let mut all = Vec::new();
    for nth in 0..600 {
        let one = world.connect(0, &format!("endpoint {nth}")).await;
        world.join(&one, "room").await;
        all.push(one);
    }
    let _ = all.iter().map(received).count();
    let asking = world.asking(0).await;
    let (asker, room) = (asking.asker(), group("room"));
    let mut ending = Box::pin(world.nodes[0].hub.end_group(&asker, &room));
    while world.members(0) == all.len() {
        let polled = poll_fn(|context| Poll::Ready(ending.as_mut().poll(context).is_pending()));
        assert!(polled.await, "it goes in portions");
        tokio::task::yield_now().await;
    }
    assert!(world.members(0) > 0);
    drop(ending);
    assert_eq!(world.members(0), 0);
    assert!(all.iter().all(|one| received(one).len() == 1));
}

/// What is done is told however much the node that did it asks others itself.
#[tokio::test(start_paused = true)]
async fn that_a_group_has_ended_is_told_by_a_node_that_may_ask_nothing_more() {
    let world = World::apart(Duration::ZERO).await;
    let bob = world.connect(1, "bob").await;
    world.join(&bob, "room").await;
    world.cut(1, 2);
    let mut questions = tokio::task::JoinSet::new();
    for _ in 0..5_000 {
        let (bus, silent) = (world.nodes[1].bus.clone(), Whom::One(world.nodes[2].node()));
        let question = Question::Count { app_id: AppId::random(), of: Holder::App };
        questions.spawn(async move { bus.ask(silent, question, 60 * LATER).await });
    }
    tokio::time::sleep(LATER / 10).await;
    assert!(questions.try_join_next().is_some(), "there are too many");
    let asking = world.asking(0).await;
    world.nodes[0].hub.end_group(&asking.asker(), &group("room")).await.unwrap();
    assert_eq!(world.members(1), 0);
}

/// Groups that end beside one another on another node take turns.
#[tokio::test(start_paused = true)]
async fn a_large_group_that_ends_holds_up_the_end_of_no_other() {
    let world = World::near().await;
    let mut all = Vec::new();
    for nth in 0..600 {
        let one = world.connect(1, &format!("endpoint {nth}")).await;
        world.join(&one, "large").await;
        all.push(one);
    }
    for name in ["small", "smaller"] {
        world.join(&all[0], name).await;
    }
    // In which order portions of them are ended there.
    let portions = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = portions.clone();
    *world.nodes[1].bus.when_publishing.lock() = Some(std::sync::Arc::new(move |delivery, publish| {
        if let Delivery::GroupEnded { group, .. } = delivery {
            noted.lock().push(group.to_string());
        }
        publish();
    }));
    // All of them are asked for before the first begins.
    let end = async |name| {
        let deed = Deed::EndGroup { group: group(name) };
        let question = Question::Do { app_id: world.app, request_id: RequestId::random(), deed };
        world.nodes[0].bus.ask(Whom::One(world.nodes[1].node()), question, LATER).await;
    };
    tokio::join!(end("large"), end("small"), end("smaller"));
    tokio::time::sleep(LATER).await;
    assert_eq!(*portions.lock(), ["large", "small", "smaller", "large", "large"]);
    assert_eq!(world.members(1), 0);
}

/// Who is in many groups that end one after the other is told of each in its time.
#[tokio::test(start_paused = true)]
async fn a_group_that_ends_takes_no_other_along_that_ended_later() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    for name in ["room", "hall"] {
        world.join(&ann, name).await;
        world.join(&bob, name).await;
    }
    let _ = received(&ann);
    // Only on bob's node, so that ann stays and hears of it.
    for name in ["room", "hall"] {
        let deed = Deed::EndGroup { group: group(name) };
        let question = Question::Do { app_id: world.app, request_id: RequestId::random(), deed };
        world.nodes[2].bus.ask(Whom::One(world.nodes[1].node()), question, LATER).await;
        assert_eq!(received(&ann), []);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(received(&ann), events(&[("leave", "bob")]), "half of the delay is left of the second");
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&ann), events(&[("leave", "bob")]));
}
