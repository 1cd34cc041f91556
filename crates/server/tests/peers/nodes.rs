//! What comes from another node.

use std::collections::VecDeque;
use std::time::Duration;

use respoke_bus::faulty::Faults;
use respoke_core::ports::{Answer, Bus, Holder, Question, Whom};
use respoke_hub::ops::ConnectionCount;
use respoke_wire::close::Close;

use crate::world::{World, events, group, received};

/// Longer than departures are held back.
const LATER: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn what_is_published_on_one_node_reaches_members_on_the_other() {
    let world = World::near().await;
    let (ann, bob, eve) = (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(1, "eve").await);
    world.join(&ann, "room").await;
    world.join(&bob, "room").await;
    let _ = [&ann, &bob, &eve].map(received);
    world.publish(&ann, "room").await;
    assert_eq!(received(&bob), events(&[("pubsub", "ann")]));
    assert_eq!((received(&ann), received(&eve)), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn whatever_lies_between_them_all_of_it_arrives_as_it_was_said() {
    for seed in 1..=5 {
        let world = World::with_between(2, seed, Faults::MANY).await;
        let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
        world.join(&bob, "room").await;
        let mut said = Vec::new();
        for round in 0..300 {
            // What no value of a program holds passes too.
            let words = format!("[{round},1e999,\"half of a pair: \\ud83d\"]");
            world.publish_text(&ann, "room", &words).await;
            said.push(words);
            tokio::time::sleep(Duration::from_millis(round % 7)).await;
        }
        let mut frames = VecDeque::new();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _ = bob.socket.outbox.take_now(&mut frames);
        let heard = frames.iter().map(|frame| std::str::from_utf8(frame).unwrap());
        // Where ann's node was late bob is told that something may be missed.
        let (heard, beside): (Vec<_>, Vec<_>) = heard.partition(|heard| heard.contains("\"pubsub\""));
        assert!(beside.iter().all(|told| told.contains("\"missed\"")), "{beside:?}");
        assert_eq!(heard.len(), said.len(), "seed {seed}");
        for (heard, said) in heard.iter().zip(&said) {
            assert!(heard.contains(&format!("\"message\":{said}")), "{said} was heard as {heard}, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_departure_on_one_node_is_told_on_the_other_to_those_who_were_there() {
    let world = World::near().await;
    let (bob, cat) = (world.connect(1, "bob").await, world.connect(1, "cat").await);
    world.join(&bob, "room").await;
    let _ = received(&bob);
    let ann = world.connect(0, "ann").await;
    world.join(&ann, "room").await;
    assert_eq!(received(&bob), events(&[("join", "ann")]));
    world.nodes[0].hub.close(&ann.socket, Close::Left);
    world.join(&cat, "room").await;
    assert_eq!(received(&bob), events(&[("join", "cat")]), "it is told a little later");
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&bob), events(&[("leave", "ann")]));
    assert_eq!(received(&cat), []);
}

#[tokio::test(start_paused = true)]
async fn one_node_ends_a_connection_of_the_other_and_asks_it_who_is_there() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(1, "ann").await, world.connect(1, "bob").await);
    world.join(&ann, "room").await;
    world.join(&bob, "room").await;
    let bus = &world.nodes[0].bus;
    let members = async || {
        let of = Holder::Group(group("room"));
        let question = Question::Connections { app_id: world.app, of, after: None, most: 10 };
        let answers = bus.ask(Whom::Others, question, Duration::from_secs(1)).await;
        assert!(answers.silent.is_empty());
        let found = answers.given.into_iter().flat_map(|given| match given.answer {
            Answer::Connections(found) => found,
            other => panic!("{other:?}"),
        });
        let mut names: Vec<_> = found.map(|facts| facts.endpoint.to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(members().await, ["ann", "bob"]);
    let asking = world.asking(0).await;
    world.nodes[0].hub.disconnect(&asking.asker(), &bob.connection.id.to_string()).await.unwrap();
    assert_eq!(bob.socket.outbox.closed(), Some(Close::SessionEnded));
    assert_eq!(ann.socket.outbox.closed(), None);
    assert_eq!(members().await, ["ann"]);
}

/// Beyond what is sent again: whoever may have missed something is told so, and of who came and went meanwhile.
#[tokio::test(start_paused = true)]
async fn what_a_long_cut_took_is_told_and_who_is_there_made_good() {
    let world = World::apart(Duration::ZERO).await;
    let (ann, bob, cat) = (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(1, "cat").await);
    let dan = world.connect(1, "dan").await;
    for member in [&ann, &bob, &cat] {
        world.join(member, "room").await;
    }
    for name in ["bob", "cat", "dan"] {
        world.observe(&ann, name).await;
    }
    world.say(&bob, "chat").await;
    tokio::time::sleep(LATER).await;
    let _ = [&ann, &bob, &cat, &dan].map(received);
    world.cut(0, 1);
    world.publish(&bob, "room").await;
    world.leave(&bob, "room").await;
    world.say(&bob, "away").await;
    world.join(&dan, "room").await;
    world.nodes[1].hub.close(&cat.socket, Close::Left);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(received(&ann), []);
    world.mend(0, 1);
    // What comes after the break shows it.
    world.publish(&dan, "room").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = received(&ann);
    told.sort_unstable();
    let due = events(&[
        ("join", "dan"),
        ("leave", "bob"),
        ("leave", "cat"),
        ("missed", "__SYSTEM__"),
        ("presence", "bob"),
        ("presence", "cat"),
        ("pubsub", "dan"),
    ]);
    assert_eq!(told, due);
    // And none of it again, nor anything else when the node is lost, but what is there by now, and what it may have said last.
    world.between.lose(world.nodes[1].node());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = received(&ann);
    told.sort_unstable();
    let due = [("leave", "dan"), ("missed", "__SYSTEM__"), ("presence", "bob"), ("presence", "dan")];
    assert_eq!(told, events(&due));
}

/// Elsewhere what was published just after a subscription was lost.
#[tokio::test(start_paused = true)]
async fn what_is_said_just_after_a_join_or_a_connect_was_answered_arrives() {
    let world = World::apart(Duration::from_millis(40)).await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    for round in 0..30 {
        let name = format!("room {round}");
        world.join(&bob, &name).await;
        world.publish(&ann, &name).await;
        let name = format!("endpoint {round}");
        let new = world.connect(1, &name).await;
        world.send(&ann, &new).await;
        // What was said has come by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(received(&new), events(&[("message", "ann")]), "in round {round}");
        if round % 2 == 0 {
            world.leave(&bob, &format!("room {round}")).await;
        }
    }
    assert_eq!(received(&bob), vec![("pubsub".to_owned(), "ann".to_owned()); 30]);
}

#[tokio::test(start_paused = true)]
async fn how_many_connections_there_are_is_not_said_to_be_all_while_a_node_has_never_answered() {
    let world = World::apart(Duration::ZERO).await;
    world.cut(0, 2);
    let _ann = world.connect(0, "ann").await;
    let _bob = world.connect(1, "bob").await;
    let _cat = world.connect(2, "cat").await;
    let counted = async || world.nodes[0].hub.connection_count(world.app).await;
    // Longer than a count is good enough.
    tokio::time::sleep(10 * LATER).await;
    assert_eq!(counted().await, ConnectionCount { known: 2, is_all: false });
    world.mend(0, 2);
    tokio::time::sleep(10 * LATER).await;
    assert_eq!(counted().await, ConnectionCount { known: 3, is_all: true });
}
