//! What nodes have to do for one who pays, and for one who cannot.

use respoke_core::app::App;
use respoke_core::ports::{Deed, Question};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::{Asker, Purse, Unlimited};
use respoke_hub::reach::Reach;

use crate::world::{World, endpoint, group};

/// The purse of who has nothing left.
#[derive(Debug)]
pub(crate) struct Empty;

impl Purse for Empty {
    fn pay(&self, _: &Asker<'_>, _: &App, _: Reach) -> Result<(), Refusal> {
        Err(Refusal::RateLimited { retry_after: std::time::Duration::from_secs(1) })
    }

    fn owe(&self, _: &Asker<'_>, _: &App, _: Reach) {}
}

#[tokio::test(start_paused = true)]
async fn who_cannot_pay_makes_no_node_work_and_a_name_costs_once_however_often_it_stands_there() {
    let world = World::near().await;
    let (ann, bob) = (world.connect(0, "ann").await, world.connect(1, "bob").await);
    let (hub, bus) = (&world.nodes[0].hub, &world.nodes[0].bus);
    let asking = world.asking(0).await;
    let rooms: Vec<_> = (0..100).map(|nth| group(&format!("room {}", nth % 2))).collect();
    bus.asked();
    let joined = hub.join(&asking.over(&ann, &Empty), &rooms).await;
    assert!(matches!(joined, Err(Refusal::RateLimited { .. })), "{joined:?}");
    let observed = hub.observe(&asking.over(&ann, &Empty), vec![endpoint("bob")]).await;
    assert!(matches!(observed, Err(Refusal::RateLimited { .. })), "{observed:?}");
    assert!(bus.asked().is_empty(), "nobody was asked anything");

    let snapshot = |question: &Question| match question {
        Question::Snapshot { of, .. } => of.len(),
        _ => 0,
    };
    hub.join(&asking.over(&ann, &Unlimited), &rooms).await.unwrap();
    assert_eq!(bus.asked().iter().map(snapshot).sum::<usize>(), 2 * 2, "two nodes");
    let deeds = || {
        let asked = bus.asked();
        let of = |wanted: fn(&Deed) -> bool| {
            let is_wanted = |question: &&Question| matches!(question, Question::Do { deed, .. } if wanted(deed));
            asked.iter().filter(is_wanted).count()
        };
        [of(|deed| matches!(deed, Deed::Join { .. })), of(|deed| matches!(deed, Deed::Leave { .. }))]
    };
    let asker = Asker { connection_id: Some(bob.connection.id), ..asking.asker() };
    hub.join(&asker, &rooms).await.unwrap();
    assert_eq!((deeds(), world.members(1)), ([2, 0], 2));
    hub.leave(&asker, &rooms).await.unwrap();
    assert_eq!((deeds(), world.members(1)), ([0, 2], 0));
    let asker = Asker { purse: &Empty, ..asker };
    let joined = hub.join(&asker, &[group("another")]).await;
    assert!(matches!(joined, Err(Refusal::RateLimited { .. })), "{joined:?}");
    assert!(!bus.asked().iter().any(|question| snapshot(question) > 0), "only whose connection it is");
}
